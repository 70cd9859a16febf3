"""`edge-difom bench glass`: measure the delay from a display to a camera."""

from __future__ import annotations

import click

from edge.errors import UsageError
from edge_difom.cli import console


@click.command(
    "glass",
    short_help="Measure the delay from a display to a camera.",
    epilog=console.examples(
        "edge-difom bench glass --display loopback --pulses 100",
        "edge-difom bench glass --display fb:/dev/fb0 --source v4l2:/dev/video0 --json glass.json",
        "edge-difom bench glass --display fb:/dev/fb1 --source v4l2:0 --pulses 700",
    ),
)
@click.option(
    "--display",
    required=True,
    metavar="D",
    help="loopback (no display: what the method itself adds), fb:DEVICE, or a sink of `run` that "
    "shows "
    "images.",
)
@click.option("--source", metavar="S", help="Camera that sees the display, as in `edge-difom run`.")
@click.option(
    "--pulses",
    type=click.IntRange(min=1),
    default=662,
    show_default=True,
    help="Number of pulses; p99 needs 662, p90 needs 64.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Random seed of the pulse phases."
)
@console.json_option()
def command(
    display: str, source: str | None, pulses: int, seed: int, json_path: str | None
) -> None:
    """Show a marker at random phases of the camera's period, and detect it in the camera's images.

    A delay starts when the marker is passed to the output and ends when an image that shows it is
    in memory. docs/measuring.md describes a method with an LED and a photodiode that needs no
    camera.
    """
    from edge.bench.measure.displays import open_display
    from edge.bench.measure.glass import measure_glass
    from edge.sources.open import open_source

    screen, eye = open_display(display)
    if (eye is None) == (source is None):
        raise UsageError(
            "exactly one camera is needed, and loopback has its own",
            expected="--source S, except with --display loopback",
            got=f"--display {display}" + (f" --source {source}" if source else ""),
        )
    camera = eye if eye is not None else open_source(source or "")
    if not camera.live:
        raise UsageError(
            f"{source} is not live", expected="a camera", hint="--source v4l2:/dev/video0"
        )
    with console.progress(pulses, "pulses") as bar:
        report = measure_glass(screen, camera, pulses=pulses, seed=seed, done=bar.update)
    console.say(
        f"{report.display} seen by {report.source}: {report.pulses} pulses, {report.lost} lost"
    )
    for note in report.notes:
        console.say(f"note: {note}")
    console.say(
        f"an image every {report.period_ms:.2f} ms; marker at {report.marker}, "
        f"levels {report.levels}"
    )
    console.table(
        ["delay, ms", *report.delay_ms],
        [
            ["upper bound, 99 % confidence", *report.delay_ms.values()],
            ["plain quantile", *report.delay_empirical_ms.values()],
            ["to the capture stamp, plain", *report.to_capture_ms.values()],
        ],
    )
    if json_path:
        console.write_json(json_path, report)
    console.made(*([json_path] if json_path and json_path != "-" else []))
    console.next_command("edge-difom bench --bundle B --rate 60")
