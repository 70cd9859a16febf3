"""Render reports as one self-contained HTML file; the only module that imports jinja2."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from edge import __version__
from edge.bundle.manifest import RESEARCH_USE
from edge.util.installation import missing_extra

if TYPE_CHECKING:
    from pathlib import Path


def render(template: str, **values: Any) -> str:
    """Render a template; everything is escaped except values that are marked safe.

    Raises:
        MissingDependencyError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ModuleNotFoundError as error:
        raise missing_extra("jinja2", "report") from error
    environment = Environment(
        loader=PackageLoader("edge.reports"), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(
        version=__version__, research_use=RESEARCH_USE, **values
    )


def video_stills(path: Path, count: int) -> list[str]:
    """Return `count` evenly spaced frames of a video as data URLs of JPEG images."""
    import cv2

    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        frames.append(frame)
    video.release()
    chosen = [
        frames[round((index + 0.5) * len(frames) / count - 0.5)]
        for index in range(min(count, len(frames)))
    ]
    encoded = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in chosen]
    return [f"data:image/jpeg;base64,{base64.b64encode(data).decode()}" for data in encoded]
