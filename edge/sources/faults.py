"""Scheduled camera faults of the synthetic source: what a cart must survive, at known times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.errors import Interruption
from edge.status import Reason, ReasonKind, State

if TYPE_CHECKING:
    from edge.frame import ImageU8
    from edge.imaging.buffer_pool import BufferPool
    from edge.sources.stall_detection import StallWatch

FAULTS = (
    "black",
    "overexposed",
    "blur",
    "freeze",
    "stall",
    "format",
    "drop",
    "fov",
    "text",
    "unplug",
    "corrupt",
)
"""Kinds of faults, in the order in which `every` goes through them.

`stall` delivers nothing, `drop` every fourth frame, `format` frames of half the size, `fov` a small
round field of view, `unplug` no signal, `corrupt` unusable images; the others change the image.
"""

_FORMS = "KIND@BEGIN-END in seconds, separated by commas, such as black@2-3,freeze@5-6.5"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: One of `FAULTS`.
        begin_s: Begin, in seconds since the first frame.
        end_s: End, in seconds since the first frame.
    """

    kind: str
    begin_s: float
    end_s: float


class Timetable:
    """Schedule of faults.

    Args:
        faults: Faults with their times; of several at the same time the first one applies.
        every_s: Seconds between further faults, one of each kind in turn; 0 for none.
        length_s: Seconds that each of the further faults lasts.
    """

    def __init__(
        self, faults: tuple[Fault, ...] = (), *, every_s: float = 0.0, length_s: float = 0.7
    ) -> None:
        self._faults, self._every_s, self._length_s = faults, every_s, length_s

    def at(self, seconds: float) -> str:
        """Return the kind of fault at a time in seconds, empty if there is none."""
        for fault in self._faults:
            if fault.begin_s <= seconds < fault.end_s:
                return fault.kind
        if self._every_s:
            turn, since_s = divmod(seconds, self._every_s)
            if turn >= 1 and since_s < self._length_s:
                return FAULTS[(int(turn) - 1) % len(FAULTS)]
        return ""

    def until(self, seconds: float) -> list[Fault]:
        """Return every fault that begins before a time in seconds, in order."""
        turns = range(1, int(seconds / self._every_s) + 1) if self._every_s else range(0)
        cycle = [
            Fault(
                FAULTS[(turn - 1) % len(FAULTS)],
                turn * self._every_s,
                turn * self._every_s + self._length_s,
            )
            for turn in turns
        ]
        faults = [fault for fault in (*self._faults, *cycle) if fault.begin_s < seconds]
        return sorted(faults, key=lambda fault: fault.begin_s)


def read_faults(text: str) -> tuple[Fault, ...]:
    """Parse a list of faults such as `black@2-3,freeze@5-6.5`.

    Raises:
        ValueError: The text is not such a list.
    """
    faults = []
    for part in filter(None, text.split(",")):
        kind, _, times = part.partition("@")
        begin, _, end = times.partition("-")
        try:
            fault = Fault(kind, float(begin), float(end))
        except ValueError:
            raise ValueError(_FORMS) from None
        if kind not in FAULTS:
            raise ValueError(f"{_FORMS}; kinds: {', '.join(FAULTS)}")
        if not 0 <= fault.begin_s < fault.end_s:
            raise ValueError(_FORMS)
        faults.append(fault)
    return tuple(faults)


def refuse_frame(kind: str, watch: StallWatch) -> None:
    """Raise what a camera raises that delivers no frame because of a fault.

    Args:
        kind: One of `FAULTS`, or empty.
        watch: Knows when the last frame came.

    Raises:
        TimeoutError: `stall`, for the first three frame periods.
        Interruption: `stall` after that, `unplug` and `corrupt`.
    """
    if kind == "stall":
        if watch.left_s() > 0:
            raise TimeoutError("the phantom stalls")
        raise watch.interruption()
    if kind == "unplug":
        raise Interruption(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "the phantom is away"))
    if kind == "corrupt":
        reason = Reason(ReasonKind.CORRUPT, "the phantom's pictures are damaged")
        raise Interruption(State.DEGRADED, reason)


def spoil(image: ImageU8, kind: str, memory: BufferPool) -> ImageU8:
    """Return an image with a fault, or the same object if the fault does not change it.

    Args:
        image: (H, W, 3) uint8 BGR.
        kind: One of `FAULTS`.
        memory: Buffers for a changed image.
    """
    height, width = image.shape[:2]
    if kind == "format":
        return memory.copy(image[::2, ::2])
    if kind not in ("black", "overexposed", "blur", "fov", "text"):
        return image
    spoilt = memory.allocate(image.shape)
    if kind in ("black", "overexposed"):
        spoilt.fill(3 if kind == "black" else 254)
    elif kind == "blur":
        tiny = cv2.resize(
            image, (max(2, width // 30), max(2, height // 30)), interpolation=cv2.INTER_AREA
        )
        # A Gaussian of 8 % of the width; computing it on a small image is cheap.
        smooth = cv2.GaussianBlur(tiny, (0, 0), 0.08 * tiny.shape[1])
        cv2.resize(smooth, (width, height), interpolation=cv2.INTER_LINEAR, dst=spoilt)
    elif kind == "fov":
        view = np.zeros((height, width), np.uint8)
        cv2.circle(view, (width * 2 // 5, height // 2), min(height, width) // 3, 255, -1)
        spoilt.fill(0)
        cv2.copyTo(image, view, spoilt)
    else:
        np.copyto(spoilt, image)
        scale = height / 400
        for row, line in enumerate(("PATIENT 0000", "2031-05-01 12:00", "ZOOM 1.0")):
            at = (width // 40, round((row + 1) * 20 * scale))
            cv2.putText(spoilt, line, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5 * scale, (235, 235, 235), 2)
    return spoilt
