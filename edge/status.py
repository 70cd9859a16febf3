"""The device's state and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class TextEnum(str, Enum):
    """Members print, format, compare and hash as their value, like `enum.StrEnum` of Python 3.11.

    `class Name(str, Enum)` alone prints `Name.MEMBER` and formats differently between Python
    versions.
    """

    def __str__(self) -> str:
        return str(self.value)

    def __format__(self, spec: str) -> str:
        return format(str(self.value), spec)


class State(TextEnum):
    """What the device is doing; logs, metrics and the cart's controller get the value."""

    BOOT = "boot"
    SELFTEST = "selftest"
    NO_SIGNAL = "no-signal"
    RUNNING = "running"
    PAUSED = "paused"
    DEGRADED = "degraded"
    BYPASS = "bypass"

    @property
    def word(self) -> str:
        """The word that overlay and page show, such as `NO SIGNAL`."""
        return str(self.value).replace("-", " ").upper()


class Light(TextEnum):
    """The five colors of the lamp, by which overlay and page show a state too."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"
    BLUE = "blue"
    WHITE = "white"

    @property
    def rgb(self) -> tuple[int, int, int]:
        """The color on a display, 0 to 255."""
        return _RGB[self]


_RGB = {
    Light.GREEN: (0, 230, 120),
    Light.AMBER: (255, 190, 0),
    Light.RED: (255, 93, 93),
    Light.BLUE: (88, 180, 255),
    Light.WHITE: (235, 235, 235),
}

LIGHTS = {
    State.BOOT: Light.BLUE,
    State.SELFTEST: Light.BLUE,
    State.NO_SIGNAL: Light.WHITE,
    State.RUNNING: Light.GREEN,
    State.PAUSED: Light.BLUE,
    State.DEGRADED: Light.AMBER,
    State.BYPASS: Light.RED,
}
"""Color of each state on lamp, overlay and page; a state is also told by its word and its shape."""


class ReasonKind(TextEnum):
    """Why the device is not running, or why a frame has no mask; the screen shows the value."""

    # The device as a whole.
    STARTING = "starting"
    SELFTEST = "selftest"
    WARM = "warm"
    HOT = "hot"
    POWER_FAIL = "power-fail"

    # The source.
    UNPLUGGED = "unplugged"
    CLOSED = "closed"
    STALLED = "stalled"
    NO_SIGNAL = "no-signal"
    NO_LOCK = "no-lock"
    OUT_OF_RANGE = "out-of-range"
    INTERLACED = "interlaced"
    FORMAT = "format"
    CORRUPT = "corrupt"

    # The picture.
    BLACK = "black"
    LIGHT = "light"
    FREEZE = "freeze"
    OUT_OF_BODY = "out-of-body"
    BLURRED = "blurred"

    # The inference.
    LATE = "late"
    HANG = "hang"
    CRASH = "crash"
    MEMORY = "memory"
    MACHINE = "machine"
    FALLBACK = "fallback"
    UNRECORDED = "unrecorded"
    DAMAGED = "damaged"
    RESTARTING = "restarting"
    EXHAUSTED = "exhausted"

    # The result.
    IMPLAUSIBLE = "implausible"
    STALE = "stale"

    # The presenter.
    NO_FRAME = "no frame"
    NO_NEWS = "no news"

    UNKNOWN = "unknown"
    """A text whose kind this version does not know; the detail is the whole text."""


GUARDED = (
    ReasonKind.BLACK,
    ReasonKind.LIGHT,
    ReasonKind.FREEZE,
    ReasonKind.OUT_OF_BODY,
    ReasonKind.BLURRED,
)
"""Kinds of reasons for which the frame guard leaves a frame out."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a state holds or a mask is missing.

    Logs, metrics and shared memory carry the text, `kind: detail` or `kind` alone; `str` writes it
    and `parse` reads it. Everything else compares kinds.

    Attributes:
        kind: Kind of the problem; a new kind is a new status.
        detail: Details for people; may change while the kind stays the same.
    """

    kind: ReasonKind
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else str(self.kind)

    @classmethod
    def parse(cls, text: str) -> Reason | None:
        """Parse the text of a reason; return None for an empty text.

        Args:
            text: A text from `str`, of this or another process; its end may be truncated.
        """
        if not text:
            return None
        kind, _, detail = text.partition(":")
        try:
            return cls(ReasonKind(kind.strip()), detail.strip())
        except ValueError:
            return cls(ReasonKind.UNKNOWN, text)


class Condition(NamedTuple):
    """Something that is wrong at this moment.

    Attributes:
        state: The state that it requires.
        reason: The reason for it.
    """

    state: State
    reason: Reason


@dataclass(frozen=True, slots=True)
class Status:
    """A state and why it holds.

    Attributes:
        state: What the device is doing.
        reason: Why; None only while RUNNING.
        since_ns: CLOCK_MONOTONIC nanoseconds at which state and kind of reason began to hold.
    """

    state: State
    reason: Reason | None
    since_ns: int

    @property
    def kind(self) -> ReasonKind | None:
        """Kind of the reason, None without a reason."""
        return None if self.reason is None else self.reason.kind

    @property
    def text(self) -> str:
        """The reason as text, empty without a reason."""
        return "" if self.reason is None else str(self.reason)


STARTING = Reason(ReasonKind.STARTING)
"""The reason before anything else is known."""
