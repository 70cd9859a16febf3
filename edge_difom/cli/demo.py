"""`edge-difom demo`: train, package, run and measure on the built-in phantom."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, options


@click.command(
    "demo",
    epilog=console.examples(
        "edge-difom demo --out demo",
        "edge-difom demo --out demo --epochs 12 --force",
        "edge-difom demo --out quick --size 128 --epochs 2 --bench-seconds 5",
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Folder for the results.",
)
@options.student_size()
@click.option("--epochs", type=click.IntRange(min=1), help="Training epochs of the distillation.")
@click.option(
    "--bench-seconds", type=options.FiniteRange(min=1), help="Seconds to measure each engine for."
)
@options.force("Replace the results of an earlier demo.")
def command(
    out: Path, size: int | None, epochs: int | None, bench_seconds: float | None, force: bool
) -> None:
    """Run every step on the built-in phantom, from a teacher to a measured bundle with a report.

    The steps are distillation, quantization, bundling, verification, a run on a clip, a latency
    measurement and a report. RESEARCH USE ONLY, NOT A MEDICAL DEVICE.
    """
    import msgspec

    from edge_difom.demo.record import DemoSettings
    from edge_difom.demo.run import run_demo

    values = {"size": size, "epochs": epochs, "bench_seconds": bench_seconds}
    settings = msgspec.convert(
        {name: value for name, value in values.items() if value is not None}, DemoSettings
    )
    summary = run_demo(out, settings, force=force)
    rows: list[list[object]] = []
    for name, dice in summary.dice.items():
        latency = summary.latency_ms.get(name, {})
        negatives = summary.negatives[name]
        label = "FP32 student in torch" if name == "f32" else f"INT8 in {name}"
        rows.append(
            [
                label,
                dice,
                f"{negatives['flagged']} of {negatives['n']}",
                latency.get("p50"),
                latency.get("p99"),
            ]
        )
    console.table(["phantom", "Dice", "clean frames flagged", "p50 ms", "p99 ms"], rows)
    console.say(
        f"mean mask IoU of the two engines: {summary.parity_iou:.5f}"
        if summary.parity_iou
        else "the engines found no masks to compare"
    )
    for name, reason in summary.latency_valid.items():
        if reason:
            console.say(f"latency of {name} is INVALID: {reason}")
    console.say(
        f"{summary.run['frames_with_mask']:.0f} of {summary.run['frames']:.0f} frames of the clip "
        f"have a mask; {sum(summary.seconds.values()):.0f} s in total"
    )
    console.made(out / "bundle", out / "report.html", out / "overlay.mp4", out / "summary.json")
    console.next_command(f"edge-difom run --camera --bundle {console.quote(out / 'bundle')}")
