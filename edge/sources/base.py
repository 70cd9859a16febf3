"""What all sources share: life cycle, numbering, stamps, options and the pace of a camera."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import Counter
from typing import TYPE_CHECKING, Any

from edge.errors import UsageError
from edge.frame import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import ImageU8

    Clock = Callable[[], int]
    Sleep = Callable[[float], None]


class BaseSource(ABC):
    """A source's life cycle: opens on enter, closes once, numbers and stamps its frames.

    A subclass gives `_open`, `_next` and `_close`. Entering twice opens once, so that a caller may open
    a source to learn its rate before a pipeline enters it.

    Attributes:
        live: Whether frames arrive at their own pace.
        continuous: Whether a frame shows what the one before it showed, a moment later.
        fps: Frames per second where known, else None; valid once open.
        description: One line for logs.
        lasting: Name by which the same device is found again once it was open; None where there is none.
        counters: What happened to frames that were not given.

    Args:
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: Waits for seconds.
    """

    live: bool = False
    continuous: bool = True
    fps: float | None = None
    description: str = ""
    lasting: str | None = None

    def __init__(self, *, clock: Clock = time.monotonic_ns, sleep: Sleep = time.sleep) -> None:
        self._clock, self._sleep = clock, sleep
        self.counters: Counter[str] = Counter()
        self._is_open = False
        self._index = 0
        self._last_ns = 0

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """The source of a target and its options as text.

        Raises:
            UsageError: Unknown option, a value that does not fit, or a source that is made in code only.
        """
        raise UsageError(
            f"{cls.__name__} cannot be named on the command line, got {target!r} {dict(options)}"
        )

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
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the device or file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            self._close()

    def read(self) -> Frame | None:
        """Next frame, or None at the end.

        Raises:
            TimeoutError: A live source has no new frame yet; nothing is wrong.
            Interruption: A live source has no picture for now, and says why.
            SourceError: The source failed for good.
        """
        if not self._is_open:
            raise RuntimeError(f"{type(self).__name__} is read outside its `with` block")
        return self._next()

    def _frame(self, image: ImageU8, *, captured_ns: int | None = None, skipped: int = 0) -> Frame:
        """Number and stamp a picture; stamps never run backwards, numbers show what was skipped."""
        stamp = self._clock() if captured_ns is None else captured_ns
        self._last_ns = max(stamp, self._last_ns)
        index = self._index + skipped
        self._index = index + 1
        return Frame(index=index, image=image, captured_ns=self._last_ns)

    @abstractmethod
    def _open(self) -> None:
        """Take hold of the device or file."""

    @abstractmethod
    def _next(self) -> Frame | None:
        """The next frame, or None at the end."""

    @abstractmethod
    def _close(self) -> None:
        """Let go, also of what was opened by half."""


class Pacer:
    """The pace of a camera for pictures that are ready at any time.

    Args:
        fps: Frames per second.
        clock: CLOCK_MONOTONIC in nanoseconds.
        sleep: Waits for seconds.
    """

    def __init__(self, fps: float, clock: Clock, sleep: Sleep) -> None:
        self._period_ns = 1e9 / fps
        self._clock, self._sleep = clock, sleep
        self._begin: int | None = None
        self._next = 0

    def wait(self) -> tuple[int, int]:
        """Wait until a frame is due.

        Returns:
            Frames that went by unread before it, and the moment in nanoseconds that it was due.
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


def read_options(
    scheme: str, given: Mapping[str, str], known: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Options of a source's text in their types; the ones not given are left out.

    Args:
        scheme: For the message.
        given: Option -> text.
        known: Option -> what turns its text into a value, raising ValueError.

    Raises:
        UsageError: Unknown option, or a value that does not fit.
    """
    values = {}
    for name, text in given.items():
        if name not in known:
            raise UsageError(
                f"unknown option {name!r} of {scheme}:", expected=", ".join(sorted(known)) or "no option"
            )
        try:
            values[name] = known[name](text)
        except ValueError as error:
            raise UsageError(
                f"option {name!r} of {scheme}: does not fit", expected=str(error), got=repr(text)
            ) from error
    return values


def whole(least: int, most: int) -> Callable[[str], int]:
    """A reader of whole numbers in a range."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdigit() or not least <= int(text) <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return int(text)

    return read


def number(what: str, least: float, most: float) -> Callable[[str], float]:
    """A reader of numbers of a kind in a range."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ValueError(f"{what}, {least:g} to {most:g}")
        return value

    return read


rate = number("frames per second", 1, 1000)


def switch(text: str) -> bool:
    """`1` or `0`.

    Raises:
        ValueError: Anything else.
    """
    if text not in ("0", "1"):
        raise ValueError("1 (on) or 0 (off)")
    return text == "1"
