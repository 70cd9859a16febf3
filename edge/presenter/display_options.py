"""Options of the presenter, and the composition of its canvas."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.errors import UsageError
from edge.util.spec import Spec, choice, option, switch, whole

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.frame import ImageU8

BACKGROUNDS = ("black", "chroma", "key")
"""What is behind the layer.

`black` is for a second monitor or a luma keyer, `chroma` a color for a chroma keyer, and `key`
shows the layer's shape in white, as the key signal beside the fill.
"""

ALPHA = "alpha"
"""The background of a keyer that takes the layer with its transparency; no display shows it."""

CHROMA = (255, 0, 255)
"""RGB; no color of the overlay is similar."""

_SWITCHES = ("fullscreen", "picture")


def _read_size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9][0-9]{1,3})x([1-9][0-9]{1,3})", text)
    if match is None:
        raise ValueError("WIDTHxHEIGHT in pixels, such as 1280x720")
    return int(match[1]), int(match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayOptions:
    """How the overlay is shown: the options of `window:`.

    Attributes:
        fullscreen: Whether the overlay fills the whole display; otherwise it is in a window.
        display: Number of the display, from 0.
        size: Width and height of a window, pixels.
        background: One of `BACKGROUNDS`, or `ALPHA`.
        picture: Whether the frame is shown behind the layer, if the stream has it.
    """

    fullscreen: bool = option(switch, False)
    display: int = option(whole(0, 9), 0)
    size: tuple[int, int] = option(_read_size, (1280, 720))
    background: str = option(choice(*BACKGROUNDS), "black")
    picture: bool = option(switch, False)

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Read the options of `window:`, which may also be a list: `fullscreen,display=1`.

        Raises:
            UsageError: An option is unknown or does not fit, or options exclude each other.
        """
        options = spec.with_list(_SWITCHES).read(cls)
        if options.picture and options.background != "black":
            raise UsageError(
                "a keyer gets the layer alone", expected="either picture or background"
            )
        return options

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Read a list of options, as `str` writes it; see `from_spec`."""
        return cls.from_spec(Spec("window", text))

    def __str__(self) -> str:
        switches = [name for name in _SWITCHES if getattr(self, name)]
        size = f"size={self.size[0]}x{self.size[1]}"
        return ",".join(
            [*switches, f"display={self.display}", f"background={self.background}", size]
        )


def compose(
    layer: ImageU8, picture: ImageU8 | None, options: DisplayOptions, size: tuple[int, int]
) -> ImageU8:
    """Compose the canvas of a display.

    Args:
        layer: (H, W, 4) uint8 RGBA.
        picture: (H, W, 3) uint8 RGB, or None.
        options: How the layer is shown.
        size: Width and height of the display, pixels.

    Returns:
        (height, width, 3) uint8 RGB with the layer centered, as large as it fits; (height, width,
        4) RGBA for `ALPHA`. If the sizes are equal, each pixel of the layer is a pixel of the
        display.
    """
    height, width = layer.shape[:2]
    alpha = np.ascontiguousarray(layer[..., 3])
    if options.background == ALPHA:
        canvas = np.ascontiguousarray(layer)
    elif options.background == "key":
        canvas = np.repeat(alpha[..., None], 3, axis=2)
    else:
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = picture if options.picture and picture is not None else _behind(options)
        cv2.copyTo(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), alpha, canvas)
    if (width, height) == size:
        return canvas
    scale = min(size[0] / width, size[1] / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    # A keyer must not see colors between layer and background.
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(
        canvas, (w, h), interpolation=smooth if options.picture else cv2.INTER_NEAREST
    )
    framed = np.zeros((size[1], size[0], canvas.shape[2]), np.uint8)
    if options.background != ALPHA:
        framed[:] = _behind(options)
    left, top = (size[0] - w) // 2, (size[1] - h) // 2
    framed[top : top + h, left : left + w] = fitted
    return framed


def _behind(options: DisplayOptions) -> tuple[int, int, int]:
    return CHROMA if options.background == "chroma" else (0, 0, 0)
