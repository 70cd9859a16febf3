"""Kills and power cuts at any moment of a recording: what was complete stays, and is listed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[3]


def script(name: str, *given: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.support.{name}", *map(str, given)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


@pytest.mark.row(60, "a process that ends at each file event of a recording")
def test_a_kill_at_any_moment_leaves_whole_segments(tmp_path: Path) -> None:
    found = script("record_crash", tmp_path)
    assert found["moments"] > 60
    assert (found["least"], found["most"]) == (1, 4), "some kills came before and after segments"


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root, loop devices and mkfs.ext4")
    return tmp_path


@pytest.mark.row(60, "an ext4 image copied at each flush and rename of a recording")
def test_a_power_cut_takes_no_segment_that_was_complete(scratch: Path) -> None:
    found = script("record_power_cuts", scratch, "flush")
    assert found["cuts"] > 30
    assert found["lost"] == 0
    assert found["most"] == 4


def test_without_flushing_the_same_cuts_take_segments(scratch: Path) -> None:
    """The control: these images do show what a power cut takes."""
    assert script("record_power_cuts", scratch, "no-flush")["lost"] > 0
