"""A frame, its scores with spots, a round field of view, and a still of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.frame import Frame, OperatingPoint, Result, Stage
from edge.imaging.postprocess import regions
from edge.imaging.view import View
from edge.status import State, Status
from edge.stills.record import BundleIdentity
from edge.stills.still import Still, compose

if TYPE_CHECKING:
    from edge.frame import ImageU8

RUNNING = Status(State.RUNNING, None, 0)
WHO = BundleIdentity(
    name="tiny", digest="d" * 64, student="redness", created="2031", threshold=0.5, engine="tflite"
)


def circle(size: tuple[int, int]) -> View:
    """A round view on cells of a fourth of the frame."""
    cells = np.zeros((size[0] // 4, size[1] // 4), np.uint8)
    cv2.circle(
        cells, (cells.shape[1] // 2, cells.shape[0] // 2), cells.shape[0] * 2 // 5, 255, cv2.FILLED
    )
    return View((0, 0, size[1], size[0]), cells, size)


def full(view: View) -> ImageU8:
    return np.asarray(
        cv2.resize(view.mask, view.frame_size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
    )


def frame(size: tuple[int, int] = (67, 101), index: int = 7) -> Frame:
    image = np.random.default_rng(index).integers(1, 256, (*size, 3)).astype(np.uint8)
    return Frame(index, image, 1_000_000, {Stage.INFER: (2_000_000, 3_000_000)})


def result(size: tuple[int, int] = (67, 101), *spots: tuple[int, int]) -> Result:
    """Scores of 16x16 with a spot at each place, and their regions."""
    scores = np.full((16, 16), 20, np.uint8)
    for x, y in spots or ((8, 8),):
        scores[y - 1 : y + 2, x - 1 : x + 2] = 220
    found_regions = regions(scores, size, OperatingPoint(WHO.threshold, 0.001))
    return Result(scores, found_regions, sum(region.area for region in found_regions), None)


def still(size: tuple[int, int] = (67, 101), shown: Result | None = None, **changes: Any) -> Still:
    values: dict[str, Any] = {
        "version": "1",
        "taken": "2031-05-01T12:00:00+00:00",
        "asked_by": "pedal 1",
    }
    return compose(
        frame(size), shown or result(size), circle(size), RUNNING, WHO, **(values | changes)
    )
