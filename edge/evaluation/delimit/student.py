"""A student as detector, from the regions of its mask, and as delineator, on crops of a frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.evaluation.delimit.base import Proposal, clip_box
from edge.imaging.box_maps import box_regions
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import regions, to_units
from edge.imaging.region_masks import region_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, FieldOfView, ImageU8, MaskBool, OperatingPoint


class Scorer(NamedTuple):
    """A student that is ready to score images.

    Attributes:
        score: Crop of any size (H, W, 3) uint8 RGB -> scores (h, w), uint8 in 1/256 or 0 to 1.
        point: Operating point of its mask.
        rule: Part of a frame that it was trained to see.
    """

    score: Callable[[ImageU8], NDArray[Any]]
    point: OperatingPoint
    rule: FieldOfView


class StudentDetector:
    """The regions that a device would show, as boxes with their peak scores.

    Args:
        student: The student.
    """

    def __init__(self, student: Scorer) -> None:
        self._student = student

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """One box for each kept region."""
        del true
        size = (image.shape[0], image.shape[1])
        part = seen_part(image, self._student.rule)
        scores = to_units(self._student.score(cut(image, part)))
        found_regions = regions(scores, size, self._student.point, part=part)
        boxes = [
            (x, y, x + width, y + height) for x, y, width, height in (r.box for r in found_regions)
        ]
        return [
            Proposal(clip_box(edges, size), region.score)
            for edges, region in zip(boxes, found_regions, strict=True)
        ]


class HeadDetector:
    """The boxes of an engine with a detection head.

    Args:
        student: Its scores are all maps of the engine, one below the other.
    """

    def __init__(self, student: Scorer) -> None:
        self._student = student

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """Boxes of (H, W, 3) uint8 RGB, in pixels of it."""
        del true
        height, width = image.shape[:2]
        part = seen_part(image, self._student.rule)
        scores = to_units(self._student.score(cut(image, part)))
        found_regions = box_regions(scores, part or (0, 0, width, height))
        return [Proposal(region.box, region.score) for region in found_regions]


class StudentDelineator:
    """The student's mask of a crop around each box, at a larger scale than on the whole frame.

    A box as large as the part that the student sees gives the mask that a device would show.

    Args:
        student: The student.
        margin: What the crop has on each side of the box, as a share of the box's longer side.
    """

    def __init__(self, student: Scorer, margin: float = 0.5) -> None:
        self._student, self._margin = student, margin

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """The kept regions in the crop of each box that reach into the box."""
        del true
        return [self._one(image, proposal.box) for proposal in proposals]

    def _one(self, image: ImageU8, box: Box) -> MaskBool:
        height, width = image.shape[:2]
        crop = self._crop(image, box)
        x, y, across, down = crop
        point = self._student.point
        share = point.min_region * width * height / (across * down)
        point = point._replace(min_region=min(share, 1.0))
        scores = to_units(self._student.score(np.ascontiguousarray(cut(image, crop))))
        found_regions = regions(scores, (down, across), point)
        labels = region_labels(scores, found_regions, (down, across), point.threshold)
        left, top, wide, high = box
        inside = labels[
            max(top - y, 0) : max(top - y + high, 0), max(left - x, 0) : max(left - x + wide, 0)
        ]
        mask = np.zeros((height, width), bool)
        mask[y : y + down, x : x + across] = np.isin(labels, np.unique(inside[inside > 0]))
        return mask

    def _crop(self, image: ImageU8, box: Box) -> Box:
        """The box with its margin, as square as the frame allows, inside what the student sees."""
        height, width = image.shape[:2]
        left, top, wide, high = seen_part(image, self._student.rule) or (0, 0, width, height)
        x, y, across, down = box
        half = max(across, down) * (0.5 + self._margin)
        middle, center = x + across / 2, y + down / 2
        edges = (
            min(max(middle - half, left), x),
            min(max(center - half, top), y),
            max(min(middle + half, left + wide), x + across),
            max(min(center + half, top + high), y + down),
        )
        if across * down >= wide * high:
            return left, top, wide, high
        return clip_box(edges, (height, width))
