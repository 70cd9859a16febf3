"""Where the endoscope's picture lies in a frame: octagon, circle, rectangle, beside panels and on-screen text.

What was lit within a window of frames is looked at in small. Text is too thin to survive an
opening, the largest piece left is the view, and its convex hull heals what is dark inside it. A
panel is lit but never changes while the view does. A view that holds is changed only by two windows
that agree, so that it does not tremble; it grows by light alone, and shrinks only behind a sharp
edge, so that darkness in the bowel does not shrink it.
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
"""Frames that are looked at together."""

_LEVELS = (24, 48)
"""Bounds of the grey level from which a cell is lit."""
_ABOVE_BORDER = 12
"""Grey levels by which lit cells lie over the border, which some processors show as dark grey or blue."""
_STROKE = 9
"""Cells that a piece of the view spans at least; letters are thinner."""
_LEAST_VIEW = 0.08
"""Least share of the frame that a view covers."""
_CHANGE = 4
"""Grey levels over which a cell of a living picture changes within a window."""
_ACTIVE_SHARE = 0.3
"""Share of the view that changes in a window that counts."""
_ALIVE_WINDOWS = 20
"""Such windows in a row after which a lit cell that never changed is a panel."""
_SAME = 0.97
"""Intersection over union from which two estimates are the same view."""
_GROWTH = 1.01
"""Least factor by which a view grows."""
_EDGE = 30
"""Grey levels between both sides of the edge of a view."""
_RIM = 4
"""Cells on each side of the edge that are compared."""
_CELL = np.ones((3, 3), np.uint8)
_SNAP = 2
"""Cells from the frame's edge within which a view reaches it."""


class ViewEstimator:
    """Follows the field of view over frames; only frames that show the bowel may be given to it."""

    def __init__(self) -> None:
        self._view: View | None = None
        self._window: _Window | None = None
        self._settled = False
        self._candidate: View | None = None

    def view(self, picture: Thumbnail) -> View:
        """The view that holds, without looking at this picture."""
        if self._view is None or self._view.frame_size != picture.frame_size:
            return whole_frame(picture.frame_size, picture.bright.shape)
        return self._view

    def update(self, picture: Thumbnail) -> View:
        """Look at one more picture.

        Args:
            picture: A frame in small; of another size than before, everything begins anew.

        Returns:
            The view that holds; the same object as long as it does not change.
        """
        held, window = self._view, self._window
        if held is None or window is None or held.frame_size != picture.frame_size:
            self._window = _Window(picture)
            self._view = _estimate(self._window.light(), picture.frame_size) or self.view(picture)
            self._candidate, self._settled = None, False
            return self._view
        if window.add(picture):
            window.note_changes(held.mask)
            light = window.light()
            found = _estimate(light, picture.frame_size)
            if found is None or (self._settled and not _differs(held, found, light)):
                self._candidate = None
            elif not self._settled or (
                self._candidate and _overlap(self._candidate, found) >= _SAME
            ):
                self._view, self._candidate, self._settled = found, None, True
            else:
                self._candidate = found
        return self._view or held


class _Window:
    """The lightest and the darkest that each cell was within the last frames, and where it has changed lately."""

    def __init__(self, picture: Thumbnail) -> None:
        self._high, self._low = picture.bright.copy(), picture.bright.copy()
        self._frames = 0
        self._alive = np.full_like(picture.bright, _ALIVE_WINDOWS)

    def add(self, picture: Thumbnail) -> bool:
        """Take a picture; says whether the window is full, and the next picture begins another."""
        if self._frames == 0:
            np.copyto(self._high, picture.bright)
            np.copyto(self._low, picture.bright)
        else:
            cv2.max(self._high, picture.bright, dst=self._high)
            cv2.min(self._low, picture.bright, dst=self._low)
        self._frames = (self._frames + 1) % WINDOW
        return self._frames == 0

    def note_changes(self, mask: ImageU8) -> None:
        """Let cells age that did not change while the view did."""
        changed = cv2.compare(cv2.subtract(self._high, self._low), _CHANGE, cv2.CMP_GT)
        if cv2.countNonZero(cv2.bitwise_and(changed, mask)) > _ACTIVE_SHARE * cv2.countNonZero(
            mask
        ):
            cv2.subtract(self._alive, 1, dst=self._alive)
            cv2.max(self._alive, cv2.min(changed, _ALIVE_WINDOWS), dst=self._alive)

    def light(self) -> ImageU8:
        """The lightest of each cell, black where it belongs to a panel."""
        # A highlight is as still as a panel, but not all around.
        near = cv2.dilate(self._alive, _CELL)
        return cast("ImageU8", cv2.bitwise_and(self._high, cv2.compare(near, 0, cv2.CMP_GT)))


def estimate(image: ImageU8) -> View:
    """The view of one frame alone; what a stream shows of it is better told by `ViewEstimator`.

    Args:
        image: (H, W, 3) uint8 BGR.

    Raises:
        DataError: `image` is no such picture.
    """
    return ViewEstimator().update(make_thumbnail(image))


def _estimate(light: ImageU8, frame_size: tuple[int, int]) -> View | None:
    """The view by the light of a window; None where there is too little."""
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
    if cv2.countNonZero(mask) < _LEAST_VIEW * mask.size:
        return None
    x, y, wide, tall = cv2.boundingRect(hull)
    fx, fy = frame_size[1] / width, frame_size[0] / height
    left, top = round(x * fx), round(y * fy)
    box = (left, top, round((x + wide) * fx) - left, round((y + tall) * fy) - top)
    return View(box, mask, frame_size)


def _differs(held: View, found: View, light: ImageU8) -> bool:
    """Whether a found view should take the place of the one that holds."""
    both = cv2.countNonZero(cv2.bitwise_and(held.mask, found.mask))
    one, other = cv2.countNonZero(held.mask), cv2.countNonZero(found.mask)
    if both >= _SAME * one:
        return other >= _GROWTH * one
    # Smaller somewhere: its edge there must be sharp.
    reach = cv2.bitwise_and(cv2.dilate(found.mask, _CELL, iterations=_RIM), held.mask)
    outside = cv2.subtract(reach, cv2.dilate(found.mask, _CELL))
    rim = cv2.bitwise_and(cv2.dilate(outside, _CELL, iterations=_RIM), cv2.erode(found.mask, _CELL))
    if not outside.any() or not rim.any():
        return False
    return bool(np.median(light[rim > 0]) >= np.median(light[outside > 0]) + _EDGE)


def _overlap(one: View, other: View) -> float:
    """Intersection over union."""
    both = cv2.countNonZero(cv2.bitwise_and(one.mask, other.mask))
    return both / max(1, cv2.countNonZero(cv2.bitwise_or(one.mask, other.mask)))
