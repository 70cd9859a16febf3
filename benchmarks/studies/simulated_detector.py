"""A simulated detector, independent of any student: true boxes and mistakes by a stated process.

False positives begin at random, `per_minute` times a minute, and last a geometric number of frames.
The GI Genius study counted most of them below 3 frames and 88 % at most 6 (at 25 to 30 frames a
second): `staying` = 0.7 gives 51 % below 3 and 88 % at most 6. A polyp is also missed in runs of
frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.frame import Box, ImageU8

MAP = (88, 88)
"""Height and width of the score maps."""


@dataclass(frozen=True, kw_only=True)
class Mistakes:
    """The process of the mistakes, per frame at 30 frames a second.

    At other rates, mistakes last equally long.

    Attributes:
        per_minute: False positives that begin per minute.
        staying: Probability that a false positive lasts one more frame.
        missing: Probability that a found polyp is missed on the next frame.
        missing_on: Probability that a missed polyp is missed again.
        late: Maximum number of frames after which a polyp is first found.
    """

    per_minute: float = 10.0
    staying: float = 0.7
    missing: float = 0.05
    missing_on: float = 0.6
    late: int = 5


def scores_of(
    truth: Sequence[Sequence[Box]],
    frame_size: tuple[int, int],
    *,
    fps: float,
    mistakes: Mistakes | None = None,
    seed: int = 0,
) -> Iterator[ImageU8]:
    """Yield the score maps of a simulated detector.

    Args:
        truth: Boxes of the polyps on each frame, frame pixels.
        frame_size: Height and width of the frames.
        fps: Frames per second.
        mistakes: Process of the mistakes.
        seed: Random seed.

    Yields:
        (h, w) uint8 in 1/256, one for each frame.
    """
    process, rng = mistakes or Mistakes(), np.random.default_rng(seed)
    begin, stay = process.per_minute / 60 / fps, process.staying ** (30 / fps)
    miss, stay_missed = process.missing * 30 / fps, process.missing_on ** (30 / fps)
    false: list[_Blob] = []
    missed, late = False, 0
    for number, boxes in enumerate(truth):
        scores = np.zeros(MAP, np.uint8)
        if boxes and (number == 0 or not truth[number - 1]):
            late = int(rng.integers(process.late + 1) * fps / 30)
        missed = bool(rng.random() < (stay_missed if missed else miss)) or late > 0
        late -= late > 0
        for box in () if missed else boxes:
            _draw(scores, _cells(box, frame_size, rng), int(rng.normal(215, 20)))
        false = [blob.moved(rng) for blob in false if rng.random() < stay]
        for _ in range(rng.poisson(begin)):
            false.append(_Blob(*rng.uniform((0.1, 0.1, 0.02), (0.9, 0.9, 0.12)).tolist()))
        for blob in false:
            _draw(scores, blob.cells(), int(rng.normal(180, 25)))
        yield scores


@dataclass(frozen=True, slots=True)
class _Blob:
    """A false positive: center and radius as shares of the frame."""

    x: float
    y: float
    radius: float

    def moved(self, rng: np.random.Generator) -> _Blob:
        dx, dy = rng.normal(0, 0.01, 2).tolist()
        return _Blob(self.x + dx, self.y + dy, self.radius)

    def cells(self) -> tuple[float, float, float, float]:
        height, width = MAP
        return self.x * width, self.y * height, self.radius * width, self.radius * height


def _cells(
    box: Box, frame_size: tuple[int, int], rng: np.random.Generator
) -> tuple[float, float, float, float]:
    """Return center and half axes, in cells, of an ellipse at a slightly random place in a box."""
    fx, fy = MAP[1] / frame_size[1], MAP[0] / frame_size[0]
    x, y, w, h = box
    off = rng.normal(0, 0.05, 2)
    return (x + w * (0.5 + off[0])) * fx, (y + h * (0.5 + off[1])) * fy, w * fx / 2, h * fy / 2


def _draw(scores: ImageU8, ellipse: tuple[float, float, float, float], value: int) -> None:
    x, y, a, b = ellipse
    center, axes = (round(x * 16), round(y * 16)), (max(8, round(a * 16)), max(8, round(b * 16)))
    canvas = np.zeros_like(scores)
    cv2.ellipse(canvas, center, axes, 0, 0, 360, min(max(value, 0), 255), cv2.FILLED, cv2.LINE_8, 4)
    cv2.max(scores, canvas, dst=scores)
