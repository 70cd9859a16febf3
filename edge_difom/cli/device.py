"""`edge-difom device`: prepare, update and check a cart computer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge.errors import MissingDependencyError
from edge_difom.cli import console, options
from edge_difom.cli.groups import LazyGroup

if TYPE_CHECKING:
    from pathlib import Path


@click.group(
    "device",
    cls=LazyGroup,
    table={
        "provision": (
            "edge_difom.cli.device_provision:provision",
            "Install the services, device names and watchdog of a cart computer.",
        ),
        "trust": ("edge_difom.cli.device_slots:trust", "Trust a publisher's root."),
        "install": ("edge_difom.cli.device_slots:install", "Install a bundle from a repository."),
        "status": (
            "edge_difom.cli.device_slots:status",
            "Show what is installed, and check the log.",
        ),
        "audit": (
            "edge_difom.cli.device_audit:group",
            "Export and verify checkpoints of the audit log.",
        ),
        "rollback": ("edge_difom.cli.device_slots:rollback", "Return to the previous bundle."),
        "still": ("edge_difom.cli.device_still:command", "Write a still as DICOM."),
        "gc": ("edge_difom.cli.device_slots:gc", "Remove files that no slot needs."),
    },
    short_help="Prepare, update and check a cart computer.",
    epilog=console.examples(
        "edge-difom device fit --bundle B",
        "edge-difom device install /media/stick/polyps",
        "edge-difom device status",
    ),
)
def group() -> None:
    """Prepare, update and check a cart computer."""


@group.command(
    "fit",
    short_help="Check whether a bundle can run on this machine.",
    epilog=console.examples(
        "edge-difom device fit --bundle B",
        "edge-difom device fit --bundle B.difom",
        "edge-difom device fit --bundle B --json fit.json",
    ),
)
@options.bundle(required=True)
@console.json_option()
def fit_command(bundle_path: Path, json_path: str | None) -> None:
    """Compare a bundle's schema, architectures and runtime versions with this machine.

    Exits with code 8 if none of its INT8 engines can run here.
    """
    from edge.bundle.reader import Bundle
    from edge.engines.runtimes import find_runtimes
    from firmware_bridge.fit import fit

    report = fit(Bundle.open(bundle_path).manifest, runtimes=find_runtimes())
    console.say(f"{report.bundle}, schema {report.schema_version}, on {report.architecture}")
    console.table(
        ["engine", "precision", "runs here", "why not"],
        [
            [
                engine.runtime,
                engine.precision,
                "yes" if engine.runs else "no",
                "; ".join(engine.obstacles),
            ]
            for engine in report.engines
        ],
    )
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    if not report.fits:
        raise MissingDependencyError(
            f"{bundle_path} cannot run on this machine",
            expected="a runtime for one of its INT8 engines",
            got="; ".join(
                f"{e.runtime} {e.precision}: {', '.join(e.obstacles)}"
                for e in report.engines
                if e.obstacles
            ),
            hint="edge-difom doctor",
        )
    runnable = next(
        engine for engine in report.engines if engine.runs and engine.precision == "int8"
    )
    console.next_command(
        f"edge-difom run --source synthetic: --bundle {console.quote(bundle_path)} "
        f"--engine {runnable.runtime}"
    )
