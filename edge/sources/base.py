"""Base class of all sources: life cycle, frame numbers, time stamps; and the pace of a camera."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import ImageU8
    from edge.util.spec import Spec

    Clock = Callable[[], int]
    Sleep = Callable[[float], None]

MAX_STAMP_AGE_NS = 2_000_000_000
"""Age from which a driver's time stamp is not believed: the frame gets its time of arrival."""


class BaseSource(ABC):
    """A source that opens on enter, closes once, and numbers and stamps its frames.

    A subclass implements `_open`, `_next` and `_close`. Entering twice opens once, so that a caller
    may open a source to learn its rate before a frame loop enters it.

    Attributes:
        live: Whether frames arrive at their own pace.
        continuous: Whether consecutive frames show the same scene; false for separate images.
        fps: Frames per second, None if unknown; valid once open.
        description: One line for logs; never contains a password.
        reopens: Whether `open_source` wraps it so that it is opened again when it fails.
        lasting: Name under which the same device is found again after it was unplugged; None if
            there is none.
        counters: How often frames were lost, by cause.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: Waits for a number of seconds.
    """

    live: bool = False
    continuous: bool = True
    fps: float | None = None
    description: str = ""
    reopens: bool = False
    lasting: str | None = None

    def __init__(self, *, clock: Clock = time.monotonic_ns, sleep: Sleep = time.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self.counters: Counter[str] = Counter()
        self._is_open = False
        self._index = 0
        self._last_ns = 0

    @classmethod
    def from_spec(cls, spec: Spec) -> BaseSource:
        """Build the source of a description.

        Raises:
            UsageError: The target or an option does not fit, or the source is made in code only.
        """
        raise UsageError(f"{cls.__name__} has no description in text, got {spec.scheme}:")

    def __enter__(self) -> Self:
        if not self._is_open:
            self._index = self._last_ns = 0
            try:
                self._open()
            except BaseException:
                self._close()
                raise
            self._is_open = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def inputs(self) -> list[Path]:
        """Return the files and folders that the source reads; none by default."""
        return []

    def close(self) -> None:
        """Release the device or file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._close()

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end.

        Raises:
            TimeoutError: A live source has no new frame yet; nothing is wrong.
            Interruption: A live source delivers no picture at present; the reason is included.
            SourceError: The source failed permanently.
        """
        if not self._is_open:
            raise RuntimeError(f"{type(self).__name__} is read outside its `with` block")
        return self._next()

    def _frame(self, image: ImageU8, *, captured_ns: int | None = None, skipped: int = 0) -> Frame:
        """Number and stamp an image; stamps never decrease, skipped frames leave gaps."""
        stamp = self._clock() if captured_ns is None else captured_ns
        self._last_ns = max(stamp, self._last_ns)
        index = self._index + skipped
        self._index = index + 1
        return Frame(index=index, image=image, captured_ns=self._last_ns)

    @abstractmethod
    def _open(self) -> None:
        """Open the device or file."""

    @abstractmethod
    def _next(self) -> Frame | None:
        """Return the next frame, or None at the end."""

    @abstractmethod
    def _close(self) -> None:
        """Release everything, including what a failed `_open` left behind."""


class Pacer:
    """Delivers images that are always available at the pace of a camera.

    Args:
        fps: Frames per second.
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: Waits for a number of seconds.
    """

    def __init__(self, fps: float, clock: Clock, sleep: Sleep) -> None:
        self._period_ns = 1e9 / fps
        self._clock, self._sleep = clock, sleep
        self._begin: int | None = None
        self._next = 0

    def wait(self) -> tuple[int, int]:
        """Wait until a frame is due.

        Returns:
            The number of frames that were skipped before it, and the time in nanoseconds at which
            it was due.
        """
        now = self._clock()
        if self._begin is None:
            self._begin = now
        due = max(self._next, int((now - self._begin) / self._period_ns))
        moment = self._begin + round(due * self._period_ns)
        while (left := moment - self._clock()) > 0:
            self._sleep(left / 1e9)
        skipped, self._next = due - self._next, due + 1
        return skipped, moment
