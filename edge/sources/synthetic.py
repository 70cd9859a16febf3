"""`synthetic:`: generated frames of a phantom colon, in place of a camera or a clip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edge.errors import UsageError
from edge.imaging.buffer_pool import BufferPool
from edge.sources.base import BaseSource, Pacer
from edge.sources.faults import Timetable, refuse_frame, spoil
from edge.sources.options import SyntheticOptions
from edge.sources.stall_detection import StallWatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from edge.frame import Frame, ImageU8
    from edge.util.spec import Spec

_READY = 30
_READY_SIDE = 320
_EXAMPLE = "synthetic:?width=640&height=480&fps=30&frames=300&seed=1&live=0"


class SyntheticSource(BaseSource):
    """Frames of the phantom, live by default.

    A live source draws 30 images of at most 320 pixels a side before it starts, enlarges them as
    they are read and plays them forward and backward, so that its rate does not depend on the
    cost of drawing. Otherwise each image is drawn at its full size when it is read.

    Args:
        width: Width of the frames, pixels.
        height: Height of the frames, pixels.
        fps: Frames per second, the pace of a live source.
        frames: Number of frames, 0 for no end (live only).
        seed: Seed of the scene; equal seeds give equal images.
        live: Whether frames are delivered when they are due, and late ones are skipped.
        faults: Schedule of faults, by the seconds since the first frame.
        **timing: `clock` and `sleep` of `BaseSource`.

    Raises:
        UsageError: The source has no end, but is not live.
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
                "synthetic: without end must be live",
                expected="frames >= 1, or live=1",
                hint=_EXAMPLE,
            )
        self.size, self.fps, self.frames, self.seed, self.live = (
            (height, width),
            fps,
            frames,
            seed,
            live,
        )
        self.faults = faults or Timetable()
        self._frozen: ImageU8 | None = None
        self._lost = 0
        self._watch = StallWatch(self._clock, fps=fps)
        pace = "paced" if live else "drawn as read"
        self.description = f"phantom {width}x{height}, {fps:g} fps {pace}, seed {seed}"
        self._memory = BufferPool()
        self._pictures: Iterator[ImageU8] = iter(())
        self._ready: list[ImageU8] = []
        self._pacer: Pacer | None = None

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `synthetic:` with the options of `SyntheticOptions`.

        Raises:
            UsageError: There is a target, or an option does not fit.
        """
        if spec.target:
            raise UsageError(f"synthetic: takes no target, got {spec.target!r}", hint=_EXAMPLE)
        options = spec.read(SyntheticOptions)
        faults = Timetable(options.fault, every_s=options.every, length_s=options.length)
        return cls(
            width=options.width,
            height=options.height,
            fps=options.fps,
            frames=options.frames,
            seed=options.seed,
            live=options.live,
            faults=faults,
        )

    def _open(self) -> None:
        self._lost = 0
        from edge.datasets.phantom.render import clip

        if not self.live:
            self._pictures = (
                _bgr(picture.image) for picture in clip(self.seed, self.frames, size=self.size)
            )
            return
        shrink = min(1.0, _READY_SIDE / max(self.size))
        drawn_size = (max(32, round(self.size[0] * shrink)), max(32, round(self.size[1] * shrink)))
        count = min(_READY, self.frames or _READY)
        ready = [_bgr(picture.image) for picture in clip(self.seed, count, size=drawn_size)]
        self._ready = ready + ready[-2:0:-1]
        self._pacer = Pacer(self.fps or 1.0, self._clock, self._sleep)

    def _next(self) -> Frame | None:
        if self._pacer is None:
            drawing = next(self._pictures, None)
            return None if drawing is None else self._with_fault(drawing, self._index, None, 0)
        skipped, moment = self._pacer.wait()
        index = self._index + self._lost + skipped
        if self.frames and index >= self.frames:
            return None
        picture = self._memory.allocate((*self.size, 3))
        cv2.resize(self._ready[index % len(self._ready)], self.size[::-1], dst=picture)
        return self._with_fault(picture, index, moment, skipped)

    def _with_fault(self, picture: ImageU8, index: int, moment: int | None, skipped: int) -> Frame:
        """Return an image as a frame, with the fault that is scheduled for its time.

        Raises:
            TimeoutError: The fault is a stall or drops this frame.
            Interruption: The fault is a lost signal or damage.
        """
        kind = self.faults.at(index / (self.fps or 1.0))
        try:
            refuse_frame(kind, self._watch)
            if kind == "drop" and index % 4:
                raise TimeoutError("the phantom drops frames")
        except BaseException:
            self._lost += skipped + 1
            if kind == "corrupt":
                self.counters["corrupt"] += 1
            raise
        if kind != "freeze":
            self._frozen = None
        elif self._frozen is None:
            self._frozen = picture
        spoilt = spoil(picture if self._frozen is None else self._frozen, kind, self._memory)
        self._watch.note_frame()
        lost, self._lost = self._lost, 0
        self.counters["gaps"] += lost
        return self._frame(spoilt, captured_ns=moment, skipped=skipped + lost)

    def _close(self) -> None:
        self._pictures, self._ready, self._pacer, self._frozen = iter(()), [], None, None


def _bgr(image: ImageU8) -> ImageU8:
    return np.ascontiguousarray(image[..., ::-1])
