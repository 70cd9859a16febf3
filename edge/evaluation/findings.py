"""The findings on one frame: each polyp with the peaks of its regions, and the false regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edge.frame import MaskBool, Region

FLAG_AREA = 0.001
"""Minimum area of a region that flags a polyp-free frame, as a share of the image."""
MATCH_IOU = 0.3
"""Minimum IoU at which a single region outlines a polyp."""
SPECK = 1e-4
"""Share of the image below which a component of a true mask, beside a larger one, is no polyp."""


class Polyp(msgspec.Struct, frozen=True, kw_only=True):
    """One polyp: a connected component (8-connectivity) of the true mask.

    The peaks are taken over all regions at the threshold and minimum area, at any minimum peak. The
    polyp therefore counts as found at every minimum peak up to these values.

    Attributes:
        area: Share of the image that the polyp covers.
        overlap_peak: Highest peak score of a region with a pixel on the polyp; None without such a
            region.
        match_peak: Highest peak score of a region whose IoU with the polyp is at least `MATCH_IOU`;
            None without such a region.
    """

    area: float
    overlap_peak: float | None
    match_peak: float | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """The findings on a frame, at any minimum peak.

    Attributes:
        polyps: The polyps of the frame, the largest first.
        false_peaks: Peak score of each region that shows no polyp, the highest first.
        flag_peak: Highest peak score of a region of at least `FLAG_AREA`; None without such a
            region.
    """

    polyps: list[Polyp]
    false_peaks: list[float]
    flag_peak: float | None


def frame_findings(
    labels: NDArray[np.int32], regions: Sequence[Region], true: MaskBool
) -> Findings:
    """Compare the regions of a frame with its true mask.

    Args:
        labels: (H, W) region of each pixel, from `edge.imaging.region_masks.region_labels`.
        regions: All regions at the threshold and minimum area, whatever their peaks.
        true: (H, W) bool, empty for a frame without a polyp.
    """
    columns = len(regions) + 1
    count, pieces = cv2.connectedComponents(true.astype(np.uint8), connectivity=8)
    both = np.bincount((pieces * columns + labels).ravel(), minlength=count * columns)
    both = both.reshape(count, columns)
    areas, covered = both.sum(axis=1), both.sum(axis=0)
    peaks = np.array([region.score for region in regions])
    polyps: list[Polyp] = []
    for piece in sorted(range(1, count), key=lambda piece: -areas[piece]):
        if polyps and areas[piece] < SPECK * true.size:
            continue
        shared = both[piece, 1:]
        iou = shared / np.maximum(areas[piece] + covered[1:] - shared, 1)
        polyps.append(
            Polyp(
                area=float(areas[piece] / true.size),
                overlap_peak=_highest(peaks[shared > 0]),
                match_peak=_highest(peaks[iou >= MATCH_IOU]),
            )
        )
    elsewhere = both[1:, 1:].sum(axis=0) == 0
    large = np.array([region.area >= FLAG_AREA for region in regions], bool)
    return Findings(
        polyps=polyps,
        false_peaks=sorted(peaks[elsewhere].tolist(), reverse=True),
        flag_peak=_highest(peaks[large]),
    )


def _highest(peaks: NDArray[np.float64]) -> float | None:
    return float(peaks.max()) if len(peaks) else None
