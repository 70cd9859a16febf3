"""Protocol B: Dice and IoU per image at native mask size, raw scores at the bundle's threshold.

Images without a polyp have no Dice: they are counted apart, with how many of them were flagged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.types import MaskBool

FLAG_AREA = 0.001
"""Share of the image from which a region flags a polyp-free frame."""

_DRAWS = 2000
_BLOCK = 1 << 20


class ImageScore(msgspec.Struct, frozen=True, kw_only=True):
    """One image.

    Attributes:
        name: Name of the pair.
        dice: None where the true mask is empty.
        iou: None where the true mask is empty.
        area_true: Share of the image that the true mask covers.
        area_found: Share of the image at or over the threshold.
        flagged: Whether a region of at least .1 % of the image is left after threshold and postprocessing.
    """

    name: str
    dice: float | None
    iou: float | None
    area_true: float
    area_found: float
    flagged: bool


class Negatives(msgspec.Struct, frozen=True, kw_only=True):
    """Images without a polyp, and how many of them were flagged."""

    n: int
    flagged: int


class EvaluationReport(msgspec.Struct, frozen=True, kw_only=True):
    """Accuracy on a data set.

    Attributes:
        n: Images with a polyp; `n + negatives.n` are all.
        dice: Mean over those, None without any.
        iou: Mean over those, None without any.
        dice_ci95: Bootstrap 95 % interval of the mean Dice.
        negatives: The polyp-free images.
        per_image: One row per image, in the order of the data.
    """

    n: int
    dice: float | None
    iou: float | None
    dice_ci95: tuple[float, float] | None
    negatives: Negatives
    per_image: list[ImageScore]


def dice_iou(found: MaskBool, true: MaskBool) -> tuple[float, float] | None:
    """Dice and IoU of a mask.

    Args:
        found: (H, W) bool.
        true: (H, W) bool.

    Returns:
        Dice `2 |A and B| / (|A| + |B|)` and IoU, or None where `true` is empty.

    Raises:
        DataError: The sizes differ.
    """
    if found.shape != true.shape:
        raise DataError("two masks differ in size", expected=f"{true.shape}", got=f"{found.shape}")
    area = int(np.count_nonzero(true))
    if area == 0:
        return None
    both = int(np.count_nonzero(found & true))
    total = area + int(np.count_nonzero(found))
    return 2 * both / total, both / (total - both)


def bootstrap_ci(values: Sequence[float], *, seed: int = 0, draws: int = _DRAWS) -> tuple[float, float]:
    """Percentile bootstrap 95 % interval of a mean.

    Args:
        values: One value per image.
        seed: Seed of the draws; the same seed gives the same interval.
        draws: Resamples.

    Raises:
        DataError: No values.
    """
    if len(values) == 0:
        raise DataError("an interval of no values", expected="at least one image with a polyp")
    data = np.asarray(values, dtype=np.float64)
    generator = np.random.default_rng(seed)
    # In blocks, so that the draws of a large data set do not fill the memory.
    block = max(1, _BLOCK // len(data))
    means = np.concatenate(
        [
            data[generator.integers(0, len(data), (min(block, draws - begin), len(data)))].mean(axis=1)
            for begin in range(0, draws, block)
        ]
    )
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def summarise(rows: Sequence[ImageScore], *, seed: int = 0) -> EvaluationReport:
    """Means, interval and the count of polyp-free images.

    Args:
        rows: One per image.
        seed: Seed of the bootstrap.

    Raises:
        DataError: No rows.
    """
    if len(rows) == 0:
        raise DataError("nothing was evaluated", expected="at least one image")
    dice = [row.dice for row in rows if row.dice is not None]
    iou = [row.iou for row in rows if row.iou is not None]
    negatives = [row for row in rows if row.dice is None]
    return EvaluationReport(
        n=len(dice),
        dice=float(np.mean(dice)) if dice else None,
        iou=float(np.mean(iou)) if iou else None,
        dice_ci95=bootstrap_ci(dice, seed=seed) if dice else None,
        negatives=Negatives(n=len(negatives), flagged=sum(row.flagged for row in negatives)),
        per_image=list(rows),
    )
