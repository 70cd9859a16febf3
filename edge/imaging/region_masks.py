"""The mask that a device shows, at frame size: the pixels of the kept regions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.imaging.postprocess import native_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, Region


def region_labels(
    scores: NDArray[Any],
    found_regions: Sequence[Region],
    size: tuple[int, int],
    threshold: float,
    part: Box | None = None,
) -> NDArray[np.int32]:
    """Assign each pixel of a frame to a region.

    A region has the pixels whose full-size score reaches the threshold and that are connected to
    the inside of its outline. If two regions meet at full size, the one listed first gets the
    common component except for the pixels inside the other's outline.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        found_regions: All or some regions of these scores (`edge.imaging.postprocess.regions`).
        size: Height and width of the frame.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        part: The part of the frame that the scores cover; None for the whole frame.

    Returns:
        (H, W) int32: 0 outside of every region, i + 1 for `found_regions[i]`.
    """
    if not found_regions:
        return np.zeros(size, np.int32)
    reached = (native_scores(scores, size, part) >= threshold).astype(np.uint8)
    count, pieces = cv2.connectedComponents(reached, connectivity=8)
    owner = np.zeros(count, np.int32)
    own = []
    for number, region in enumerate(found_regions, start=1):
        box, inside = _filled(region, size)
        reached_pixels = inside & (reached[box] > 0)
        touched = np.unique(pieces[box][reached_pixels])
        owner[touched[owner[touched] == 0]] = number
        # If no full-size pixel inside the outline reaches the threshold, use the whole outline.
        own.append((number, box, reached_pixels if touched.size else inside))
    labels: NDArray[np.int32] = owner[pieces]
    for number, box, reached_pixels in reversed(own):
        labels[box][reached_pixels] = number
    return labels


def _filled(region: Region, size: tuple[int, int]) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Return the slices around a region's outline, and which of their pixels lie inside it."""
    outline = np.array(region.contour, np.int32).reshape(-1, 2)
    left, top = (max(0, int(side)) for side in outline.min(axis=0))
    right, low = outline.max(axis=0) + 1
    box = np.s_[top : min(int(low), size[0]), left : min(int(right), size[1])]
    inside = np.zeros((max(0, box[0].stop - top), max(0, box[1].stop - left)), np.uint8)
    if inside.size:
        cv2.fillPoly(inside, [outline - (left, top)], 1)
    return box, inside > 0
