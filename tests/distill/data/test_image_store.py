"""Splits that cut no sequence, and the store of resized images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.data import image_store as data_module
from distill.data.digests import data_digest
from distill.data.image_store import Sample, decode_images, load_splits
from distill.data.splits import _draw
from edge.datasets.pairs import read_pair
from edge.errors import DataError, UsageError
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Iterable


def fill(root: Path, stems: Iterable[object], size: tuple[int, int] = (20, 30)) -> Path:
    for number, stem in enumerate(stems):
        rng = np.random.default_rng(number)
        mask = np.zeros(size, np.uint8)
        cv2.circle(mask, (size[1] // 2, size[0] // 2), 3 + number % 5, 255, cv2.FILLED)
        for folder, picture in (
            ("images", rng.integers(0, 256, (*size, 3), np.uint8)),
            ("masks", mask),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(root / folder / f"{stem}.png"), picture)
    return root


def sequences(root: Path, ranges: list[tuple[int, int, int]]) -> Path:
    rows = [{"sequence": number, "first": first, "last": last} for number, first, last in ranges]
    (root / "sequences.json").write_text(json.dumps(rows))
    return root


def stems(samples: Iterable[Sample]) -> list[str]:
    return [sample.image.rsplit("/", 1)[1].split(".")[0] for sample in samples]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return sequences(fill(tmp_path / "video", range(1, 13)), [(1, 1, 4), (2, 5, 6), (7, 7, 12)])


def test_train_and_validation_folders_are_the_split(tmp_path: Path) -> None:
    root = tmp_path / "set"
    fill(root / "train", range(5))
    fill(root / "validation", range(2))
    splits = load_splits([root], val_fraction=0.9)
    assert (len(splits.train), len(splits.validation)) == (5, 2)
    assert {sample.dataset for sample in splits.train} == {"set"}


def test_chosen_sequences_validate(video: Path) -> None:
    splits = load_splits([video], val_sequences=[2, 1])
    assert stems(splits.validation) == ["1", "2", "3", "4", "5", "6"]
    assert stems(splits.train) == ["7", "8", "9", "10", "11", "12"]


def test_chosen_sequences_leave_other_folders_to_the_fraction(video: Path, tmp_path: Path) -> None:
    plain = fill(tmp_path / "plain", range(20))
    splits = load_splits([video, plain], val_sequences=[2], val_fraction=0.25)
    assert sum(sample.dataset == "video" for sample in splits.validation) == 2
    assert sum(sample.dataset == "plain" for sample in splits.validation) == 5


@pytest.mark.parametrize("seed", range(6))
def test_a_drawn_split_cuts_no_sequence_and_is_reproducible(video: Path, seed: int) -> None:
    splits = load_splits([video], val_fraction=0.3, seed=seed)
    assert not {s.group for s in splits.train} & {s.group for s in splits.validation}
    assert sorted(stems(splits.train) + stems(splits.validation)) == sorted(
        str(i) for i in range(1, 13)
    )
    assert splits == load_splits([video], val_fraction=0.3, seed=seed)


@given(
    sizes=st.lists(st.integers(1, 9), min_size=2, max_size=30),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**31),
)
def test_whole_groups_are_drawn_until_the_fraction_is_reached(
    sizes: list[int], fraction: float, seed: int
) -> None:
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    chosen = _draw(groups, fraction, seed)
    chosen_frames = sum(group in chosen for group in groups)
    assert 0 < len(chosen) < len(sizes)
    assert chosen_frames >= fraction * len(groups) or len(chosen) == len(sizes) - 1
    assert chosen_frames - max(sizes) < fraction * len(groups)


def test_an_unknown_sequence_names_the_legal_ones(video: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data folder has sequence 3, 9") as caught:
        load_splits([video], val_sequences=[9, 2, 3])
    assert "1, 2, 7" in caught.value.expected
    with pytest.raises(DataError, match="no data folder has sequence 1"):
        load_splits([fill(tmp_path / "plain", range(3))], val_sequences=[1])


def test_a_frame_in_no_range_is_an_error(video: Path) -> None:
    fill(video, [99])
    with pytest.raises(DataError, match=r"99\.png belongs to no sequence"):
        load_splits([video])


def test_a_name_that_is_no_number_is_an_error(video: Path) -> None:
    fill(video, ["final"])
    with pytest.raises(DataError, match=r"final\.png belongs to no sequence"):
        load_splits([video])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "lists no sequence"),
        ("{", "does not list sequences"),
        ('[{"sequence": 1, "first": 1}]', "does not list sequences"),
        ('[{"sequence": 1, "first": 9, "last": 1}]', "ends before it begins"),
        (
            '[{"sequence": 1, "first": 1, "last": 7}, {"sequence": 2, "first": 7, "last": 12}]',
            "sequences 1 and 2 overlap",
        ),
    ],
)
def test_a_wrong_sequence_file_is_an_error(video: Path, content: str, message: str) -> None:
    (video / "sequences.json").write_text(content)
    with pytest.raises(DataError, match=message):
        load_splits([video])


def test_a_sequence_in_both_given_parts_is_an_error(tmp_path: Path) -> None:
    fill(tmp_path / "train", [1, 2])
    fill(tmp_path / "validation", [3])
    sequences(tmp_path, [(4, 1, 3)])
    with pytest.raises(DataError, match="sequence-4 to train on and to validate on"):
        load_splits([tmp_path])


def test_an_empty_side_is_an_error(video: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no frame is left to train on"):
        load_splits([video], val_sequences=[1, 2, 7])
    with pytest.raises(DataError, match="no frame is left to validate on"):
        load_splits([fill(tmp_path / "one", [1])])


def test_wrong_calls_are_usage_errors(video: Path) -> None:
    with pytest.raises(UsageError, match="no data folder"):
        load_splits([])
    with pytest.raises(UsageError, match="given twice"):
        load_splits([video, video / ".." / "video"])
    with pytest.raises(UsageError, match="fraction"):
        load_splits([video], val_fraction=1.0)


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    fill(tmp_path / "validation", range(2))
    with pytest.raises(DataError, match="which frames train"):
        load_splits([tmp_path])


def test_a_folder_with_training_frames_alone_validates_nothing(tmp_path: Path) -> None:
    fill(tmp_path / "more" / "train", range(2))
    with pytest.raises(DataError, match="no frame is left to validate on"):
        load_splits([tmp_path / "more"])
    splits = load_splits([fill(tmp_path / "plain", range(4)), tmp_path / "more"], val_fraction=0.5)
    assert [sample.dataset for sample in splits.train] == ["plain", "plain", "more", "more"]
    assert {sample.dataset for sample in splits.validation} == {"plain"}


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    roots = [fill(tmp_path / part / "set", range(4)) for part in ("a", "b")]
    splits = load_splits(roots)
    assert {sample.dataset for sample in splits.train} == {"a-set", "b-set"}


def samples_of(root: Path) -> list[Sample]:
    splits = load_splits([root], val_fraction=0.5)
    return splits.train + splits.validation


def test_the_store_holds_what_the_device_would_see(tmp_path: Path) -> None:
    samples = samples_of(fill(tmp_path / "set", range(5), size=(40, 60)))
    calls: list[tuple[int, int]] = []
    store = decode_images(samples, (16, 24), tmp_path / "cache", lambda a, b: calls.append((a, b)))
    assert store.images.shape == (5, 16, 24, 3)
    assert store.masks.shape == (5, 16, 24)
    assert store.size == (16, 24)
    assert len(store) == 5
    assert calls == [(5, 5)]
    for row, sample in enumerate(samples):
        native, mask = read_pair(Path(sample.image), Path(sample.mask))
        assert np.array_equal(store.images[row], to_input(native, (16, 24), bgr=False))
        assert store.masks[row].mean() == pytest.approx(255 * mask.mean(), abs=1)
    edges = np.unique(store.masks)
    assert edges[0] == 0
    assert edges[-1] == 255
    assert len(edges) > 4


def test_a_store_is_found_again_and_not_confused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = fill(tmp_path / "set", range(4)), tmp_path / "cache"
    samples = samples_of(root)
    first = decode_images(samples, (8, 8), cache)
    with monkeypatch.context() as patch:
        patch.setattr(data_module, "to_input", lambda *_, **__: pytest.fail("decoded again"))
        again = decode_images(samples, (8, 8), cache)
    assert again.key == first.key
    assert np.array_equal(again.images, first.images)
    keys = {
        first.key,
        decode_images(samples, (8, 12), cache).key,
        decode_images(samples[::-1], (8, 8), cache).key,
    }
    (root / "images" / "0.png").write_bytes((root / "images" / "3.png").read_bytes())
    keys.add(decode_images(samples, (8, 8), cache).key)
    monkeypatch.setattr(data_module, "RULES", "other rules")
    keys.add(decode_images(samples, (8, 8), cache).key)
    assert len(keys) == 5


def test_a_bad_image_stops_the_store_and_leaves_nothing(tmp_path: Path) -> None:
    root = fill(tmp_path / "set", range(4))
    samples = samples_of(root)
    (root / "images" / "2.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"2\.png is not a readable image"):
        decode_images(samples, (8, 8), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if path.suffix != ".lock"]


def test_a_damaged_store_is_made_again(tmp_path: Path) -> None:
    samples = samples_of(fill(tmp_path / "set", range(4)))
    store = decode_images(samples, (8, 8), tmp_path / "cache")
    expected = np.array(store.images)
    (path,) = (tmp_path / "cache").glob("*/images.npy")
    path.write_bytes(path.read_bytes()[:200])
    assert np.array_equal(decode_images(samples, (8, 8), tmp_path / "cache").images, expected)


def test_a_full_disk_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = samples_of(fill(tmp_path / "set", range(4)))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(DataError, match="not enough room") as caught:
        decode_images(samples, (8, 8), tmp_path / "cache")
    assert "another disk" in caught.value.hint


def test_the_digest_follows_content_and_order_not_paths(tmp_path: Path) -> None:
    one, two = (samples_of(fill(tmp_path / name, range(3))) for name in ("one", "two"))
    assert data_digest(one) == data_digest(two)
    assert data_digest(one) != data_digest(one[::-1])


def test_videos_in_folders_are_never_cut(tmp_path: Path) -> None:
    for video in ("case1", "case2", "case3"):
        fill(tmp_path / video, range(4))
        for kind, name in (("images", "Frame"), ("masks", "GT")):
            (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / video / kind).rename(tmp_path / "set" / name / video)
    splits = load_splits([tmp_path / "set"], val_fraction=0.3)
    assert {sample.group for sample in splits.train} & {
        sample.group for sample in splits.validation
    } == set()
    assert len(splits.validation) == 4
