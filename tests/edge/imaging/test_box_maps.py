"""Boxes from the maps of a detection head."""

from __future__ import annotations

import numpy as np
import pytest

from edge.imaging.box_maps import MOST_BOXES, ScoredBox, edge_iou, read_boxes, suppress


def maps(**peaks: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    heat = np.zeros((8, 16), np.float32)
    for place, score in peaks.items():
        row, column = (int(part) for part in place.removeprefix("at").split("_"))
        heat[row, column] = score
    return heat, np.full((2, 8, 16), 0.25, np.float32), np.full((2, 8, 16), 0.5, np.float32)


def test_a_peak_is_a_box_around_its_center() -> None:
    heat, size, offset = maps(at4_8=0.9)
    size[:, 4, 8], offset[:, 4, 8] = (0.5, 0.25), (0.0, 1.0)
    (box,) = read_boxes(heat, size, offset)
    assert box.score == pytest.approx(0.9)
    assert box.edges == pytest.approx((0.25, 0.5, 0.75, 0.75))


def test_only_the_highest_cell_of_a_neighborhood_is_a_peak() -> None:
    heat, size, offset = maps(at1_1=0.8, at1_2=0.7, at6_12=0.5, at6_2=0.29)
    boxes = read_boxes(heat, size, offset)
    assert [round(box.score, 2) for box in boxes] == [0.8, 0.5]
    assert len(read_boxes(heat, size, offset, least=0.2)) == 3


def test_edges_stay_inside_and_crowds_are_limited() -> None:
    heat, size, offset = maps(at0_0=0.9)
    (box,) = read_boxes(heat, size, offset)
    assert box.edges[:2] == (0, 0)
    even = np.full((8, 16), 0.5, np.float32)
    assert len(read_boxes(even, np.full_like(size, 0.01), offset)) == MOST_BOXES


def test_of_two_boxes_that_overlap_the_higher_stays() -> None:
    first = ScoredBox((0.0, 0.0, 0.4, 0.4), 0.9)
    near, far = ScoredBox((0.1, 0.0, 0.5, 0.4), 0.8), ScoredBox((0.3, 0.3, 0.7, 0.7), 0.7)
    assert edge_iou(first.edges, near.edges) == pytest.approx(0.6)
    assert suppress([first, near, far]) == [first, far]
    assert edge_iou((0, 0, 0, 0), (0, 0, 0, 0)) == 0
