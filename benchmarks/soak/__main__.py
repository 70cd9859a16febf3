"""`python -m benchmarks.soak`: run the device for a long time under repeated faults.

The real `edge-difom run` takes the phantom at 1080p60, whose source has a fault every few seconds;
`benchmarks.soak.soak` adds faults from outside. The record is updated every half minute, so that a
soak that was killed can still be judged.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.soak.soak import Protocol, soak
from edge.errors import LatencyError, UsageError
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from benchmarks.soak.soak import Soak


@click.command(
    epilog=console.examples(
        "python -m benchmarks.soak --bundle B --minutes 30 --out soak.json",
        "python -m benchmarks.soak --bundle B --minutes 2 --width 640 --height 480 --fps 30",
    )
)
@click.option("--bundle", required=True, type=click.Path(path_type=Path, exists=True), metavar="B")
@click.option("--engine", default="auto", show_default=True)
@click.option("--minutes", type=click.FloatRange(min=0.1), default=30.0, show_default=True)
@click.option("--width", type=click.IntRange(min=32), default=1920, show_default=True)
@click.option("--height", type=click.IntRange(min=32), default=1080, show_default=True)
@click.option("--fps", type=click.FloatRange(min=1), default=60.0, show_default=True)
@click.option(
    "--every",
    type=click.FloatRange(min=2),
    default=4.0,
    show_default=True,
    help="Seconds between faults.",
)
@click.option(
    "--length",
    type=click.FloatRange(min=0.1),
    default=0.7,
    show_default=True,
    help="Seconds of a fault.",
)
@click.option(
    "--least-rate", default=0.95, show_default=True, help="Share of the rate that must hold."
)
@click.option(
    "--out", "json_path", metavar="FILE", help="Write the record as JSON, renewed meanwhile."
)
def command(
    bundle: Path,
    engine: str,
    minutes: float,
    width: int,
    height: int,
    fps: float,
    every: float,
    length: float,
    least_rate: float,
    json_path: str | None,
) -> None:
    """Run a device under continuous faults and report its behavior.

    The exit code is 7 if a check fails.
    """
    if length > every - 1.2:
        raise UsageError(
            "the device has no time to recover between faults", expected="--every >= length + 1.2"
        )
    from edge.bundle.reader import Bundle

    protocol = Protocol(
        minutes=minutes,
        size=(width, height),
        fps=fps,
        every_s=every,
        length_s=length,
        least_rate=least_rate,
        bundle=Bundle.open(bundle).manifest.name,
        engine=engine,
    )
    source = (
        f"synthetic:?width={width}&height={height}&fps={fps:g}&frames=0"
        f"&every={every:g}&length={length:g}"
    )
    arguments = ["--source", source, "--bundle", str(bundle.resolve()), "--engine", engine]
    done = soak(protocol, arguments, lambda so_far: _save(json_path, so_far))
    console.say("VALID" if done.valid else f"INVALID: {done.reason}")
    console.say(
        f"{done.seconds:.0f} s, {done.faults} faults of the source, {done.injected} from outside"
    )
    words = {True: "passed", False: "FAILED", None: "not told"}
    console.table(
        ["check", "", "what"],
        [[check.name, words[check.passed], check.what] for check in done.checks],
    )
    failures = [f"{check.name}: {failure}" for check in done.checks for failure in check.failures]
    for failure in failures:
        console.say(failure)
    if json_path:
        console.made(json_path)
    if not done.passed:
        raise LatencyError(
            f"{len([check for check in done.checks if check.passed is False])} checks failed",
            got=failures[0],
        )


def _save(path: str | None, so_far: Soak) -> None:
    if path:
        console.write_json(path, so_far)


if __name__ == "__main__":
    run_program(command)
