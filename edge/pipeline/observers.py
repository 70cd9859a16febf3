"""Observers of the frame loop: supervisor, thermal monitor, cart, watchdog and records.

Each is notified of the loop's progress and may require a state; none of them blocks.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Protocol

from edge.contracts import PedalEvent
from edge.status import Condition, Reason, ReasonKind, State

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from edge.contracts import CartLink
    from edge.frame import Frame, Result
    from edge.inference.supervisor import Supervisor
    from edge.pipeline.thermal import ThermalMonitor
    from edge.pipeline.watchdog import Watchdog
    from edge.status import Status
    from edge.telemetry.observer import Telemetry

EVERY_NS = 1_000_000_000

_log = logging.getLogger(__name__)
_WARNED = ("condemned", "passed-over", "exhausted", "unstarted")
"""Events of the supervisor that are for the operator, too."""


class SupervisorObserver:
    """Turns the supervisor's phase into a state, and its news into lines of the journal.

    Args:
        supervisor: The student.
        telemetry: The journal.
        finite: Whether every frame of the source is wanted, so that the run ends with an error
            when no student is left; otherwise the reason is logged and the device bypasses.
    """

    def __init__(
        self, supervisor: Supervisor, telemetry: Telemetry, *, finite: bool = False
    ) -> None:
        self._supervisor, self._telemetry, self._finite = supervisor, telemetry, finite

    def conditions(self) -> Iterable[Condition]:
        """Return the condition of the phase."""
        condition = self._supervisor.condition
        return () if condition is None else (condition,)

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Note what happened to the student's process.

        Raises:
            EdgeDifomError: No student is left for a finite source.
        """
        for event in self._supervisor.pop_events():
            self._telemetry.event(event.kind, detail=event.detail)
            if event.kind in _WARNED and not self._finite:
                _log.warning("%s: %s", event.kind, event.detail)
        if self._finite and self._supervisor.failure is not None:
            raise self._supervisor.failure


class ThermalObserver:
    """Turns the temperature into a state; the loop's rate follows `ThermalMonitor.keep_every`."""

    def __init__(self, thermal: ThermalMonitor) -> None:
        self._thermal = thermal

    def conditions(self) -> Iterable[Condition]:
        """Return DEGRADED while the frame rate is reduced, BYPASS if that was not enough."""
        return self._thermal.conditions()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Start a reading of the sensors if one is due."""
        self._thermal.poll()


class CartObserver:
    """Sends heartbeats to the cart's controller, and turns its reports into states and events.

    Args:
        link: The controller; entered by the caller.
        telemetry: The journal.
        stop: Set when the power supply fails.
        pressed: Called with the pedal that was pressed, such as `pedal 1`.
    """

    def __init__(
        self,
        link: CartLink,
        telemetry: Telemetry,
        stop: threading.Event,
        pressed: Callable[[str], None] | None = None,
    ) -> None:
        self._link, self._telemetry, self._stop, self._pressed = link, telemetry, stop, pressed
        self._power: Condition | None = None
        self._link_event = ""

    def conditions(self) -> Iterable[Condition]:
        """Return BYPASS after the power supply failed."""
        return () if self._power is None else (self._power,)

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Send a heartbeat, which renews the route's lease if an overlay is shown."""
        age_ms = None
        if frame is not None:
            age_ms = (max(end for _, end in frame.stamps.values()) - frame.captured_ns) / 1e6
        self._link.beat(
            status, frame_age_ms=age_ms, mask=result is not None and result.reason is None
        )
        for event in self._link.events():
            self._telemetry.event(f"cart-{event.kind}", detail=event.detail)
            if event.kind != self._link_event and event.kind in ("link-down", "link-up"):
                earlier, self._link_event = self._link_event, event.kind
                if event.kind == "link-down" or earlier:
                    _log.warning("cart: %s: %s", event.kind, event.detail)
            if isinstance(event, PedalEvent):
                if event.pressed and self._pressed is not None:
                    self._pressed(event.name)
            elif event.kind == "power-fail":
                why = Reason(ReasonKind.POWER_FAIL, f"the supply holds for {event.holdup_ms} ms")
                self._power = Condition(State.BYPASS, why)
                self._stop.set()


class WatchdogObserver:
    """Pings the service manager, only when the loop makes progress."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog, self._last_text = watchdog, ""

    def conditions(self) -> Iterable[Condition]:
        """Nothing."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Ping; the first ping also reports that the device is ready."""
        self._watchdog.ping()
        text = str(status.state) if status.kind is None else f"{status.state} {status.kind}"
        if text != self._last_text:
            self._watchdog.status(text)
            self._last_text = text


class SignalLock(Protocol):
    """Holds off updates while a signal is present; a context manager."""

    def __enter__(self) -> SignalLock: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def present(self, signal: bool) -> bool:
        """Report whether a signal is present; return whether updates are refused now."""
        ...


class SignalObserver:
    """Tells the installer of bundles whether a signal is present."""

    def __init__(self, lock: SignalLock) -> None:
        self._lock = lock

    def conditions(self) -> Iterable[Condition]:
        """Nothing."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Report a signal if there is a frame, and no signal if the status is NO_SIGNAL."""
        if frame is not None or status.state is State.NO_SIGNAL:
            self._lock.present(frame is not None)


class CounterObserver:
    """Passes all counters to the journal and the metrics.

    Args:
        telemetry: Journal and metrics.
        counters: Returns `origin.event` -> number; called once a second.
        gauges: Returns the last measurements; called once a second.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(
        self,
        telemetry: Telemetry,
        *,
        counters: Callable[[], Mapping[str, int]],
        gauges: Callable[[], Mapping[str, float]],
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._telemetry, self._counters, self._gauges, self._clock = (
            telemetry,
            counters,
            gauges,
            clock,
        )
        self._next_ns = 0

    def conditions(self) -> Iterable[Condition]:
        """Nothing."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Pass the counters on, at most once a second."""
        if (now := self._clock()) >= self._next_ns:
            self._next_ns = now + EVERY_NS
            self._telemetry.counters(self._counters())
            self._telemetry.gauges(self._gauges())
