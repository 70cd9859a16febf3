"""Displays for the marker of `bench glass`: a sink of `run`, a framebuffer, or a loopback."""

from __future__ import annotations

import time
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edge.errors import SourceError, UsageError
from edge.frame import Frame, Result, Stage
from edge.sources.base import BaseSource, Pacer
from edge.util.host import read_text

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.bench.measure.glass import Display
    from edge.contracts import Sink, Source
    from edge.frame import ImageU8

DISPLAYS = "loopback | fb:/dev/fb0 | a sink that shows pictures"

_LIT, _DARK = 255, 0
_SIZE = (1080, 1920)


def open_display(text: str) -> tuple[Display, Source | None]:
    """Open the display that a string names; a loopback also returns the source that sees it.

    Args:
        text: A display, as in `DISPLAYS`.

    Raises:
        UsageError: There is no such display.
        SourceError: The framebuffer cannot be used.
    """
    kind, _, target = text.partition(":")
    if kind == "loopback":
        loopback = Loopback()
        return loopback, loopback.source
    if kind == "fb":
        return FramebufferDisplay(Path(target or "/dev/fb0")), None
    from edge.sinks.open import SINKS, open_sinks

    if kind not in SINKS:
        raise UsageError(
            f"unknown display {text!r}",
            expected=DISPLAYS,
            hint="loopback needs no display",
            code="unknown-display",
        )
    return SinkDisplay(open_sinks([text], force=True)[0], text), None


class SinkDisplay:
    """Show the marker in the middle of images sent to a sink, so that the delay includes the sink.

    Args:
        sink: A sink that shows images.
        description: One line for the report.
        size: Height and width of the images.
    """

    def __init__(self, sink: Sink, description: str, size: tuple[int, int] = _SIZE) -> None:
        self.description = description
        self._sink = sink
        self._stack = ExitStack()
        self._pictures = {lit: _picture(size, lit) for lit in (False, True)}
        self._flips = 0

    def __enter__(self) -> Self:
        self._stack.enter_context(self._sink)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def show(self, lit: bool) -> None:
        """Send one image to the sink."""
        now = time.monotonic_ns()
        frame = Frame(
            self._flips,
            self._pictures[lit],
            now,
            {Stage.CAPTURE: (now, now), Stage.OUTPUT: (now, now)},
        )
        self._sink.write(frame, Result(scores=None, regions=(), mask_area=0.0, reason=None))
        self._flips += 1


class FramebufferDisplay:
    """Show the marker in the middle of Linux's framebuffer, which needs no window system.

    Args:
        path: The framebuffer device.
        sysfs: The `/sys` folder that describes the pixel format.

    Raises:
        SourceError: The pixel format is unknown or does not have 16, 24 or 32 bits per pixel.
    """

    def __init__(self, path: Path, sysfs: Path = Path("/sys/class/graphics")) -> None:
        self._path, folder = path, sysfs / path.name
        texts = [
            (read_text(folder / name) or "").strip()
            for name in ("virtual_size", "bits_per_pixel", "stride")
        ]
        try:
            width, height = (int(part) for part in texts[0].split(","))
            bits, stride = int(texts[1]), int(texts[2])
        except ValueError as error:
            raise SourceError(
                f"{path} is not a framebuffer",
                expected="a device that /sys/class/graphics lists",
                got=str(texts),
            ) from error
        if bits not in (16, 24, 32):
            raise SourceError(
                f"{path} has an unsupported pixel format",
                expected="16, 24 or 32 bits per pixel",
                got=f"{bits}",
            )
        self.description = f"{path}, {width}x{height}"
        self._file: BinaryIO | None = None
        top, rows, left, columns = height // 3, height // 3, width // 3, width // 3
        # In each of these formats, all bits set is white and no bit set is black.
        self._lines = {
            lit: bytes([_LIT if lit else _DARK]) * (columns * bits // 8) for lit in (False, True)
        }
        self._offsets = [(top + row) * stride + left * bits // 8 for row in range(rows)]

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("r+b", buffering=0)
        except OSError as error:
            raise SourceError(
                f"{self._path} cannot be written",
                got=error.strerror or "",
                hint="join the group `video`",
            ) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def show(self, lit: bool) -> None:
        """Write the lines of the marker."""
        assert self._file is not None, "a display is entered before it shows"
        for offset in self._offsets:
            self._file.seek(offset)
            self._file.write(self._lines[lit])


class Loopback:
    """A simulated display and camera with a known delay, which shows what the method itself adds.

    Args:
        delay_s: Time from `show` to the light.
        fps: Frames per second of the camera, which sees the light in its next frame.
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: Waits for a number of seconds on that clock.
    """

    def __init__(
        self,
        *,
        delay_s: float = 0.05,
        fps: float = 60.0,
        clock: Callable[[], int] = time.monotonic_ns,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.description = f"loopback, light after {delay_s * 1e3:g} ms"
        self._delay_ns, self._clock = round(delay_s * 1e9), clock
        self._changes: deque[tuple[int, bool]] = deque([(0, False)])
        self.source = _LoopbackSource(self, fps, clock, sleep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def show(self, lit: bool) -> None:
        """Turn the light on or off from now on."""
        self._changes.append((self._clock() + self._delay_ns, lit))

    def light(self, at_ns: int) -> bool:
        """Whether a camera sees light at a time; successive calls must not go back in time."""
        while len(self._changes) > 1 and self._changes[1][0] <= at_ns:
            self._changes.popleft()
        return self._changes[0][1]


class _LoopbackSource(BaseSource):
    """The synthetic camera that sees a loopback's light."""

    live = True

    def __init__(
        self,
        loopback: Loopback,
        fps: float,
        clock: Callable[[], int],
        sleep: Callable[[float], None],
    ) -> None:
        super().__init__(clock=clock, sleep=sleep)
        self.fps = fps
        self.description = f"synthetic camera at {fps:g} fps"
        self._loopback = loopback
        self._pictures = {lit: _picture((120, 160), lit) for lit in (False, True)}
        self._pacer: Pacer | None = None

    def _open(self) -> None:
        self._pacer = Pacer(self.fps or 1.0, self._clock, self._sleep)

    def _next(self) -> Frame | None:
        assert self._pacer is not None
        skipped, moment = self._pacer.wait()
        return self._frame(
            self._pictures[self._loopback.light(moment)], captured_ns=moment, skipped=skipped
        )

    def _close(self) -> None:
        self._pacer = None


def _picture(size: tuple[int, int], lit: bool) -> ImageU8:
    """Return a gray image with the marker in its middle third."""
    picture = np.full((*size, 3), 64, np.uint8)
    height, width = size
    picture[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = _LIT if lit else _DARK
    return picture
