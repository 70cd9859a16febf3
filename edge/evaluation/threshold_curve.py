"""Dice over the threshold of the score: how far a figure depends on the chosen threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.imaging.postprocess import native_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, MaskBool

STEPS = 20
"""Number of equal steps of the threshold between 0 and 1."""

THRESHOLDS = tuple(step / STEPS for step in range(1, STEPS))
"""The thresholds of a curve."""


class ThresholdPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy at one threshold.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        dice: Mean Dice over the images with a polyp.
    """

    threshold: float
    dice: float


def dice_curve(
    scores: NDArray[Any], true: MaskBool, part: Box | None = None
) -> NDArray[np.float64]:
    """Compute the Dice of an image at every threshold of `THRESHOLDS`.

    The mask has every pixel whose score at native size reaches the threshold; minimum region and
    minimum peak are not applied, because they belong to one threshold.

    Args:
        scores: (h, w), uint8 in 1/256 or floating point 0 to 1.
        true: (H, W) bool with at least one true pixel.
        part: The part of the image that the scores cover; None for the whole image.

    Returns:
        (len(THRESHOLDS),), 0 to 1.
    """
    native = native_scores(scores, (true.shape[0], true.shape[1]), part)
    # Number of thresholds that each pixel reaches; float32 scores of 1/256 are exact.
    reached = np.searchsorted(np.array(THRESHOLDS, np.float32), native.ravel(), side="right")
    both = np.bincount(reached[true.ravel()], minlength=STEPS)
    all_counts = np.bincount(reached, minlength=STEPS)
    hits, sizes = (np.cumsum(counts[::-1])[::-1][1:] for counts in (both, all_counts))
    return np.asarray(2 * hits / (sizes + np.count_nonzero(true)), np.float64)


def summarize_curves(curves: Sequence[NDArray[np.float64]]) -> list[ThresholdPoint]:
    """Average the curves of all images with a polyp; empty without one."""
    if not curves:
        return []
    means = np.mean(np.stack(curves), axis=0)
    return [
        ThresholdPoint(threshold=threshold, dice=float(dice))
        for threshold, dice in zip(THRESHOLDS, means, strict=True)
    ]
