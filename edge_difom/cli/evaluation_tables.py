"""The tables that `edge-difom evaluate` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_difom.cli import console

if TYPE_CHECKING:
    from edge.evaluation.detection import Detection
    from edge.evaluation.metrics import EvaluationReport


def show(report: EvaluationReport) -> None:
    """Print the figures of an evaluation."""
    low, high = report.dice_ci95 or (None, None)
    console.table(
        ["images with a polyp", "Dice", "95 % low", "95 % high", "IoU", "polyp-free", "flagged"],
        [
            [
                report.n,
                report.dice,
                low,
                high,
                report.iou,
                report.negatives.n,
                report.negatives.flagged,
            ]
        ],
    )
    sizes = [
        [name, group.n, group.dice, group.iou] for name, group in report.by_size.items() if group.n
    ]
    if sizes:
        console.table(["polyp", "images", "Dice", "IoU"], sizes)
    if report.detection:
        _show_detection(report.detection)
    if field := report.protocol_a:
        console.say(f"protocol A (the field's), {field.upsampled} at native size:")
        console.table(
            ["meanDic", "maxDic", "meanIoU", "wF", "S", "meanE", "maxE", "MAE"],
            [
                [
                    field.mean_dice,
                    field.max_dice,
                    field.mean_iou,
                    field.weighted_f,
                    field.s_measure,
                    field.mean_e,
                    field.max_e,
                    field.mae,
                ]
            ],
        )
    if confidence := report.confidence:
        console.say(f"confidence against the Dice of each image, mean {confidence.quality:.4f}:")
        console.table(
            ["confidence", "ECE", "AURC", "Dice of the most confident", "share of the images"],
            [
                [
                    name,
                    calibration.ece,
                    calibration.aurc,
                    calibration.quality_at_coverage,
                    calibration.coverage,
                ]
                for name, calibration in confidence.by_confidence.items()
            ],
        )
    if report.clean:
        console.table(
            ["polyp-free images", "all", "flagged", "share, 95 % low", "high"],
            [
                [name, counts.n, counts.flagged, *(counts.ci95 or (None, None))]
                for name, counts in report.clean.items()
            ],
        )
    if report.shifts:
        console.table(
            [
                "change",
                "strength",
                "engine",
                "Dice",
                "change of Dice",
                "95 % low",
                "high",
                "polyp-free",
                "flagged",
            ],
            [
                [
                    row.shift,
                    f"{row.strength:g}",
                    engine,
                    figures.dice,
                    figures.change,
                    *(figures.change_ci95 or (None, None)),
                    figures.negatives.n,
                    figures.negatives.flagged,
                ]
                for row in report.shifts.rows
                for engine, figures in row.engines.items()
            ],
        )
    for note in report.notes:
        console.say(f"note: {note}")


def _show_detection(detection: Detection) -> None:
    console.say(
        f"kept regions: threshold {detection.threshold:.4f}, "
        f"minimum region {detection.min_region:.1%}, minimum peak {detection.min_peak:.4f}"
    )
    rows = [
        ("polyps", detection.polyps),
        *detection.by_size.items(),
        ("images with a polyp", detection.images),
    ]
    console.table(
        ["found", "all", "any overlap", "share", f"IoU >= {detection.iou:g}", "share"],
        [
            [
                name,
                counts.n,
                counts.overlapped,
                counts.overlapped / counts.n,
                counts.matched,
                counts.matched / counts.n,
            ]
            for name, counts in rows
            if counts.n
        ],
    )
    console.say(f"false regions per frame: {detection.false_regions:.3f}")
    clean = detection.clean
    if clean.n:
        console.table(
            [
                "clean frames",
                "flagged",
                "share",
                "95 % low",
                "high",
                "as if independent",
                "",
                "sequences",
            ],
            [
                [
                    clean.n,
                    clean.flagged,
                    clean.flagged / clean.n,
                    *(clean.clustered_ci95 or (None, None)),
                    *(clean.wilson_ci95 or (None, None)),
                    f"{clean.flagged_sequences} of {clean.sequences} flagged",
                ]
            ],
        )
    if len(detection.by_set) > 1:
        console.table(
            [
                "data set",
                "frames",
                "polyps",
                "overlapped",
                "outlined",
                "false regions",
                "clean",
                "flagged",
            ],
            [
                [
                    name,
                    group.frames,
                    group.polyps,
                    group.overlapped,
                    group.matched,
                    group.false_regions,
                    group.clean,
                    group.flagged,
                ]
                for name, group in detection.by_set.items()
            ],
        )
