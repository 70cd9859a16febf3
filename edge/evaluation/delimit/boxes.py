"""Precision, recall, F1 and average precision of boxes at an IoU of .5 (Everingham et al., 2010).

Boxes of all frames are ranked by their scores. A box is right if it overlaps a true box of its
frame that no better box has taken with an IoU of at least `MATCH_IOU`. The average precision is the
area under the precision-recall curve, with the precision at each recall replaced by the largest one
at that recall or a higher one (all points, as PASCAL VOC has counted since 2010).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.imaging.box_maps import edge_iou

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.evaluation.delimit.base import Proposal
    from edge.frame import Box

MATCH_IOU = 0.5


class BoxFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A detector's boxes over all frames.

    Attributes:
        iou: Least IoU of a right box.
        true: Number of true boxes.
        proposed: Number of proposed boxes.
        right: Number of right ones among them.
        precision: Share of the proposed boxes that are right; None without any.
        recall: Share of the true boxes that are found; None without any.
        f1: Harmonic mean of the two; None where both are undefined or there is no true box.
        average_precision: Area under the precision-recall curve; None without a true box.
    """

    iou: float
    true: int
    proposed: int
    right: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None


def box_figures(
    proposed: Sequence[Sequence[Proposal]], true: Sequence[Sequence[Box]]
) -> BoxFigures:
    """Judge the boxes of all frames.

    Args:
        proposed: For each frame its proposals.
        true: For each frame the boxes of its polyps.
    """
    scores: list[float] = []
    hits: list[bool] = []
    for proposals, boxes in zip(proposed, true, strict=True):
        for score, hit in _hits(proposals, boxes):
            scores.append(score)
            hits.append(hit)
    count, right = sum(len(boxes) for boxes in true), sum(hits)
    precision = right / len(hits) if hits else None
    recall = right / count if count else None
    return BoxFigures(
        iou=MATCH_IOU,
        true=count,
        proposed=len(hits),
        right=right,
        precision=precision,
        recall=recall,
        f1=2 * right / (len(hits) + count) if count else None,
        average_precision=average_precision(np.array(scores), np.array(hits, bool), count)
        if count
        else None,
    )


def average_precision(scores: NDArray[np.float64], hits: NDArray[np.bool_], count: int) -> float:
    """Area under the precision-recall curve.

    Args:
        scores: (N,) of all proposed boxes.
        hits: (N,) whether each is right.
        count: Number of true boxes, at least 1.
    """
    if not len(scores):
        return 0.0
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    # Boxes of one score come together: their order in the data must not decide.
    last = np.append(np.diff(scores[order]) != 0, True)
    recall = np.concatenate(([0.0], right[last] / count))
    precision = right[last] / (np.flatnonzero(last) + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * best))


def box_iou(one: Box, other: Box) -> float:
    """IoU of two boxes of x, y, width and height."""
    x, y, width, height = one
    u, v, across, down = other
    return edge_iou((x, y, x + width, y + height), (u, v, u + across, v + down))


def _hits(proposals: Sequence[Proposal], boxes: Sequence[Box]) -> list[tuple[float, bool]]:
    free = set(range(len(boxes)))
    judged = []
    for proposal in sorted(proposals, key=lambda item: -item.score):
        best = max(free, key=lambda index: box_iou(proposal.box, boxes[index]), default=None)
        hit = best is not None and box_iou(proposal.box, boxes[best]) >= MATCH_IOU
        if hit and best is not None:
            free.remove(best)
        judged.append((proposal.score, hit))
    return judged
