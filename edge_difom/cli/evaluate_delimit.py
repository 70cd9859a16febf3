"""`edge-difom evaluate --detector X --delineator Y`: detect polyps, then draw a mask for each."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge.errors import UsageError
from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.datasets.negatives import CleanFrame
    from edge.datasets.public_sets import LabeledFrames
    from edge.evaluation.delimit.build import Opening
    from edge.evaluation.delimit.run import DelimitReport

F = TypeVar("F", bound="Callable[..., Any]")


def delimit_options(command: F) -> F:
    """Add `--detector` and `--delineator`, given to the command as `detector`, `delineator`."""
    for option in (
        click.option(
            "--delineator",
            metavar="SPEC",
            help="What draws a mask for each box of --detector: student:BUNDLE_OR_RUN, "
            "prompted:RUN (of pro-mamba), sam:FOLDER, sam2:FOLDER, mask2former:FOLDER, box (an "
            "ellipse), oracle (the true masks), or a plug-in. sam:FOLDER?normalize=min-max for "
            "checkpoints of MedSAM.",
        ),
        click.option(
            "--detector",
            metavar="SPEC",
            help="Instead of a bundle or a run: what proposes boxes, for --delineator. "
            "student:BUNDLE_OR_RUN, detection:BUNDLE_OR_RUN (with detection=true), oracle (the "
            "true boxes; oracle?jitter=.1 moves their edges), whole-frame, or a plug-in.",
        ),
    ):
        command = option(command)
    return command


def run(
    detector: str | None,
    delineator: str | None,
    unused: Sequence[str],
    find: Callable[[], tuple[LabeledFrames, list[CleanFrame]]],
    *,
    data: str,
    engine: str,
    threads: int | None,
    precision: str,
    report_path: Path | None,
    json_path: str | None,
) -> None:
    """Evaluate a detector with a delineator, and show and write the record.

    Args:
        detector: Description of the detector.
        delineator: Description of the delineator.
        unused: Given options that do not apply.
        find: Finds the labeled frames and those without a polyp.
        data: Name of the data.
        engine: Engine of bundles.
        threads: CPU threads; None for every core.
        precision: `int8`, `f32`, `bf16` or `f16`, of bundles.
        report_path: Page to write.
        json_path: Record to write.

    Raises:
        UsageError: One of the two is missing, or an option does not apply.
    """
    if detector is None or delineator is None or unused:
        raise UsageError(
            "a detector and a delineator are evaluated together",
            expected="--detector X --delineator Y, without "
            + (", ".join(unused) if unused else "another model"),
            got=", ".join(unused) or "one of the two",
            hint="edge-difom evaluate --help",
        )
    from edge.evaluation.delimit.build import Opening, build_delineator, build_detector
    from edge.evaluation.delimit.page import CauseGallery, delimit_page
    from edge.evaluation.delimit.run import evaluate_delimit
    from edge.evaluation.page import require_extras
    from edge.util.files import PRIVATE_FILE, atomic_write

    if report_path:
        require_extras()
    gallery = CauseGallery() if report_path else None
    with ExitStack() as stack:
        opening: Opening = Opening(stack, engine, threads, precision)
        found_by, drawn_by = (
            build_detector(detector, opening),
            build_delineator(delineator, opening),
        )
        frames, free = find()
        bar = stack.enter_context(console.progress(len(frames.pairs) + len(free), "images"))
        report = evaluate_delimit(
            frames.pairs,
            found_by,
            drawn_by,
            names=(detector, delineator),
            clean=free,
            dataset=frames.benchmark or data,
            done=lambda name: bar.update(1, name),
            on_frame=gallery.add if gallery else None,
        )
    _show(report)
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    if report_path and gallery:
        page = delimit_page(report, gallery, data=data)
        atomic_write(report_path, page, mode=PRIVATE_FILE)
        console.made(report_path)
        console.say("The page contains patient images and must not leave this machine.")
    other = "oracle" if detector != "oracle" else "whole-frame"
    console.next_command(
        f"edge-difom evaluate --detector {other} --delineator {console.quote(delineator)} "
        f"{'--pairs' if data.endswith('.json') else '--data'} {console.quote(data)}"
    )


def _show(report: DelimitReport) -> None:
    low, high = report.dice_ci95 or (None, None)
    console.table(
        ["images", "Dice", "95 % low", "high", "precision", "recall", "F1", "clean", "flagged"],
        [
            [
                report.n,
                report.dice,
                low,
                high,
                report.precision,
                report.recall,
                report.f1,
                report.clean,
                report.clean_flagged,
            ]
        ],
    )
    rows = [("all", report.polyps), *report.by_size.items()]
    console.table(
        [
            "polyp",
            "all",
            "missed",
            "share",
            "images",
            "Dice",
            "lost: missed",
            "false",
            "badly drawn",
        ],
        [
            [
                name,
                group.polyps,
                group.missed,
                group.missed_share,
                group.frames,
                group.dice,
                *(
                    (None, None, None)
                    if group.loss is None
                    else (group.loss.missed, group.loss.false, group.loss.drawn)
                ),
            ]
            for name, group in rows
            if group.polyps or group.frames
        ],
    )
    boxes = report.boxes
    console.table(
        ["boxes", "proposed", f"right, IoU >= {boxes.iou:g}", "precision", "recall", "F1", "AP"],
        [
            [
                boxes.true,
                boxes.proposed,
                boxes.right,
                boxes.precision,
                boxes.recall,
                boxes.f1,
                boxes.average_precision,
            ]
        ],
    )
