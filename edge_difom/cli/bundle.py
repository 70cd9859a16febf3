"""`edge-difom bundle`: make, show, pack and unpack bundles; the verbs that sign them are the bridge's."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console
from edge_difom.cli.groups import LazyGroup


@click.group(
    "bundle",
    cls=LazyGroup,
    table={
        "make": ("edge_difom.cli.bundle_make:make", "Make a bundle of a quantized run."),
        "train": (
            "edge_difom.cli.bundle_make:train",
            "Train a student and make its bundle, from images in one go.",
        ),
        "weights": (
            "edge_difom.cli.bundle_make:weights",
            "Write the float weights of a bundle's student, to train from.",
        ),
        "keygen": ("edge_difom.cli.bundle_sign:keygen", "Make a publisher's keys."),
        "publish": ("edge_difom.cli.bundle_sign:publish", "Sign a bundle into a repository for devices."),
        "sbom": ("edge_difom.cli.bundle_sbom:sbom", "Write a bundle's bill of materials."),
        "sign": ("edge_difom.cli.bundle_sign:sign", "Sign a repository anew, or change its keys."),
    },
    short_help="Make, show, pack, sign and publish bundles.",
    epilog=console.examples(
        "edge-difom bundle make RUN --out B",
        "edge-difom bundle show B",
        "edge-difom bundle pack B --out B.difom",
        "edge-difom bundle publish B --repository /media/stick/polyps --keys KEYS",
    ),
)
def group() -> None:
    """Bundles: directories or .difom files that hold a model's engines and all that a device must know."""


@group.command(
    "show",
    short_help="Print what a bundle holds.",
    epilog=console.examples(
        "edge-difom bundle show B",
        "edge-difom bundle show B.difom --json -",
        "edge-difom bundle show B --json manifest.json",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@console.json_option("Write the manifest as JSON; `-` prints it on stdout.")
def show(path: Path, json_path: str | None) -> None:
    """Print engines, accuracy and provenance of BUNDLE (the files' hashes are checked by `verify`)."""
    from edge.bundle.reader import Bundle

    bundle = Bundle.open(path)
    manifest = bundle.manifest
    console.say(f"{manifest.name}  {bundle.digest}")
    console.say(manifest.intended_use)
    console.table(
        ["part", "is"],
        [
            ["student", manifest.provenance.student],
            ["teachers", ", ".join(manifest.provenance.teachers) or "none"],
            ["made", manifest.provenance.created],
            ["licence", manifest.licence],
            [
                "input",
                f"{manifest.input.width}x{manifest.input.height} {manifest.input.colour} {manifest.input.dtype} of the {manifest.input.field_of_view}",
            ],
            [
                "output",
                f"{manifest.output.width}x{manifest.output.height}, threshold {manifest.output.threshold}",
            ],
            [
                "regions",
                f"at least {manifest.output.min_region:.2%} of what is shown, highest score at least {manifest.output.least_peak:g}",
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
            ["data set", "engine", "images", "Dice", "95 % low", "95 % high", "IoU", "polyp-free", "flagged"],
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
                ]
                for row in manifest.accuracy
            ],
        )
    if json_path:
        console.write_json(json_path, manifest)
        if json_path != "-":
            console.made(json_path)
    console.next_command(f"edge-difom verify --bundle {path}")


@group.command(
    "pack",
    short_help="Write a bundle as one file.",
    epilog=console.examples(
        "edge-difom bundle pack B --out B.difom",
        "edge-difom bundle pack B --out /media/stick/polyps.difom",
        "edge-difom bundle pack B --out B.difom --force",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File to write, ending in .difom."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def pack(path: Path, out: Path, force: bool) -> None:
    """Write BUNDLE as one uncompressed .difom file; every --bundle takes either form."""
    from edge.bundle import reader as bundle

    bundle.pack(path, out, force=force)
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {out}")


@group.command(
    "unpack",
    short_help="Write a packed bundle as a directory.",
    epilog=console.examples(
        "edge-difom bundle unpack B.difom --out B",
        "edge-difom bundle unpack /media/stick/polyps.difom --out polyps",
        "edge-difom bundle unpack B.difom --out B --force",
    ),
)
@click.argument("path", metavar="PACKED", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Directory to write.")
@click.option("--force", is_flag=True, help="Replace what is there.")
def unpack(path: Path, out: Path, force: bool) -> None:
    """Write PACKED as a directory, every file verified."""
    from edge.bundle import reader as bundle

    bundle.unpack(path, out, force=force)
    console.made(out)
    console.next_command(f"edge-difom verify --bundle {out}")
