"""`synthetic:`: the phantom at any size and rate, as a stand-in for a camera or a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import UsageError
from edge.imaging.buffer_pool import PictureMemory
from edge.sources.base import BaseSource, Pacer, number, rate, read_options, switch, whole
from edge.sources.faults import Timetable, read_faults, refuse_frame, spoil
from edge.sources.stall_detection import StallWatch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self

    from edge.frame import Frame, ImageU8

_READY = 30
_READY_SIDE = 320
_USAGE_MEND = "synthetic:?width=640&height=480&fps=30&frames=300&seed=1&live=0"


class SyntheticSource(BaseSource):
    """Phantom frames; live unless `live` is off.

    A live source draws 30 pictures of at most 320 pixels a side before it starts, enlarges them as they are
    read and plays them forth and back, so that its rate does not depend on what a picture costs. Otherwise
    each picture is drawn at its full size when it is read.

    Args:
        width: Pixels.
        height: Pixels.
        fps: Frames per second, the pace of a live source.
        frames: How many, 0 for no end (live only).
        seed: Scene; equal seeds give equal pictures.
        live: Deliver frames when they are due, and skip those that are late.
        faults: When there is which fault, by the seconds since the first frame.
        **timing: `clock` and `sleep` of `BaseSource`.

    Raises:
        UsageError: Without end, but not live.
    """

    def __init__(
        self,
        *,
        width: int = 640,
        height: int = 480,
        fps: float = 30.0,
        frames: int = 300,
        seed: int = 1,
        live: bool = True,
        faults: Timetable | None = None,
        **timing: Any,
    ) -> None:
        super().__init__(**timing)
        if frames == 0 and not live:
            raise UsageError(
                "synthetic: without end must be live", expected="frames >= 1, or live=1", hint=_USAGE_MEND
            )
        self.size, self.fps, self.frames, self.seed, self.live = (height, width), fps, frames, seed, live
        self.faults = faults or Timetable()
        self._frozen: ImageU8 | None = None
        self._lost = 0
        self._watch = StallWatch(self._clock, fps=fps)
        pace = "paced" if live else "drawn as read"
        self.description = f"phantom {width}x{height}, {fps:g} fps {pace}, seed {seed}"
        self._memory = PictureMemory()
        self._pictures: Iterator[ImageU8] = iter(())
        self._ready: list[ImageU8] = []
        self._pacer: Pacer | None = None

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """The phantom with options `width`, `height`, `fps`, `frames`, `seed`, `live`, `fault`, `every`, `length`.

        Raises:
            UsageError: There is a target, or an option does not fit.
        """
        if target:
            raise UsageError(f"synthetic: takes no target, got {target!r}", hint=_USAGE_MEND)
        seconds = number("seconds", 0.1, 3600)
        known = {
            "width": whole(32, 8192),
            "height": whole(32, 8192),
            "fps": rate,
            "frames": whole(0, 10**9),
            "seed": whole(0, 2**32 - 1),
            "live": switch,
            "fault": read_faults,
            "every": seconds,
            "length": seconds,
        }
        chosen = read_options("synthetic", options, known)
        faults = Timetable(
            chosen.pop("fault", ()), every_s=chosen.pop("every", 0.0), length_s=chosen.pop("length", 0.7)
        )
        return cls(faults=faults, **chosen)

    def _open(self) -> None:
        self._lost = 0
        from edge.datasets.phantom.render import clip

        if not self.live:
            self._pictures = (_bgr(picture.image) for picture in clip(self.seed, self.frames, size=self.size))
            return
        shrink = min(1.0, _READY_SIDE / max(self.size))
        drawn = (max(32, round(self.size[0] * shrink)), max(32, round(self.size[1] * shrink)))
        count = min(_READY, self.frames or _READY)
        ready = [_bgr(picture.image) for picture in clip(self.seed, count, size=drawn)]
        self._ready = ready + ready[-2:0:-1]
        self._pacer = Pacer(self.fps or 1.0, self._clock, self._sleep)

    def _next(self) -> Frame | None:
        if self._pacer is None:
            drawn = next(self._pictures, None)
            return None if drawn is None else self._spoilt(drawn, self._index, None, 0)
        skipped, moment = self._pacer.wait()
        index = self._index + self._lost + skipped
        if self.frames and index >= self.frames:
            return None
        picture = self._memory.take((*self.size, 3))
        cv2.resize(self._ready[index % len(self._ready)], self.size[::-1], dst=picture)
        return self._spoilt(picture, index, moment, skipped)

    def _spoilt(self, picture: ImageU8, index: int, moment: int | None, skipped: int) -> Frame:
        """The frame of a picture with the fault of its moment.

        Raises:
            TimeoutError: It gives none: a stall, or a frame that is dropped.
            Interruption: Likewise: no signal, or damage.
        """
        kind = self.faults.at(index / (self.fps or 1.0))
        try:
            refuse_frame(kind, self._watch)
            if kind == "drop" and index % 4:
                raise TimeoutError("the phantom drops frames")
        except BaseException:
            self._lost += skipped + 1
            self.counters["corrupt"] += kind == "corrupt"
            raise
        if kind != "freeze":
            self._frozen = None
        elif self._frozen is None:
            self._frozen = picture
        shown = spoil(picture if self._frozen is None else self._frozen, kind, self._memory)
        self._watch.seen()
        lost, self._lost = self._lost, 0
        self.counters["gaps"] += lost
        return self._frame(shown, captured_ns=moment, skipped=skipped + lost)

    def _close(self) -> None:
        self._pictures, self._ready, self._pacer, self._frozen = iter(()), [], None, None


def _bgr(image: ImageU8) -> ImageU8:
    return np.ascontiguousarray(image[..., ::-1])
