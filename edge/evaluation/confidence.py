"""Whether a confidence tells good masks from bad ones: ECE, AURC, and Dice at 90 % coverage.

The quality of an image is its Dice; of an image without a polyp it is 1 if nothing is flagged and 0
if something is. Its risk is 1 minus its quality.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edge.evaluation.metrics import ImageScore

COVERAGE = 0.9
"""Share of the images, the most confident ones, on which the Dice at coverage is taken."""
BINS = 10
"""Bins of equal width in which confidence and quality are compared."""


class ConfidenceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of one confidence.

    Attributes:
        ece: Expected calibration error: mean difference of confidence and quality over bins of the
            confidence, weighted by their images (Guo et al., ICML 2017).
        aurc: Area under the risk-coverage curve: mean, over all numbers of images that are kept, of
            the mean risk of the most confident ones (Geifman & El-Yaniv, 2017); smaller is better.
        quality_at_coverage: Mean quality of the most confident images.
        coverage: Share of the images that these are.
    """

    ece: float
    aurc: float
    quality_at_coverage: float
    coverage: float


class ConfidenceReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every confidence of a student on the same images.

    Attributes:
        n: Number of images.
        quality: Mean quality of all of them.
        by_confidence: Name of a confidence -> its figures.
    """

    n: int
    quality: float
    by_confidence: dict[str, ConfidenceFigures]


def image_quality(rows: Sequence[ImageScore]) -> NDArray[np.float64]:
    """Quality (N,) of each image, 0 to 1."""
    return np.array([float(not row.flagged) if row.dice is None else row.dice for row in rows])


def judge_confidence(
    rows: Sequence[ImageScore], confidences: Mapping[str, Sequence[float]]
) -> ConfidenceReport:
    """Judge confidences by the quality of the images.

    Args:
        rows: The images.
        confidences: Name of a confidence -> its value for each image, 0 to 1.

    Raises:
        DataError: There are no images, or not one value for each of them.
    """
    quality = image_quality(rows)
    for name, values in confidences.items():
        if len(values) != len(rows) or not rows:
            raise DataError(
                f"{name} does not fit the images",
                expected="at least one image, and one value for each",
                got=f"{len(values)} values, {len(rows)} images",
            )
    return ConfidenceReport(
        n=len(rows),
        quality=float(quality.mean()),
        by_confidence={
            name: _figures(np.asarray(values, np.float64), quality)
            for name, values in confidences.items()
        },
    )


def expected_calibration_error(
    confidence: NDArray[np.float64], quality: NDArray[np.float64]
) -> float:
    """Mean difference of confidence and quality over `BINS` bins, weighted by their images.

    Args:
        confidence: (N,) 0 to 1.
        quality: (N,) 0 to 1.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=confidence - quality, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def risk_coverage_area(confidence: NDArray[np.float64], quality: NDArray[np.float64]) -> float:
    """Area under the risk-coverage curve; images of equal confidence share their mean risk.

    Args:
        confidence: (N,).
        quality: (N,) 0 to 1.
    """
    risks = _ranked(confidence, 1 - quality)
    return float(np.mean(np.cumsum(risks) / np.arange(1, len(risks) + 1)))


def quality_at(
    confidence: NDArray[np.float64], quality: NDArray[np.float64], coverage: float
) -> float:
    """Mean quality of the most confident images, at least one of them.

    Args:
        confidence: (N,).
        quality: (N,) 0 to 1.
        coverage: Share of the images.
    """
    count = max(1, int(np.ceil(coverage * len(quality) - 1e-9)))
    return float(_ranked(confidence, quality)[:count].mean())


def _figures(confidence: NDArray[np.float64], quality: NDArray[np.float64]) -> ConfidenceFigures:
    return ConfidenceFigures(
        ece=expected_calibration_error(confidence, quality),
        aurc=risk_coverage_area(confidence, quality),
        quality_at_coverage=quality_at(confidence, quality, COVERAGE),
        coverage=COVERAGE,
    )


def _ranked(confidence: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values from the most confident image on; equal confidences share the mean of their values.

    The order of the images in a folder must not decide a figure.
    """
    _, group = np.unique(-confidence, return_inverse=True)
    means = np.bincount(group, weights=values) / np.bincount(group)
    return means[np.sort(group)]
