"""`edge.contracts.CartLink`: a thread between the frame loop and the controller.

A heartbeat is sent only after the frame loop called `beat`, so that a stalled loop opens the relay.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edge.contracts import CartEvent
from firmware_bridge.cart.link.session import Beat, Session
from firmware_bridge.cart.link.transports import drain

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from edge.contracts import CartReport
    from edge.status import Status
    from firmware_bridge.cart.link.transports import Connector, Transport
    from firmware_bridge.cart.protocol.messages import ControllerStatus

FAREWELL_S = 0.08
_POLL_S = 0.02
_BACKOFF_S = (0.1, 2.0)


class ThreadedCart:
    """The link and its thread, which runs between enter and exit.

    Args:
        connector: Opens connections to the controller.
        clock: CLOCK_MONOTONIC in nanoseconds.
    """

    def __init__(self, connector: Connector, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.connector, self._clock = connector, clock
        self._session = Session()
        self._lock = threading.Lock()
        self._beat: Beat | None = None
        self._events: deque[CartReport] = deque(maxlen=1024)
        self._stop = threading.Event()
        self._wake_read, self._wake_write = -1, -1
        self._thread: threading.Thread | None = None
        self._first: Transport | None = None

    def __enter__(self) -> ThreadedCart:
        try:
            self._first = self.connector.open()
        except OSError as error:
            self._report([CartEvent("link-down", f"{error}; looking for it")])
        except BaseException:
            self.connector.close()
            raise
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="cart", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._thread is not None, "left without being entered"
        self._stop.set()
        self._wake()
        self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)
        self.connector.close()

    def beat(self, status: Status, *, frame_age_ms: float | None, mask: bool) -> None:
        """Tell the controller that the frame loop made progress; call it for no other reason.

        Args:
            status: Status of the device.
            frame_age_ms: Age of the last processed frame; None without one.
            mask: Whether an overlay is shown, for which the route is leased.
        """
        with self._lock:
            self._beat = Beat(status, frame_age_ms, mask, self._now_ms())
        self._wake()

    def events(self) -> Sequence[CartReport]:
        """Return what was reported since the last call."""
        with self._lock:
            events = list(self._events)
            self._events.clear()
        return events

    @property
    def counters(self) -> Mapping[str, int]:
        """Count lost frames and invalid messages of both ends; the controller's since its start."""
        status, session = self._session.status, self._session
        return {
            "drops": session.deframer.drops,
            "refused": session.refused,
            "controller_drops": 0 if status is None else status.drops,
            "controller_refused": 0 if status is None else status.refused,
        }

    @property
    def controller(self) -> ControllerStatus | None:
        """Return the controller's newest status (temperature, supply, faults); None without one."""
        return self._session.status

    def _now_ms(self) -> int:
        return self._clock() // 1_000_000

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            return  # a wake-up is already pending

    def _report(self, events: Sequence[CartReport]) -> None:
        with self._lock:
            self._events.extend(events)

    def _run(self) -> None:
        wait_s, warned = _BACKOFF_S[0], self._first is None
        transport, self._first = self._first, None
        while not self._stop.is_set():
            if transport is None:
                try:
                    transport = self.connector.open()
                except OSError as error:
                    if not warned:
                        warned = True
                        self._report([CartEvent("link-down", f"{error}; looking for it")])
                    self._stop.wait(wait_s)
                    wait_s = min(2 * wait_s, _BACKOFF_S[1])
                    continue
            warned = False
            try:
                wait_s = self._talk(transport, wait_s)
                self._send_farewell(transport)
            except OSError as error:
                warned = self._session.up
                self._session.disconnect(f"{error}; looking for it")
                self._report(list(self._session.pop_reports()))
            finally:
                transport.close()
                transport = None
            self._stop.wait(wait_s)

    def _talk(self, transport: Transport, wait_s: float) -> float:
        """Exchange data until it is time to stop.

        Returns:
            Seconds until the next attempt; short again once the controller answered.

        Raises:
            OSError: The connection was lost.
        """
        session, unsent = self._session, b""
        session.connect(self._now_ms())
        while not self._stop.is_set():
            writable = [transport.fileno()] if unsent else []
            readable, _, _ = select.select(
                [transport.fileno(), self._wake_read], writable, [], _POLL_S
            )
            if self._wake_read in readable:
                os.read(self._wake_read, 4096)
            if transport.fileno() in readable:
                session.receive(transport.read(), self._now_ms())
            if not unsent:
                # Nothing is queued while the line is busy: an old heartbeat must not pass for a new
                # one.
                with self._lock:
                    beat, self._beat = self._beat, None
                unsent = session.poll(beat, self._now_ms())
            if unsent:
                unsent = unsent[transport.write(unsent) :]
            if session.reported:
                self._report(list(session.pop_reports()))
            if session.up:
                wait_s = _BACKOFF_S[0]
        return wait_s

    def _send_farewell(self, transport: Transport) -> None:
        drain(transport, self._session.farewell(), FAREWELL_S)
