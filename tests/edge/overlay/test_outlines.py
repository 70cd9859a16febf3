"""Outlines lose the steps of the score map's cells, and keep their place and size."""

from __future__ import annotations

import cv2
import numpy as np

from edge.overlay.outlines import smooth_outline


def staircase(radius: int, cell: int) -> list[tuple[int, int]]:
    """The outline of a disc made of square cells."""
    grid = np.zeros((60, 60), np.uint8)
    cv2.circle(grid, (30, 30), radius // cell, 255, cv2.FILLED)
    large = cv2.resize(grid, None, fx=cell, fy=cell, interpolation=cv2.INTER_NEAREST)
    outlines, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return [tuple(point) for point in outlines[0][:, 0].tolist()]


def corners(outline: np.ndarray[tuple[int, ...], np.dtype[np.int32]]) -> float:
    """Sum of the turns along an outline in radians; 2 pi for a convex one."""
    points = outline[:, 0].astype(float)
    steps = np.roll(points, -1, axis=0) - points
    angles = np.arctan2(steps[:, 1], steps[:, 0])
    return float(np.abs((np.diff(angles, append=angles[:1]) + np.pi) % (2 * np.pi) - np.pi).sum())


def test_steps_are_removed_and_the_area_stays() -> None:
    rough = staircase(96, 4)
    smooth = smooth_outline(rough, sigma=9, tolerance=1)
    before = corners(np.array(rough, np.int32)[:, None])
    assert before > 4 * np.pi
    assert corners(smooth) < 3 * np.pi
    area, expected = cv2.contourArea(smooth), cv2.contourArea(np.array(rough, np.int32))
    assert abs(area - expected) < 0.03 * expected


def test_small_outlines_keep_their_size() -> None:
    square = [(10, 10), (15, 10), (15, 15), (10, 15)]
    smoothed = smooth_outline(square, sigma=9, tolerance=0.5)
    assert cv2.boundingRect(smoothed) == (10, 10, 6, 6)
    for few in ([(3, 4)], [(3, 4), (9, 4)]):
        assert cv2.boundingRect(smooth_outline(few, 9, 0.5))[:2] == (3, 4)
