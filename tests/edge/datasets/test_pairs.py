"""Folders of images and masks, and everything that can be wrong with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.datasets.pairs import find_pairs, pair_folders, read_image, read_mask, read_pair
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def write(path: Path, image: NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def photo(seed: int = 0, size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def disc(size: tuple[int, int] = (24, 32)) -> NDArray[np.uint8]:
    mask = np.zeros(size, np.uint8)
    cv2.circle(mask, (size[1] // 2, size[0] // 2), min(size) // 3, 255, cv2.FILLED)
    return mask


def folder(root: Path, stems: list[str]) -> Path:
    for stem in stems:
        write(root / "images" / f"{stem}.jpg", photo())
        write(root / "masks" / f"{stem}.png", disc())
    return root


def test_pairs_share_a_stem_and_come_in_natural_order(tmp_path: Path) -> None:
    """Pairs share a stem across formats and come in natural order."""
    root = folder(tmp_path, ["10", "2", "b", "a1"])
    (root / "images" / "notes.txt").write_text("not an image")
    (root / "images" / ".hidden.png").write_bytes(b"")
    pairs = find_pairs(root)
    assert [pair.name for pair in pairs] == ["2", "10", "a1", "b"]
    assert (pairs[0].image.name, pairs[0].mask.name) == ("2.jpg", "2.png")


@pytest.mark.parametrize(
    ("side", "kind", "partner"), [("masks", "image", "mask"), ("images", "mask", "image")]
)
def test_a_file_without_partner_is_named(
    tmp_path: Path, side: str, kind: str, partner: str
) -> None:
    root = folder(tmp_path, ["1", "2", "3"])
    (removed,) = (root / side).glob("2.*")
    removed.unlink()
    with pytest.raises(DataError, match=rf"{kind} .*2\.\w+ has no {partner}"):
        find_pairs(root)


def test_missing_and_empty_folders_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        find_pairs(tmp_path / "nowhere")
    with pytest.raises(DataError, match="images is missing"):
        find_pairs(tmp_path)
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="images holds no images"):
        find_pairs(tmp_path)


def test_a_folder_of_parts_points_to_a_part(tmp_path: Path) -> None:
    folder(tmp_path / "train", ["1"])
    folder(tmp_path / "validation", ["1"])
    with pytest.raises(DataError, match=r"give one part of it: .*validation"):
        find_pairs(tmp_path)


def test_two_images_of_one_stem_are_refused(tmp_path: Path) -> None:
    root = folder(tmp_path, ["1"])
    write(root / "images" / "1.png", photo())
    with pytest.raises(DataError, match="share a name"):
        find_pairs(root)


def test_masks_named_p_and_the_stem_are_paired(tmp_path: Path) -> None:
    root = folder(tmp_path, ["1", "2", "p3"])
    assert [pair.name for pair in pair_folders(root / "images", root / "masks")] == ["1", "2", "p3"]
    for path in list((root / "masks").iterdir()):
        path.rename(path.with_name(f"p{path.name}"))
    pairs = pair_folders(root / "images", root / "masks")
    assert [(pair.name, pair.mask.name) for pair in pairs] == [
        ("1", "p1.png"),
        ("2", "p2.png"),
        ("p3", "pp3.png"),
    ]


def test_images_are_read_as_rgb(tmp_path: Path) -> None:
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 2] = 255  # BGR on disk
    image = read_image(write(tmp_path / "red.png", red))
    assert image.shape == (4, 6, 3)
    assert image.dtype == np.uint8
    assert (image == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_mask_is_thresholded_and_lossy_noise_is_fine(tmp_path: Path, suffix: str) -> None:
    mask = read_mask(write(tmp_path / f"mask{suffix}", disc((64, 64))))
    assert mask.dtype == np.bool_
    assert np.mean(mask != (disc((64, 64)) > 127)) < 0.01


def test_a_soft_edge_is_still_a_mask(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(disc((96, 96)), (0, 0), 2)
    assert np.mean(read_mask(write(tmp_path / "soft.png", soft)) != (disc((96, 96)) > 127)) < 0.01


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_empty_mask_is_a_mask(tmp_path: Path, suffix: str) -> None:
    assert not read_mask(write(tmp_path / f"empty{suffix}", np.zeros((16, 16), np.uint8))).any()


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    smooth = cv2.GaussianBlur(photo(1, (64, 64)), (0, 0), 4)
    strong = np.clip((smooth[..., 0].astype(np.int16) - 127) * 12 + 127, 0, 255).astype(np.uint8)
    for name, picture, reason in (
        ("photo", smooth, "no black pixel"),
        ("contrast", strong, "between black and white"),
    ):
        with pytest.raises(DataError, match=f"{name}.png is not a mask") as caught:
            read_mask(write(tmp_path / f"{name}.png", picture))
        assert reason in caught.value.got
        assert "not swapped" in caught.value.hint


def test_sizes_that_differ_name_both(tmp_path: Path) -> None:
    image, mask = write(tmp_path / "i.png", photo()), write(tmp_path / "m.png", disc((12, 16)))
    with pytest.raises(DataError, match=r"m\.png does not fit its image .*i\.png") as caught:
        read_pair(image, mask)
    assert (caught.value.expected.split()[0], caught.value.got) == ("32x24", "16x12")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 0.99))
def test_a_file_cut_anywhere_is_a_data_error(tmp_path: Path, suffix: str, cut: float) -> None:
    data = write(tmp_path / f"whole{suffix}", photo(2, (40, 40))).read_bytes()
    broken = tmp_path / f"broken{suffix}"
    broken.write_bytes(data[: int(cut * len(data))])
    with pytest.raises(DataError, match="broken"):
        read_image(broken)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_bytes_that_are_no_image_are_a_data_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    with pytest.raises(DataError, match="noise"):
        read_image(path)


def test_a_missing_file_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png cannot be read"):
        read_mask(tmp_path / "gone.png")


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        ("Original", "Ground Truth"),
        ("image", "mask"),
        ("images", "Ground Truth"),
        ("Images", "Masks"),
    ],
)
def test_layouts_of_published_sets_are_read(images: str, masks: str, tmp_path: Path) -> None:
    for stem in ("1", "2"):
        write(tmp_path / images / f"{stem}.jpg", photo())
        write(tmp_path / masks / f"{stem}.png", disc())
    assert [pair.name for pair in find_pairs(tmp_path)] == ["1", "2"]


def test_frames_of_videos_in_folders_are_paired(tmp_path: Path) -> None:
    for video in ("case1", "case2"):
        write(tmp_path / "Frame" / video / "1.jpg", photo())
        write(tmp_path / "GT" / video / "1.png", disc())
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == ["case1/1", "case2/1"]
    assert [pair.video for pair in pairs] == ["case1", "case2"]
    assert pairs[1].mask == tmp_path / "GT" / "case2" / "1.png"
    write(tmp_path / "Frame" / "case3" / "1.jpg", photo())
    with pytest.raises(DataError, match="the same videos") as caught:
        find_pairs(tmp_path)
    assert "case3" in caught.value.got


@pytest.mark.parametrize(
    "pattern",
    ["{}_mask.png", "{}_segmentation.png", "{}-gt.png", "{}.jpg.png", "mask_{}.png", "p{}.png"],
)
def test_what_all_masks_add_to_the_name_is_no_part_of_it(pattern: str, tmp_path: Path) -> None:
    stems = ["1", "2", "10", "11", "21"]
    for stem in stems:
        write(tmp_path / "images" / f"{stem}.jpg", photo())
        write(tmp_path / "masks" / pattern.format(stem), disc())
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == stems
    assert [pair.mask.name for pair in pairs] == [pattern.format(stem) for stem in stems]


def test_other_numbers_are_no_other_names(tmp_path: Path) -> None:
    write(tmp_path / "images" / "1.jpg", photo())
    write(tmp_path / "masks" / "10.png", disc())
    with pytest.raises(DataError, match="has no mask"):
        find_pairs(tmp_path)


def test_letters_written_apart_are_the_same_letters(tmp_path: Path) -> None:
    write(tmp_path / "images" / "e\u0301t\u00e9.jpg", photo())
    write(tmp_path / "masks" / "\u00e9te\u0301.png", disc())
    assert [pair.name for pair in find_pairs(tmp_path)] == ["\u00e9t\u00e9"]


def test_a_folder_of_another_layout_is_named_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match="images is missing") as caught:
        find_pairs(tmp_path)
    assert "pictures/" in caught.value.got


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("{}_image", "{}_mask"),
        ("image_{}", "mask_{}"),
        ("{}-sat", "{}-Ground_Truth"),
        ("{}", "{}_segmentation"),
        ("{}", "p{}"),
    ],
)
def test_names_of_masks_may_say_that_they_are_masks(image: str, mask: str, tmp_path: Path) -> None:
    """Names of masks may differ by words that say what they are."""
    for number in ("1", "10", "2"):
        write(tmp_path / "images" / f"{image.format(number)}.jpg", photo())
        write(tmp_path / "masks" / f"{mask.format(number)}.png", disc())
    pairs = find_pairs(tmp_path)
    assert [pair.name for pair in pairs] == [image.format(number) for number in ("1", "2", "10")]
    assert [pair.mask.stem for pair in pairs] == [
        mask.format(number) for number in ("1", "2", "10")
    ]


def test_an_archive_packs_its_folder_again_and_in_two_formats(tmp_path: Path) -> None:
    inner = tmp_path / "CVC-ClinicDB" / "CVC-ClinicDB"
    for form, suffix in (("PNG", "png"), ("TIF", "tif")):
        write(inner / form / "Original" / f"1.{suffix}", photo())
        write(inner / form / "Ground Truth" / f"1.{suffix}", disc())
    assert [pair.image.suffix for pair in find_pairs(tmp_path / "CVC-ClinicDB")] == [".png"]
