"""Interfaces of detectors and delineators, and the ones that need no network.

`OracleDetector` and `OracleDelineator` read the true mask: with one of them, the error that is left
is the other part's alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

import cv2
import numpy as np

from edge.evaluation.findings import SPECK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Box, ImageU8, MaskBool
    from edge.imaging.box_maps import Edges


class Proposal(NamedTuple):
    """A place where a detector sees a polyp.

    Attributes:
        box: x, y, width, height in pixels of the frame, inside of it and not empty.
        score: 0 to 1.
    """

    box: Box
    score: float


@runtime_checkable
class Detector(Protocol):
    """Finds polyps in a frame."""

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """Propose boxes.

        Args:
            image: (H, W, 3) uint8 RGB.
            true: (H, W) bool, the true mask, which only an oracle may read.

        Returns:
            Proposals in any order.
        """
        ...


@runtime_checkable
class Delineator(Protocol):
    """Draws a mask for each box of a frame."""

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """Draw the masks.

        Args:
            image: (H, W, 3) uint8 RGB.
            proposals: Boxes of the frame, at least one.
            true: (H, W) bool, the true mask, which only an oracle may read.

        Returns:
            (H, W) bool for each proposal, in their order.
        """
        ...


def polyp_masks(true: MaskBool) -> list[MaskBool]:
    """Split a true mask into its polyps, the largest first.

    A polyp is a connected component (8-connectivity). Components below `SPECK` beside a larger one
    are none.
    """
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        true.astype(np.uint8), connectivity=8
    )
    areas = stats[:, cv2.CC_STAT_AREA]
    order = sorted(range(1, count), key=lambda piece: -areas[piece])
    return [
        pieces == piece
        for rank, piece in enumerate(order)
        if rank == 0 or areas[piece] >= SPECK * true.size
    ]


def mask_box(mask: MaskBool) -> Box:
    """Bounding box of a mask (H, W) with at least one pixel."""
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return int(x), int(y), int(width), int(height)


def clip_box(edges: Edges, size: tuple[int, int]) -> Box:
    """The box of whole pixels inside a frame that is closest to given edges, at least one pixel.

    Args:
        edges: Left, upper, right and lower edge in pixels.
        size: Height and width of the frame.
    """
    height, width = size
    left, top, right, low = edges
    x, y = min(max(round(left), 0), width - 1), min(max(round(top), 0), height - 1)
    return x, y, min(max(round(right), x + 1), width) - x, min(max(round(low), y + 1), height) - y


class OracleDetector:
    """The true boxes, each edge moved by chance if asked.

    Segmenters that are prompted with a box are trained with jittered true boxes; a detector's boxes
    err more. With `jitter`, it is seen how much a delineator depends on an exact box.

    Args:
        jitter: Largest move of each edge, as a share of the box's width or height.
        seed: Seed of the moves; a frame's moves depend on its true mask alone.
    """

    def __init__(self, jitter: float = 0.0, seed: int = 0) -> None:
        self._jitter, self._seed = jitter, seed

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """The box of every polyp, with score 1."""
        del image
        boxes = [mask_box(mask) for mask in polyp_masks(true)]
        if self._jitter:
            boxes = [self._moved(box, true) for box in boxes]
        return [Proposal(box, 1.0) for box in boxes]

    def _moved(self, box: Box, true: MaskBool) -> Box:
        x, y, width, height = box
        rng = np.random.default_rng([self._seed, *box])
        left, top, right, low = rng.uniform(-self._jitter, self._jitter, 4).tolist()
        edges = (
            x + left * width,
            y + top * height,
            x + width + right * width,
            y + height + low * height,
        )
        return clip_box(edges, (true.shape[0], true.shape[1]))


class WholeFrameDetector:
    """One box around the whole frame, so that a delineator works without a detector."""

    def detect(self, image: ImageU8, true: MaskBool) -> list[Proposal]:
        """The frame, with score 1."""
        del true
        return [Proposal((0, 0, image.shape[1], image.shape[0]), 1.0)]


class OracleDelineator:
    """The true mask of the polyps that have a pixel in a box, so that no outline errs."""

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """The polyps that each box touches; for a box without one, its inscribed ellipse."""
        del image
        touched = []
        polyps = polyp_masks(true)
        for proposal in proposals:
            x, y, width, height = proposal.box
            window = np.s_[y : y + height, x : x + width]
            mask = np.zeros_like(true)
            for polyp in polyps:
                if polyp[window].any():
                    mask |= polyp
            touched.append(mask if mask.any() else ellipse(proposal.box, true))
        return touched


class BoxDelineator:
    """The ellipse inside each box: what a delineator must beat.

    An ellipse covers pi / 4 of its box, and most polyps are round.
    """

    def delineate(
        self, image: ImageU8, proposals: Sequence[Proposal], true: MaskBool
    ) -> list[MaskBool]:
        """An ellipse for each box."""
        del image
        return [ellipse(proposal.box, true) for proposal in proposals]


def ellipse(box: Box, like: MaskBool) -> MaskBool:
    """Mask of the size of `like` whose pixels have their centers in the ellipse inside a box."""
    x, y, width, height = box
    rows = (np.arange(height) + 0.5) * 2 / height - 1
    columns = (np.arange(width) + 0.5) * 2 / width - 1
    mask = np.zeros_like(like)
    mask[y : y + height, x : x + width] = rows[:, None] ** 2 + columns[None] ** 2 <= 1
    return mask
