"""`edge-difom verify`: check hashes and golden frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import BundleError, UsageError
from edge_difom.cli import console, options

if TYPE_CHECKING:
    from edge.engines.golden_check import VerifyReport


@click.command(
    "verify",
    short_help="Check a bundle's hashes and golden frames.",
    epilog=console.examples(
        "edge-difom verify --bundle B",
        "edge-difom verify --bundle B.difom --engine tflite",
        "edge-difom verify --bundle B --json verify.json",
        "edge-difom verify --bundle B --attestation B.model.sigstore.json --attestation "
        "B.provenance.sigstore.json --public-key attestation.pub.pem",
    ),
)
@options.bundle(required=True)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    metavar="openvino|tflite|onnx",
    help="Engine to check; repeatable. Default: every installed one.",
)
@click.option(
    "--attestation",
    "attestations",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Attestation of the bundle to check, too: a model signature (OMS) or an in-toto statement "
    "with SLSA provenance; repeatable.",
)
@click.option(
    "--public-key",
    type=click.Path(path_type=Path),
    help="With --attestation: public key of who must have signed, a PEM file.",
)
@console.json_option()
def command(
    bundle_path: Path,
    engines: tuple[str, ...],
    attestations: tuple[Path, ...],
    public_key: Path | None,
    json_path: str | None,
) -> None:
    """Check that no file changed and that the engines still compute the golden scores.

    The golden scores were stored when the bundle was made. Exits with code 4 if a file is damaged
    or an attestation is not of this bundle, and with code 5 if an engine disagrees.
    """
    if bool(attestations) != (public_key is not None):
        raise UsageError(
            "an attestation is checked with a public key",
            expected="--attestation FILE --public-key PEM",
        )
    from edge.bundle.reader import Bundle
    from edge.engines.golden_check import unreadable, verify_bundle
    from edge.inference.isolated import open_isolated

    try:
        bundle = Bundle.open(bundle_path)
    except BundleError as error:
        _write(json_path, unreadable(bundle_path, error))
        raise
    if public_key is not None:
        from firmware_bridge.fleet.attest.check import check_attestations

        for name, kind in check_attestations(bundle, attestations, public_key).items():
            console.say(f"{kind}: {name}")
    report = verify_bundle(bundle, engines or None, opener=open_isolated)
    _show(report)
    _write(json_path, report)
    report.raise_for_problems()
    console.say(f"verified: {bundle_path} ({report.digest})")
    console.next_command(
        f"edge-difom run --source synthetic: --bundle {console.quote(bundle_path)}"
    )


def _write(json_path: str | None, report: VerifyReport) -> None:
    if json_path:
        console.write_json(json_path, report)
        if json_path != "-":
            console.made(json_path)


def _show(report: VerifyReport) -> None:
    rows = []
    for check in report.engines:
        ious = [frame.iou for frame in check.frames if frame.iou is not None]
        rows.append(
            [
                check.engine,
                str(check.settings.get("version", "-")),
                len(check.frames),
                min(ious) if ious else None,
                max((frame.mean_difference for frame in check.frames), default=None),
                ("ok" if check.ok else "FAILED") if check.checked else check.problem,
            ]
        )
    console.table(
        ["engine", "version", "golden frames", "min IoU", "max mean difference", "result"], rows
    )
    for name, state in report.files.items():
        if state != "ok":
            console.say(f"{state}: {name}")
