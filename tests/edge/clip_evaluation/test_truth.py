"""Boxes and masks of a clip: both structures of a file, and one clear error for each fault."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.clip_evaluation.truth import boxes_of, read_boxes, read_masks, read_truth
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (48, 64)


def write(folder: Path, data: Any) -> Path:
    path = folder / "clip.boxes.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return path


def test_corners_in_a_list_become_boxes(tmp_path: Path) -> None:
    listed = {
        "width": 64,
        "height": 48,
        "frames": [[{"bbox": [1, 2, 11, 22]}], [], [{"bbox": [0, 0, 64, 48]}]],
    }
    assert read_boxes(write(tmp_path, listed), 3, SIZE) == [
        ((1, 2, 10, 20),),
        (),
        ((0, 0, 64, 48),),
    ]


def test_frames_by_number_may_leave_out_those_without_a_polyp(tmp_path: Path) -> None:
    numbered = {
        "frames": {"2": [[1, 2, 10, 20], [30, 30, 5, 5]], "0": []},
        "width": 64,
        "height": 48,
    }
    assert read_boxes(write(tmp_path, numbered), 4, SIZE) == [
        (),
        (),
        ((1, 2, 10, 20), (30, 30, 5, 5)),
        (),
    ]
    assert read_boxes(write(tmp_path, {"frames": {}}), 2, SIZE) == [(), ()]


@pytest.mark.parametrize(
    ("data", "word"),
    [
        ("", "not a file of boxes"),
        ("[]", "not a file of boxes"),
        ("{}", "not a file of boxes"),
        ({"frames": {"0": [[1, 2, 3]]}}, "not a file of boxes"),
        ({"frames": {"0": [[1, 2, 3, 4.5]]}}, "not a file of boxes"),
        ('{"frames": {"0": [[1, 2, NaN, 4]]}}', "not a file of boxes"),
        ({"frames": {"0": [[1, 2, 3, 4]]}, "fps": 25}, "not a file of boxes"),
        ('{"frames": {"0": [], "0": [[1, 2, 3, 4]]}}', "'0' stands twice"),
        ({"frames": {"00": []}}, "names no frame"),
        ({"frames": {"-1": []}}, "names no frame"),
        ({"frames": {"first": []}}, "names no frame"),
        ({"frames": {"2": []}}, "frame that the clip lacks"),
        ({"frames": {"0": [[-1, 2, 3, 4]]}}, "does not lie in the picture"),
        ({"frames": {"0": [[60, 2, 5, 4]]}}, "does not lie in the picture"),
        ({"frames": {"0": [[1, 40, 5, 9]]}}, "does not lie in the picture"),
        ({"frames": {"0": [[1, 2, -3, 4]]}}, "does not lie in the picture"),
        ({"frames": {"0": [[1, 2, 3, 0]]}}, "does not lie in the picture"),
        ({"frames": {}, "width": 48, "height": 64}, "another picture"),
        ({"width": 64, "height": 48, "frames": [[]]}, "expected: 2 frames"),
        ({"width": 64, "height": 48, "frames": [[], [], []]}, "expected: 2 frames"),
        ({"width": 64, "frames": [[], []]}, "not a file of boxes"),
        ({"width": 32, "height": 48, "frames": [[], []]}, "another picture"),
        (
            {"width": 64, "height": 48, "frames": [[{"bbox": [9, 2, 3, 4]}], []]},
            "does not lie in the picture",
        ),
        (
            {"width": 64, "height": 48, "frames": [[{"box": [1, 2, 3, 4]}], []]},
            "not a file of boxes",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, data: Any, word: str) -> None:
    with pytest.raises(DataError, match=word):
        read_boxes(write(tmp_path, data), 2, SIZE)


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_boxes(tmp_path / "none.json", 2, SIZE)
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(DataError, match="not a file of boxes"):
        read_boxes(tmp_path / "bytes.json", 2, SIZE)


def masks(folder: Path, names: list[str], size: tuple[int, int] = SIZE) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        mask = np.zeros(size, np.uint8)
        mask[10:20, 10 + number : 30 + number] = 255
        cv2.imwrite(str(folder / name), mask)
    return folder


@pytest.mark.parametrize(
    "names", [["0.png", "1.png", "2.png"], ["m_0001.png", "m_0002.png", "m_0003.png"]]
)
def test_masks_are_numbered_from_0_or_1(tmp_path: Path, names: list[str]) -> None:
    boxes = read_masks(masks(tmp_path / "m", names), 3, SIZE)
    assert boxes == [((10, 10, 20, 10),), ((11, 10, 20, 10),), ((12, 10, 20, 10),)]
    assert read_truth("masks", tmp_path / "m", 3, SIZE) == boxes


@pytest.mark.parametrize(
    ("names", "word"),
    [
        (["0.png", "1.png"], "one mask for each of 3 frames"),
        (["0.png", "1.png", "3.png"], "one mask for each of 3 frames"),
        (["2.png", "3.png", "4.png"], "one mask for each of 3 frames"),
        (["0.png", "1.png", "2.png", "3.png"], "one mask for each of 3 frames"),
        (["a0.png", "b0.png", "1.png"], "same frame"),
        (["a.png"], "names no frame"),
    ],
)
def test_masks_that_do_not_fit_the_frames_are_refused(
    tmp_path: Path, names: list[str], word: str
) -> None:
    with pytest.raises(DataError, match=word):
        read_masks(masks(tmp_path / "m", names), 3, SIZE)


def test_masks_of_another_size_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="64x48"):
        read_masks(masks(tmp_path / "m", ["0.png"], (64, 48)), 1, SIZE)


def test_pieces_of_a_mask_are_boxes_and_specks_are_none() -> None:
    mask = np.zeros((200, 300), bool)
    mask[10:30, 40:60] = mask[100:150, 200:290] = True
    mask[80, 80] = True
    assert sorted(boxes_of(mask)) == [(40, 10, 20, 20), (200, 100, 90, 50)]
    assert boxes_of(np.zeros((20, 20), bool)) == ()


def test_a_clean_clip_has_no_box() -> None:
    assert read_truth("clean", None, 3, SIZE) == [(), (), ()]
