"""`edge-difom data`: check and convert labeled images before a training."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, options
from edge_difom.cli.groups import LazyGroup


@click.group(
    "data",
    cls=LazyGroup,
    table={},
    short_help="Check and convert labeled images before a training.",
    epilog=console.examples(
        "edge-difom data check DIR",
        "edge-difom data check DIR1 DIR2 --sheet sheet.png",
        "edge-difom data convert annotations.json --out DIR",
    ),
)
def group() -> None:
    """Check and convert labeled images before a training."""


@group.command(
    "check",
    short_help="Read all images and masks and report what is wrong.",
    epilog=console.examples(
        "edge-difom data check DIR",
        "edge-difom data check DIR1 DIR2 --json check.json",
        "edge-difom data check DIR --sheet sheet.png",
    ),
)
@click.argument(
    "folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write small pictures of the frames with the outlines of their masks, as PNG.",
)
@console.json_option()
def check(folders: tuple[Path, ...], sheet: Path | None, json_path: str | None) -> None:
    """Read every image and mask of the folders DIR as a training would.

    Checked are the pairing, sizes and values of masks, frames without a polyp, masks that look
    swapped, pictures that occur twice, and pictures that are trained on and validated on. Exits
    with code 3 if a training would refuse the data or learn wrongly from them.
    """
    from edge.datasets.check import check_folders
    from edge.datasets.contact_sheet import contact_sheet
    from edge.errors import DataError
    from edge.util.files import PRIVATE_FILE, atomic_write

    report, checked = check_folders(folders, report=console.progress)
    console.table(
        ["folder", "part", "frames", "with polyp", "clean", "area %", "sequences", "sizes"],
        [
            [
                part.folder,
                part.part,
                part.frames,
                part.with_polyp,
                part.readable - part.with_polyp,
                None if part.area_median is None else round(100 * part.area_median, 1),
                part.sequences,
                _sizes(part.sizes),
            ]
            for part in report.parts
        ],
    )
    for finding in report.findings:
        console.say(f"{finding.kind}: {finding.text}")
    if json_path:
        console.write_json(json_path, report)
    pairs = [pair for part in checked for pair in part.pairs]
    if sheet and pairs:
        atomic_write(sheet, contact_sheet(pairs), mode=PRIVATE_FILE)
        console.made(sheet)
    if report.errors:
        raise DataError(
            f"{len(report.errors)} errors in the data",
            expected="data that a training can use",
            got=report.errors[0].text,
        )


def _sizes(sizes: dict[str, int]) -> str:
    size_texts = [f"{size} ({count})" for size, count in list(sizes.items())[:2]]
    return ", ".join(size_texts) + (f", {len(sizes) - 2} more" if len(sizes) > 2 else "")


@group.command(
    "convert",
    short_help="Convert annotations of other tools to images/ and masks/.",
    epilog=console.examples(
        "edge-difom data convert annotations.json --out DIR",
        "edge-difom data convert YOLO_DIR --out DIR --label polyp",
        "edge-difom data convert annotations.xml --images FRAMES_DIR --out DIR --force",
    ),
)
@click.argument("source", metavar="SRC", type=click.Path(path_type=Path))
@options.out()
@click.option(
    "--images",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the pictures, if they are not beside the annotations.",
)
@click.option(
    "--label",
    "labels",
    multiple=True,
    help="Class that counts as polyp; repeatable. Default: every class.",
)
@options.force("Replace the folder.")
def convert(
    source: Path, out: Path, images: Path | None, labels: tuple[str, ...], force: bool
) -> None:
    """Convert the annotations SRC, a file or a folder, to a data folder.

    COCO (polygons and run lengths), YOLO, LabelMe, CVAT for images, Pascal VOC, the boxes of
    Kvasir-SEG and CSV are recognized by their content. Annotations that are only boxes become
    boxes.json instead of masks/.
    """
    from edge.datasets.convert.read import read_annotations
    from edge.datasets.convert.write import write_folder
    from edge.util.files import refuse_existing

    refuse_existing(out, force=force)
    name, drawings = read_annotations(source, images)
    with console.progress(len(drawings), f"convert {name}") as bar:
        done = write_folder(drawings, out, labels=labels, force=force, bar=bar)
    console.say(
        f"{done.images} pictures, {done.with_polyp} with a polyp; shapes: "
        + ", ".join(f"{label or 'unnamed'} {count}" for label, count in done.labels.items())
    )
    if not done.masks:
        console.say("the annotations are boxes: boxes.json holds them, and there are no masks")
    console.made(out)
    console.next_command(f"edge-difom data check {out}")
