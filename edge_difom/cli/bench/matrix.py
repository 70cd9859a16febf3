"""`edge-difom bench matrix`: measure every combination of bundle, engine, precision and threads."""

from __future__ import annotations

import itertools
from functools import partial
from pathlib import Path

import click

from edge_difom.cli import console, options


@click.command(
    "matrix",
    short_help="Measure bundles x engines x precisions x threads.",
    epilog=console.examples(
        "edge-difom bench matrix --bundle B --engine openvino --engine tflite --out matrix",
        "edge-difom bench matrix --bundle B1 --bundle B2 --threads 1 --threads 2 --seconds 60 "
        "--out matrix",
        "edge-difom bench matrix --bundle B --precision int8 --precision f32 --rate 60 --out "
        "matrix --resume",
    ),
)
@click.option(
    "--bundle",
    "bundles",
    type=console.BUNDLE,
    required=True,
    multiple=True,
    help="Bundle, or the name of a shipped bundle; repeatable, like the options below.",
)
@click.option(
    "--engine", "engines", multiple=True, default=("openvino", "tflite"), show_default=True
)
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(["int8", "f32", "bf16", "f16"]),
    multiple=True,
    default=("int8",),
    show_default=True,
)
@options.threads(multiple=True)
@click.option(
    "--rate", "rates", multiple=True, default=("max",), show_default=True, metavar="max|FPS"
)
@click.option(
    "--seconds",
    type=options.FiniteRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to measure each rate of each combination for.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Labeled images to score each engine on."
)
@click.option(
    "--profile", type=click.Path(path_type=Path), help="Profile of `edge-difom bench device`."
)
@options.out()
@click.option("--resume", is_flag=True, help="Keep the combinations that are already measured.")
@options.force()
@console.json_option("Write the matrix as JSON here too; `-` prints it on stdout.")
def command(
    bundles: tuple[Path, ...],
    engines: tuple[str, ...],
    precisions: tuple[str, ...],
    threads: tuple[int, ...],
    rates: tuple[str, ...],
    seconds: float,
    data: Path | None,
    profile: Path | None,
    out: Path,
    resume: bool,
    force: bool,
    json_path: str | None,
) -> None:
    """Measure every combination in a separate process, and plot Dice against CPU time.

    The plot marks the Pareto front.
    """
    from edge.bench.measure.stream import Load
    from edge.bench.report.matrix import Cell, matrix_page, run_cell, run_matrix
    from edge.util.files import atomic_write, refuse_existing
    from edge.util.host import usable_cpus
    from edge.util.python_child import python_command

    if not resume:
        refuse_existing(out, force=force)
    counts = threads or (len(usable_cpus()),)
    cells = [Cell(*row) for row in itertools.product(bundles, engines, precisions, counts)]
    options = ["--seconds", f"{seconds}"]
    for rate in rates:
        options += ["--rate", Load.parse(rate).name]
    for name, path in (("--data", data), ("--profile", profile)):
        options += [name, str(path)] if path else []
    with console.progress(len(cells), "cells") as bar:
        report = run_matrix(
            cells,
            out,
            options=options,
            resume=resume,
            execute=partial(run_cell, python_command("edge_difom", "bench", "run")),
            done=lambda name: bar.update(note=name),
        )
    spoilt = [row for row in report.rows if not row.valid]
    console.say(f"INVALID: {len(spoilt)} of {len(report.rows)} rows" if spoilt else "VALID")
    console.table(
        ["row", "load", "Dice", "CPU ms", "p50 ms", "p99 ms", "front"],
        [
            [
                row.cell,
                row.load,
                row.dice,
                row.cpu_ms,
                row.p50_ms,
                row.p99_ms,
                "yes" if row.front else "",
            ]
            for row in report.rows
        ],
    )
    for name, why in report.failed.items():
        console.say(f"not measured: {name}: {why}")
    atomic_write(out / "matrix.html", matrix_page(report))
    if json_path:
        console.write_json(json_path, report)
    console.made(out / "matrix.json", out / "matrix.html")
    console.next_command(f"edge-difom bench compare OTHER {console.quote(out)}")
