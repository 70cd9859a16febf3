"""The frames that the page of an evaluation shows: the best, the worst and the false alarms."""

from __future__ import annotations

import base64
from bisect import insort
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge.evaluation.metrics import ImageScore
    from edge.frame import ImageU8, MaskBool

_MAX_ENTRIES = 4
_WIDTH = 440
_TRUE, _PREDICTED = (64, 200, 255), (255, 176, 0)
"""RGB of the contours; color-blind readers can distinguish blue and orange."""


class Drawing(NamedTuple):
    """A further drawing of a frame: its caption, and a map (h, w), 0 to 1."""

    caption: str
    map: NDArray[np.float32]


class Picture(NamedTuple):
    """A frame on the page.

    Attributes:
        row: Its figures.
        original: The frame as a data URL.
        url: The frame with the outlines of truth and prediction, as a data URL.
        further: Captions and data URLs of further drawings.
    """

    row: ImageScore
    original: str
    url: str
    further: tuple[tuple[str, str], ...] = ()


class Gallery:
    """Collects the frames to show during an evaluation; pass `add` as its `seen`.

    Args:
        further: Draws what else a frame shows, from (H, W, 3) uint8 RGB; None draws nothing.
    """

    def __init__(self, further: Callable[[ImageU8], list[Drawing]] | None = None) -> None:
        self._further = further
        self._entries: dict[str, list[tuple[float, Picture]]] = {
            "best": [],
            "worst": [],
            "alarms": [],
        }

    def add(self, row: ImageScore, image: ImageU8, true: MaskBool, predicted: MaskBool) -> None:
        """Keep the frame if it is among the best, the worst or the false alarms.

        Args:
            row: Figures of the frame.
            image: (H, W, 3) uint8 RGB.
            true: (H, W) bool.
            predicted: (H, W) bool.
        """
        if row.dice is not None:
            ranks = {"best": -row.dice, "worst": row.dice}
        else:
            ranks = {"alarms": -row.area_found} if row.flagged else {}
        places = [
            (self._entries[kind], rank)
            for kind, rank in ranks.items()
            if len(self._entries[kind]) < _MAX_ENTRIES or rank < self._entries[kind][-1][0]
        ]
        if places:
            small = fit_width(image)
            further = [] if self._further is None else self._further(image)
            picture = Picture(
                row,
                jpeg_url(small),
                jpeg_url(outlined(small, true, predicted)),
                tuple((drawing.caption, _map_url(drawing.map)) for drawing in further),
            )
            for entries, rank in places:
                insort(entries, (rank, picture), key=lambda item: item[0])
                del entries[_MAX_ENTRIES:]

    @property
    def worst(self) -> list[Picture]:
        """Return the frames with the lowest Dice, the lowest first."""
        return [picture for _, picture in self._entries["worst"]]

    @property
    def best(self) -> list[Picture]:
        """Return the frames with the highest Dice, the highest first, without the worst ones."""
        return [picture for _, picture in self._entries["best"] if picture not in self.worst]

    @property
    def alarms(self) -> list[Picture]:
        """Return flagged polyp-free frames, the largest predicted area first."""
        return [picture for _, picture in self._entries["alarms"]]


def fit_width(image: ImageU8, width: int = _WIDTH) -> ImageU8:
    """Scale an image, (H, W, 3) uint8, to a width in pixels."""
    height, wide = image.shape[:2]
    size = (width, max(1, round(height * width / wide)))
    how = cv2.INTER_AREA if wide > width else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=how), np.uint8)


def outlined(image: ImageU8, true: MaskBool | None, predicted: MaskBool) -> ImageU8:
    """Draw the outlines of masks of any size on a copy of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        true: The true mask; None leaves it out.
        predicted: The predicted mask.
    """
    canvas: ImageU8 = image.copy()
    size = (canvas.shape[1], canvas.shape[0])
    for mask, color in ((true, _TRUE), (predicted, _PREDICTED)):
        if mask is None:
            continue
        small = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(canvas, outlines, -1, (0, 0, 0), 4)
        cv2.drawContours(canvas, outlines, -1, color, 2)
    return canvas


def _map_url(values: NDArray[np.float32]) -> str:
    """A map (h, w), 0 to 1, as a data URL of a gray picture at half of the page's width."""
    height, width = values.shape
    size = (_WIDTH // 2, max(1, round(height * _WIDTH / 2 / width)))
    gray = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    large = cv2.resize(gray, size, interpolation=cv2.INTER_NEAREST)
    return jpeg_url(np.asarray(cv2.cvtColor(large, cv2.COLOR_GRAY2RGB), np.uint8))


def jpeg_url(picture: ImageU8) -> str:
    """Encode an image, (H, W, 3) uint8 RGB, as a data URL."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
