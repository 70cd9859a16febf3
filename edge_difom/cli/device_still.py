"""`edge-difom device still`: a still, or an image with a bundle, as DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import DataError, UsageError
from edge_difom.cli import console

if TYPE_CHECKING:
    from edge.stills.still import Still

IMAGE, SEGMENTATION = "secondary-capture.dcm", "segmentation.dcm"


@click.command(
    "still",
    short_help="Turn a still into DICOM.",
    epilog=console.examples(
        "edge-difom device still STILLS/still-20310501T120000Z-5b1f0c9e-1 --out DICOM",
        "edge-difom device still STILLS/still-20310501T120000Z-5b1f0c9e-1 --out DICOM --patient-id study-7 --clean",
        "edge-difom device still polyp.png --bundle B --out DICOM",
    ),
)
@click.argument("path", metavar="STILL_OR_IMAGE", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option(
    "--bundle", "bundle_path", type=click.Path(path_type=Path), help="Bundle that looks at an image."
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="openvino, tflite, onnx, or auto for the first that works.",
)
@click.option("--patient-id", default="", metavar="ID", help="Patient ID to write; none by default.")
@click.option(
    "--clean",
    is_flag=True,
    help="You looked: no text inside the field of view tells who the patient is, or when. "
    "Without it the image says that such text may be in it.",
)
@click.option("--force", is_flag=True, help="Replace what is there.")
def command(
    path: Path,
    out: Path,
    bundle_path: Path | None,
    engine: str,
    patient_id: str,
    clean: bool,
    force: bool,
) -> None:
    """Write STILL_OR_IMAGE as a DICOM Secondary Capture, and its mask as a Segmentation. RESEARCH USE ONLY.

    A still is what `edge-difom run --stills` kept. An image is looked at once by the bundle, its field of view found in
    it alone. Pixels outside the field of view are black; neither a name nor a date of the study is written. Where no
    polyp was found there is no Segmentation.
    """
    from edge.stills.files import FILE_MODE, FOLDER_MODE, read_still
    from edge.util.extras import require
    from edge.util.files import atomic_dir, atomic_write, refuse_existing

    for package in ("highdicom", "pydicom"):
        require(package)
    refuse_existing(out, force=force)
    if path.is_dir():
        if bundle_path is not None:
            raise UsageError(
                f"{path} has its own mask, or none", expected="a still without --bundle, or an image with it"
            )
        still = read_still(path)
    else:
        still = _look_at(path, bundle_path, engine)
    # Not before it is needed: the import takes most of a second.
    from edge.stills import dicom

    image = dicom.secondary_capture(still, patient_id=patient_id, clean=clean)
    found = dicom.segmentation(still, image)
    with atomic_dir(out, force=force, mode=FOLDER_MODE) as folder:
        atomic_write(folder / IMAGE, dicom.encode(image), mode=FILE_MODE)
        if found is not None:
            atomic_write(folder / SEGMENTATION, dicom.encode(found), mode=FILE_MODE)
    if found is None:
        console.say(f"no Segmentation: {still.record.no_mask or 'no polyp was found'}")
    if still.record.field_of_view == (0, 0, still.record.size[1], still.record.size[0]):
        console.warn("the field of view is the whole frame: nothing was made black")
    if not clean:
        console.say(
            "text inside the field of view is not excluded: BurnedInAnnotation is YES; look, then --clean"
        )
    console.made(out)


def _look_at(path: Path, bundle_path: Path | None, engine_name: str) -> Still:
    """The still of an image file, of which nothing is known but what a bundle finds.

    Raises:
        UsageError: No bundle is given, or it has no such engine.
        DataError: `path` is no image, or shows no field of view.
        BundleError: The bundle does not verify.
        MissingDependencyError: No runtime of its engines is installed.
    """
    import cv2

    from edge import __version__
    from edge.bundle.reader import Bundle
    from edge.datasets.pairs import read_image
    from edge.engines.open import open_engine
    from edge.frame import Frame, Stage
    from edge.imaging.field_of_view import estimate
    from edge.imaging.view import restrict
    from edge.pipeline.analysis import analyse
    from edge.status import State, Status
    from edge.stills.still import BundleIdentity, compose, now

    if bundle_path is None:
        if not path.exists():
            raise DataError(f"{path} does not exist", expected="a still's folder, or an image")
        raise UsageError(
            f"{path} has no mask of its own",
            expected="a folder that `edge-difom run --stills` wrote, or an image with --bundle B",
            hint=f"edge-difom device still {path} --bundle B --out DICOM",
        )
    picture = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    view = estimate(picture)
    if not view.found:
        raise DataError(
            f"{path} shows no field of view",
            expected="an endoscope's picture: what lies outside it is made black, because it may name the patient",
            got="a picture that is dark nearly everywhere",
        )
    bundle = Bundle.open(bundle_path)
    engine = open_engine(bundle, engine_name)
    try:
        frame = Frame(0, picture, 0, {Stage.CAPTURE: (0, 0)})
        result = restrict(analyse(frame, engine, bundle.manifest, view=view), view)
        return compose(
            frame,
            result,
            view,
            Status(State.RUNNING, None, 0),
            BundleIdentity.of(bundle, engine.name),
            version=__version__,
            taken=now().isoformat(timespec="milliseconds"),
            asked_by="command",
        )
    finally:
        engine.close()
