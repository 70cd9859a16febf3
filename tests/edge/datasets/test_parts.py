"""Folders that are split already."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.datasets.parts import find_parts
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path


def frames(images: Path, masks: Path, stems: str) -> None:
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
        for stem in stems:
            assert cv2.imwrite(str(folder / f"{stem}.png"), np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("validation", ["validation", "val", "valid", "Val"])
def test_parts_are_found_by_their_names(validation: str, inside: bool, tmp_path: Path) -> None:
    for part, stems in (("train", "ab"), (validation, "c"), ("test", "d")):
        if inside:
            frames(tmp_path / "images" / part, tmp_path / "masks" / part, stems)
        else:
            frames(tmp_path / part / "images", tmp_path / part / "masks", stems)
    parts = find_parts(tmp_path)
    assert parts is not None
    assert [pair.name for pair in parts.train] == ["a", "b"]
    assert [pair.name for pair in parts.validation] == ["c"]
    assert parts.unused is not None
    assert parts.unused.name == "test"


def test_a_folder_without_parts_has_none(tmp_path: Path) -> None:
    frames(tmp_path / "images", tmp_path / "masks", "ab")
    (tmp_path / "test").mkdir()
    assert find_parts(tmp_path) is None
    assert find_parts(tmp_path / "missing") is None
    frames(tmp_path / "videos" / "images" / "v1", tmp_path / "videos" / "masks" / "v1", "a")
    assert find_parts(tmp_path / "videos") is None


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["val"], "does not say which frames train"),
        (["train", "val", "validation"], "does not say which frames train"),
        (["train", "val", "."], "holds frames beside"),
    ],
)
def test_what_leaves_the_split_open_is_refused(
    folders: list[str], message: str, tmp_path: Path
) -> None:
    for part in folders:
        frames(tmp_path / part / "images", tmp_path / part / "masks", "a")
    with pytest.raises(DataError, match=message):
        find_parts(tmp_path)


def test_images_and_masks_have_the_same_parts(tmp_path: Path) -> None:
    frames(tmp_path / "images" / "train", tmp_path / "masks" / "train", "a")
    (tmp_path / "images" / "val").mkdir()
    with pytest.raises(DataError, match="do not hold the same parts"):
        find_parts(tmp_path)
