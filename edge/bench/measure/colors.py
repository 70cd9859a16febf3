"""Check a camera's colors against a test card: wrong range, wrong matrix, swapped channels.

The card shows eight vertical bars at 75 % (EIA-189-A with a black bar): gray, yellow, cyan, green,
magenta, red, blue, black. A capture path that mistakes studio range (16 to 235) for full range, or
decodes ITU-R BT.601 as BT.709, changes them in a way that is known beforehand, so the fault can be
named.
"""

from __future__ import annotations

import time
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import Interruption, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edge.contracts import Source
    from edge.frame import ImageU8

NAMES = ("gray", "yellow", "cyan", "green", "magenta", "red", "blue", "black")
"""Bars from left to right."""

_LEVEL = 191.0
BARS = _LEVEL * np.array(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]]
)
"""(8, 3) RGB levels of the bars."""

ROWS = (0.15, 0.5)
"""Part of the frame's height in which the bars are measured; some cards have other fields below."""

TOLERANCE = 12.0
"""Largest error of a channel, levels, of a card that arrives correctly."""

_MATRICES = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}
_FRAMES = 10
_SECONDS = 10.0


class ColorReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a camera makes of the test card.

    Attributes:
        source: Description of the camera.
        frames: Number of frames that were averaged.
        bars: Bar -> measured RGB levels, 0 to 255.
        error: Largest difference of a channel from the card, levels.
        fault: What explains the difference best; empty if the colors are right, `no known fault` if
            nothing explains it.
        ok: Whether every channel is within `TOLERANCE`.
    """

    source: str
    frames: int
    bars: dict[str, tuple[float, float, float]]
    error: float
    fault: str
    ok: bool


def draw_card(height: int = 720, width: int = 1280) -> ImageU8:
    """Return the test card as a (height, width, 3) uint8 BGR picture."""
    edges = np.linspace(0, width, len(BARS) + 1).round().astype(int)
    card = np.zeros((height, width, 3), np.uint8)
    for left, right, color in zip(edges, edges[1:], BARS, strict=False):
        card[:, left:right] = color[::-1]
    return card


def measure_bars(image: ImageU8) -> NDArray[np.float64]:
    """Return the (8, 3) mean RGB levels of the bars of a (H, W, 3) BGR frame that they fill."""
    height, width = image.shape[:2]
    rows = slice(int(ROWS[0] * height), max(int(ROWS[1] * height), int(ROWS[0] * height) + 1))
    edges = np.linspace(0, width, len(BARS) + 1)
    quarter = (edges[1] - edges[0]) / 4  # the middle half of a bar
    return np.array(
        [
            image[rows, int(left + quarter) : max(int(right - quarter), int(left + quarter) + 1)]
            .reshape(-1, 3)
            .mean(0)[::-1]
            for left, right in pairwise(edges)
        ]
    )


def faulty_cards() -> dict[str, NDArray[np.float64]]:
    """Return fault -> (8, 3) RGB levels that it makes of the card."""
    squeezed = 16 + BARS * 219 / 255
    expanded = np.clip((BARS - 16) * 255 / 219, 0, 255)
    return {
        "studio range is shown as full range: the picture is flat": squeezed,
        "full range is taken for studio range: dark and bright parts are cut off": expanded,
        "BT.601 is decoded as BT.709": _decoded("601", "709"),
        "BT.709 is decoded as BT.601": _decoded("709", "601"),
        "red and blue are swapped": BARS[:, ::-1],
    }


def judge_colors(bars: NDArray[np.float64], *, source: str = "", frames: int = 1) -> ColorReport:
    """Compare measured bars with the card and name the likeliest fault.

    Args:
        bars: As `measure_bars` returns them.
        source: Description of the camera.
        frames: Number of averaged frames.
    """
    error = float(np.abs(bars - BARS).max())
    fault = ""
    if error > TOLERANCE:
        apart = {name: float(np.abs(bars - card).max()) for name, card in faulty_cards().items()}
        nearest = min(apart, key=lambda name: apart[name])
        fault = nearest if apart[nearest] <= TOLERANCE else "no known fault"
    return ColorReport(
        source=source,
        frames=frames,
        bars={
            name: (round(float(red), 1), round(float(green), 1), round(float(blue), 1))
            for name, (red, green, blue) in zip(NAMES, bars, strict=True)
        },
        error=round(error, 1),
        fault=fault,
        ok=error <= TOLERANCE,
    )


def measure_colors(
    source: Source, *, frames: int = _FRAMES, clock: Callable[[], float] = time.monotonic
) -> ColorReport:
    """Average frames of a camera that sees the card in its whole picture, and judge them.

    Args:
        source: A camera, not yet open.
        frames: Number of frames to average.
        clock: Seconds.

    Raises:
        SourceError: The camera gives no frame for ten seconds.
    """
    found: list[NDArray[np.float64]] = []
    with source:
        end = clock() + _SECONDS
        while len(found) < frames:
            try:
                frame = source.read()
            except (TimeoutError, Interruption):
                frame = None
            if frame is not None:
                found.append(measure_bars(frame.image))
            elif clock() > end:
                raise SourceError(
                    f"{source.description} gave {len(found)} frames in {_SECONDS:g} s",
                    expected=f"{frames} frames of a test card",
                    hint="check cable, power and format of the camera",
                )
        described = source.description
    return judge_colors(np.mean(found, axis=0), source=described, frames=len(found))


def _decoded(made: str, read: str) -> NDArray[np.float64]:
    """Return the card after it was encoded by one matrix and decoded by a different one."""
    red, blue = _MATRICES[made]
    luma = BARS @ np.array([red, 1 - red - blue, blue])
    cb = (BARS[:, 2] - luma) / (2 * (1 - blue))
    cr = (BARS[:, 0] - luma) / (2 * (1 - red))
    red, blue = _MATRICES[read]
    r, b = luma + 2 * (1 - red) * cr, luma + 2 * (1 - blue) * cb
    g = (luma - red * r - blue * b) / (1 - red - blue)
    levels: NDArray[np.float64] = np.clip(np.stack([r, g, b], axis=1), 0, 255)
    return levels
