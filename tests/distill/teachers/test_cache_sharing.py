"""Several processes fill one teacher cache, and one of them dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill.teachers.cache.maps import BLOCK

ROWS, GRID = 5 * BLOCK + 3, (4, 6)
ROOT = Path(__file__).resolve().parents[3]
WORKER = (
    '''
import sys, time
from pathlib import Path
import numpy as np, torch
from torch import nn
from distill.teachers.cache.maps import CachePlan
from distill.teachers.base import Teacher, resample

class Mixed(Teacher):
    """A 1x1 convolution that records its blocks and may hang forever in one of them."""
    def __init__(self, log, hang):
        super().__init__("mixed", 6, "plain", size=12, cells=6)
        self.grid = GRID
        torch.manual_seed(0)
        self.network = nn.Conv2d(3, 6, 1)
        self.log, self.hang = log, hang
        self.freeze()
    def native_features(self, pixels):
        with self.log.open("a") as file:
            file.write(f"{len(pixels)}\\n")
        if self.hang:
            time.sleep(600)
        time.sleep(0.02)
        return self.network(resample(pixels / 255, self.grid))

class Pictures:
    key = "key"
    def __init__(self):
        self.images = np.random.default_rng(0).integers(0, 256, (ROWS, 12, 12, 3), np.uint8)
    def __len__(self):
        return ROWS
    def batch(self, rows, size):
        return self.images[rows]

def build(folder, log, kind, hang=False):
    teacher = Mixed(Path(log), hang)
    return CachePlan(teacher, Pictures(), GRID, Path(folder), BLOCK).build(standardize=kind)
'''.replace("ROWS", str(ROWS))
    .replace("GRID", str(GRID))
    .replace("BLOCK", str(BLOCK))
)


def start(folder: Path, name: str, kind: str, *, hang: bool = False) -> subprocess.Popen[bytes]:
    call = f"build({str(folder)!r}, {str(folder.parent / name)!r}, {kind!r}, {hang})"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", f"{WORKER}\n{call}"], env=environment)


def computed(folder: Path, name: str) -> int:
    log = folder.parent / name
    return len(log.read_text().splitlines()) if log.exists() else 0


def contents(folder: Path) -> dict[str, bytes]:
    (cache,) = (path for path in folder.iterdir() if path.is_dir())
    return {path.name: path.read_bytes() for path in cache.iterdir()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["channel", "phi-s"])
def test_workers_share_the_blocks_and_a_dead_one_is_replaced(tmp_path: Path, kind: str) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    single = start(alone, "single", kind)
    stuck = start(shared, "stuck", kind, hang=True)
    while computed(shared, "stuck") == 0:
        assert stuck.poll() is None
        time.sleep(0.05)
    workers = [start(shared, name, kind) for name in ("first", "second")]
    while computed(shared, "first") + computed(shared, "second") < 5:
        assert all(worker.poll() is None for worker in workers)
        time.sleep(0.05)
    time.sleep(0.2)
    assert all(worker.poll() is None for worker in workers)  # they wait for the block that is held
    stuck.send_signal(signal.SIGKILL)
    assert stuck.wait() == -signal.SIGKILL
    assert [worker.wait(120) for worker in (single, *workers)] == [0, 0, 0]
    assert computed(shared, "first") + computed(shared, "second") == 6  # nothing twice
    assert contents(shared) == contents(alone)
    assert set(contents(shared)) == {"maps.npy", "cache.json", f"{kind}.npz"}
