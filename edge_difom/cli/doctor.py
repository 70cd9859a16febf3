"""`edge-difom doctor`: report what this machine can do and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_difom.cli import console, options

if TYPE_CHECKING:
    from pathlib import Path

    from edge.inference.probe import Probe
    from edge_difom.doctor import DoctorReport, GStreamer


@click.command(
    "doctor",
    short_help="Report what this machine can do and what is missing.",
    epilog=console.examples(
        "edge-difom doctor",
        "edge-difom doctor --bundle B",
        "edge-difom doctor --json doctor.json",
    ),
)
@options.bundle("Bundle whose engines are tested. Default: the shipped bundle.")
@click.option(
    "--json",
    "json_path",
    metavar="[FILE]",
    is_flag=False,
    flag_value="-",
    default=None,
    callback=console.keep_stdout_for_json,
    help="Write the record as JSON; without FILE, or with `-`, print it on stdout.",
)
def command(bundle_path: Path | None, json_path: str | None) -> None:
    """Examine the machine, its engines, cameras and Python packages, and name what is missing.

    The engines of the bundle are opened, each in a separate process, and report the precision and
    the device that they actually use.
    """
    from edge_difom.doctor import examine

    report = examine(bundle_path)
    _show(report)
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)
    console.next_command(_next(report))


def _next(report: DoctorReport) -> str:
    if not any(report.engines.values()):
        return report.extras["openvino"].install
    if report.extras["train"].installed:
        return "edge-difom demo --out demo"
    bundle = console.quote(report.default_bundle or "BUNDLE")
    return f"edge-difom run --source synthetic: --bundle {bundle}"


def _describe(probe: Probe) -> str:
    if probe.problem:
        return probe.problem
    counted = probe.settings.get("executed", {})
    shares = (
        f" ({', '.join(f'{count} x {kind}' for kind, count in counted.items())})" if counted else ""
    )
    place = f" on {probe.device}" if probe.device else ""
    return f"runs in {probe.executed}{shares}{place}, {probe.settings.get('threads')} threads"


def _describe_sandbox(report: DoctorReport) -> str:
    kernel = report.sandbox
    parts = [f"Landlock {kernel.landlock}"] if kernel.landlock else []
    parts += ["system call filter"] if kernel.filtered else []
    lacks = dict.fromkeys(kernel.missing)
    for probe in report.precisions:
        if probe.sandbox is not None:
            lacks |= dict.fromkeys(probe.sandbox.missing)
    return "; ".join([*([", ".join(parts)] if parts else []), *lacks])


def _describe_gstreamer(gstreamer: GStreamer) -> str:
    if not gstreamer.python:
        program = f"{gstreamer.command}, but " if gstreamer.command else ""
        return f"{program}no Python bindings ({gstreamer.problem}): {gstreamer.install}"
    elements = f"all {len(gstreamer.elements)} elements that sources use"
    if gstreamer.missing:
        elements = f"missing elements: {', '.join(gstreamer.missing)} ({gstreamer.install})"
    return f"{gstreamer.version} with Python bindings, {elements}"


def _show(report: DoctorReport) -> None:
    device = report.device
    rows: list[tuple[str, str]] = [
        (
            "machine",
            f"{device.board or device.cpu or 'unknown'} ({device.architecture}, {device.system})",
        ),
        ("cores", f"{device.usable_cores} of {device.cores}"),
        ("memory", f"{device.memory_mb} MiB" if device.memory_mb else "unknown"),
        ("fast INT8 and bf16", ", ".join(device.flags) or "none of the known instruction sets"),
        ("frequency governor", ", ".join(device.governor) if device.governor else "not readable"),
        ("CUDA", ", ".join(device.cuda) or "none"),
    ]
    for name, runtime in report.engines.items():
        rows.append(
            (
                f"engine {name}",
                f"{runtime.package} {runtime.version}" if runtime else "not installed",
            )
        )
    rows += [
        (f"{probe.engine} as {probe.declared}", _describe(probe)) for probe in report.precisions
    ]
    if not report.precisions:
        rows.append(("precision of engines", "not tested; pass --bundle B"))
    for name, extra in report.extras.items():
        what = (
            "installed"
            if extra.installed
            else f"{extra.install}   (missing: {', '.join(extra.missing)})"
        )
        if name == "tflite-runtime" and report.extras["tflite"].installed:
            what = "not needed, because [tflite] is installed"
        rows.append((f"extra [{name}]", what))
    rows.append(("sandbox of engines", _describe_sandbox(report)))
    cameras = [str(camera) for camera in report.cameras]
    rows += [
        ("cameras", ", ".join(cameras) or "none"),
        ("GStreamer", _describe_gstreamer(report.gstreamer)),
        ("default bundle", report.default_bundle or "none is shipped"),
    ]
    rows += [(name, version) for name, version in report.versions.items() if version]
    console.table(["what", "here"], rows)
    for lacks in report.sandbox.missing:
        console.warn(f"a hostile bundle could do more here than elsewhere: {lacks}")
    for problem in report.problems:
        console.say(f"problem: {problem}")
