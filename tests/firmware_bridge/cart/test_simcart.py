"""The simulated cart: faults to order, its process, and the compiler that it needs."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edge.errors import MissingDependencyError
from edge.status import State, Status
from firmware_bridge.cart.connectors import open_cart
from firmware_bridge.cart.link.session import Beat, Session
from firmware_bridge.cart.simcart import build
from firmware_bridge.cart.simcart.faults import SimCart, parse_command, parse_fault

if TYPE_CHECKING:
    from edge.contracts import CartReport


RUNNING = Status(State.RUNNING, None, 0)


def play(*faults: str, milliseconds: int) -> tuple[list[tuple[int, str]], list[bool]]:
    """What a host reports of a simulated cart, and where the relay was at each millisecond."""
    cart, session = SimCart(faults=tuple(map(parse_fault, faults))), Session()
    session.connect(0)
    reported, relay = [], []
    for now_ms in range(milliseconds):
        if out := cart.advance(now_ms):
            session.receive(out, now_ms)
        beat = Beat(RUNNING, 20.0, True, now_ms) if now_ms % 16 == 0 else None
        if sent := session.poll(beat, now_ms):
            cart.receive(sent)
        reported += [(now_ms, event.detail) for event in session.pop_reports()]
        relay.append(cart.controller.contact)
    return reported, relay


def test_a_quiet_run() -> None:
    reported, relay = play(milliseconds=1000)
    assert len(reported) == 1
    assert all(relay[100:])


def test_a_pedal_is_pressed_and_released() -> None:
    reported, _ = play("0.5=pedal 2", milliseconds=800)
    assert [detail for _, detail in reported[1:]] == ["pedal 2 pressed", "pedal 2 released"]


@pytest.mark.parametrize(
    ("fault", "says", "recovers"),
    [
        ("0.5=cut 1.2", "no message", True),
        ("0.5=reset watchdog", "was reset: watchdog", True),
        ("0.5=version 1", "protocol 3", True),
        ("0.5=power-fail 1", "supply holds for 3000 ms", True),
        ("0.5=power-fail", "supply holds", False),
        ("0.5=temperature 90", "temperature", False),
        ("0.5=relay stuck", "faults: relay", False),
        ("0.5=garbage 5000", "", True),
        ("0.5=noise 0.3 1", "", True),
        ("0.5=deaf 1", "", True),
    ],
)
def test_each_fault_is_told_and_survived(fault: str, says: str, recovers: bool) -> None:
    reported, relay = play(fault, milliseconds=4000)
    assert any(says in detail for _, detail in reported)
    assert relay[400]
    assert relay[-1] is recovers


def test_lost_acknowledgements_cost_no_event() -> None:
    reported, _ = play("0.5=deaf 1", "0.6=pedal", milliseconds=2500)
    assert [detail for _, detail in reported[1:]] == ["pedal 1 pressed", "pedal 1 released"]


@pytest.mark.parametrize(
    "command",
    [
        "",
        "fly",
        "cut",
        "cut a",
        "pedal 5",
        "noise 1",
        "relay open",
        "reset later",
        "garbage 1e9",
        "cut nan",
    ],
)
def test_a_command_that_there_is_not(command: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_command(command)


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.01)


@pytest.mark.row(26, "the simulated cart's device vanishes and comes back on another node")
def test_a_cart_in_a_process_of_its_own() -> None:
    from firmware_bridge.cart.simcart.process import SimConnector

    with open_cart("sim") as cart:
        simulated = cart.connector
        assert isinstance(simulated, SimConnector)
        events: list[CartReport] = []

        def seen(kind: str, times: int) -> bool:
            cart.beat(RUNNING, frame_age_ms=10.0, mask=True)
            events.extend(cart.events())
            return [event.kind for event in events].count(kind) == times

        wait_for(lambda: seen("link-up", 1))
        simulated.order("pedal 4")
        wait_for(lambda: seen("pedal", 2))
        simulated.order("unplug 0.2")
        wait_for(lambda: seen("link-up", 2))
        assert [event.kind for event in events] == [
            "link-up",
            "pedal",
            "pedal",
            "link-down",
            "link-up",
        ]


def run_alone(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "firmware_bridge.cart.simcart", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_the_command_prints_its_device_and_takes_faults(tmp_path: Path) -> None:
    with run_alone("--pty", "--child", "--at", "0.05=temperature 99") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdin is not None
        device = process.stdout.readline().strip()
        assert Path(device).is_char_device()
        for line in ("pass-through, faults 0x00", "pass-through, faults 0x02"):
            assert line in process.stderr.readline()
        process.stdin.write("fly\ntemperature 20\n")
        process.stdin.flush()
        assert "error: unknown fault 'fly'" in process.stderr.readline()
        assert "faults 0x00" in process.stderr.readline()
        process.stdin.close()
        assert process.wait(20) == 0


def test_the_command_explains_itself() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "firmware_bridge.cart.simcart", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "press pedal N (1 to 4) for 80 ms" in done
    refused = subprocess.run(
        [sys.executable, "-m", "firmware_bridge.cart.simcart", "--pty", "--at", "1=fly"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "unknown fault 'fly'" in refused.stderr


@pytest.mark.slow
def test_compiled_once_also_where_several_begin_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_CACHE", str(tmp_path / "cache"))
    paths: list[Path] = []
    threads = [threading.Thread(target=lambda: paths.append(build.library())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 2
    assert list((tmp_path / "cache").iterdir()) == [paths[0]]
    monkeypatch.setenv("CC", "no-such-compiler")
    assert build.library() == paths[0]


def test_without_a_compiler_the_error_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_CACHE", str(tmp_path))
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(MissingDependencyError, match="no compiler"):
        open_cart("sim")
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'no stdint.h' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    with pytest.raises(MissingDependencyError, match=r"no stdint\.h"):
        open_cart("sim")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cc"]
