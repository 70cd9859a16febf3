"""Render the latency report as Markdown, without further packages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import RESEARCH_USE
from edge.util.plain_text import markdown, printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bench.report.record import BenchReport, LoadReport


def markdown_report(report: BenchReport) -> str:
    """Render the report; its first line says whether the run is valid."""
    device = report.device
    cpu = device.board or device.cpu or device.architecture
    parts = [
        f"# {'VALID' if report.valid else f'INVALID: {report.reason}'}",
        f"{markdown(report.bundle)} in {report.engine} {report.precision} on {markdown(cpu)}, "
        f"{device.usable_cores} cores; frames of {report.frame_size[1]}x{report.frame_size[0]}; "
        f"{report.created}. {RESEARCH_USE}",
        "\n".join(f"* {markdown(note)}" for note in report.notes),
    ]
    if report.unknown:
        parts.append(f"Not readable here: {', '.join(report.unknown)}.")
    parts += [_load(load) for load in report.loads]
    alone = report.inference_only_ms
    command = " ".join(printable(report.command or "").split())
    parts += [
        "## Engine",
        table(
            ["what", "value"],
            [
                ["inference alone, p50 ms", alone.p50 if alone else None],
                [
                    "preprocess + postprocess, CPU ms per frame",
                    report.preprocess_postprocess_cpu_ms,
                ],
                ["opening and compiling, ms", report.compile_ms],
                ["first inference, ms", report.first_inference_ms],
                ["resident memory at its highest, MiB", report.peak_rss_mb],
                [
                    "10^9 operations per inference",
                    report.work.giga_operations if report.work else None,
                ],
                ["share of the engine's peak on this machine", report.share_of_peak],
            ],
        ),
        "## Accuracy and parity",
        table(
            ["data set", "engine", "images", "Dice", "95 % interval"],
            [
                [
                    row.dataset,
                    row.engine,
                    row.n,
                    row.dice,
                    f"{row.dice_ci95[0]:.4f} to {row.dice_ci95[1]:.4f}",
                ]
                for row in report.accuracy
            ],
        ),
        table(
            ["on", "step", "frames", "mask IoU", "largest difference, 1/256"],
            [
                [row.on, f"{row.left} -> {row.right}", row.frames, row.mask_iou, row.max_difference]
                for row in report.parity
            ],
        ),
    ]
    if report.golden:
        word = "all within" if report.golden.ok else "NOT all within"
        parts.append(f"Golden frames on this machine: {report.golden.frames}, {word} tolerance.")
    facts = {**report.settings, **report.machine, **report.versions}
    parts += [
        "## Settings and versions",
        table(
            ["name", "value"],
            [[name, str(value)] for name, value in facts.items() if value is not None],
        ),
        # Without line breaks nothing in it can end the block.
        *(("## To repeat it", f"```bash\n{command}\n```") if command else ()),
        f"Bundle digest `{report.digest}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, markup: bool = False) -> str:
    """Render a Markdown table; empty without rows; None becomes a dash.

    Args:
        headers: Heads of the columns, in Markdown.
        rows: Cells of each row.
        markup: Whether text in cells is Markdown already, instead of text to show as it is.
    """
    if not rows:
        return ""
    lines = [
        list(headers),
        ["---"] * len(headers),
        *([cell(value, markup=markup) for value in row] for row in rows),
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(value: object, *, markup: bool = False) -> str:
    """Format a value for a table, see `table`."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value) if markup else markdown(str(value))


def _load(load: LoadReport) -> str:
    pace = "Highest rate" if load.load == "max" else f"Pictures at {load.load} per second"
    retention = "" if load.retention is None else f", retention {load.retention:.3f}"
    intervals = [
        None if pair is None else f"{pair[0]:.4g} to {pair[1]:.4g}"
        for pair in load.latency_ci95_ms.values()
    ]
    head = (
        f"## {pace}\n\n{load.samples} frames in {load.seconds:.1f} s, "
        f"{load.dropped} overwritten{retention}."
    )
    latency = table(
        ["latency, ms", *load.latency_ms],
        [
            ["plain quantile", *load.latency_empirical_ms.values()],
            ["with 99 % confidence at most", *load.latency_ms.values()],
            ["its 95 % interval", *intervals],
        ],
    )
    stages = table(
        ["stage, ms", "mean", "p50", "p99"],
        [[name, stage.mean, stage.p50, stage.p99] for name, stage in load.stages_ms.items()],
    )
    costs = table(
        ["per frame", "value"],
        [
            ["CPU of the process, ms", load.cpu_ms_per_frame],
            ["growth of its memory, KiB", load.rss_growth_kib_per_frame],
            [f"energy, mJ ({load.energy_source or 'no meter'})", load.energy_mj_per_frame],
        ],
    )
    return "\n\n".join((head, latency, stages, costs))
