"""Evaluate a detector and a delineator together on labeled images."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.datasets.pairs import read_image, read_pair
from edge.errors import DataError
from edge.evaluation.delimit.base import mask_box, polyp_masks
from edge.evaluation.delimit.boxes import BoxFigures, box_figures
from edge.evaluation.delimit.judge import MATCH, FrameOutcome, Loss, judge_frame
from edge.evaluation.intervals import bootstrap_ci
from edge.evaluation.metrics import SIZES, size_of
from edge.record_header import RecordHeader, make_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge.datasets.negatives import CleanFrame
    from edge.datasets.pairs import Pair
    from edge.evaluation.delimit.base import Delineator, Detector, Proposal
    from edge.frame import Box, ImageU8, MaskBool

    OutcomeCallback = Callable[
        [FrameOutcome, ImageU8, MaskBool, MaskBool, Sequence[Proposal]], None
    ]


class SizeOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """Polyps of one size, and the frames whose true mask has that size.

    Attributes:
        polyps: Number of polyps.
        missed: Number of polyps without a pixel of the found mask.
        matched: Number of polyps that an object outlines (`edge.evaluation.delimit.judge.MATCH`).
        missed_share: `missed` / `polyps`; None without polyps.
        frames: Number of frames.
        dice: Mean Dice of the frames; None without any.
        loss: Mean causes of 1 - Dice over the frames; None without any.
    """

    polyps: int
    missed: int
    matched: int
    missed_share: float | None
    frames: int
    dice: float | None
    loss: Loss | None


class DelimitReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a detector and a delineator do together.

    Attributes:
        detector: Description of the detector.
        delineator: Description of the delineator.
        n: Frames with a polyp.
        dice: Mean Dice of them; None without any.
        dice_ci95: Bootstrap 95 % interval of the mean Dice.
        loss: Mean causes of 1 - Dice.
        match_iou: Least IoU of a matched object.
        objects: Connected components of the found masks, on all frames.
        precision: Share of the objects that outline a polyp; None without objects.
        recall: Share of the polyps that are outlined; None without polyps.
        f1: Harmonic mean of precision and recall; None without polyps.
        polyps: All polyps and frames with a polyp.
        by_size: The same by size, keyed as `edge.evaluation.metrics.SIZES`.
        clean: Frames without a polyp.
        clean_flagged: Those of them with an object.
        boxes: The detector's boxes alone.
        per_frame: Figures of each frame.
        header: What the record is of.
    """

    detector: str
    delineator: str
    n: int
    dice: float | None
    dice_ci95: tuple[float, float] | None
    loss: Loss | None
    match_iou: float
    objects: int
    precision: float | None
    recall: float | None
    f1: float | None
    polyps: SizeOutcome
    by_size: dict[str, SizeOutcome]
    clean: int
    clean_flagged: int
    boxes: BoxFigures
    per_frame: list[FrameOutcome]
    header: RecordHeader | None = None


def evaluate_delimit(
    pairs: Sequence[Pair],
    detector: Detector,
    delineator: Delineator,
    *,
    names: tuple[str, str],
    clean: Sequence[CleanFrame] = (),
    dataset: str = "given",
    done: Callable[[str], None] | None = None,
    on_frame: OutcomeCallback | None = None,
) -> DelimitReport:
    """Detect on every frame, draw a mask for each box, and compare with the true masks.

    Args:
        pairs: Images and masks.
        detector: Proposes boxes.
        delineator: Draws a mask for each box.
        names: Descriptions of both, for the record.
        clean: Further frames without a polyp.
        dataset: Data set of pairs whose name does not begin with one.
        done: Called with the name of each frame after it was judged.
        on_frame: Called with the figures, the image, the true mask, the found mask and the boxes.

    Raises:
        DataError: A frame cannot be used, there are none, or a delineator gives masks of another
            number or size.
    """
    rows: list[FrameOutcome] = []
    proposed: list[list[Proposal]] = []
    boxes: list[list[Box]] = []
    for name, home, image, true in _frames(pairs, clean, dataset):
        proposals = detector.detect(image, true)
        masks = delineator.delineate(image, proposals, true) if proposals else []
        if len(masks) != len(proposals) or any(mask.shape != true.shape for mask in masks):
            raise DataError(
                f"the delineator {names[1]} does not fit frame {name}",
                expected=f"a mask of {true.shape} for each of {len(proposals)} boxes",
                got=", ".join(str(mask.shape) for mask in masks) or "no mask",
            )
        row = judge_frame(name, home, masks, true, proposals)
        rows.append(row)
        proposed.append(proposals)
        boxes.append([mask_box(polyp) for polyp in polyp_masks(true)])
        if on_frame:
            on_frame(
                row, image, true, np.logical_or.reduce([np.zeros_like(true), *masks]), proposals
            )
        if done:
            done(name)
    files = [path for pair in pairs for path in (pair.image, pair.mask)]
    files += [frame.image for frame in clean]
    report = summarize_delimit(rows, box_figures(proposed, boxes), names)
    return msgspec.structs.replace(report, header=make_header(data=dataset, files=files))


def summarize_delimit(
    rows: Sequence[FrameOutcome], boxes: BoxFigures, names: tuple[str, str]
) -> DelimitReport:
    """Compute the record from its frames.

    Args:
        rows: Figures of each frame.
        boxes: Figures of the detector's boxes.
        names: Descriptions of detector and delineator.

    Raises:
        DataError: There are no frames.
    """
    if not rows:
        raise DataError("nothing was evaluated", expected="at least one image")
    dice = [row.dice for row in rows if row.dice is not None]
    objects, matched = sum(row.objects for row in rows), sum(row.matched for row in rows)
    everything = _outcome(rows, lambda _: True)
    polyps = everything.polyps
    clean = [row for row in rows if row.dice is None]
    return DelimitReport(
        detector=names[0],
        delineator=names[1],
        n=len(dice),
        dice=everything.dice,
        dice_ci95=bootstrap_ci(dice) if dice else None,
        loss=everything.loss,
        match_iou=MATCH,
        objects=objects,
        precision=matched / objects if objects else None,
        recall=matched / polyps if polyps else None,
        f1=2 * matched / (objects + polyps) if polyps else None,
        polyps=everything,
        by_size={name: _outcome(rows, partial(_has_size, name)) for name in SIZES},
        clean=len(clean),
        clean_flagged=sum(row.objects > 0 for row in clean),
        boxes=boxes,
        per_frame=list(rows),
    )


def _has_size(name: str, area: float) -> bool:
    return size_of(area) == name


def _outcome(rows: Sequence[FrameOutcome], belongs: Callable[[float], bool]) -> SizeOutcome:
    """Figures of the polyps and of the frames whose areas `belongs` selects."""
    polyps = [polyp for row in rows for polyp in row.polyps if belongs(polyp.area)]
    frames = [row for row in rows if row.dice is not None and belongs(row.area_true)]
    missed = sum(not polyp.met for polyp in polyps)
    losses = [row.loss for row in frames if row.loss is not None]
    return SizeOutcome(
        polyps=len(polyps),
        missed=missed,
        matched=sum(polyp.iou >= MATCH for polyp in polyps),
        missed_share=missed / len(polyps) if polyps else None,
        frames=len(frames),
        dice=float(np.mean([row.dice for row in frames])) if frames else None,
        loss=Loss(
            missed=float(np.mean([loss.missed for loss in losses])),
            false=float(np.mean([loss.false for loss in losses])),
            drawn=float(np.mean([loss.drawn for loss in losses])),
        )
        if losses
        else None,
    )


def _frames(
    pairs: Sequence[Pair], clean: Sequence[CleanFrame], dataset: str
) -> Iterator[tuple[str, str, ImageU8, MaskBool]]:
    for pair in pairs:
        image, true = read_pair(pair.image, pair.mask)
        yield pair.name, pair.name.rpartition("/")[0] or dataset, image, true
    for frame in clean:
        image = read_image(frame.image)
        yield frame.name, frame.dataset, image, np.zeros(image.shape[:2], bool)
