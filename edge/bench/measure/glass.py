"""Glass-to-glass latency: detect a marker on a display in the frames of a camera that sees it.

A delay lasts from the moment at which the program hands the lit marker to the output until a frame
that shows it is in memory: output, display, light, sensor, transmission and capture. Each pulse
begins at a random phase of the camera's period, because a marker in phase with the camera would
always wait equally long for the next frame.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, NamedTuple, Protocol

import cv2
import msgspec
import numpy as np

from edge.bench.measure.percentiles import bounds, quantiles
from edge.errors import Interruption, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.contracts import Source
    from edge.frame import Box, Frame, ImageU8

PULSES = 662
"""Minimum number of pulses for a p99."""

_MIN_CONTRAST = 24.0
_SETTLE_S = 1.0
_TIMEOUT_S = 2.0
_FRAMES_BETWEEN = (2, 8)
_MAX_LOST = 0.05


class Display(Protocol):
    """Shows a marker; a context manager."""

    @property
    def description(self) -> str:
        """One line for the report."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def show(self, lit: bool) -> None:
        """Hand the bright or dark marker to the output; return after the output accepted it."""
        ...


class Marker(NamedTuple):
    """Position and brightness of the marker in a camera's frames.

    Attributes:
        box: Box in frame pixels.
        dark: Mean gray level of the box while the marker is dark.
        lit: Mean gray level of the box while the marker is bright.
    """

    box: Box
    dark: float
    lit: float

    def is_lit(self, image: ImageU8) -> bool:
        """Whether an image shows the bright marker: above the mean of both levels."""
        return _gray(image, self.box) > (self.dark + self.lit) / 2


class GlassReport(msgspec.Struct, frozen=True, kw_only=True):
    """Delays from a display to a camera.

    Attributes:
        display: Description of the display.
        source: Description of the source.
        pulses: Pulses that were seen.
        lost: Pulses that were not seen within two seconds.
        marker: Box of the marker in frame pixels.
        levels: Gray level of the dark and of the lit marker.
        period_ms: Median time between frames.
        delay_ms: Early-stopping percentiles of the delay, from showing the marker to the frame in
            memory.
        delay_empirical_ms: Plain quantiles of the same delays.
        to_capture_ms: Plain quantiles of the time until the source's capture stamp of that frame.
        samples_ms: Every delay, in order.
        notes: Remarks that a reader of the figures must know.
    """

    display: str
    source: str
    pulses: int
    lost: int
    marker: Box
    levels: tuple[float, float]
    period_ms: float
    delay_ms: dict[str, float | None]
    delay_empirical_ms: dict[str, float | None]
    to_capture_ms: dict[str, float | None]
    samples_ms: list[float]
    notes: list[str]


def measure_glass(
    display: Display,
    source: Source,
    *,
    pulses: int = PULSES,
    seed: int = 0,
    clock: Callable[[], int] = time.monotonic_ns,
    sleep: Callable[[float], None] = time.sleep,
    done: Callable[[], None] = lambda: None,
) -> GlassReport:
    """Show pulses and wait for each of them in the camera's frames.

    Args:
        display: The display; entered and closed here.
        source: A live source that sees the display; entered and closed here.
        pulses: Number of pulses.
        seed: Seed of the random phases.
        clock: CLOCK_MONOTONIC in nanoseconds, the clock of the source.
        sleep: Waits for a number of seconds on that clock.
        done: Called after each pulse.

    Raises:
        SourceError: The source ended, the marker is not visible, or more than one pulse in 20 was
            lost.
    """
    phases = random.Random(seed)
    delays: list[float] = []
    captures: list[float] = []
    lost = 0
    with display, source:
        eye = _Eye(source, clock)
        marker = _find_marker(display, eye)
        for _ in range(pulses):
            display.show(False)
            eye.until(lambda frame: not marker.is_lit(frame.image), _TIMEOUT_S)
            for _ in range(phases.randint(*_FRAMES_BETWEEN)):
                eye.read()
            sleep(phases.uniform(0, eye.period_s))
            flip_ns = clock()
            display.show(True)
            frame = eye.until(lambda frame: marker.is_lit(frame.image), _TIMEOUT_S)
            if frame is None:
                lost += 1
            else:
                delays.append((clock() - flip_ns) / 1e6)
                captures.append((frame.captured_ns - flip_ns) / 1e6)
            done()
        display.show(False)
        described = source.description
    if lost > _MAX_LOST * pulses:
        raise SourceError(
            "the marker was lost too often",
            expected=f"at most {_MAX_LOST:.0%} of {pulses} pulses",
            got=f"{lost}",
        )
    percentiles = bounds(delays)
    notes = (
        []
        if percentiles["p99"] is not None
        else [f"{len(delays)} pulses are too few for p99, which needs {PULSES}"]
    )
    if lost:
        notes.append(f"{lost} pulses were not seen within {_TIMEOUT_S:g} s and are in no figure")
    return GlassReport(
        display=display.description,
        source=described,
        pulses=len(delays),
        lost=lost,
        marker=marker.box,
        levels=(round(marker.dark, 1), round(marker.lit, 1)),
        period_ms=eye.period_s * 1e3,
        delay_ms=percentiles,
        delay_empirical_ms=quantiles(delays),
        to_capture_ms=quantiles(captures),
        samples_ms=[round(value, 3) for value in delays],
        notes=notes,
    )


class _Eye:
    """Reads frames and measures the time between them."""

    def __init__(self, source: Source, clock: Callable[[], int]) -> None:
        self._source, self._clock = source, clock
        self._gaps: list[float] = []
        self._last: Frame | None = None

    @property
    def period_s(self) -> float:
        """Median time between the frames so far; 1/30 s before there are any."""
        return float(np.median(self._gaps)) if self._gaps else 1 / 30

    def read(self) -> Frame | None:
        """Return the next frame, None if none is available now.

        Raises:
            SourceError: The source has ended.
        """
        try:
            frame = self._source.read()
        except (TimeoutError, Interruption):
            self._last = None
            return None
        if frame is None:
            raise SourceError(
                "the camera's pictures ended", expected="a live source", got="the end of the source"
            )
        if self._last is not None and frame.index == self._last.index + 1:
            self._gaps = [*self._gaps[-99:], (frame.captured_ns - self._last.captured_ns) / 1e9]
        self._last = frame
        return frame

    def until(self, accepts: Callable[[Frame], bool], seconds: float) -> Frame | None:
        """Return the first frame that is wanted, None after `seconds`."""
        end = self._clock() + seconds * 1e9
        while self._clock() < end:
            frame = self.read()
            if frame is not None and accepts(frame):
                return frame
        return None

    def settled_image(self) -> ImageU8:
        """Read frames for one second and return the last image.

        Raises:
            SourceError: There was no frame.
        """
        last: list[ImageU8] = []

        def keep(frame: Frame) -> bool:
            last[:] = [frame.image]
            return False

        self.until(keep, _SETTLE_S)
        if not last:
            raise SourceError(
                "the camera gives no picture", expected="a live source", got="nothing for a second"
            )
        settled_image: ImageU8 = last[0].copy()
        return settled_image


def _find_marker(display: Display, eye: _Eye) -> Marker:
    """Find the marker: the place that differs between a frame with it dark and one with it lit."""
    pictures = []
    for lit in (False, True):
        display.show(lit)
        pictures.append(
            cv2.GaussianBlur(cv2.cvtColor(eye.settled_image(), cv2.COLOR_BGR2GRAY), (9, 9), 0)
        )
    change = pictures[1].astype(np.float32) - pictures[0]
    if (most := float(change.max())) < _MIN_CONTRAST:
        raise SourceError(
            "the camera does not see the marker",
            expected=f"a place that brightens by at least {_MIN_CONTRAST:g} gray levels",
            got=f"{most:.0f} at most",
            hint="point the camera at the display, and fix its exposure",
        )
    count, labels, stats, _ = cv2.connectedComponentsWithStats((change > most / 2).astype(np.uint8))
    largest = 1 + int(np.argmax(stats[1:count, cv2.CC_STAT_AREA]))
    x, y, width, height = (int(value) for value in stats[largest, :4])
    inside = labels == largest
    levels = [float(picture[inside].mean()) for picture in pictures]
    return Marker((x, y, width, height), *levels)


def _gray(image: ImageU8, box: Box) -> float:
    x, y, width, height = box
    return float(cv2.cvtColor(image[y : y + height, x : x + width], cv2.COLOR_BGR2GRAY).mean())
