"""`edge-difom bench device`: measure the peak performance of this machine."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, options


@click.command(
    "device",
    short_help="Measure the peak performance of this machine.",
    epilog=console.examples(
        "edge-difom bench device --out device.json",
        "edge-difom bench device --threads 2 --seconds 10 --out device.json",
        "edge-difom bench device --json -",
    ),
)
@options.threads()
@click.option(
    "--seconds",
    type=options.FiniteRange(min=0, min_open=True),
    default=3.0,
    show_default=True,
    help="Seconds to run each engine for.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write the profile to, for `bench run --profile`.",
)
@options.force("Replace the file.")
@console.json_option("Print or write the profile as JSON.")
def command(
    threads: int | None, seconds: float, out: Path | None, force: bool, json_path: str | None
) -> None:
    """Measure memory bandwidth and the peak throughput of each installed engine.

    Each engine runs a stack of dense convolutions in INT8 and f32. `bench run --profile` uses the
    profile to report the share of the peak that a model reaches.
    """
    from edge.bench.measure.dense import DENSE
    from edge.bench.measure.profiling import PRECISIONS, profile_device
    from edge.util.files import refuse_existing

    if out:
        refuse_existing(out, force=force)
    with console.progress(1 + len(DENSE) * len(PRECISIONS), "measured") as bar:
        profile = profile_device(
            threads=threads, seconds=seconds, done=lambda name: bar.update(note=name)
        )
    console.say("VALID" if profile.valid else f"INVALID: {profile.reason}")
    console.say(f"{profile.device.cpu or profile.device.architecture}, {profile.threads} threads")
    if profile.unknown:
        console.say(f"not readable here: {', '.join(profile.unknown)}")
    console.table(
        ["memory", "GB/s"], [["copy", profile.copy_gb_s], ["a = b + s c", profile.triad_gb_s]]
    )
    rows = [[row.engine, row.precision, row.giga_operations_per_second] for row in profile.peaks]
    console.table(["engine", "precision", "10^9 operations per second"], rows)
    for name, why in profile.missing.items():
        console.say(f"not measured: {name}: {why}")
    for target in (out, json_path):
        if target:
            console.write_json(target, profile)
    console.made(*(path for path in (out, json_path) if path and path != "-"))
    console.next_command(f"edge-difom bench --bundle B --profile {out or 'device.json'}")
