"""The five benchmarks by name, in the layouts that people have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.datasets.pairs import read_pair
from edge.datasets.public_lists import TEST_FRAMES
from edge.datasets.public_sets import SETS, find_labeled
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

ENCODED = {
    suffix: (
        cv2.imencode(suffix, np.full((8, 10, 3), 90, np.uint8))[1].tobytes(),
        cv2.imencode(suffix, np.full((8, 10), 255, np.uint8))[1].tobytes(),
    )
    for suffix in (".png", ".tif", ".jpg")
}


def fill(
    images: Path, masks: Path, frames: int = 3, *, suffix: str = ".png", mask_prefix: str = ""
) -> None:
    for where, content, prefix in zip(
        (images, masks), ENCODED[suffix], ("", mask_prefix), strict=True
    ):
        where.mkdir(parents=True, exist_ok=True)
        for number in range(1, frames + 1):
            (where / f"{prefix}{number}{suffix}").write_bytes(content)


LAYOUTS = {
    # set: where its folders lie below the folder that is given, the format, the masks' prefix
    "the set's own folder": ("kvasir", "images", "masks", ".jpg", ""),
    "TestDataset given": ("kvasir", "Kvasir/images", "Kvasir/masks", ".png", ""),
    "what holds TestDataset": ("colondb", "TestDataset/CVC-ColonDB/images",
    "TestDataset/CVC-ColonDB/masks", ".png", ""),
    "archive of ClinicDB": (
        "clinicdb", "CVC-ClinicDB/Original", "CVC-ClinicDB/Ground Truth", ".tif", "",
    ),
    "ClinicDB by format": ("clinicdb", "TIF/Original", "TIF/Ground Truth", ".tif", ""),
    "archive of ETIS": ("etis", "ETIS-LaribPolypDB", "Ground Truth", ".tif", "p"),
    "archive of ETIS, folder above": (
        "etis", "ETIS-LaribPolypDB/ETIS-LaribPolypDB",
        "ETIS-LaribPolypDB/Ground Truth", ".tif", "p",
    ),
    "packed twice": ("kvasir", "Kvasir-SEG/Kvasir-SEG/images", "Kvasir-SEG/Kvasir-SEG/masks",
    ".jpg", ""),
    "another case": ("cvc300", "cvc-300/Images", "cvc-300/Masks", ".png", ""),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_layout_is_understood(layout: tuple[str, str, str, str, str], tmp_path: Path) -> None:
    name, images, masks, suffix, prefix = layout
    fill(tmp_path / images, tmp_path / masks, suffix=suffix, mask_prefix=prefix)
    frames = find_labeled(f"{name}:{tmp_path}")
    assert frames.benchmark == name
    assert [pair.name for pair in frames.pairs] == ["1", "2", "3"]
    assert all(pair.image.parent == tmp_path / images for pair in frames.pairs)
    assert read_pair(frames.pairs[0].image, frames.pairs[0].mask)[1].all()


def test_test_dataset_is_taken_before_an_archive_beside_it(tmp_path: Path) -> None:
    fill(tmp_path / "Kvasir-SEG" / "images", tmp_path / "Kvasir-SEG" / "masks", 5)
    fill(
        tmp_path / "TestDataset" / "Kvasir" / "images",
        tmp_path / "TestDataset" / "Kvasir" / "masks",
        2,
    )
    assert len(find_labeled(f"kvasir:{tmp_path}").pairs) == 2


@pytest.mark.parametrize("name", list(SETS))
def test_the_number_of_frames_tells_whether_it_is_the_fields_set(name: str, tmp_path: Path) -> None:
    benchmark = SETS[name]
    root = tmp_path / "TestDataset" / benchmark.title
    fill(root / "images", root / "masks", benchmark.frames)
    assert find_labeled(f"{name}:{root}").notes == ()
    (root / "images" / "1.png").unlink()
    (root / "masks" / "1.png").unlink()
    (note,) = find_labeled(f"{name}:{root}").notes
    assert (
        f"{benchmark.frames - 1} frames where the field's test set of {benchmark.title} has "
        f"{benchmark.frames}"
    ) in note


def test_frames_of_unknown_origin_are_not_called_the_fields(tmp_path: Path) -> None:
    fill(tmp_path / "images", tmp_path / "masks", 100)
    (note,) = find_labeled(f"kvasir:{tmp_path}").notes
    assert "not checked to be the same" in note


def rename(root: Path, stems: Sequence[str]) -> None:
    for folder in ("images", "masks"):
        for number, stem in enumerate(stems, 1):
            (root / folder / f"{number}.png").rename(root / folder / f"x{stem}.png")
        for path in list((root / folder).glob("x*.png")):
            path.rename(path.with_name(path.name[1:]))


@pytest.mark.parametrize("name", list(TEST_FRAMES))
def test_the_fields_frames_are_found_in_an_archive_by_name(name: str, tmp_path: Path) -> None:
    listed = TEST_FRAMES[name]
    assert len(set(listed)) == len(listed) == SETS[name].frames
    fill(tmp_path / "images", tmp_path / "masks", len(listed) + 3)
    rename(tmp_path, [*listed, "other-1", "other-2", "other-3"])
    frames = find_labeled(f"{name}:{tmp_path}")
    assert {pair.name for pair in frames.pairs} == set(listed)
    assert "by name" in frames.notes[0]
    for folder in ("images", "masks"):
        for path in (tmp_path / folder).glob("other-*.png"):
            path.unlink()
    assert find_labeled(f"{name}:{tmp_path}").notes == ()


def test_an_archive_of_other_names_needs_a_list(tmp_path: Path) -> None:
    """An archive of other names needs a list of the test frames."""
    fill(tmp_path / "Original", tmp_path / "Ground Truth", 70)
    with pytest.raises(DataError, match="more than the test set of CVC-ClinicDB") as caught:
        find_labeled(f"clinicdb:{tmp_path}")
    assert "62 frames" in caught.value.expected
    assert "a list of the test frames" in caught.value.hint
    names = tmp_path / "test.txt"
    names.write_text("12.png\n3\n\n 40.tif \n")
    frames = find_labeled(f"clinicdb:{tmp_path}", names)
    assert [pair.name for pair in frames.pairs] == ["3", "12", "40"]
    assert frames.notes[0] == "3 frames named in test.txt"
    names.write_text("\n".join(map(str, range(1, 63))))
    assert find_labeled(f"clinicdb:{tmp_path}", names).notes == ("62 frames named in test.txt",)


@pytest.mark.parametrize(
    ("content", "reason"),
    [("1\n99\n100", "lacks frames"), ("", "names no frame"), (None, "cannot be read")],
)
def test_a_list_that_does_not_fit_is_an_error(
    content: str | None, reason: str, tmp_path: Path
) -> None:
    fill(tmp_path / "images", tmp_path / "masks")
    names = tmp_path / "names.txt"
    if content is not None:
        names.write_text(content)
    for where in (f"kvasir:{tmp_path}", str(tmp_path)):
        with pytest.raises(DataError, match=reason):
            find_labeled(where, names)


def test_a_folder_without_a_name_is_read_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "odd:name"
    fill(root / "images", root / "masks", 4)
    frames = find_labeled(str(root))
    assert (len(frames.pairs), frames.benchmark, frames.notes) == (4, None, ())


@pytest.mark.parametrize("where", ["endoscene:{}", ":{}", "kvasir :{}"])
def test_an_unknown_name_lists_the_known_ones(where: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        find_labeled(where.format(tmp_path))
    assert all(name in caught.value.expected for name in SETS)


def test_what_holds_no_such_set_says_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        find_labeled(f"etis:{tmp_path / 'absent'}")
    (tmp_path / "Something").mkdir()
    with pytest.raises(DataError, match="holds no ETIS-LaribPolypDB") as caught:
        find_labeled(f"etis:{tmp_path}")
    assert caught.value.got == "Something"
    fill(tmp_path / "Kvasir" / "images", tmp_path / "Kvasir" / "masks")
    with pytest.raises(DataError, match="is the folder of Kvasir"):
        find_labeled(f"etis:{tmp_path / 'Kvasir'}")


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffa.rf.1.jpg\r\na.rf.2.jpg\r\n",
        "a.rf.1\na.rf.2\n",
        "a.rf.1.jpg a.rf.1.png\na.rf.2.jpg a.rf.2.png\n",
        "a.rf.1.jpg,1\na.rf.2.jpg,0\n",
        "images/a.rf.1.jpg\nimages\\a.rf.2.jpg\n",
    ],
    ids=["BOM", "dots", "pairs", "csv", "paths"],
)
def test_a_list_of_names_is_read_as_programs_write_it(text: str, tmp_path: Path) -> None:
    fill(tmp_path / "images", tmp_path / "masks")
    for path in [*(tmp_path / "images").iterdir(), *(tmp_path / "masks").iterdir()]:
        path.rename(path.with_name(f"a.rf.{path.name}"))
    names = tmp_path / "names.txt"
    names.write_bytes(text.encode())
    assert [pair.name for pair in find_labeled(str(tmp_path), names).pairs] == ["a.rf.1", "a.rf.2"]
