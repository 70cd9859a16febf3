"""The firmware on the emulated board against the runtime's own link.

The emulator's clock is the machine's, so a bound here has the slack of a busy machine; the host
build has the exact times (tests/firmware_bridge/cart/test_firmware.py).
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from typing import Any

import pytest

from firmware_bridge.cart.protocol import messages as m

SLACK_S = 1.5
FLOOD_BYTES = 64 << 10
DRAIN_S = FLOOD_BYTES * 10 / 115200
"""How long a line of 115,200 baud takes for the flood: the board reads what is still in the line
before it reads beats of the present, and older ones show nothing."""
"""What a busy machine may add to any time."""

HOST = """
import sys, time
from edge.status import State, Status
from firmware_bridge.cart.connectors import open_cart
with open_cart(sys.argv[1]) as cart:
    while True:
        cart.beat(Status(State.RUNNING, None, 0), frame_age_ms=20.0, mask=True)
        time.sleep(1 / 60)
"""
"""A runtime reduced to its link."""


def test_overlay_while_masks_are_shown(bench: Any) -> None:
    bench.beat_until(lambda: not bench.board.relay, mask=False)
    bench.beat_until(lambda: bench.board.relay)
    bench.beat_until(lambda: bench.link.controller is not None and not bench.link.controller.bypass)
    status = bench.link.controller
    assert (status.relay_feedback, status.drops, status.refused, status.supply_mv) == (
        True,
        0,
        0,
        12000,
    )
    assert bench.links()[-1] == "link-up"


@pytest.mark.row(26, "nothing passes between host and controller any more, then it does")
def test_a_cut_cable(bench: Any) -> None:
    bench.line.cut = True
    assert bench.beat_until(lambda: not bench.board.relay) < 0.5 + SLACK_S
    bench.beat_until(lambda: bench.links()[-1] == "link-down")
    bench.line.cut = False
    bench.beat_until(lambda: bench.board.relay)
    assert bench.links()[-2:] == ["link-down", "link-up"]


@pytest.mark.row(26, "the host's device vanishes and comes back")
def test_an_unplugged_device(bench: Any) -> None:
    bench.unplug()
    assert bench.beat_until(lambda: not bench.board.relay) < 0.5 + SLACK_S
    bench.absent = False
    bench.beat_until(lambda: bench.board.relay)
    assert bench.links()[-2:] == ["link-down", "link-up"]


@pytest.mark.row(27, "a flipped bit in 30 % of what the host sends")
def test_noise(bench: Any) -> None:
    generator = random.Random(1)

    def noisy(data: bytes) -> bytes:
        if not data or generator.random() > 0.3:
            return data
        flipped = bytearray(data)
        flipped[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        return bytes(flipped)

    bench.line.spoil = noisy
    bench.beat(2.0)
    bench.beat_until(lambda: not bench.board.relay, mask=False)
    for _ in range(40):
        bench.beat(0.1, mask=False)
        assert not bench.board.relay, "a command that nobody gave"
    bench.line.spoil = lambda data: data
    bench.beat_until(lambda: bench.board.relay)
    bench.beat_until(lambda: bench.link.controller.drops > 20)


@pytest.mark.row(
    28, "64 kB of random bytes between the host's frames, as fast as the line takes them"
)
def test_a_flood_of_garbage(bench: Any) -> None:
    generator, left = random.Random(2), FLOOD_BYTES >> 10

    def flood(data: bytes) -> bytes:
        nonlocal left
        left -= 1
        return generator.randbytes(1024) + data if left > 0 else data

    bench.line.spoil = flood
    bench.beat_until(lambda: left <= 0)
    assert (
        bench.beat_until(lambda: bench.board.relay and bench.links()[-1] == "link-up")
        < DRAIN_S + 1.0 + SLACK_S
    )
    bench.beat_until(lambda: bench.link.controller.drops > 50)


@pytest.mark.row(29, "a whole frame whose route there is not")
def test_a_message_that_breaks_the_schema(raw: Any, board: Any) -> None:
    broken = bytes([0x83, m.PROTOCOL, 0x18, 77, 0x83, 3, 2, 0x18, 120])
    raw.ask(broken, lambda message: message == m.Ack(77, m.SCHEMA))
    hello = m.encode(m.Envelope(m.PROTOCOL, 5, m.Hello(0, m.PROTOCOL, "test")))
    raw.ask(hello, lambda message: message == m.Ack(5, m.DONE))
    assert not board.relay


@pytest.mark.row(30, "a host whose hello and envelopes are of the next protocol")
def test_a_host_of_another_version(raw: Any, board: Any) -> None:
    hello = m.encode(m.Envelope(m.PROTOCOL + 1, 9, m.Hello(0, m.PROTOCOL + 1, "next")))
    raw.ask(hello, lambda message: message == m.Ack(9, m.VERSION))
    lease = m.encode(m.Envelope(m.PROTOCOL + 1, 10, m.SetRoute(1, 120)))
    raw.ask(lease, lambda message: message == m.Ack(10, m.VERSION))
    status = raw.ask(
        lease, lambda message: isinstance(message, m.ControllerStatus) and bool(message.faults)
    )
    assert (status.bypass, status.faults) == (True, 0x10)
    assert not board.relay


@pytest.mark.row(31, "the board is reset from outside")
def test_a_reset(bench: Any) -> None:
    bench.board.order("system_reset")
    bench.beat_until(lambda: any(event.detail.endswith("started by pin") for event in bench.events))
    assert bench.links()[-2:] == ["link-down", "link-up"]
    greetings = [event.detail.split() for event in bench.events if event.kind == "link-up"]
    assert greetings[0][1] != greetings[-1][1], "another boot id"
    bench.beat_until(lambda: bench.board.relay)


@pytest.mark.row(31, "the firmware's loop stands still, and its own watchdog resets it")
def test_a_firmware_that_hangs(bench: Any) -> None:
    bench.board.hang("app_tick")
    bench.beat_until(lambda: any("started by watchdog" in event.detail for event in bench.events))
    bench.beat_until(lambda: bench.board.relay)


@pytest.mark.row(33, "the host process is killed while the overlay is on")
def test_a_killed_host(terminal_board: Any) -> None:
    host = subprocess.Popen([sys.executable, "-c", HOST, f"serial:{terminal_board.device}"])
    try:
        end = time.monotonic() + 30
        while not terminal_board.relay:
            assert time.monotonic() < end
            time.sleep(0.02)
    finally:
        host.kill()
        killed = time.monotonic()
        host.wait()
    while terminal_board.relay:
        assert time.monotonic() - killed < 0.12 + SLACK_S
        time.sleep(0.005)


@pytest.mark.row(43, "the link is closed while the overlay is on")
def test_the_farewell(bench: Any) -> None:
    bench.beat_until(lambda: bench.board.relay)
    began = time.monotonic()
    bench.leave()
    while bench.board.relay:
        assert time.monotonic() - began < 0.1 + SLACK_S
