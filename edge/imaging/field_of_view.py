"""Estimate the field of view in a frame: octagon, circle or rectangle, beside panels and text.

The estimate uses thumbnails: the cells that were lit within a window of frames. A morphological
opening removes text, the largest remaining component is the view, and its convex hull fills dark
areas inside it. Panels are lit but never change, unlike the view. A new estimate replaces the
current one only if two windows agree, so that it is stable. It grows with light alone, but shrinks
only to a sharp edge, so that darkness in the bowel does not shrink it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from edge.imaging.thumbnail import Thumbnail, make_thumbnail
from edge.imaging.view import View, whole_frame

if TYPE_CHECKING:
    from edge.frame import ImageU8

WINDOW = 15
"""Number of frames in a window."""

_LEVELS = (24, 48)
"""Bounds of the gray level from which a cell is lit."""
_ABOVE_BORDER = 12
"""Gray levels between the border and lit cells; some processors show a dark gray or blue border."""
_STROKE = 9
"""Minimum thickness of the view in cells; letters are thinner."""
_MIN_VIEW = 0.08
"""Minimum share of the frame that a view covers."""
_CHANGE = 4
"""Change in gray levels within a window above which a cell of a live image counts as changed."""
_ACTIVE_SHARE = 0.3
"""Minimum share of the view that must change in a window for the window to count as live."""
_ALIVE_WINDOWS = 20
"""Number of live windows after which a lit cell that never changed counts as a panel."""
_SAME = 0.97
"""Intersection over union from which two estimates count as the same view."""
_GROWTH = 1.01
"""Minimum factor by which a view grows."""
_EDGE = 30
"""Gray levels between the two sides of a sharp edge of the view."""
_RIM = 4
"""Cells on each side of the edge that are compared."""
_CELL = np.ones((3, 3), np.uint8)
_SNAP = 2
"""Distance in cells from the frame's edge within which a view is extended to the edge."""


class ViewEstimator:
    """Track the field of view over frames; give it only frames that show the bowel."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._window: _Window | None = None
        self._settled = False
        self._candidate: View | None = None

    def view(self, picture: Thumbnail) -> View:
        """Return the current view without using this thumbnail for the estimate."""
        if self._view is None or self._view.frame_size != picture.frame_size:
            return whole_frame(picture.frame_size, picture.bright.shape)
        return self._view

    def update(self, picture: Thumbnail) -> View:
        """Update the estimate with one more frame.

        Args:
            picture: The thumbnail of the frame; a new size resets the estimate.

        Returns:
            The current view; the same object as long as it does not change.
        """
        view, window = self._view, self._window
        if view is None or window is None or view.frame_size != picture.frame_size:
            self._window = _Window(picture)
            self._view = _estimate(self._window.light(), picture.frame_size) or self.view(picture)
            self._candidate, self._settled = None, False
            return self._view
        if window.add(picture):
            window.note_changes(view.mask)
            light = window.light()
            estimate = _estimate(light, picture.frame_size)
            if estimate is None or (self._settled and not _differs(view, estimate, light)):
                self._candidate = None
            elif not self._settled or (
                self._candidate and _overlap(self._candidate, estimate) >= _SAME
            ):
                self._view, self._candidate, self._settled = estimate, None, True
            else:
                self._candidate = estimate
        return self._view or view


class _Window:
    """Minimum and maximum brightness of each cell within a window, and how long it was static."""

    def __init__(self, picture: Thumbnail) -> None:
        self._high, self._low = picture.bright.copy(), picture.bright.copy()
        self._frames = 0
        self._alive = np.full_like(picture.bright, _ALIVE_WINDOWS)

    def add(self, picture: Thumbnail) -> bool:
        """Add a thumbnail; return whether the window is full, so that the next one starts anew."""
        if self._frames == 0:
            np.copyto(self._high, picture.bright)
            np.copyto(self._low, picture.bright)
        else:
            cv2.max(self._high, picture.bright, dst=self._high)
            cv2.min(self._low, picture.bright, dst=self._low)
        self._frames = (self._frames + 1) % WINDOW
        return self._frames == 0

    def note_changes(self, mask: ImageU8) -> None:
        """Count the window for cells that stayed static while the view changed."""
        changed = cv2.compare(cv2.subtract(self._high, self._low), _CHANGE, cv2.CMP_GT)
        if cv2.countNonZero(cv2.bitwise_and(changed, mask)) > _ACTIVE_SHARE * cv2.countNonZero(
            mask
        ):
            cv2.subtract(self._alive, 1, dst=self._alive)
            cv2.max(self._alive, cv2.min(changed, _ALIVE_WINDOWS), dst=self._alive)

    def light(self) -> ImageU8:
        """Return the maximum brightness of each cell, black in panels."""
        # A highlight is as static as a panel, but its surroundings are not.
        near = cv2.dilate(self._alive, _CELL)
        return cast("ImageU8", cv2.bitwise_and(self._high, cv2.compare(near, 0, cv2.CMP_GT)))


def estimate(image: ImageU8) -> View:
    """Estimate the view from a single frame; for streams, `ViewEstimator` is more accurate.

    Args:
        image: (H, W, 3) uint8 BGR.

    Raises:
        DataError: `image` has a different shape or type.
    """
    return ViewEstimator().update(make_thumbnail(image))


def _estimate(light: ImageU8, frame_size: tuple[int, int]) -> View | None:
    """Estimate the view from the brightness in a window; None if too little is lit."""
    sample = light[::4, ::4]
    border = int(np.partition(sample, sample.size // 50, axis=None)[sample.size // 50])
    level = min(max(border + _ABOVE_BORDER, _LEVELS[0]), _LEVELS[1])
    lit = cv2.compare(light, level, cv2.CMP_GT)
    lit = cv2.morphologyEx(lit, cv2.MORPH_OPEN, np.ones((_STROKE, _STROKE), np.uint8))
    outlines, _ = cv2.findContours(lit, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not outlines:
        return None
    hull = cv2.convexHull(max(outlines, key=cv2.contourArea))
    height, width = light.shape
    for axis, side in ((0, width), (1, height)):
        places = hull[:, 0, axis]
        places[places < _SNAP] = 0
        places[places >= side - _SNAP] = side - 1
    mask = np.zeros_like(light)
    cv2.fillConvexPoly(mask, hull, 255)
    if cv2.countNonZero(mask) < _MIN_VIEW * mask.size:
        return None
    x, y, wide, tall = cv2.boundingRect(hull)
    fx, fy = frame_size[1] / width, frame_size[0] / height
    left, top = round(x * fx), round(y * fy)
    box = (left, top, round((x + wide) * fx) - left, round((y + tall) * fy) - top)
    return View(box, mask, frame_size)


def _differs(view: View, estimate: View, light: ImageU8) -> bool:
    """Whether a found view should replace the current one."""
    both = cv2.countNonZero(cv2.bitwise_and(view.mask, estimate.mask))
    one, other = cv2.countNonZero(view.mask), cv2.countNonZero(estimate.mask)
    if both >= _SAME * one:
        return other >= _GROWTH * one
    # Smaller somewhere: its edge there must be sharp.
    reach = cv2.bitwise_and(cv2.dilate(estimate.mask, _CELL, iterations=_RIM), view.mask)
    outside = cv2.subtract(reach, cv2.dilate(estimate.mask, _CELL))
    rim = cv2.bitwise_and(
        cv2.dilate(outside, _CELL, iterations=_RIM), cv2.erode(estimate.mask, _CELL)
    )
    if not outside.any() or not rim.any():
        return False
    return bool(np.median(light[rim > 0]) >= np.median(light[outside > 0]) + _EDGE)


def _overlap(one: View, other: View) -> float:
    """Return the intersection over union of two views."""
    both = cv2.countNonZero(cv2.bitwise_and(one.mask, other.mask))
    return both / max(1, cv2.countNonZero(cv2.bitwise_or(one.mask, other.mask)))
