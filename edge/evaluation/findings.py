"""What was found on one frame: each polyp with the peaks of its regions, and the regions that show none."""

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
"""Share of the image from which a region flags a polyp-free frame."""
MATCH_IOU = 0.3
"""IoU of a single region with a polyp from which the region outlines that polyp."""
SPECK = 1e-4
"""Share of the image under which a piece of a true mask, beside a larger piece, is no polyp of its own."""


class Polyp(msgspec.Struct, frozen=True, kw_only=True):
    """One polyp: a connected piece of the true mask (pieces that meet at a corner are connected).

    The peaks are taken over all regions of the threshold and the least area, whatever the least
    peak is, so that the polyp counts as found wherever the least peak is at most that high.

    Attributes:
        area: Share of the image that the polyp covers.
        overlap_peak: Highest score of a region with a pixel on the polyp; None where there is no
            such region.
        match_peak: Highest score of a region whose IoU with the polyp is at least `MATCH_IOU`; None
            without.
    """

    area: float
    overlap_peak: float | None
    match_peak: float | None


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is found or missed on a frame, for any least peak.

    Attributes:
        polyps: The polyps of the frame, the largest first.
        false_peaks: Highest score of each region that shows no polyp, the highest first.
        flag_peak: Highest score of a region of at least `FLAG_AREA`; None without any.
    """

    polyps: list[Polyp]
    false_peaks: list[float]
    flag_peak: float | None


def frame_findings(labels: NDArray[np.int32], found: Sequence[Region], true: MaskBool) -> Findings:
    """Compare the regions of a frame with its true mask.

    Args:
        labels: (H, W) which region each pixel belongs to, as
            `edge.imaging.region_masks.region_labels` gives it.
        found: All regions of the threshold and the least area, whatever their peaks.
        true: (H, W) bool, empty for a frame without a polyp.
    """
    columns = len(found) + 1
    count, pieces = cv2.connectedComponents(true.astype(np.uint8), connectivity=8)
    both = np.bincount((pieces * columns + labels).ravel(), minlength=count * columns)
    both = both.reshape(count, columns)
    areas, covered = both.sum(axis=1), both.sum(axis=0)
    peaks = np.array([region.score for region in found])
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
    large = np.array([region.area >= FLAG_AREA for region in found], bool)
    return Findings(
        polyps=polyps,
        false_peaks=sorted(peaks[elsewhere].tolist(), reverse=True),
        flag_peak=_highest(peaks[large]),
    )


def _highest(peaks: NDArray[np.float64]) -> float | None:
    return float(peaks.max()) if len(peaks) else None
