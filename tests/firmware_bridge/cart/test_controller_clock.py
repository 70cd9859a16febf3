"""The host's estimate of the controller's clock: late messages, drift, wrapping, suspension."""

from __future__ import annotations

import random

import pytest

from firmware_bridge.cart.link.controller_clock import ControllerClock


def late(clock: ControllerClock, at_ms: int, controller_ms: float) -> int:
    """By how much the estimate is behind the controller's true clock."""
    return (round(controller_ms) - clock.at(at_ms) + (1 << 31)) % (1 << 32) - (1 << 31)


@pytest.mark.parametrize("start", [0, 0xFFFFFFF0])
@pytest.mark.parametrize("drift", [1.0, 1.03, 0.97])
def test_late_messages_and_drift_leave_the_estimate_good(start: int, drift: float) -> None:
    generator, clock = random.Random(3), ControllerClock()
    for number, at_ms in enumerate(range(1000, 600_000, 250)):
        controller_ms = start + drift * at_ms
        delay_ms = generator.choice([1, 40, 300]) if number % 2 else 0
        clock.observe(round(controller_ms) % (1 << 32), at_ms + delay_ms)
        assert -20 <= late(clock, at_ms, controller_ms) <= 20


def test_a_suspended_host_learns_it_from_the_first_message() -> None:
    """A host that was suspended learns it from the first message."""
    clock = ControllerClock()
    for at_ms in range(0, 10_000, 250):
        clock.observe(at_ms, at_ms)
    clock.observe(10_000 + 8 * 3_600_000, 10_000)
    assert late(clock, 10_000, 10_000 + 8 * 3_600_000) == 0


def test_a_controller_that_starts_again_is_another_clock() -> None:
    clock = ControllerClock()
    clock.observe(9_000_000, 100)
    clock.restart()
    clock.observe(5, 200)
    assert clock.at(210) == 15
