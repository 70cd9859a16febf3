"""Formats of raw video: what is accepted, what is refused, and the conversion to BGR.

Colorimetry is written as by GStreamer's `GstVideoColorimetry`, `range:matrix:transfer:primaries`.
Memory layouts are GStreamer's defaults, with rows rounded up to 4 bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from edge.frame import ImageU8
    from edge.imaging.buffer_pool import BufferPool

MIN_SIZE, MAX_SIZE = (16, 16), (4096, 4096)
"""Smallest and largest accepted (width, height), pixels."""

MIN_FPS, MAX_FPS = 5.0, 240.0
"""Lowest and highest accepted frames per second, if a rate is declared."""

_PACKED = {"YUY2": cv2.COLOR_YUV2BGR_YUY2, "UYVY": cv2.COLOR_YUV2BGR_UYVY}
_PLANAR = {"NV12": cv2.COLOR_YUV2BGR_NV12, "I420": cv2.COLOR_YUV2BGR_I420}

LAYOUTS = ("BGR", *_PACKED, *_PLANAR)
"""Raw layouts that `to_bgr` reads."""

_COLORIMETRY = {"bt601": (2, 4), "bt709": (2, 3), "smpte240m": (2, 5), "sRGB": (1, 1)}
_LUMA = {3: (0.2126, 0.0722), 4: (0.299, 0.114), 5: (0.212, 0.087)}
"""Matrix number to weights of red and blue in luma (BT.709, BT.601, SMPTE 240M)."""
_BT601 = 4
_SD_LINES = 576


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """Format of the images that a source delivers.

    Attributes:
        layout: Layout of raw pixels as GStreamer names it, or `JPEG`.
        width: Width, pixels.
        height: Height, pixels.
        fps: Frames per second, None if the source declares none.
        scan: `progressive`, or the kind of interlacing.
        colorimetry: Colorimetry as GStreamer writes it; empty if it is not declared.
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
        """Read the first structure (a `Gst.Structure`) of negotiated caps."""
        (_, width), (_, height) = structure.get_int("width"), structure.get_int("height")
        has_rate, numerator, denominator = structure.get_fraction("framerate")
        raw = structure.get_name() == "video/x-raw"
        return cls(
            layout=structure.get_string("format") or "" if raw else "JPEG",
            width=width,
            height=height,
            fps=numerator / denominator if has_rate and numerator > 0 else None,
            scan=structure.get_string("interlace-mode") or "progressive",
            colorimetry=structure.get_string("colorimetry") or "",
        )

    def refusal(self) -> Reason | None:
        """Return why images of this format are refused; None if they are accepted."""
        if self.scan != "progressive":
            return Reason(ReasonKind.INTERLACED, f"{self} cannot be deinterlaced here")
        sizes = zip((self.width, self.height), MIN_SIZE, MAX_SIZE, strict=True)
        if not all(low <= side <= high for side, low, high in sizes):
            smallest, largest = (f"{size[0]}x{size[1]}" for size in (MIN_SIZE, MAX_SIZE))
            beyond = f"{self} is beyond {smallest} to {largest}"
            return Reason(ReasonKind.OUT_OF_RANGE, beyond)
        if self.fps is not None and not MIN_FPS <= self.fps <= MAX_FPS:
            beyond = f"{self} is beyond {MIN_FPS:g} to {MAX_FPS:g} fps"
            return Reason(ReasonKind.OUT_OF_RANGE, beyond)
        return None

    def same_pictures(self, other: VideoFormat) -> bool:
        """Return whether size, rate and scan are equal, so that nothing changes downstream."""
        return (self.width, self.height, self.fps, self.scan) == (
            other.width,
            other.height,
            other.fps,
            other.scan,
        )

    @property
    def readable(self) -> bool:
        """Whether `to_bgr` converts exactly: studio range, known matrix, rows without padding."""
        if self.layout in ("BGR", "JPEG"):
            return True
        full, matrix = self._colorimetry()
        packed = self.width % 8 == 0 and self.height % 2 == 0
        return self.layout in LAYOUTS and packed and not full and matrix in _LUMA

    def _colorimetry(self) -> tuple[bool, int]:
        """Return whether the range is full, and the matrix; undeclared, the height decides."""
        numbers = _COLORIMETRY.get(self.colorimetry)
        if numbers is None:
            parts = self.colorimetry.split(":")
            numbers = (
                (int(parts[0]), int(parts[1]))
                if len(parts) == 4 and "".join(parts).isdigit()
                else (0, 0)
            )
        usual = 3 if self.height > _SD_LINES else _BT601
        return numbers[0] == 1, numbers[1] or usual

    def matrix(self) -> np.ndarray[Any, np.dtype[np.float32]] | None:
        """Return the (3, 4) float32 matrix from Y', Cb, Cr of studio range to BGR.

        None stands for BT.601, for which OpenCV has conversions of its own.
        """
        matrix = self._colorimetry()[1]
        if matrix == _BT601:
            return None
        scaled = _to_bgr(matrix) * (255 / np.array([219, 224, 224]))
        return np.column_stack([scaled, -scaled @ (16, 128, 128)]).astype(np.float32)


def to_bgr(
    data: bytes | memoryview | ImageU8, pictures: VideoFormat, memory: BufferPool
) -> ImageU8:
    """Convert a raw image to BGR.

    Args:
        data: Pixels in GStreamer's default layout.
        pictures: Format of the pixels; it must be `readable`.
        memory: Buffers for converted images.

    Returns:
        (H, W, 3) uint8 BGR; a view of `data` if that is BGR already.

    Raises:
        ValueError: The number of bytes does not match the format.
    """
    height, width = pictures.height, pictures.width
    pixels = np.frombuffer(data, np.uint8)
    if pictures.layout == "BGR":
        stride = (3 * width + 3) // 4 * 4
        rows: ImageU8 = pixels.reshape(height, stride)[:, : 3 * width].reshape(height, width, 3)
        return rows
    matrix, room = pictures.matrix(), memory.allocate((height, width, 3))
    if matrix is not None:
        # Correcting the BGR of BT.601 instead would clip strong reds first.
        chroma = memory.allocate((height, width // 2, 6))
        return cast(
            "ImageU8", cv2.transform(_full_chroma(pixels, pictures, chroma), matrix, dst=room)
        )
    if pictures.layout in _PACKED:
        packed = pixels.reshape(height, width, 2)
        return cast("ImageU8", cv2.cvtColor(packed, _PACKED[pictures.layout], dst=room))
    planar = pixels.reshape(height * 3 // 2, width)
    return cast("ImageU8", cv2.cvtColor(planar, _PLANAR[pictures.layout], dst=room))


def _full_chroma(pixels: ImageU8, pictures: VideoFormat, pairs: ImageU8) -> ImageU8:
    """Expand to (H, W, 3) uint8 Y', Cb, Cr; two columns share a chroma sample.

    Args:
        pixels: Pixels of a packed or planar layout.
        pictures: Format of the pixels.
        pairs: (H, W / 2, 6) uint8, filled and returned as (H, W, 3).
    """
    height, width = pictures.height, pictures.width
    if pictures.layout in _PACKED:
        planes = [pixels.reshape(height, width // 2, 4)]
        luma, other, blue, red = (0, 2, 1, 3) if pictures.layout == "YUY2" else (1, 3, 0, 2)
    else:
        bright, color = pixels[: height * width], pixels[height * width : height * width * 3 // 2]
        rows, columns = height // 2, width // 2
        if pictures.layout == "NV12":
            chroma = [color.reshape(rows, columns, 2)]
        else:
            chroma = list(color.reshape(2, rows, columns, 1))
        planes = [bright.reshape(height, columns, 2), *(part.repeat(2, axis=0) for part in chroma)]
        luma, other, blue, red = 0, 1, 2, 3
    cv2.mixChannels(planes, [pairs], [luma, 0, blue, 1, red, 2, other, 3, blue, 4, red, 5])
    return pairs.reshape(height, width, 3)


def _to_bgr(matrix: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return Y', Cb, Cr to B, G, R (ITU-R BT.709-6, items 3.2-3.3, for any luma weights)."""
    red, blue = _LUMA[matrix]
    green = 1 - red - blue
    to_red, to_blue = 2 * (1 - red), 2 * (1 - blue)
    return np.array(
        [[1, to_blue, 0], [1, -blue * to_blue / green, -red * to_red / green], [1, 0, to_red]],
        np.float64,
    )
