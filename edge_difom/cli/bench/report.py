"""`edge-difom bench report`: make the report of a record."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console


@click.command(
    "report",
    short_help="Make the report of a record.",
    epilog=console.examples(
        "edge-difom bench report runs/bench/RUN",
        "edge-difom bench report runs/bench/RUN/record.jsonl --out report",
        "edge-difom bench report runs/bench/RUN --profile device.json --json -",
    ),
)
@click.argument("record", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder to write. Default: the record's."
)
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(path_type=Path),
    help="Profile of `edge-difom bench device`, instead of the record's own.",
)
@click.option(
    "--require-valid",
    is_flag=True,
    help="End with exit code 7 if the measurement was disturbed; everything is written before.",
)
@console.json_option("Write the report as JSON here too; `-` prints it on stdout.")
def command(
    record: Path,
    out: Path | None,
    profile_path: Path | None,
    require_valid: bool,
    json_path: str | None,
) -> None:
    """Make report.json, report.html and report.md from RECORD, a record.jsonl or its folder.

    The record of a killed run gives a report of everything measured until then.
    """
    import msgspec

    from edge.bench.measure.profiling import read_profile
    from edge.bench.report.journal import read_journal
    from edge.bench.report.summary import summarize
    from edge_difom.cli.bench.show import refuse_invalid, show_report, write_reports

    report = summarize(read_journal(record))
    if profile_path:
        report = msgspec.structs.replace(report, profile=read_profile(profile_path))
    show_report(report)
    folder = out or (record if record.is_dir() else record.parent)
    written = write_reports(report, folder)
    if json_path:
        console.write_json(json_path, report)
    console.made(*written, *([json_path] if json_path and json_path != "-" else []))
    if require_valid:
        refuse_invalid(report)
    console.next_command(f"edge-difom bench compare OTHER {console.quote(folder)}")
