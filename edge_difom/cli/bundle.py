"""`edge-difom bundle`: make, inspect, pack, sign and publish bundles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_difom.cli import console, options
from edge_difom.cli.groups import LazyGroup

if TYPE_CHECKING:
    from edge.bundle.manifest import AccuracyGate, Calibration


@click.group(
    "bundle",
    cls=LazyGroup,
    table={
        "make": ("edge_difom.cli.bundle_make:make", "Make a bundle from a quantized run."),
        "train": (
            "edge_difom.cli.bundle_make:train",
            "Train, quantize and bundle a student in one command.",
        ),
        "weights": (
            "edge_difom.cli.bundle_make:weights",
            "Write the float weights of a bundle's student, to train from.",
        ),
        "attest": (
            "edge_difom.cli.bundle_attest:attest",
            "Sign a bundle for other tools: OpenSSF model signing, SLSA provenance.",
        ),
        "delegate": (
            "edge_difom.cli.bundle_delegate:delegate",
            "Let others sign a family of bundles.",
        ),
        "dossier": (
            "edge_difom.cli.bundle_dossier:dossier",
            "Make or check the signed archive of a bundle's evidence.",
        ),
        "keygen": ("edge_difom.cli.bundle_sign:keygen", "Create a publisher's keys."),
        "publish": (
            "edge_difom.cli.bundle_sign:publish",
            "Publish a signed bundle in a repository.",
        ),
        "sbom": ("edge_difom.cli.bundle_sbom:sbom", "Write a bundle's bill of materials."),
        "sign": ("edge_difom.cli.bundle_sign:sign", "Re-sign a repository or rotate its keys."),
        "stick": (
            "edge_difom.cli.bundle_stick:stick",
            "Sign the software of a cart, for install.sh.",
        ),
    },
    short_help="Make, inspect, pack, sign and publish bundles.",
    epilog=console.examples(
        "edge-difom bundle make RUN --out B",
        "edge-difom bundle show B",
        "edge-difom bundle pack B --out B.difom",
        "edge-difom bundle publish B --repository /media/stick/polyps --keys KEYS",
    ),
)
def group() -> None:
    """Make, inspect, pack, sign and publish bundles.

    A bundle is a directory or a .difom file with a model's engines and everything a device needs to
    know about them.
    """


@group.command(
    "show",
    short_help="Print the contents of a bundle.",
    epilog=console.examples(
        "edge-difom bundle show B",
        "edge-difom bundle show B.difom --json -",
        "edge-difom bundle show B --json manifest.json",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@console.json_option("Write the manifest as JSON; `-` prints it on stdout.")
def show(path: Path, json_path: str | None) -> None:
    """Print the engines, accuracy and provenance of BUNDLE.

    The hashes of the files are checked by `edge-difom verify`.
    """
    from edge.bundle.reader import Bundle

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    console.say(f"{manifest.name}  {bundle.digest}")
    console.say(manifest.intended_use)
    console.table(
        ["field", "value"],
        [
            ["student", manifest.provenance.student],
            ["teachers", ", ".join(manifest.provenance.teachers) or "none"],
            ["made", manifest.provenance.created],
            ["license", manifest.license],
            [
                "input",
                f"{manifest.input.width}x{manifest.input.height} {manifest.input.color} "
                f"{manifest.input.dtype}, {manifest.input.field_of_view}",
            ],
            [
                "output",
                f"{manifest.output.width}x{manifest.output.height}, "
                f"threshold {manifest.output.threshold}",
            ],
            [
                "regions",
                f"at least {manifest.output.min_region:.2%} of the input, "
                f"peak score at least {manifest.output.min_peak:g}",
            ],
            ["golden frames", str(len(manifest.golden.frames))],
        ],
    )
    console.say()
    console.table(
        ["engine", "precision", "from version", "architectures", "file"],
        [
            [
                entry.runtime,
                entry.precision,
                entry.min_version,
                ", ".join(entry.architectures),
                entry.files[0],
            ]
            for entry in manifest.engines
        ],
    )
    if manifest.accuracy:
        console.say()
        console.table(
            [
                "data set",
                "engine",
                "images",
                "Dice",
                "95 % low",
                "95 % high",
                "IoU",
                "polyp-free",
                "flagged",
                "share",
            ],
            [
                [
                    row.dataset,
                    row.engine,
                    row.n,
                    row.dice,
                    *row.dice_ci95,
                    row.iou,
                    row.negatives,
                    row.flagged,
                    row.flagged / row.negatives if row.negatives else None,
                ]
                for row in manifest.accuracy
            ],
        )
    _show_clean(manifest.output.calibration)
    _show_gate(manifest.gate)
    if json_path:
        console.write_json(json_path, manifest)
        if json_path != "-":
            console.made(json_path)
    console.next_command(f"edge-difom verify --bundle {console.quote(path)}")


def _show_clean(calibration: Calibration | None) -> None:
    if calibration is None or not calibration.flagged_by_set:
        return
    from edge.evaluation.intervals import wilson

    console.say()
    console.table(
        ["clean frames at the operating point", "all", "flagged", "share", "95 %"],
        [
            [
                name,
                proportion.n,
                proportion.count,
                proportion.count / proportion.n,
                _interval(wilson(proportion.count, proportion.n)),
            ]
            for name, proportion in calibration.flagged_by_set.items()
            if proportion.n
        ],
    )


def _show_gate(gate: AccuracyGate | None) -> None:
    console.say()
    if gate is None:
        console.say("accuracy gate: none is recorded")
        return
    console.say(f"accuracy gate: {gate.verdict}")
    for line in (*gate.breaches, *gate.undecided, *gate.notes):
        console.say(f"  {line}")
    if gate.accepted:
        console.say(f"accepted: {gate.accepted}")
    console.table(
        ["step", "images", "Dice", "95 %", "small polyps found", "95 %", "flagged", "share"],
        [
            [
                row.step,
                row.n,
                row.dice,
                _interval(row.dice_ci95),
                f"{row.small_found} of {row.small}",
                _interval(row.small_ci95),
                f"{row.flagged} of {row.clean}",
                row.flagged / row.clean if row.clean else None,
            ]
            for row in gate.steps
        ],
    )


def _interval(ends: tuple[float, float] | None) -> str | None:
    return None if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


@group.command(
    "pack",
    short_help="Pack a bundle into one file.",
    epilog=console.examples(
        "edge-difom bundle pack B --out B.difom",
        "edge-difom bundle pack B --out /media/stick/polyps.difom",
        "edge-difom bundle pack B --out B.difom --force",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@options.out("File to write; must end in .difom.")
@options.force()
def pack(path: Path, out: Path, force: bool) -> None:
    """Pack BUNDLE into one uncompressed .difom file; every --bundle accepts either form."""
    from edge.bundle import reader as bundle

    bundle.pack(path, out, force=force)
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {console.quote(out)}")


@group.command(
    "unpack",
    short_help="Unpack a bundle into a directory.",
    epilog=console.examples(
        "edge-difom bundle unpack B.difom --out B",
        "edge-difom bundle unpack /media/stick/polyps.difom --out polyps",
        "edge-difom bundle unpack B.difom --out B --force",
    ),
)
@click.argument("path", metavar="PACKED", type=click.Path(path_type=Path))
@options.out("Directory to write.")
@options.force()
def unpack(path: Path, out: Path, force: bool) -> None:
    """Unpack PACKED, a .difom file, into a directory and verify every file."""
    from edge.bundle import reader as bundle

    bundle.unpack(path, out, force=force)
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {console.quote(out)}")
