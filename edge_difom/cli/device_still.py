"""`edge-difom device still`: write a still, or an image and its mask, as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import DataError, UsageError
from edge_difom.cli import console, options

if TYPE_CHECKING:
    from edge.stills.still import Still

IMAGE, SEGMENTATION = "secondary-capture.dcm", "segmentation.dcm"


@click.command(
    "still",
    short_help="Write a still as DICOM.",
    epilog=console.examples(
        "edge-difom device still STILLS/still-20310501T120000Z-5b1f0c9e-1 --out DICOM",
        "edge-difom device still STILLS/still-20310501T120000Z-5b1f0c9e-1 --out DICOM "
        "--patient-id study-7 --no-burned-in-text",
        "edge-difom device still polyp.png --bundle B --out DICOM",
    ),
)
@click.argument("path", metavar="STILL_OR_IMAGE", type=click.Path(path_type=Path))
@options.out()
@options.bundle("For an image: the bundle that segments it, or the name of a shipped bundle.")
@options.engine()
@click.option("--patient-id", default="", metavar="ID", help="Patient ID to write. Default: none.")
@click.option(
    "--no-burned-in-text",
    is_flag=True,
    help="State that you looked at the image and no text inside the field of view identifies the "
    "patient or the date. Otherwise the DICOM file says that it may contain such text.",
)
@click.option(
    "--study-uid",
    default="",
    metavar="UID",
    help="Study to put the images into. Default: one study for the stills of a run.",
)
@options.force("Replace what is there.")
def command(
    path: Path,
    out: Path,
    bundle_path: Path | None,
    engine: str,
    patient_id: str,
    no_burned_in_text: bool,
    study_uid: str,
    force: bool,
) -> None:
    """Write STILL_OR_IMAGE as a DICOM Secondary Capture, and its mask as a Segmentation.

    RESEARCH USE ONLY. A still is a folder that `edge-difom run --stills` wrote. An image is
    segmented once by the bundle, and its field of view is estimated from this image alone. Pixels
    outside the field of view are black; no patient name and no study date are written. If no polyp
    was found, there is no Segmentation.
    """
    from edge.stills.files import read_still
    from edge.util.extras import require
    from edge.util.files import (
        PRIVATE_FILE,
        PRIVATE_FOLDER,
        atomic_dir,
        atomic_write,
        refuse_existing,
    )

    for package in ("highdicom", "pydicom"):
        require(package)
    refuse_existing(out, force=force)
    if path.is_dir():
        if bundle_path is not None:
            raise UsageError(
                f"{path} is a still and has its own mask",
                expected="a still without --bundle, or an image with --bundle",
            )
        still = read_still(path)
    else:
        still = _segment(path, bundle_path, engine)
    # Imported late: it takes most of a second.
    from edge.stills import dicom

    image = dicom.secondary_capture(
        still, patient_id=patient_id, clean=no_burned_in_text, study_uid=study_uid
    )
    segmentation = dicom.segmentation(still, image)
    with atomic_dir(out, force=force, mode=PRIVATE_FOLDER) as folder:
        atomic_write(folder / IMAGE, dicom.encode(image), mode=PRIVATE_FILE)
        if segmentation is not None:
            atomic_write(folder / SEGMENTATION, dicom.encode(segmentation), mode=PRIVATE_FILE)
    if segmentation is None:
        console.say(f"no Segmentation: {still.record.no_mask or 'no polyp was found'}")
    if still.record.field_of_view == (0, 0, still.record.size[1], still.record.size[0]):
        console.warn("the field of view is the whole frame, so nothing was made black")
    if not no_burned_in_text:
        console.say(
            "BurnedInAnnotation is YES: text inside the field of view is not ruled out. "
            "Look at the image, then pass --no-burned-in-text."
        )
    console.made(out)


def _segment(path: Path, bundle_path: Path | None, engine: str) -> Still:
    """Make the still of an image file."""
    if bundle_path is None:
        if not path.exists():
            raise DataError(f"{path} does not exist", expected="a still's folder, or an image")
        raise UsageError(
            f"{path} has no mask of its own",
            expected="a folder that `edge-difom run --stills` wrote, or an image with --bundle B",
            hint=f"edge-difom device still {path} --bundle B --out DICOM",
        )
    from edge.bundle.reader import Bundle
    from edge.pipeline.still_from_image import still_from_image

    return still_from_image(path, Bundle.open(bundle_path), engine)
