"""The host's protocol with the controller, without I/O and without a clock.

Bytes come in by `receive` and go out by `poll`; both are given the time. The controller counts as
dead after `SILENCE_MS` without a complete message from it, and the link restarts with a hello.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from edge import __version__
from edge.contracts import CartEvent, PedalEvent
from edge.limits import BEAT_MAX_AGE_MS, ROUTE_LEASE_MS
from edge.status import LIGHTS, Light, State
from firmware_bridge.cart.link.controller_clock import ControllerClock
from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.contracts import CartReport
    from edge.status import Status

HELLO_MS = 250
OTHER_VERSION_MS = 1000
"""Milliseconds between two greetings of a controller that speaks a different protocol version."""

SILENCE_MS = 700
LAMP_MS = 250

STATES = {
    State.BOOT: 0,
    State.SELFTEST: 1,
    State.NO_SIGNAL: 2,
    State.RUNNING: 3,
    State.PAUSED: 4,
    State.DEGRADED: 5,
    State.BYPASS: 6,
}
"""Numbers of the states in the schema."""

_COLORS = {
    Light.GREEN: m.GREEN,
    Light.AMBER: m.AMBER,
    Light.RED: m.RED,
    Light.BLUE: m.BLUE,
    Light.WHITE: m.WHITE,
}

_PERIODS_MS = {State.BOOT: 1000, State.SELFTEST: 500, State.NO_SIGNAL: 1000}

LAMPS = {state: (_COLORS[light], _PERIODS_MS.get(state, 0)) for state, light in LIGHTS.items()}
"""Color and blink period in milliseconds; 0 is steady."""


class Beat(NamedTuple):
    """Progress of the frame loop to report to the controller.

    Attributes:
        status: Status of the device.
        frame_age_ms: Age of the last processed frame; None without one.
        mask: Whether an overlay is shown.
        at_ms: Time of the report.
    """

    status: Status
    frame_age_ms: float | None
    mask: bool
    at_ms: int


class Session:
    """The link of one host over any number of connections.

    Attributes:
        up: Whether the controller has greeted and speaks this protocol.
        reported: Events since the owner last cleared it.
        deframer: Finds frames; its `drops` count the frames that the line damaged.
        refused: Number of complete frames that held no valid message for the host.
        status: Newest status of the controller; None before the first.
    """

    def __init__(self) -> None:
        self.up = False
        self.reported: deque[CartReport] = deque(maxlen=256)
        self.deframer = Deframer()
        self.refused = 0
        self.status: m.ControllerStatus | None = None
        self._out = bytearray()
        self._sequence = 0
        self._boot_id: int | None = None
        self._clock = ControllerClock()
        self._last_event = -1
        self._last_power_fail: int | None = None
        self._heard_ms = 0
        self._now_ms = 0
        self._hello_due_ms = 0
        self._hello_sequence: int | None = None
        self._greeting: m.Greeting | None = None
        self._lamp_ms: int | None = None
        self._lamp_sequence: int | None = None
        self._lamp: tuple[int, int] | None = None
        self._refusals: set[str] = set()
        self._faults = 0

    def connect(self, now_ms: int) -> None:
        """Start a new connection: greet, and discard an incomplete frame of the old one."""
        drops = self.deframer.drops
        self.deframer = Deframer()
        self.deframer.drops = drops
        self._out.clear()
        self._now_ms = self._heard_ms = now_ms
        self._greet_again()

    def disconnect(self, reason: str) -> None:
        """Note that the connection was lost."""
        self._down(reason)

    def receive(self, data: bytes, now_ms: int) -> None:
        """Process bytes from the controller."""
        self._now_ms = now_ms
        for payload in self.deframer.feed(data):
            self._handle_payload(payload)

    def poll(self, beat: Beat | None, now_ms: int) -> bytes:
        """Return the bytes to send now.

        Args:
            beat: Progress since the last call; None if there was none, and then no heartbeat is
            sent.
            now_ms: Current time in milliseconds.
        """
        self._now_ms = now_ms
        if self.up and now_ms - self._heard_ms >= SILENCE_MS:
            self._down(f"no message from the controller for {now_ms - self._heard_ms} ms")
        if not self.up:
            if now_ms >= self._hello_due_ms:
                self._hello_due_ms = now_ms + HELLO_MS
                self._greeting = None
                self._hello_sequence = self._send(
                    m.Hello(role=0, proto=m.PROTOCOL, fw=__version__[:24])
                )
        elif beat is not None and now_ms - beat.at_ms < BEAT_MAX_AGE_MS:
            self._beat(beat, now_ms)
        out = bytes(self._out)
        self._out.clear()
        return out

    def farewell(self) -> bytes:
        """Return the last message: pass-through."""
        self._out.clear()
        if self.up:
            self._send(m.SetRoute(route=0, lease_ms=0))
        out = bytes(self._out)
        self._out.clear()
        return out

    def pop_reports(self) -> Iterator[CartReport]:
        """Yield each event once, the oldest first."""
        while self.reported:
            yield self.reported.popleft()

    def _beat(self, beat: Beat, now_ms: int) -> None:
        state = beat.status.state
        assert self._boot_id is not None, "the link is up only after a greeting"
        age = (
            m.NO_FRAME_AGE
            if beat.frame_age_ms is None
            else min(int(beat.frame_age_ms), m.NO_FRAME_AGE - 1)
        )
        self._send(
            m.Heartbeat(
                boot_id=self._boot_id,
                clock_ms=self._clock.at(beat.at_ms),
                state=STATES[state],
                frame_age_ms=max(age, 0),
            )
        )
        if beat.mask:
            self._send(m.SetRoute(route=1, lease_ms=ROUTE_LEASE_MS))
        lamp = LAMPS[state]
        waited = self._lamp_ms is None or now_ms - self._lamp_ms >= LAMP_MS
        if lamp != self._lamp or (self._lamp_sequence is not None and waited):
            self._lamp, self._lamp_ms = lamp, now_ms
            self._lamp_sequence = self._send(m.SetLamp(*lamp))

    def _handle_payload(self, payload: bytes) -> None:
        try:
            envelope = m.decode(payload)
        except m.VersionError as error:
            self._other_version(f"the controller speaks {error}")
        except m.SchemaError:
            self.refused += 1
        else:
            self._heard_ms = self._now_ms
            self._handle(envelope)

    def _handle(self, envelope: m.Envelope) -> None:
        message = envelope.msg
        if isinstance(message, m.Ack):
            self._handle_ack(message)
        elif isinstance(message, m.Greeting):
            self._handle_greeting(message)
        elif isinstance(message, m.ControllerStatus):
            self._handle_status(message)
        elif isinstance(message, m.InputEvent):
            self._handle_event(envelope.seq, message)
        elif isinstance(message, m.PowerFail):
            self._handle_power_fail(envelope.seq, message)
        else:
            self.refused += 1

    def _handle_ack(self, ack: m.Ack) -> None:
        if ack.ack_seq == self._lamp_sequence and ack.code == m.DONE:
            self._lamp_sequence = None
        if ack.code == m.VERSION:
            self._other_version(f"the controller does not speak protocol {m.PROTOCOL}")
        elif ack.code == m.GREET_FIRST and self.up:
            self._down("the controller no longer knows this host")
        elif ack.code in (m.SCHEMA, m.UNKNOWN_STATE, m.REFUSED, m.TOO_OLD):
            self._refuse(f"the controller answers: {m.CODES[ack.code]}")
        elif (
            ack.code == m.DONE
            and ack.ack_seq == self._hello_sequence
            and self._greeting
            and not self.up
        ):
            self.up = True
            self._lamp = None
            self._refusals.clear()
            cause = m.RESET_CAUSES[self._greeting.reset_cause]
            self.reported.append(
                CartEvent("link-up", f"controller {self._greeting.boot_id:08x}, started by {cause}")
            )

    def _handle_greeting(self, greeting: m.Greeting) -> None:
        if greeting.boot_id != self._boot_id:
            self._boot_id, self._last_event, self._last_power_fail = greeting.boot_id, -1, None
            self._clock.restart()
            if self.up:
                self._down(f"the controller was reset: {m.RESET_CAUSES[greeting.reset_cause]}")
        self._clock.observe(greeting.clock_ms, self._now_ms)
        self._greeting = greeting

    def _handle_status(self, status: m.ControllerStatus) -> None:
        self.status = status
        self._clock.observe(status.clock_ms, self._now_ms)
        if not self.up:
            return  # its fault for a silent host is already known
        if status.faults & ~self._faults:
            self._refuse(f"the controller's faults: {', '.join(fault_names(status.faults))}")
        self._faults = status.faults
        if not status.faults:
            self._refusals.clear()

    def _handle_event(self, sequence: int, event: m.InputEvent) -> None:
        if not self.up:
            return  # the controller sends it again after the greeting
        self._send(m.Ack(ack_seq=sequence, code=m.DONE))
        if event.event_id > self._last_event:
            self._last_event = event.event_id
            self.reported.append(PedalEvent(event.source + 1, bool(event.edge)))

    def _handle_power_fail(self, sequence: int, message: m.PowerFail) -> None:
        self._send(m.Ack(ack_seq=sequence, code=m.DONE))
        if sequence != self._last_power_fail:
            self._last_power_fail = sequence
            self.reported.append(
                CartEvent(
                    "power-fail",
                    f"supply holds for {message.holdup_ms} ms",
                    holdup_ms=message.holdup_ms,
                )
            )

    def _other_version(self, reason: str) -> None:
        self._refuse(f"{reason}; the picture stays in pass-through")
        self._down(reason)
        self._hello_due_ms = self._now_ms + OTHER_VERSION_MS

    def _refuse(self, reason: str) -> None:
        if reason not in self._refusals:
            self._refusals.add(reason)
            self.reported.append(CartEvent("refused", reason))

    def _down(self, reason: str) -> None:
        if self.up:
            self.reported.append(CartEvent("link-down", reason))
        self._greet_again()

    def _greet_again(self) -> None:
        self.up = False
        self._faults = 0
        self._hello_sequence = None
        self._hello_due_ms = self._now_ms

    def _send(self, message: m.AnyMessage) -> int:
        sequence = self._sequence
        self._out += frame(m.encode(m.Envelope(m.PROTOCOL, sequence, message)))
        self._sequence = (sequence + 1) & 0xFFFF
        return sequence


def fault_names(faults: int) -> list[str]:
    """Return the names of the bits that are set."""
    return [name for bit, name in m.FAULTS.items() if faults & bit]
