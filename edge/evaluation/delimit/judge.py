"""What is wrong with the masks of a frame: polyps missed, false objects, or badly drawn outlines.

For a found mask M and a true mask T,

    1 - Dice = (|T - M| + |M - T|) / (|T| + |M|)

and every pixel of the numerator has one cause. A pixel of T - M is *missed* if its polyp has no
pixel of M, and *drawn* badly otherwise; a pixel of M - T is *false* if its object has no pixel of
T, and drawn badly otherwise. The three shares sum to the loss of Dice exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import msgspec
import numpy as np

from edge.evaluation.delimit.base import polyp_masks
from edge.evaluation.findings import SPECK
from edge.evaluation.metrics import dice_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.evaluation.delimit.base import Proposal
    from edge.frame import MaskBool

MATCH = 0.5
"""Least IoU at which an object counts as a polyp in precision, recall and F1."""


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """Shares of 1 - Dice by their cause; they sum to it.

    Attributes:
        missed: Polyps without a pixel of the found mask.
        false: Objects without a pixel of a polyp.
        drawn: Wrong pixels of polyps that are met.
    """

    missed: float
    false: float
    drawn: float


class PolypOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """One polyp.

    Attributes:
        area: Share of the image that it covers.
        met: Whether the found mask has a pixel on it.
        iou: IoU with the object that it is matched with; 0 without one.
    """

    area: float
    met: bool
    iou: float


class FrameOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one frame.

    Attributes:
        name: Name of the frame.
        dataset: Data set that it comes from.
        dice: Dice; None for a frame without a polyp.
        iou: IoU; None for a frame without a polyp.
        area_true: Share of the image that the true mask covers.
        area_found: Share of the image that the found mask covers.
        loss: Causes of 1 - Dice; None for a frame without a polyp.
        polyps: Its polyps, the largest first.
        objects: Connected components of the found mask.
        proposals: Number of the detector's boxes.
    """

    name: str
    dataset: str
    dice: float | None
    iou: float | None
    area_true: float
    area_found: float
    loss: Loss | None
    polyps: list[PolypOutcome]
    objects: int
    proposals: int

    @property
    def matched(self) -> int:
        """Number of polyps that an object outlines with an IoU of at least `MATCH`."""
        return sum(polyp.iou >= MATCH for polyp in self.polyps)


class _Objects(NamedTuple):
    pieces: list[MaskBool]
    union: MaskBool


def judge_frame(
    name: str,
    dataset: str,
    masks: Sequence[MaskBool],
    true: MaskBool,
    proposals: Sequence[Proposal] = (),
) -> FrameOutcome:
    """Compare the masks of a frame with the true mask.

    Args:
        name: Name of the frame.
        dataset: Data set that it comes from.
        masks: (H, W) bool for each proposal.
        true: (H, W) bool, empty for a frame without a polyp.
        proposals: The detector's boxes.
    """
    union = np.logical_or.reduce([np.zeros_like(true), *masks])
    objects = _Objects(_components(union), union)
    polyps = polyp_masks(true)
    matched = _match(polyps, objects.pieces)
    dice, iou = dice_iou(union, true) or (None, None)
    return FrameOutcome(
        name=name,
        dataset=dataset,
        dice=dice,
        iou=iou,
        area_true=float(true.mean()),
        area_found=float(union.mean()),
        loss=None if dice is None else split_loss(union, true),
        polyps=[
            PolypOutcome(
                area=float(polyp.mean()), met=bool((polyp & union).any()), iou=matched[index]
            )
            for index, polyp in enumerate(polyps)
        ],
        objects=len(objects.pieces),
        proposals=len(proposals),
    )


def split_loss(predicted: MaskBool, true: MaskBool) -> Loss:
    """Split 1 - Dice into its causes.

    Args:
        predicted: (H, W) bool.
        true: (H, W) bool, not empty.
    """
    total = int(predicted.sum()) + int(true.sum())
    missed = _unmet(true, predicted)
    false = _unmet(predicted, true)
    wrong = int((predicted ^ true).sum())
    return Loss(missed=missed / total, false=false / total, drawn=(wrong - missed - false) / total)


def _unmet(mask: MaskBool, other: MaskBool) -> int:
    """Pixels of the components of a mask that have no pixel of the other."""
    _, pieces = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    met = np.unique(pieces[mask & other])
    return int((mask & ~np.isin(pieces, met)).sum())


def _components(mask: MaskBool) -> list[MaskBool]:
    """Components of a found mask that are no specks."""
    count, pieces, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=8
    )
    least = SPECK * mask.size
    return [pieces == n for n in range(1, count) if stats[n, cv2.CC_STAT_AREA] >= least]


def _match(polyps: Sequence[MaskBool], objects: Sequence[MaskBool]) -> list[float]:
    """IoU of each polyp with its object; pairs are taken greedily by IoU, each object once."""
    overlaps = sorted(
        (
            (float((p & o).sum() / (p | o).sum()), i, j)
            for i, p in enumerate(polyps)
            for j, o in enumerate(objects)
        ),
        key=lambda item: (-item[0], item[1], item[2]),
    )
    values = [0.0] * len(polyps)
    taken_polyps: set[int] = set()
    taken_objects: set[int] = set()
    for iou, i, j in overlaps:
        if iou > 0 and i not in taken_polyps and j not in taken_objects:
            values[i] = iou
            taken_polyps.add(i)
            taken_objects.add(j)
    return values
