"""A controller that tests talk to: the firmware's application with an injected clock."""

from __future__ import annotations

from typing import Any

from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame
from firmware_bridge.cart.simcart.controller import Controller

RUNNING = 3
"""The state of the heartbeats, by the schema's number."""


class Cart:
    """A controller that was greeted, and what it said since the last look."""

    def __init__(self, *, now_ms: int = 1000, greet: bool = True) -> None:
        self.controller = Controller()
        self.sequence, self.began_ms = 0, now_ms
        self._deframer = Deframer()
        self.start(7, now_ms=now_ms)
        if greet:
            self.say(m.Hello(role=0, proto=m.PROTOCOL, fw="test"))
            self.heard()

    @property
    def now_ms(self) -> int:
        return self.controller.now_ms

    def start(self, boot_id: int, *, cause: int = 1, now_ms: int | None = None) -> None:
        """Power on or reset the controller."""
        self.boot_id = boot_id
        self.controller.start(boot_id, cause=cause, now_ms=now_ms)

    def heartbeat(self, state: int = RUNNING, *, age_ms: int = 0) -> m.Heartbeat:
        """A heartbeat that the host made `age_ms` ago."""
        return m.Heartbeat(self.boot_id, (self.now_ms - age_ms) & 0xFFFFFFFF, state, 20)

    def say(self, *messages: m.AnyMessage, ver: int = m.PROTOCOL) -> None:
        for message in messages:
            self.controller.receive(
                frame(m.encode(m.Envelope(ver, self.sequence & 0xFFFF, message)))
            )
            self.sequence += 1

    def heard(self) -> list[Any]:
        envelopes = [
            m.decode(payload) for payload in self._deframer.feed(self.controller.read_output())
        ]
        self.sequences = [envelope.seq for envelope in envelopes]
        return [envelope.msg for envelope in envelopes]

    def heard_of(self, kind: type) -> list[Any]:
        return [message for message in self.heard() if isinstance(message, kind)]

    def beat(self, state: int = RUNNING, *, lease_ms: int | None = 120) -> None:
        self.say(self.heartbeat(state))
        if lease_ms is not None:
            self.say(m.SetRoute(1, lease_ms))

    def run(self, milliseconds: int, *, beating: bool = False) -> None:
        end = self.now_ms + milliseconds
        while self.now_ms < end:
            if beating and self.now_ms % 16 == 0:
                self.beat()
            self.controller.advance(self.now_ms + 1)

    def until(self, condition: str, expected: bool, limit_ms: int = 2000) -> int:
        """Milliseconds until an attribute of the controller has a value."""
        began = self.now_ms
        while getattr(self.controller, condition) is not expected:
            assert self.now_ms - began < limit_ms, (
                f"{condition} is not {expected} after {limit_ms} ms"
            )
            self.controller.advance(self.now_ms + 1)
        return self.now_ms - began
