"""The coded packets of a clip, read beside its decoded frames: their stamps and their headers."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import cv2

from edge.sources.interlacing import HEAD_BYTES, Interlacing
from edge.util.ffmpeg import quiet

if TYPE_CHECKING:
    from typing import Any

AHEAD = 32
"""Packets that are read before the first frame: decoders reorder frames within this range."""

_RATE_PACKETS = 250
_MIN_RATE, _MAX_RATE = 0.1, 240.0
_DEFAULT_RATE = 25.0
_SAME_RATE = 0.02
_CLOSE_RATE = 0.1
_PAUSE_GAPS = 10
"""From how many usual gaps on a gap is a pause of the recorder."""


class Packets:
    """Reads a clip's packets without decoding them.

    Args:
        name: Name of the clip for FFmpeg.
        declares_fields: Whether the container declares interlaced video; believed for codecs whose
            own headers do not tell.
    """

    def __init__(self, name: str, *, declares_fields: bool = False) -> None:
        self._declares_fields = declares_fields
        with quiet():
            self._capture: Any = cv2.VideoCapture(name, cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
        self._is_open = bool(self._capture.isOpened())
        code = int(self._capture.get(cv2.CAP_PROP_FOURCC)) if self._is_open else 0
        self.codec = "".join(chr(code >> shift & 0xFF) for shift in (0, 8, 16, 24)).strip("\0")
        self.count = 0
        self.last_s = 0.0
        """Latest stamp of a packet so far, seconds from the first frame."""
        self.interlaced = False
        """Whether a packet so far contains an interlaced picture."""
        self._stamps: list[float] = []
        self._fields: Interlacing | None = None

    def read(self, count: int) -> None:
        """Read packets until `count` of them have been read, or the clip ends."""
        while self._is_open and self.count < count:
            if not self._capture.grab():
                self.close()
                return
            good, data = self._capture.retrieve()
            packet = data.ravel()[:HEAD_BYTES].tobytes() if good and data is not None else b""
            if self._fields is None:
                self._fields = Interlacing(self.codec, self._header())
                if not self._fields.knows_codec:
                    self.interlaced = self._declares_fields
            self.interlaced = self.interlaced or self._fields.interlaced(packet)
            stamp = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3
            self.last_s = max(self.last_s, stamp)
            if self.count < _RATE_PACKETS:
                self._stamps.append(stamp)
            self.count += 1

    def read_all(self) -> None:
        """Read to the end of the clip."""
        while self._is_open:
            self.read(self.count + _RATE_PACKETS)

    def rate(self, declared: float) -> float:
        """Return the frames per second of the clip; reads its first packets.

        A container may declare the resolution of its stamps (1000 in a browser's recording), or a
        rate that holds only between pauses. A declared rate is believed if most frames follow each
        other at it, or if it is their mean without pauses.

        Args:
            declared: Rate that the container declares.
        """
        self.read(_RATE_PACKETS)
        plausible = _MIN_RATE <= declared <= _MAX_RATE
        stamps = sorted(self._stamps)
        gaps = sorted(b - a for a, b in pairwise(stamps) if b > a)
        if not gaps or len(gaps) < len(stamps) // 2:
            return declared if plausible else _DEFAULT_RATE  # without stamps of its own
        usual_gap = gaps[len(gaps) // 2]
        usual = 1 / usual_gap
        steady = [gap for gap in gaps if gap <= _PAUSE_GAPS * usual_gap]
        mean = len(steady) / sum(steady)
        if plausible and (
            math.isclose(declared, mean, rel_tol=_SAME_RATE)
            or math.isclose(declared, usual, rel_tol=_CLOSE_RATE)
        ):
            return declared
        return min(max(mean, _MIN_RATE), _MAX_RATE)

    def close(self) -> None:
        """Release the clip."""
        if self._is_open:
            self._is_open = False
            self._capture.release()

    def _header(self) -> bytes:
        """Return the codec's header; OpenCV tells it after the first packet."""
        index = self._capture.get(cv2.CAP_PROP_CODEC_EXTRADATA_INDEX)
        if index < 1:
            return b""
        good, data = self._capture.retrieve(flag=int(index))
        return bytes(data.ravel().tobytes()) if good and data is not None else b""
