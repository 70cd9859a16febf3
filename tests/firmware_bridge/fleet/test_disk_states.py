"""Whatever a power cut left of the changes that were not flushed, the next start finds a bundle."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust
from tests.support.slot_operations import bring, mark_good

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/support/disk_states.py"


def replay(publisher: Any, folder: Path, operation: str, flush: str = "flush") -> dict[str, Any]:
    """Prepare a device with two bundles, and replay an operation on it."""
    device, scratch = folder / "device", folder / "scratch"
    for place in (device, scratch):
        place.mkdir()
    trust_store.save(device, first_trust(publisher.root.read_bytes()))
    publisher.publish(b"first")
    bring(publisher.repository, device)
    mark_good(device)
    publisher.publish(b"second")
    if operation != "install":
        bring(publisher.repository, device)
    if operation in ("rollback", "gc"):
        mark_good(device)
    if operation == "gc":
        (device / "slots" / "a" / ".rest.part").write_bytes(b"half")
        (device / ".state.json.rest").write_bytes(b"half")
    done = subprocess.run(
        [sys.executable, SCRIPT, operation, device, publisher.repository, scratch, flush],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
@pytest.mark.row(37, "every combination of changes that were not flushed yet")
@pytest.mark.parametrize(
    ("operation", "least", "outcomes"),
    [
        ("install", 30, {"first", "second"}),
        ("trial", 5, {"second"}),
        ("mark_good", 10, {"second"}),
        ("mark_bad", 10, {"first", "second"}),
        ("rollback", 10, {"first", "second"}),
        ("gc", 5, {"second"}),
    ],
)
def test_every_state_of_the_disk_has_a_whole_bundle(
    operation: str,
    least: int,
    outcomes: set[str],
    publisher: Any,
    tmp_path: Path,
    record_property: Any,
) -> None:
    report = replay(publisher, tmp_path, operation)
    record_property("states", report["states"])
    sys.stdout.write(f"{operation}: {report['states']} states at {report['moments']} moments\n")
    assert not report["wrong"], (
        f"{len(report['wrong'])} of {report['states']}: {report['wrong'][:3]}"
    )
    assert report["states"] >= least
    assert set(report["found"]) == outcomes


@pytest.mark.slow
def test_without_flushing_there_are_states_without_a_bundle(publisher: Any, tmp_path: Path) -> None:
    """The control: the replay does show what a power cut takes."""
    assert replay(publisher, tmp_path, "install", "no-flush")["wrong"]
