"""Formats of raw video: what a source may deliver, what is refused, and pixels in BGR.

Numbers of colorimetry are those of GStreamer's `GstVideoColorimetry`, `range:matrix:transfer:primaries`; layouts are
its default ones, rows rounded up to 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from edge.frame import ImageU8
    from edge.imaging.buffer_pool import PictureMemory

LEAST, MOST = (16, 16), (4096, 4096)
"""Width and height of pictures that are taken."""

SLOWEST, FASTEST = 5.0, 240.0
"""Frames per second that are taken, where a rate is declared."""

_PACKED = {"YUY2": cv2.COLOR_YUV2BGR_YUY2, "UYVY": cv2.COLOR_YUV2BGR_UYVY}
_PLANAR = {"NV12": cv2.COLOR_YUV2BGR_NV12, "I420": cv2.COLOR_YUV2BGR_I420}

LAYOUTS = ("BGR", *_PACKED, *_PLANAR)
"""Raw layouts that `to_bgr` reads."""

_NAMED = {"bt601": (2, 4), "bt709": (2, 3), "smpte240m": (2, 5), "sRGB": (1, 1)}
_LUMA = {3: (0.2126, 0.0722), 4: (0.299, 0.114), 5: (0.212, 0.087)}
"""Matrix -> weights of red and blue in luma (BT.709, BT.601, SMPTE 240M)."""
_BT601 = 4
_SD_LINES = 576


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What the pictures of a source look like.

    Attributes:
        layout: Layout of raw pixels as GStreamer names it, or `JPEG`.
        width: Pixels.
        height: Pixels.
        fps: Frames per second, None where the source declares none.
        scan: `progressive`, or the kind of interlacing.
        colorimetry: As GStreamer writes it; empty where it is not declared.
    """

    layout: str
    width: int
    height: int
    fps: float | None = None
    scan: str = "progressive"
    colorimetry: str = ""

    def __str__(self) -> str:
        rate = f" at {self.fps:.4g} fps" if self.fps else ""
        scan = "" if self.scan == "progressive" else f", interlaced ({self.scan})"
        return f"{self.width}x{self.height} {self.layout}{rate}{scan}"

    @classmethod
    def from_caps(cls, structure: Any) -> VideoFormat:
        """The format of the first structure of negotiated caps (a `Gst.Structure`)."""
        (_, width), (_, height) = structure.get_int("width"), structure.get_int("height")
        known, numerator, denominator = structure.get_fraction("framerate")
        raw = structure.get_name() == "video/x-raw"
        return cls(
            layout=structure.get_string("format") or "" if raw else "JPEG",
            width=width,
            height=height,
            fps=numerator / denominator if known and numerator > 0 else None,
            scan=structure.get_string("interlace-mode") or "progressive",
            colorimetry=structure.get_string("colorimetry") or "",
        )

    def refusal(self) -> Reason | None:
        """Why such pictures are refused, naming the format; None if they are accepted."""
        if self.scan != "progressive":
            return Reason(ReasonKind.INTERLACED, f"{self} cannot be deinterlaced here")
        sizes = zip((self.width, self.height), LEAST, MOST, strict=True)
        if not all(least <= side <= most for side, least, most in sizes):
            beyond = f"{self} is beyond {LEAST[0]}x{LEAST[1]} to {MOST[0]}x{MOST[1]}"
            return Reason(ReasonKind.OUT_OF_RANGE, beyond)
        if self.fps is not None and not SLOWEST <= self.fps <= FASTEST:
            beyond = f"{self} is beyond {SLOWEST:g} to {FASTEST:g} fps"
            return Reason(ReasonKind.OUT_OF_RANGE, beyond)
        return None

    def same_pictures(self, other: VideoFormat) -> bool:
        """Whether size, rate and scan are equal, so that nothing downstream changes."""
        return (self.width, self.height, self.fps, self.scan) == (
            other.width,
            other.height,
            other.fps,
            other.scan,
        )

    @property
    def readable(self) -> bool:
        """Whether `to_bgr` gives exact colours: YUV of studio range, a known matrix and rows without padding."""
        if self.layout in ("BGR", "JPEG"):
            return True
        full, matrix = self._colours()
        packed = self.width % 8 == 0 and self.height % 2 == 0
        return self.layout in LAYOUTS and packed and not full and matrix in _LUMA

    def _colours(self) -> tuple[bool, int]:
        """Whether the range is full, and the matrix; an undeclared one is what pictures of that height have."""
        numbers = _NAMED.get(self.colorimetry)
        if numbers is None:
            parts = self.colorimetry.split(":")
            numbers = (
                (int(parts[0]), int(parts[1])) if len(parts) == 4 and "".join(parts).isdigit() else (0, 0)
            )
        usual = 3 if self.height > _SD_LINES else _BT601
        return numbers[0] == 1, numbers[1] or usual

    def matrix(self) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """(3, 4) float32 from Y', Cb, Cr of studio range to BGR; None for BT.601, which OpenCV's conversions are."""
        matrix = self._colours()[1]
        if matrix == _BT601:
            return None
        scaled = _to_bgr(matrix) * (255 / np.array([219, 224, 224]))
        return np.column_stack([scaled, -scaled @ (16, 128, 128)]).astype(np.float32)


def to_bgr(data: bytes | memoryview | ImageU8, pictures: VideoFormat, memory: PictureMemory) -> ImageU8:
    """(H, W, 3) uint8 BGR of a raw picture; a view of `data` where that is BGR already.

    Args:
        data: Pixels in GStreamer's default layout.
        pictures: Their format, a `readable` one.
        memory: Where other pictures are laid.

    Raises:
        ValueError: There are too few bytes, or too many.
    """
    height, width = pictures.height, pictures.width
    pixels = np.frombuffer(data, np.uint8)
    if pictures.layout == "BGR":
        stride = (3 * width + 3) // 4 * 4
        rows: ImageU8 = pixels.reshape(height, stride)[:, : 3 * width].reshape(height, width, 3)
        return rows
    matrix, room = pictures.matrix(), memory.take((height, width, 3))
    if matrix is not None:
        # Not a correction of BGR by BT.601: there a strong red has left the range already.
        chroma = memory.take((height, width // 2, 6))
        return cast("ImageU8", cv2.transform(_full_chroma(pixels, pictures, chroma), matrix, dst=room))
    if pictures.layout in _PACKED:
        packed = pixels.reshape(height, width, 2)
        return cast("ImageU8", cv2.cvtColor(packed, _PACKED[pictures.layout], dst=room))
    planar = pixels.reshape(height * 3 // 2, width)
    return cast("ImageU8", cv2.cvtColor(planar, _PLANAR[pictures.layout], dst=room))


def _full_chroma(pixels: ImageU8, pictures: VideoFormat, pairs: ImageU8) -> ImageU8:
    """(H, W, 3) uint8 Y', Cb, Cr, each pair of columns with the chroma that it shares, in `pairs` (H, W / 2, 6)."""
    height, width = pictures.height, pictures.width
    if pictures.layout in _PACKED:
        planes = [pixels.reshape(height, width // 2, 4)]
        luma, other, blue, red = (0, 2, 1, 3) if pictures.layout == "YUY2" else (1, 3, 0, 2)
    else:
        bright, colour = pixels[: height * width], pixels[height * width : height * width * 3 // 2]
        rows, columns = height // 2, width // 2
        if pictures.layout == "NV12":
            chroma = [colour.reshape(rows, columns, 2)]
        else:
            chroma = list(colour.reshape(2, rows, columns, 1))
        planes = [bright.reshape(height, columns, 2), *(part.repeat(2, axis=0) for part in chroma)]
        luma, other, blue, red = 0, 1, 2, 3
    cv2.mixChannels(planes, [pairs], [luma, 0, blue, 1, red, 2, other, 3, blue, 4, red, 5])
    return pairs.reshape(height, width, 3)


def _to_bgr(matrix: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Y', Cb, Cr -> B, G, R (ITU-R BT.709-6, item 3.2-3.3, for any luma weights)."""
    red, blue = _LUMA[matrix]
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array(
        [[1, to_blue, 0], [1, -blue * to_blue / green, -red * to_red / green], [1, 0, to_red]], np.float64
    )
