"""Heat with hysteresis from a fake sysfs, and pings on the loop's progress alone."""

from __future__ import annotations

import os
import select
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from edge.pipeline.observers import ThermalObserver, WatchdogObserver
from edge.pipeline.state_machine import StateMachine
from edge.pipeline.thermal import HYSTERESIS_C, ThermalMonitor
from edge.pipeline.watchdog import Watchdog
from edge.status import Reason, ReasonKind, State, Status
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RUNNING = Status(State.RUNNING, None, 0)


def at_once(read: Callable[[], None]) -> None:
    read()


class Oven:
    """A machine with two thermal zones, one of which stays cool."""

    def __init__(self, root: Path) -> None:
        self.zones = [root / f"sys/class/thermal/thermal_zone{n}/temp" for n in range(2)]
        for zone in self.zones:
            zone.parent.mkdir(parents=True)
        self.set(40)
        self.zones[0].write_text("35000\n")
        self.clock = FakeClock()
        self.thermal = ThermalMonitor(root, warm_c=80, hot_c=95, clock=self.clock, aside=at_once)
        self.observer = ThermalObserver(self.thermal)
        self.machine = StateMachine(self.clock)

    def set(self, celsius: float) -> None:
        self.zones[1].write_text(f"{celsius * 1000:.0f}\n")

    def at(self, celsius: float) -> Status:
        self.set(celsius)
        self.clock.sleep(1)
        self.observer.progress(RUNNING, None, None)
        return self.machine.resolve(self.observer.conditions())


@pytest.fixture
def oven(tmp_path: Path) -> Oven:
    return Oven(tmp_path)


@pytest.mark.row(23, "fake thermal zones")
def test_a_hot_device_lowers_the_rate_then_bypasses(oven: Oven) -> None:
    assert oven.at(79).state is State.RUNNING
    assert oven.thermal.keep_every() == 1
    warm = oven.at(81)
    assert (warm.state, warm.text) == (State.DEGRADED, "warm: 81 C, every second frame")
    assert oven.thermal.keep_every() == 2
    assert oven.at(95).state is State.BYPASS
    assert oven.at(95 - HYSTERESIS_C).state is State.BYPASS
    assert oven.at(94 - HYSTERESIS_C).state is State.DEGRADED
    assert oven.at(80 - HYSTERESIS_C).state is State.DEGRADED
    assert oven.at(79 - HYSTERESIS_C).state is State.RUNNING


def test_from_cool_to_hot_at_once_is_bypass(oven: Oven) -> None:
    assert oven.at(120).state is State.BYPASS
    assert oven.at(20).state is State.RUNNING


def test_sensors_are_read_once_a_second(oven: Oven) -> None:
    oven.at(50)
    oven.set(99)
    oven.clock.sleep(0.5)
    oven.thermal.poll()
    assert oven.thermal.celsius == 50


@pytest.mark.parametrize("text", ["", "nonsense\n"])
def test_a_zone_that_cannot_be_read_is_no_heat(oven: Oven, text: str) -> None:
    for zone in oven.zones:
        zone.write_text(text)
    oven.clock.sleep(1)
    oven.thermal.poll()
    assert oven.thermal.celsius is None
    assert not oven.thermal.conditions()


def test_a_machine_without_sensors_never_overheats(tmp_path: Path) -> None:
    thermal = ThermalMonitor(tmp_path, aside=at_once)
    thermal.poll()
    assert (thermal.celsius, thermal.keep_every()) == (None, 1)


def test_a_sensor_that_fails_keeps_its_last_effect(oven: Oven) -> None:
    """A sensor that cannot be read anymore keeps the state that it led to."""
    oven.at(96)
    for zone in oven.zones:
        zone.write_text("")
    oven.clock.sleep(1)
    oven.observer.progress(RUNNING, None, None)
    assert list(oven.thermal.conditions()) == [(State.BYPASS, Reason(ReasonKind.HOT, "unknown"))]


@pytest.mark.row(23, "a sensor that does not answer")
def test_a_sensor_that_does_not_answer_stops_nobody(tmp_path: Path) -> None:
    zone = tmp_path / "sys/class/thermal/thermal_zone0/temp"
    zone.parent.mkdir(parents=True)
    os.mkfifo(zone)
    clock = FakeClock()
    thermal = ThermalMonitor(tmp_path, clock=clock)
    before = threading.active_count()
    for _ in range(3):
        thermal.poll()
        clock.sleep(1)
    assert threading.active_count() == before + 1, "the one that waits"
    zone.write_text("50000\n")
    for thread in threading.enumerate():
        if thread.name == "heat":
            thread.join(10)
    assert thermal.celsius == 50


class Manager:
    """A service manager's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def heard(self) -> list[str]:
        messages = []
        while select.select([self.socket], [], [], 0)[0]:
            messages += self.socket.recv(4096).decode().split("\n")
        return messages


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    service = Manager(tmp_path / "notify")
    yield service
    service.socket.close()


def environment(manager: Manager) -> dict[str, str]:
    return {"NOTIFY_SOCKET": str(manager.path), "WATCHDOG_USEC": "2000000"}


@pytest.mark.row(24, "a fake service manager and a loop that stops")
def test_pings_come_with_progress_and_end_with_it(manager: Manager) -> None:
    clock = FakeClock()
    with Watchdog(environment(manager), clock=clock) as watchdog:
        observer = WatchdogObserver(watchdog)
        for _ in range(100):
            observer.progress(RUNNING, None, None)
            clock.sleep(0.05)
        messages = manager.heard()
        assert messages.count("READY=1") == 1
        # Five seconds, a ping every half: four within the two that the manager allows.
        assert messages.count("WATCHDOG=1") == 10
        clock.sleep(60)
        assert manager.heard() == [], (
            "without progress the manager hears nothing, and restarts the service"
        )
    assert manager.heard() == ["STOPPING=1"]


def test_the_status_is_told_when_it_changes(manager: Manager) -> None:
    clock = FakeClock()
    with Watchdog(environment(manager), clock=clock) as watchdog:
        observer = WatchdogObserver(watchdog)
        observer.progress(RUNNING, None, None)
        observer.progress(Status(State.PAUSED, Reason(ReasonKind.BLACK, "mean 2"), 0), None, None)
        observer.progress(Status(State.PAUSED, Reason(ReasonKind.BLACK, "mean 3"), 0), None, None)
        statuses = [line for line in manager.heard() if line.startswith("STATUS=")]
    assert statuses == ["STATUS=running", "STATUS=paused black"]


def test_a_manager_that_does_not_listen_stops_nobody(manager: Manager) -> None:
    clock = FakeClock()
    with Watchdog(environment(manager), clock=clock) as watchdog:
        for _ in range(5000):
            clock.sleep(1)
            watchdog.ping()
    manager.socket.close()
    with Watchdog(environment(manager)) as watchdog:
        watchdog.ping()


def test_without_a_manager_nothing_is_sent() -> None:
    with Watchdog({}) as watchdog:
        watchdog.ping()
        watchdog.status("running")
