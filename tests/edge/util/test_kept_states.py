"""Whatever a power cut left of stills and journal, it is whole, and what was promised is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
SCRIPT = ROOT / "tests/support/kept_states.py"


def replay(operation: str, scratch: Path, flush: str = "flush") -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, SCRIPT, operation, scratch, flush],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    sys.stdout.write(f"{operation}: {report['states']} states at {report['moments']} moments\n")
    return report


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "least", "outcomes"),
    [("still", 20, {"1", "2"}), ("expire", 5, {"0", "1"}), ("journal", 30, {"some", "all"})],
)
def test_every_state_of_the_disk_is_whole(
    operation: str, least: int, outcomes: set[str], tmp_path: Path, record_property: Any
) -> None:
    report = replay(operation, tmp_path)
    record_property("states", report["states"])
    wrong = report["wrong"]
    assert not wrong, f"{len(wrong)} of {report['states']}: {wrong[:3]}"
    assert report["states"] >= least
    assert set(report["found"]) == outcomes


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["still", "expire", "journal"])
def test_without_flushing_there_are_states_that_are_not(operation: str, tmp_path: Path) -> None:
    """The control: the replay does show what a power cut takes."""
    assert replay(operation, tmp_path, "no-flush")["wrong"]
