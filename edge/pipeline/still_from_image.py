"""A still from a single image, as a running device would keep it from a camera.

It is here instead of in `edge.stills` because it runs the pipeline's analysis, which `edge.stills`
does not import.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2

from edge import __version__
from edge.datasets.pairs import read_image
from edge.errors import DataError
from edge.frame import Frame, Stage
from edge.imaging.field_of_view import estimate
from edge.imaging.view import restrict
from edge.inference.isolated import open_isolated
from edge.pipeline.analysis import analyze
from edge.status import State, Status
from edge.stills.record import BundleIdentity
from edge.stills.still import compose, now

if TYPE_CHECKING:
    from pathlib import Path

    from edge.bundle.reader import Bundle
    from edge.stills.still import Still


def still_from_image(path: Path, bundle: Bundle, engine_name: str = "auto") -> Still:
    """Segment an image file once and compose a still from it.

    The field of view is estimated from this image alone. The still has no time or device of the
    original recording, because the file does not tell them.

    Args:
        path: An image file, in any format that OpenCV reads.
        bundle: The bundle that segments the image.
        engine_name: As for `edge.engines.open.open_engine`.

    Raises:
        UsageError: The bundle has no such engine.
        DataError: `path` is not an image, or shows no field of view.
        BundleError: The bundle does not verify.
        MissingDependencyError: No runtime of its engines is installed.
        MachineError: The machine cannot run the engine's process.
    """
    picture = cv2.cvtColor(read_image(path), cv2.COLOR_RGB2BGR)
    view = estimate(picture)
    if not view.found:
        raise DataError(
            f"{path} shows no field of view",
            expected="an endoscopic image: everything outside its field of view is made black, "
            "because it may identify the patient",
            got="an image that is dark nearly everywhere",
        )
    engine = open_isolated(bundle, engine_name)
    try:
        frame = Frame(0, picture, 0, {Stage.CAPTURE: (0, 0)})
        result = restrict(analyze(frame, engine, bundle.manifest, view=view), view)
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
