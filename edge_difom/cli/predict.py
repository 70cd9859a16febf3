"""`edge-difom predict`: masks, contours and areas of a folder of images."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import UsageError
from edge_difom.cli import console, options


@click.command(
    "predict",
    short_help="Write the masks of a folder of images as files.",
    epilog=console.examples(
        "edge-difom predict --source images:DIR --out masks",
        "edge-difom predict --source DIR --out masks --bundle edge-xs --engine tflite",
        "edge-difom predict --source DIR --out masks --force --json -",
    ),
)
@click.option("--source", required=True, metavar="[images:]DIR", help="Folder of images.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder to create: masks/NAME.png, contours.json (COCO) and areas.csv.",
)
@options.bundle(
    "Bundle: a directory, a .difom file, or the name of a shipped bundle. Default: the shipped "
    "edge-s."
)
@options.engine()
@options.precision()
@options.threads()
@options.force("Replace the folder if it exists.")
@console.json_option("Write the summary as JSON; `-` prints it on stdout.")
def command(
    source: str,
    out: Path,
    bundle_path: Path | None,
    engine: str,
    precision: str,
    threads: int | None,
    force: bool,
    json_path: str | None,
) -> None:
    """Find polyps in single images. RESEARCH USE ONLY, NOT A MEDICAL DEVICE.

    Each image gets a mask of its own size under its own name. Neither the frame guard nor smoothing
    over time applies, as in `run` on a folder of images. Images that cannot be read, or were not
    judged, have no mask and are listed with the reason.
    """
    from edge.inference.isolated import open_isolated
    from edge.prediction.folder import AREAS, CONTOURS, MASKS, find_images, predict_folder
    from edge.prediction.predictor import Predictor
    from edge.util.files import refuse_existing
    from edge.util.spec import expand, parse
    from edge_difom.api.device import open_bundle

    spec = parse(source) if source.startswith("images:") else None
    if spec is not None:
        spec.refuse_options()
    folder = expand(source) if spec is None else spec.path
    if out.resolve() == folder.resolve() or out.resolve() in folder.resolve().parents:
        raise UsageError(
            f"{out} holds the images", expected="another folder for the results", got=str(out)
        )
    refuse_existing(out, force=force)
    images = find_images(folder)
    bundle = open_bundle(bundle_path)
    opened = open_isolated(bundle, engine, threads=threads, precision=precision)
    with Predictor(bundle, opened) as predictor:
        summary = predict_folder(predictor, images, out, force=force, report=console.progress)
    for name, reason in summary.unreadable.items():
        console.warn(f"{name} cannot be read: {reason}")
    for name, reason in summary.not_judged.items():
        console.warn(f"{name} was not judged: {reason}")
    console.say(
        f"{summary.n} images judged by {summary.bundle} ({summary.engine}), "
        f"{summary.with_regions} with a region"
    )
    console.made(out / MASKS, out / CONTOURS, out / AREAS)
    if json_path:
        console.write_json(json_path, summary)
