"""Wherever a process ends, the next one finds a whole bundle and installs again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edge.engines.runtimes import Runtime
from edge.engines.selftest import SelfTest
from firmware_bridge.fleet.slots.install import install
from firmware_bridge.fleet.slots.store import SlotStore
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust

SCRIPT = Path(__file__).parents[2] / "support/crash_points.py"


@pytest.mark.slow
@pytest.mark.row(37, "the process ended at each of its file events, one after the other")
@pytest.mark.parametrize(
    ("operation", "least", "outcomes"),
    [
        ("install", 60, {"first", "second"}),
        ("mark_good", 10, {"second"}),
        ("mark_bad", 10, {"first", "second"}),
        ("rollback", 5, {"first", "second"}),
        ("gc", 5, {"second"}),
    ],
)
def test_every_point_leaves_a_whole_bundle(
    operation: str, least: int, outcomes: set[str], publisher: Any, tmp_path: Path
) -> None:
    device = tmp_path / "device"
    device.mkdir()
    trust_store.save(device, first_trust(publisher.root.read_bytes()))

    def bring() -> None:
        install(
            str(publisher.repository),
            device,
            now=lambda: publisher.now,
            runtimes={"openvino": Runtime(package="openvino", version="2026.1")},
            architecture="x86_64",
            check=lambda _: SelfTest(ok=True),
        )

    def prove() -> None:
        store = SlotStore(device, now=lambda: publisher.now)
        path = store.current()
        assert path is not None
        store.mark_good(path)

    publisher.publish(b"first")
    bring()
    prove()
    publisher.publish(b"second")
    if operation != "install":
        bring()
    if operation in ("rollback", "gc"):
        prove()
    if operation == "gc":
        (device / "slots" / "a" / ".rest.part").write_bytes(b"half")
        (device / ".state.json.rest").write_bytes(b"half")
    command = [
        sys.executable,
        str(SCRIPT),
        operation,
        *map(str, (device, publisher.repository, tmp_path)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["points"] >= least
    assert set(report["found"]) == outcomes
