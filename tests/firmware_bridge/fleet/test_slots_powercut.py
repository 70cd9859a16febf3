"""A power cut during an installation leaves the old or the new bundle on a real file system."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "support/power_cuts.py"
CUTS = 30


@pytest.fixture
def cut(publisher: Any, tmp_path: Path) -> Any:
    """Runs the script; gives what it found."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or not shutil.which("mkfs.ext4"):
        pytest.skip("needs root, loop devices and mkfs.ext4")
    publisher.publish(b"first " + os.urandom(1 << 20))
    first = shutil.copytree(publisher.repository, tmp_path / "first")
    publisher.publish(b"second" + os.urandom(1 << 20))

    def run(flush: str) -> dict[str, Any]:
        scratch = tmp_path / flush
        scratch.mkdir()
        arguments = (first, publisher.repository, publisher.root, scratch, 7, CUTS, flush)
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    return run


@pytest.mark.slow
@pytest.mark.row(37, "an ext4 image copied at 30 random moments of an installation")
def test_every_cut_leaves_a_whole_bundle(cut: Any) -> None:
    report = cut("flush")
    assert report["cuts"] == CUTS
    assert report["moments"] > 2 * CUTS
    assert set(report["found"]) == {"first ", "second"}
    assert report["end"] == "second"


@pytest.mark.slow
def test_without_flushing_the_same_cuts_lose_the_bundle(cut: Any) -> None:
    """The control: these images do show what a power cut takes."""
    assert cut("no-flush")["found"].get("none", 0) > 0
