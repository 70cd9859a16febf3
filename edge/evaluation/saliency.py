"""Salient-object measures of a gray map against a mask, which protocol A uses.

All functions take `gray`, (H, W) uint8 whose value v means v / 255, and `true`, (H, W) bool with at
least one true pixel. The results equal those of `pysodmetrics`, which follows the authors' MATLAB
code.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import ImageU8, MaskBool

    F64 = NDArray[np.float64]

LEVELS = 256
"""Number of thresholds: v / 255 for v = 0 to 255; a pixel at or above one belongs to the mask."""

_EPS = float(np.spacing(1.0))
_KERNEL, _SIGMA, _HALF_LIFE = 7, 5.0, 5.0


class Curves(NamedTuple):
    """Measures at all thresholds, each (256,), the lowest threshold first."""

    dice: F64
    iou: F64
    e: F64


def threshold_curves(gray: ImageU8, true: MaskBool) -> Curves:
    """Compute Dice, IoU and enhanced-alignment measure of the mask at each of 256 thresholds.

    The E-measure (Fan et al., IJCAI 2018, equations 2 to 5) has only four values per threshold, one
    for each combination of found and true, so two histograms of the image are sufficient.

    Args:
        gray: (H, W) uint8.
        true: (H, W) bool.
    """
    inside = cast("F64", np.bincount(gray[true], minlength=LEVELS).astype(np.float64))
    total = cast("F64", np.bincount(gray.ravel(), minlength=LEVELS).astype(np.float64))
    hit, above = (np.cumsum(counts[::-1])[::-1] for counts in (inside, total))
    area, pixels = float(hit[0]), float(true.size)
    return Curves(
        dice=2 * hit / (area + above),
        iou=hit / (area + above - hit),
        e=_enhanced_alignment(hit, above, area, pixels),
    )


def _enhanced_alignment(hit: F64, above: F64, area: float, pixels: float) -> F64:
    divisor = pixels - 1 + _EPS
    if area == pixels:
        return above / divisor
    total = np.zeros(LEVELS)
    for in_found, in_true, count in (
        (1, 1, hit),
        (1, 0, above - hit),
        (0, 1, area - hit),
        (0, 0, pixels - area - above + hit),
    ):
        a, b = in_found - above / pixels, in_true - area / pixels
        total += count * (2 * a * b / (a * a + b * b + _EPS) + 1) ** 2 / 4
    return total / divisor


def mean_absolute_error(gray: ImageU8, true: MaskBool) -> float:
    """Compute the mean of |map - mask|."""
    return float(np.mean(np.abs(gray / 255.0 - true)))


def structure_measure(gray: ImageU8, true: MaskBool, *, alpha: float = 0.5) -> float:
    """Compute the S-measure (Fan et al., ICCV 2017).

    It is the mean of object-aware and region-aware similarity, weighted by `alpha` and `1 - alpha`.

    Args:
        gray: (H, W) uint8.
        true: (H, W) bool.
        alpha: Weight of the object-aware part.
    """
    scores = gray / 255.0
    share = float(true.mean())
    if share == 1:
        return float(scores.mean())
    inside, outside = _object_similarity(scores[true]), _object_similarity(1 - scores[~true])
    objects = share * inside + (1 - share) * outside
    return max(0.0, alpha * objects + (1 - alpha) * _region_similarity(scores, true))


def _object_similarity(values: F64) -> float:
    """Compute equation 4 of the paper, with lambda = 1 as in the authors' code."""
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + _EPS)


def _region_similarity(scores: F64, true: MaskBool) -> float:
    """Compute SSIM of the four blocks around the mask's centroid, area-weighted (section 3.1)."""
    rows, columns = np.nonzero(true)
    # The authors count from one, and their first blocks include the centroid's row and column.
    y, x = int(np.round(rows.mean())) + 1, int(np.round(columns.mean())) + 1
    return sum(
        _ssim(scores[block], true[block]) * true[block].size / true.size
        for block in (np.s_[:y, :x], np.s_[:y, x:], np.s_[y:, :x], np.s_[y:, x:])
        if true[block].size
    )


def _ssim(scores: F64, true: MaskBool) -> float:
    x, y = float(scores.mean()), float(true.mean())
    a, b = scores - x, true - y
    freedom = scores.size - 1 + _EPS
    top = 4 * x * y * float(np.sum(a * b)) / freedom
    bottom = (x * x + y * y) * float(np.sum(a * a) + np.sum(b * b)) / freedom
    if top == 0:
        return float(bottom == 0)
    return top / (bottom + _EPS)


def weighted_f(gray: ImageU8, true: MaskBool) -> float:
    """Compute the weighted F-measure, beta = 1 (Margolin et al., CVPR 2014, section 4).

    An error inside the mask is replaced by the mean error of its neighborhood if that is smaller.
    An error outside the mask is weighted by up to 2 with its distance from the mask.

    Args:
        gray: (H, W) uint8.
        true: (H, W) bool.
    """
    error = np.abs(gray / 255.0 - true)
    smoothed = _smoothed_error(error, true)
    distance = cv2.distanceTransform((~true).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    far = distance[~true].astype(np.float64)
    lost = np.minimum(error, smoothed)[true]
    spilled = float(np.sum(error[~true] * (2 - np.exp(np.log(0.5) / _HALF_LIFE * far))))
    recall = 1 - float(lost.mean())
    hit = lost.size - float(lost.sum())
    precision = hit / (hit + spilled + _EPS)
    return 2 * recall * precision / (recall + precision + _EPS)


def _smoothed_error(error: F64, true: MaskBool) -> F64:
    """Smooth the error by a Gaussian; the result is valid inside the mask.

    Pixels outside the mask take the error of the nearest pixel inside. They are needed only as far
    out as the Gaussian reaches, which a search by offsets covers, the nearest offset first.
    """
    reach = _KERNEL // 2
    height, width = true.shape
    pad = 4 * reach
    wide_error = np.pad(error, pad)
    wide_true = np.pad(true, pad)
    near = cv2.dilate(wide_true.astype(np.uint8), np.ones((_KERNEL, _KERNEL), np.uint8)) > 0
    rows, columns = np.nonzero(near & ~wide_true)
    inside = (rows >= pad) & (rows < pad + height) & (columns >= pad) & (columns < pad + width)
    rows, columns = rows[inside], columns[inside]
    spread = np.where(wide_true, wide_error, 0.0)
    for dy, dx in _offsets(reach):
        reached = wide_true[rows + dy, columns + dx]
        spread[rows[reached], columns[reached]] = wide_error[
            rows[reached] + dy, columns[reached] + dx
        ]
        rows, columns = rows[~reached], columns[~reached]
    filtered = cv2.filter2D(spread, cv2.CV_64F, _gaussian(), borderType=cv2.BORDER_CONSTANT)
    return cast("F64", filtered[pad : pad + height, pad : pad + width])


@lru_cache(maxsize=1)
def _offsets(reach: int) -> tuple[tuple[int, int], ...]:
    """Return the offsets up to the corner of the Gaussian's window, the nearest first.

    At equal distance, left precedes right and then upper precedes lower, as in scipy's distance
    transform.
    """
    most = 2 * reach * reach
    side = range(-int(most**0.5), int(most**0.5) + 1)
    steps = [(dy, dx) for dy in side for dx in side if 0 < dy * dy + dx * dx <= most]
    return tuple(sorted(steps, key=lambda step: (step[0] ** 2 + step[1] ** 2, step[1], step[0])))


@lru_cache(maxsize=1)
def _gaussian() -> F64:
    axis = np.arange(_KERNEL) - _KERNEL // 2
    line = np.exp(-(axis**2) / (2 * _SIGMA**2))
    kernel = np.outer(line, line)
    return cast("F64", kernel / kernel.sum())
