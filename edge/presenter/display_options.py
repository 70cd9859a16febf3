"""How the presenter shows the overlay, and the canvas that comes of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.frame import ImageU8

BACKGROUNDS = ("black", "chroma", "key")
"""Behind the layer: black for a second monitor or a luma keyer, a colour for a chroma keyer; `key` shows in white
where the layer is, as the key signal beside the layer's fill."""

CHROMA = (255, 0, 255)
"""RGB; no colour of the overlay comes near it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the overlay is shown.

    Attributes:
        fullscreen: On the whole display, otherwise in a window.
        display: Number of the display.
        size: Width and height of a window.
        background: One of `BACKGROUNDS`.
        picture: Show the frame behind the layer, where the stream has it.
    """

    fullscreen: bool = False
    display: int = 0
    size: tuple[int, int] = (1280, 720)
    background: str = "black"
    picture: bool = False

    @classmethod
    def from_text(cls, text: str) -> Self:
        """A look as `fullscreen,display=1,background=chroma,picture,size=1280x720`, any part of it or nothing.

        Raises:
            UsageError: Unknown option, or a value that does not fit.
        """
        given: dict[str, Any] = {}
        for part in filter(None, text.split(",")):
            name, _, value = part.partition("=")
            size = re.fullmatch(r"([1-9]\d{1,3})x([1-9]\d{1,3})", value)
            if part in ("fullscreen", "picture"):
                given[part] = True
            elif name == "display" and re.fullmatch(r"\d", value):
                given[name] = int(value)
            elif name == "background" and value in BACKGROUNDS:
                given[name] = value
            elif name == "size" and size:
                given[name] = int(size[1]), int(size[2])
            else:
                raise UsageError(
                    f"unknown option {part!r} of window:",
                    expected=f"fullscreen, display=N, size=WxH, picture, background={'|'.join(BACKGROUNDS)}",
                    hint="--sink window:fullscreen,display=1",
                )
        if given.get("picture") and given.get("background", "black") != "black":
            raise UsageError("a keyer gets the layer alone", expected="either picture or background")
        return cls(**given)

    def __str__(self) -> str:
        parts = [name for name in ("fullscreen", "picture") if getattr(self, name)]
        size = f"size={self.size[0]}x{self.size[1]}"
        return ",".join([*parts, f"display={self.display}", f"background={self.background}", size])


def compose(layer: ImageU8, picture: ImageU8 | None, look: Look, size: tuple[int, int]) -> ImageU8:
    """The canvas of a display.

    Args:
        layer: (H, W, 4) RGBA.
        picture: (H, W, 3) RGB, or None.
        look: How it is shown.
        size: Width and height of the display.

    Returns:
        (height, width, 3) RGB: the layer as large as it fits, in the middle. Where its size is the display's, each
        of its pixels is one of the display.
    """
    height, width = layer.shape[:2]
    alpha = np.ascontiguousarray(layer[..., 3])
    if look.background == "key":
        canvas = np.repeat(alpha[..., None], 3, axis=2)
    else:
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = picture if look.picture and picture is not None else _behind(look)
        cv2.copyTo(cv2.cvtColor(layer, cv2.COLOR_RGBA2RGB), alpha, canvas)
    if (width, height) == size:
        return canvas
    scale = min(size[0] / width, size[1] / height)
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    # A keyer must not see colours that lie between layer and background.
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    fitted = cv2.resize(canvas, (w, h), interpolation=smooth if look.picture else cv2.INTER_NEAREST)
    whole = np.empty((size[1], size[0], 3), np.uint8)
    whole[:] = _behind(look)
    left, top = (size[0] - w) // 2, (size[1] - h) // 2
    whole[top : top + h, left : left + w] = fitted
    return whole


def _behind(look: Look) -> tuple[int, int, int]:
    return CHROMA if look.background == "chroma" else (0, 0, 0)
