"""Detection figures: polyps found, false regions, clean frames flagged, and the FROC curve.

FROC is the free-response receiver operating characteristic (Bunch et al., SPIE 1977): the share of
polyps found over the false regions per frame. The minimum peak score of a region varies along the
curve.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from edge.bundle.manifest import FrocPoint
from edge.evaluation.findings import MATCH_IOU, Findings
from edge.evaluation.intervals import clustered_ci, wilson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edge.frame import OperatingPoint

_STEPS = 256


class FrameFindings(NamedTuple):
    """The findings of one frame, with its origin.

    Attributes:
        dataset: Name of its data set.
        sequence: Name of its video sequence inside the data set.
        findings: Its findings; a frame without polyps is a clean frame.
    """

    dataset: str
    sequence: str
    findings: Findings


class PolypCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Number of polyps, and how many of them were found.

    Attributes:
        n: Number of polyps, or of images with a polyp.
        overlapped: Polyps on which a kept region has at least one pixel.
        matched: Polyps that a kept region outlines with an IoU of at least `Detection.iou`.
        overlapped_ci95: Wilson 95 % interval of the share of `overlapped`; None without polyps.
        matched_ci95: Wilson 95 % interval of the share of `matched`; None without polyps.
    """

    n: int
    overlapped: int
    matched: int
    overlapped_ci95: tuple[float, float] | None = None
    matched_ci95: tuple[float, float] | None = None


class CleanCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Frames without a polyp.

    Attributes:
        n: Number of frames.
        flagged: Frames with a kept region of at least 0.1 % of the image.
        sequences: Number of video sequences that the frames come from.
        flagged_sequences: Sequences with at least one flagged frame.
        wilson_ci95: 95 % interval of the share of flagged frames as if all frames were independent.
        clustered_ci95: Bootstrap 95 % interval of the same share over whole sequences.
    """

    n: int
    flagged: int
    sequences: int
    flagged_sequences: int
    wilson_ci95: tuple[float, float] | None = None
    clustered_ci95: tuple[float, float] | None = None


class GroupCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one data set or of one sequence.

    Attributes:
        frames: Number of frames.
        polyps: Number of polyps on these frames.
        overlapped: Polyps on which a kept region has at least one pixel.
        matched: Polyps that a kept region outlines.
        false_regions: Kept regions that show no polyp.
        clean: Frames without a polyp.
        flagged: Clean frames that were flagged.
    """

    frames: int
    polyps: int
    overlapped: int
    matched: int
    false_regions: int
    clean: int
    flagged: int


class Detection(msgspec.Struct, frozen=True, kw_only=True, rename={"min_peak": "least_peak"}):
    """Detection figures at the operating point, and the FROC curve over other minimum peaks.

    Attributes:
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        min_region: Smallest region that is kept, as a share of the analyzed area.
        min_peak: Minimum peak score of a kept region.
        iou: Minimum IoU at which a region outlines a polyp.
        polyps: Polyps, which are the connected components of the true masks.
        images: Images with a polyp; an image counts as found if any of its polyps is found.
        by_size: Polyps by size, keyed as `edge.evaluation.metrics.SIZES`.
        false_regions: Kept regions that show no polyp, mean per frame over all frames.
        clean: Frames without a polyp.
        by_set: Data set -> counts.
        by_sequence: `data set/sequence` -> counts.
        froc: The FROC curve, in order of increasing minimum peak.
    """

    threshold: float
    min_region: float
    min_peak: float
    iou: float
    polyps: PolypCounts
    images: PolypCounts
    by_size: dict[str, PolypCounts]
    false_regions: float
    clean: CleanCounts
    by_set: dict[str, GroupCounts]
    by_sequence: dict[str, GroupCounts]
    froc: list[FrocPoint]


def summarize_detection(
    frames: Sequence[FrameFindings],
    point: OperatingPoint,
    *,
    size_of: Callable[[float], str],
    sizes: Iterable[str],
    seed: int = 0,
) -> Detection:
    """Count polyps found, false regions and flagged clean frames.

    Args:
        frames: All frames, at least one, with their findings at the threshold and minimum region of
            `point`.
        point: The operating point.
        size_of: Maps the share of the image that a polyp covers to the name of its size.
        sizes: All names of sizes.
        seed: Seed of the bootstrap.
    """
    peak = point.min_peak
    polyps = [polyp for frame in frames for polyp in frame.findings.polyps]
    images = [frame.findings.polyps for frame in frames if frame.findings.polyps]
    by_sequence = _grouped(frames, peak, lambda frame: f"{frame.dataset}/{frame.sequence}")
    return Detection(
        threshold=point.threshold,
        min_region=point.min_region,
        min_peak=peak,
        iou=MATCH_IOU,
        polyps=_polyps([(polyp.overlap_peak, polyp.match_peak) for polyp in polyps], peak),
        images=_polyps(
            [
                (
                    _most(polyp.overlap_peak for polyp in image),
                    _most(polyp.match_peak for polyp in image),
                )
                for image in images
            ],
            peak,
        ),
        by_size={
            name: _polyps(
                [(one.overlap_peak, one.match_peak) for one in polyps if size_of(one.area) == name],
                peak,
            )
            for name in sizes
        },
        false_regions=sum(group.false_regions for group in by_sequence.values()) / len(frames),
        clean=_clean(by_sequence, seed),
        by_set=_grouped(frames, peak, lambda frame: frame.dataset),
        by_sequence=by_sequence,
        froc=froc_curve([frame.findings for frame in frames]),
    )


def froc_curve(frames: Sequence[Findings]) -> list[FrocPoint]:
    """Compute the FROC curve over the minimum peak.

    Args:
        frames: Findings of all frames, at least one.

    Returns:
        One point for each minimum peak (in 1/256) at which a figure changes, the lowest peak first;
        polyps found, false regions and flagged clean frames never increase along the list.
    """
    polyps = [polyp for frame in frames for polyp in frame.polyps]
    clean = [frame for frame in frames if not frame.polyps]
    overlapped = _reaching([polyp.overlap_peak for polyp in polyps])
    matched = _reaching([polyp.match_peak for polyp in polyps])
    false = _reaching([peak for frame in frames for peak in frame.false_peaks])
    flagged = _reaching([frame.flag_peak for frame in clean])
    counts = np.stack([overlapped, matched, false, flagged])
    changes = np.append((counts[:, 1:] != counts[:, :-1]).any(axis=0), True)
    return [
        FrocPoint(
            min_peak=step / _STEPS,
            overlapped=int(overlapped[step]) / len(polyps) if polyps else None,
            matched=int(matched[step]) / len(polyps) if polyps else None,
            false_regions=int(false[step]) / len(frames),
            flagged=int(flagged[step]) / len(clean) if clean else None,
        )
        for step in np.flatnonzero(changes).tolist()
    ]


def is_kept(highest: float | None, min_peak: float) -> bool:
    """Whether a region with this peak score is kept; None stands for no region."""
    return highest is not None and highest >= min_peak


def _reaching(peaks: Sequence[float | None]) -> NDArray[np.int64]:
    """Count the peaks that reach k / 256, for k from 0 to 255."""
    steps = np.array([round(peak * _STEPS) for peak in peaks if peak is not None], np.int64)
    counts = np.bincount(np.minimum(steps, _STEPS - 1), minlength=_STEPS)
    return np.cumsum(counts[::-1])[::-1]


def _most(peaks: Iterable[float | None]) -> float | None:
    return max((peak for peak in peaks if peak is not None), default=None)


def _polyps(peaks: Sequence[tuple[float | None, float | None]], min_peak: float) -> PolypCounts:
    """Count found polyps from the peaks of each polyp's best overlapping and matching region."""
    n = len(peaks)
    overlapped = sum(is_kept(overlap, min_peak) for overlap, _ in peaks)
    matched = sum(is_kept(match, min_peak) for _, match in peaks)
    return PolypCounts(
        n=n,
        overlapped=overlapped,
        matched=matched,
        overlapped_ci95=wilson(overlapped, n) if n else None,
        matched_ci95=wilson(matched, n) if n else None,
    )


def _clean(by_sequence: Mapping[str, GroupCounts], seed: int) -> CleanCounts:
    clusters = [(group.flagged, group.clean) for group in by_sequence.values() if group.clean]
    flagged, n = (sum(column) for column in zip(*clusters, strict=True)) if clusters else (0, 0)
    return CleanCounts(
        n=n,
        flagged=flagged,
        sequences=len(clusters),
        flagged_sequences=sum(count > 0 for count, _ in clusters),
        wilson_ci95=wilson(flagged, n) if n else None,
        clustered_ci95=clustered_ci(clusters, seed=seed) if n else None,
    )


def _grouped(
    frames: Sequence[FrameFindings], min_peak: float, key: Callable[[FrameFindings], str]
) -> dict[str, GroupCounts]:
    groups: dict[str, list[Findings]] = {}
    for frame in frames:
        groups.setdefault(key(frame), []).append(frame.findings)
    return {name: _counts(members, min_peak) for name, members in groups.items()}


def _counts(frames: Sequence[Findings], min_peak: float) -> GroupCounts:
    polyps = [polyp for frame in frames for polyp in frame.polyps]
    clean = [frame for frame in frames if not frame.polyps]
    return GroupCounts(
        frames=len(frames),
        polyps=len(polyps),
        overlapped=sum(is_kept(polyp.overlap_peak, min_peak) for polyp in polyps),
        matched=sum(is_kept(polyp.match_peak, min_peak) for polyp in polyps),
        false_regions=sum(peak >= min_peak for frame in frames for peak in frame.false_peaks),
        clean=len(clean),
        flagged=sum(is_kept(frame.flag_peak, min_peak) for frame in clean),
    )
