"""Who follows the frame loop: the supervisor of the inference, the heat, the cart, the watchdog and the records.

Each is told of the loop's progress and may ask for a state; none of them waits for anything.
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
    from edge.pipeline.thermal import Heat
    from edge.pipeline.watchdog import Watchdog
    from edge.status import Status
    from edge.telemetry.observer import Telemetry

EVERY_NS = 1_000_000_000

_log = logging.getLogger(__name__)
_TOLD = ("condemned", "passed-over", "exhausted", "unstarted")
"""News of the supervisor that are for the operator, too."""


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
        """What the phase asks for."""
        condition = self._supervisor.condition
        return () if condition is None else (condition,)

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Note what happened to the student's process.

        Raises:
            EdgeDifomError: No student is left for a finite source.
        """
        for news in self._supervisor.news():
            self._telemetry.event(news.kind, detail=news.detail)
            if news.kind in _TOLD and not self._finite:
                _log.warning("%s: %s", news.kind, news.detail)
        if self._finite and self._supervisor.failure is not None:
            raise self._supervisor.failure


class HeatObserver:
    """Turns the temperature into a state; the loop's rate follows `Heat.keep_every`."""

    def __init__(self, heat: Heat) -> None:
        self._heat = heat

    def conditions(self) -> Iterable[Condition]:
        """DEGRADED while the rate is lowered, BYPASS where that was not enough."""
        return self._heat.conditions()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Read the sensors where it is time."""
        self._heat.poll()


class CartObserver:
    """Beats for the cart's controller, and turns what it reports into states and lines of the journal.

    Args:
        link: Entered by the caller.
        telemetry: The journal.
        stop: Set when the supply fails.
        pressed: Told which pedal was pressed, such as `pedal 1`.
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
        self._told = ""

    def conditions(self) -> Iterable[Condition]:
        """BYPASS from the moment at which the supply failed."""
        return () if self._power is None else (self._power,)

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Beat, with a lease of the route where an overlay is on show."""
        age_ms = None
        if frame is not None:
            age_ms = (max(end for _, end in frame.stamps.values()) - frame.captured_ns) / 1e6
        self._link.beat(
            status, frame_age_ms=age_ms, mask=result is not None and result.reason is None
        )
        for event in self._link.events():
            self._telemetry.event(f"cart-{event.kind}", detail=event.detail)
            if event.kind != self._told and event.kind in ("link-down", "link-up"):
                told, self._told = self._told, event.kind
                if event.kind == "link-down" or told:
                    _log.warning("cart: %s: %s", event.kind, event.detail)
            if isinstance(event, PedalEvent):
                if event.pressed and self._pressed is not None:
                    self._pressed(event.name)
            elif event.kind == "power-fail":
                why = Reason(ReasonKind.POWER_FAIL, f"the supply holds for {event.holdup_ms} ms")
                self._power = Condition(State.BYPASS, why)
                self._stop.set()


class WatchdogObserver:
    """Pings the service manager, on the loop's progress and on nothing else."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog, self._shown = watchdog, ""

    def conditions(self) -> Iterable[Condition]:
        """Nothing."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """Ping; the first time say that the device is ready."""
        self._watchdog.ping()
        shown = str(status.state) if status.kind is None else f"{status.state} {status.kind}"
        if shown != self._shown:
            self._watchdog.status(shown)
            self._shown = shown


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
        """Tell whether a signal is present; whether updates are refused now."""
        ...


class SignalObserver:
    """Tells whoever installs bundles whether a signal is present."""

    def __init__(self, lock: SignalLock) -> None:
        self._lock = lock

    def conditions(self) -> Iterable[Condition]:
        """Nothing."""
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:  # noqa: ARG002
        """A frame is a signal; its absence is one only where the status says so."""
        if frame is not None or status.state is State.NO_SIGNAL:
            self._lock.present(frame is not None)


class CounterObserver:
    """Gives the journal and the metrics everybody's counters.

    Args:
        telemetry: Both.
        counters: `origin.event` to how often; asked for once a second.
        gauges: What was measured last, likewise.
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
        """Pass the counters on where a second has passed."""
        if (now := self._clock()) >= self._next_ns:
            self._next_ns = now + EVERY_NS
            self._telemetry.counters(self._counters())
            self._telemetry.gauges(self._gauges())
