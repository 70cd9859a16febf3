"""The device's state and the reason for it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class State(str, Enum):
    """What the device is doing; logs, metrics and the cart's controller get the value."""

    BOOT = "boot"
    SELFTEST = "selftest"
    NO_SIGNAL = "no-signal"
    RUNNING = "running"
    PAUSED = "paused"
    DEGRADED = "degraded"
    BYPASS = "bypass"


def kind_of(reason: str) -> str:
    """The kind of a reason: the text before its first colon."""
    return reason.partition(":")[0].strip()


@dataclass(frozen=True, slots=True)
class Status:
    """A state and why it holds.

    Attributes:
        state: What the device is doing.
        reason: Why, as `kind` or `kind: detail`; empty only while RUNNING.
        since_ns: CLOCK_MONOTONIC nanoseconds at which state and kind of reason began to hold.
    """

    state: State
    reason: str
    since_ns: int
