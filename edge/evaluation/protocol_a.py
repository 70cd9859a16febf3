"""Protocol A: the field's evaluation protocol (Fan et al., PraNet, MICCAI 2020, and its code).

Logits are resized to native mask size (bilinear, align_corners=False), passed through a sigmoid,
min-max normalized per image and rounded to 8 bits, as the field stores its maps; then the measures
of `edge.evaluation.saliency` are computed at 256 thresholds. Engines only return scores in 1/256:
these are resized instead of logits, and the record says so. A perfect mask scores below 1 in the
mean over thresholds, because at the lowest threshold the mask is the whole image. Masks come from
`edge.datasets.pairs.read_mask`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np

from edge.evaluation.intervals import bootstrap_ci, interval, resampled_means
from edge.evaluation.metrics import ProtocolA
from edge.evaluation.saliency import (
    Curves,
    mean_absolute_error,
    structure_measure,
    threshold_curves,
    weighted_f,
)
from edge.imaging.postprocess import in_frame, native_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import Box, ImageU8, MaskBool


class FieldScore(NamedTuple):
    """The field's measures of one image with a polyp."""

    curves: Curves
    weighted_f: float
    s_measure: float
    mae: float


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float32]:
    """1 / (1 + exp(-x)) as float32, without overflow."""
    clipped = np.clip(logits.astype(np.float32), -80, 80)
    return cast("NDArray[np.float32]", 1 / (1 + np.exp(-clipped)))


def field_map(
    output: NDArray[Any], size: tuple[int, int], *, logits: bool, part: Box | None = None
) -> ImageU8:
    """Compute the map that the field's code would store.

    Args:
        output: (h, w), logits, or scores: uint8 in 1/256 or floating point 0 to 1.
        size: Height and width of the mask.
        logits: Whether `output` contains logits.
        part: The part of the image that it covers; None for the whole image. The rest gets the
            lowest value of `output`.

    Returns:
        (H, W) uint8 from 0 to 255; all 0 if the output is constant.
    """
    if logits:
        lowest = float(output.min())
        scores = sigmoid(in_frame(output.astype(np.float32), size, part, outside=lowest))
    else:
        scores = native_scores(output, size, part)
    low, high = float(scores.min()), float(scores.max())
    if low == high:
        return np.zeros(size, np.uint8)
    return cast(
        "ImageU8", ((scores.astype(np.float64) - low) / (high - low) * 255 + 0.5).astype(np.uint8)
    )


def field_score(gray: ImageU8, true: MaskBool) -> FieldScore:
    """Compute the measures of one map.

    Args:
        gray: (H, W) uint8, from `field_map`.
        true: (H, W) bool with at least one true pixel.
    """
    return FieldScore(
        threshold_curves(gray, true),
        weighted_f(gray, true),
        structure_measure(gray, true),
        mean_absolute_error(gray, true),
    )


def summarize_field(rows: Sequence[FieldScore], *, logits: bool, seed: int = 0) -> ProtocolA | None:
    """Compute the field's figures with intervals; None without rows.

    Args:
        rows: One row per image with a polyp.
        logits: Whether logits instead of scores were resized to native size.
        seed: Seed of the bootstrap over images.
    """
    if not rows:
        return None
    curves = {
        name: np.stack([getattr(row.curves, name) for row in rows]) for name in ("dice", "iou", "e")
    }
    figures = {
        name: [float(getattr(row, name)) for row in rows]
        for name in ("weighted_f", "s_measure", "mae")
    }
    figures |= {f"mean_{name}": table.mean(axis=1).tolist() for name, table in curves.items()}
    values = {name: float(np.mean(column)) for name, column in figures.items()}
    values |= {f"max_{name}": float(table.mean(axis=0).max()) for name, table in curves.items()}
    intervals = {name: bootstrap_ci(column, seed=seed) for name, column in figures.items()}
    # Choose the threshold of the maximum in each resample, as in the sample itself.
    intervals |= {
        f"max_{name}": interval(resampled_means(table, seed=seed).max(axis=1))
        for name, table in curves.items()
    }
    return ProtocolA(
        n=len(rows), upsampled="logits" if logits else "scores", ci95=intervals, **values
    )
