"""The controller's application on a noisy line: nothing unsent closes the relay."""

from __future__ import annotations

import random

import pytest

from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame
from firmware_bridge.cart.simcart.controller import Controller

RUNNING = 3


class Host:
    """Who sends to a controller over a line that flips a bit in a share of the frames."""

    def __init__(self, seed: int, *, share: float = 0.3) -> None:
        self.controller = Controller()
        self.sequence, self.share, self.generator = 0, 0.0, random.Random(seed)
        self.controller.start(7, now_ms=1000)
        self.say(m.Hello(role=0, proto=m.PROTOCOL, fw="test"))
        self.share = share

    def say(self, *messages: m.AnyMessage) -> None:
        for message in messages:
            data = bytearray(
                frame(m.encode(m.Envelope(m.PROTOCOL, self.sequence & 0xFFFF, message)))
            )
            if self.generator.random() < self.share:
                data[self.generator.randrange(len(data))] ^= 1 << self.generator.randrange(8)
            self.controller.receive(bytes(data))
            self.sequence += 1

    def heartbeat(self) -> m.Heartbeat:
        return m.Heartbeat(7, self.controller.now_ms, RUNNING, 5)

    def wait(self, milliseconds: int) -> bytes:
        self.controller.advance(self.controller.now_ms + milliseconds)
        return self.controller.read_output()


@pytest.mark.row(27, "a flipped bit in 30 % of 20,000 frames; host build")
def test_noise_gives_no_false_command() -> None:
    # Only pass-through is ever sent: an overlay would be a false command.
    host = Host(3)
    for i in range(10_000):
        host.say(host.heartbeat(), m.SetRoute(0, 120))
        assert not host.controller.coil
        if i % 4 == 0:
            host.wait(16)
    assert host.controller.drops > 3000
    assert not host.controller.refused


@pytest.mark.row(27, "a flipped bit in 30 % of the frames while masks come and go; host build")
def test_under_noise_no_overlay_outlives_the_lease_that_was_sent() -> None:
    host, overlays, lease_until = Host(4), 0, 0
    for i in range(3000):
        host.say(host.heartbeat())
        if i % 50 < 25:
            host.say(m.SetRoute(1, 120))
            lease_until = host.controller.now_ms + 120
        for _ in range(16):
            host.wait(1)
            assert not host.controller.coil or host.controller.now_ms < lease_until
            overlays += host.controller.coil
    assert overlays > 10_000


@pytest.mark.row(28, "a second of random bytes at the line's full rate, then a host; host build")
@pytest.mark.parametrize("seed", range(5))
def test_a_flood_of_garbage_is_over_with_the_next_frame(seed: int) -> None:
    host = Host(seed, share=0.0)
    for _ in range(20):
        host.controller.receive(host.generator.randbytes(11_520 // 20))
        host.wait(50)
        assert not host.controller.coil
    host.say(host.heartbeat(), m.SetRoute(1, 120))
    assert host.controller.coil
    messages = [m.decode(payload).msg for payload in Deframer().feed(host.wait(1))]
    done = [message.code for message in messages if isinstance(message, m.Ack)]
    assert done[-2:] == [m.DONE, m.DONE]
