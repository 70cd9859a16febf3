"""The journal and the metrics: numbered, bounded, never in the way."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edge import __version__
from edge.errors import MissingDependencyError, UsageError
from edge.frame import Frame, Region, Result, Stage
from edge.record_header import make_header
from edge.status import Reason, ReasonKind, State, Status
from edge.telemetry import prometheus
from edge.telemetry.counters import BUCKETS_MS, Numbers
from edge.telemetry.journal import CAPACITY, Journal
from edge.telemetry.metrics_file import MetricsFile
from edge.telemetry.observer import COUNTERS_S, Telemetry
from edge.util.append_file import LineFile
from tests.support.clock import FakeClock

MS = 1_000_000
FOUND = Region(box=(1, 2, 3, 4), contour=((1, 2),), area=0.1, score=0.9)


def frame(index: int, age_ms: float = 40) -> Frame:
    stamps = {Stage.CAPTURE: (0, 2 * MS), Stage.INFER: (2 * MS, round(age_ms * MS))}
    return Frame(index, np.zeros((4, 4, 3), np.uint8), 0, stamps)


def events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def metrics(path: Path) -> dict[tuple[str, ...], float]:
    """(sample, values of its labels by their names...) -> value."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_a_run_in_the_journal(tmp_path: Path) -> None:
    clock, path = FakeClock(), tmp_path / "log"
    with Telemetry(path, clock=clock) as telemetry:
        running = Status(State.RUNNING, None, 5)
        for index in (0, 1, 4):
            telemetry.progress(running, frame(index), Result(None, (FOUND,), 0.1, None))
        telemetry.progress(running, None, None)
        assert list(telemetry.conditions()) == []
        telemetry.status(Status(State.PAUSED, Reason(ReasonKind.FREEZE, "3 s"), 7))
        telemetry.status(Status(State.PAUSED, Reason(ReasonKind.FREEZE, "4 s"), 7))
        telemetry.frame(frame(5), Result(None, (), 0.0, Reason(ReasonKind.FREEZE, "4 s")))
        telemetry.event("restart", of="inference", kind="hang", after_ms=812.5)
        telemetry.counters({"source.corrupt": 2})
        telemetry.gauges({"temperature_celsius": 61.5})
        clock.now += round(COUNTERS_S * 1e9)
        telemetry.frame(frame(6), Result(None, (), 0.0, None))
    lines = events(path)
    assert [line["kind"] for line in lines] == [
        "start",
        "state",
        "state",
        "restart",
        "counters",
        "stop",
    ]
    assert [line["seq"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert len({line["run"] for line in lines}) == 1
    assert [line["mono_ns"] for line in lines[3:5]] == [1_000_000 * MS, clock.now]
    start, first, second, restart, counters, stop = (line["details"] for line in lines)
    assert set(start) == {"version", "pid", "boot"}
    assert (first["state"], first["before"]) == ("running", "")
    assert (second["state"], second["reason"], second["before"]) == (
        "paused",
        "freeze: 3 s",
        "running",
    )
    assert restart == {"of": "inference", "kind": "hang", "after_ms": 812.5}
    assert (counters["frames"], counters["dropped"], counters["with_mask"]) == (5, 2, 3)
    assert counters["withheld"] == {"freeze": 1}
    assert counters["counters"]["source.corrupt"] == 2
    assert counters["gauges"] == {"temperature_celsius": 61.5}
    assert stop == {"error": ""}


def test_an_error_that_ends_the_run_is_its_last_line(tmp_path: Path) -> None:
    def run() -> None:
        with Telemetry(tmp_path / "log"):
            raise RuntimeError("out of luck")

    with pytest.raises(RuntimeError, match="out of luck"):
        run()
    assert events(tmp_path / "log")[-1]["details"] == {"error": "RuntimeError: out of luck"}


@pytest.mark.row(45, "a picture is given to the journal as a detail")
def test_no_picture_gets_into_the_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "log")
    picture = np.full((64, 64, 3), 65, np.uint8)
    journal.event(
        "fault",
        image=picture,
        raw=picture.tobytes(),
        inside={"image": picture, "views": [memoryview(b"A" * 99)] * 3},
        frame=frame(0),
        text="A" * 5000,
        number=float("nan"),
        state=State.RUNNING,
        deep=[[[["x"]]]],
    )
    journal.close()
    (line,) = events(tmp_path / "log")
    assert line["details"] == {
        "image": "<ndarray>",
        "raw": "<bytes>",
        "inside": {"image": "<ndarray>", "views": ["<memoryview>"] * 3},
        "frame": "<Frame>",
        "text": "A" * 500,
        "number": "nan",
        "state": "running",
        "deep": [[["<list>"]]],
    }


def newest(path: Path) -> bytes:
    """What is in the file of this name, nothing while the journal moves it away."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


@pytest.mark.row(42, "the log is rotated by size, renamed and removed while it is written")
def test_no_rotation_loses_or_repeats_a_line(tmp_path: Path) -> None:
    """No line is lost or written twice, however the log is rotated."""
    path = tmp_path / "log"
    journal = Journal(path, max_bytes=4000, keep=50)
    moved = 0
    for number in range(900):
        journal.event("n", number=number)
        if number % 300 == 150:
            while b'"number":%d}' % number not in newest(path):
                time.sleep(0.001)
            path.rename(tmp_path / f"moved{moved}")
            moved += 1
    journal.close(10)
    numbers = [line["seq"] for one in tmp_path.iterdir() for line in events(one)]
    assert sorted(numbers) == list(range(1, 901))
    assert (journal.dropped, journal.failed) == (0, 0)
    assert len(list(tmp_path.iterdir())) > 10


class FullDisk:
    """Takes half a line, then nothing, until there is room."""

    def __init__(self, number: int) -> None:
        self.number, self.full = number, True
        self.refused = 0

    def __call__(self, handle: int, data: bytes) -> int:
        if not self.full:
            return os.write(handle, data)
        self.refused += 1
        if self.refused % 2:
            return os.write(handle, data[: len(data) // 2])
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.row(40, "a fake write raises ENOSPC")
@pytest.mark.row(42, "a fake write raises EROFS")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_disk_drops_the_oldest_lines_and_stops_nobody(tmp_path: Path, number: int) -> None:
    path, disk = tmp_path / "log", FullDisk(number)
    journal = Journal(path, file=LineFile(path, write=disk), retry_s=0.001)
    for count in range(CAPACITY + 500):
        journal.event("n", number=count)
    while journal.failed == 0:
        time.sleep(0.001)
    disk.full = False
    journal.event("room")
    journal.close(10)
    lines = events(path)
    seqs = [line["seq"] for line in lines]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == CAPACITY + 501
    assert len(seqs) + journal.dropped == CAPACITY + 501, "what is not there was counted"
    assert journal.dropped > 0


@pytest.mark.row(40, "the kernel refuses a file's growth (RLIMIT_FSIZE), then allows it")
def test_a_journal_outlives_a_limit_that_the_kernel_sets(tmp_path: Path) -> None:
    code = """
import resource, sys, time
from pathlib import Path
from edge.telemetry.journal import Journal
path = Path(sys.argv[1])
journal = Journal(path, retry_s=0.001)
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for number in range(100):
    journal.event("n", number=number)
while journal.failed < 3:
    time.sleep(0.001)
size = path.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.close(10)
print(size, journal.dropped)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "log"], capture_output=True, text=True, check=True
    )
    size, dropped = map(int, done.stdout.split())
    assert size <= 3000
    assert dropped == 0
    assert [line["seq"] for line in events(tmp_path / "log")] == list(range(1, 101))


@pytest.mark.row(40, "journal, metrics and lines on a tmpfs that is full")
def test_a_disk_that_is_really_full_stops_nobody(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with Telemetry(small_disk / "log") as telemetry:
        telemetry._metrics = MetricsFile(small_disk / "m.prom", telemetry.numbers, period_s=0.001)
        with filler.open("wb", buffering=0) as file:
            fill = partial(file.write, bytes(4096))
            with pytest.raises(OSError, match="No space left"):
                all(iter(fill, None))
        for index in range(3000):
            telemetry.frame(frame(index), Result(None, (), 0.0, None))
            telemetry.event("n", number=index, text="y" * 100)
        journal = telemetry._journal
        assert journal is not None
        while journal.failed == 0 or telemetry._metrics.failed == 0:
            time.sleep(0.001)
        filler.unlink()
    lines = events(small_disk / "log")
    assert lines[-1]["kind"] == "stop"
    assert len(lines) + journal.dropped == 3002
    assert metrics(small_disk / "m.prom")[("edge_difom_frames_total",)] == 3000
    assert sorted(path.name for path in small_disk.iterdir()) == ["log", "m.prom"]


@pytest.mark.row(
    42, "journal and metrics begin on a tmpfs that is mounted read-only, and later not"
)
def test_a_read_only_disk_stops_nobody(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with Telemetry(small_disk / "log", small_disk / "m.prom") as telemetry:
        telemetry.event("early")
        journal, file = telemetry._journal, telemetry._metrics
        assert journal is not None
        assert file is not None
        while journal.failed < 2:
            time.sleep(0.001)
        subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert [line["kind"] for line in events(small_disk / "log")] == ["start", "early", "stop"]
    assert journal.dropped == 0
    assert metrics(small_disk / "m.prom")["edge_difom_frames_total",] == 0


def test_a_journal_in_a_place_that_cannot_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        Telemetry(tmp_path / "file" / "log", tmp_path / "m.prom")
    assert not (tmp_path / "m.prom").exists()


def test_the_metrics_of_a_run(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "edge.prom"
    with Telemetry(metrics=path) as telemetry:
        telemetry.status(Status(State.RUNNING, None, 5))
        for index, age in ((0, 2), (1, 30), (5, 119), (6, 900)):
            telemetry.frame(frame(index, age), Result(None, (FOUND,), 0.1, None))
        telemetry.status(Status(State.DEGRADED, Reason(ReasonKind.STALE, "143 ms old"), 9))
        telemetry.frame(frame(7), Result(None, (), 0.0, Reason(ReasonKind.STALE, "143 ms old")))
        telemetry.counters({"source.corrupt": 2, "inference.restarts": 1})
        telemetry.gauges({"temperature_celsius": 61.5})
    values = metrics(path)
    assert values["edge_difom_frames_total",] == 5
    assert values["edge_difom_frames_dropped_total",] == 3
    assert values["edge_difom_frames_judged_total",] == 4
    assert values["edge_difom_frames_with_mask_total",] == 4
    assert math.isnan(values["edge_difom_regions",]), "of the last frame nobody knows"
    assert {values["edge_difom_state", state.value] for state in State} == {0.0}, "it has ended"
    assert values["edge_difom_up",] == 0
    assert values["edge_difom_masks_withheld_total", "stale"] == 1
    assert values["edge_difom_events_total", "corrupt", "source"] == 2
    assert values["edge_difom_events_total", "restarts", "inference"] == 1
    assert values["edge_difom_gauge", "temperature_celsius"] == 61.5
    ages = "edge_difom_frame_age_seconds"
    edges = ("0.001", "0.002", "0.033", "0.12", "+Inf")
    assert [values[f"{ages}_bucket", limit] for limit in edges] == [0, 1, 2, 4, 5]
    assert values[f"{ages}_count",] == 5
    assert values["edge_difom_stage_seconds_count", "infer"] == 5


def test_the_metrics_say_what_they_are_of(tmp_path: Path) -> None:
    path = tmp_path / "edge.prom"
    with Telemetry(metrics=path) as telemetry:
        telemetry.describe(
            msgspec.structs.replace(make_header(data="camera"), bundle="edge-s", engine="tflite")
        )
    (line,) = [line for line in path.read_text().splitlines() if line.startswith("edge_difom_info")]
    assert 'bundle="edge-s"' in line
    assert 'engine="tflite"' in line
    assert 'source="camera"' in line
    assert f'version="{__version__}"' in line
    assert line.endswith(" 1.0")


def test_the_age_of_a_mask_is_told_on_both_sides_of_its_limit() -> None:
    assert {86.0, 120.0} <= set(BUCKETS_MS)
    numbers = Numbers()
    for ms in (120.0, 120.1):
        numbers.age.add(ms)
    at = BUCKETS_MS.index(120.0)
    assert numbers.age.counts[at : at + 2] == [1, 1]


def test_kinds_of_reasons_are_bounded() -> None:
    numbers = Numbers()
    for number in range(1000):
        numbers.withhold(f"kind{number}")
    assert len(numbers.withheld) == 65
    assert numbers.withheld["other"] == 936


def test_a_reader_sees_whole_files(tmp_path: Path) -> None:
    path, numbers = tmp_path / "m.prom", Numbers()
    prometheus.write(path, numbers)
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            numbers.frames += 1
            prometheus.write(path, numbers)

    writer = threading.Thread(target=write)
    writer.start()
    snapshots = [metrics(path) for _ in range(60)]
    ended.set()
    writer.join()
    assert all(one.keys() == snapshots[0].keys() for one in snapshots)
    assert os.listdir(tmp_path) == ["m.prom"]  # noqa: PTH208 - the names are what matters


@pytest.mark.row(
    44, "the metrics file's folder is a file, and later a FIFO that nobody reads has its name"
)
@pytest.mark.row(40, "a fake write raises ENOSPC")
def test_nobody_who_reads_metrics_or_does_not_has_an_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    numbers = Numbers()
    for path in (tmp_path / "file" / "m.prom", Path("/proc/m.prom")):
        file = MetricsFile(path, numbers, period_s=0.001)
        while file.failed < 2:
            time.sleep(0.001)
        file.close()
    os.mkfifo(tmp_path / "m.prom")
    with Telemetry(metrics=tmp_path / "m.prom") as telemetry:
        telemetry.frame(frame(0), Result(None, (), 0.0, None))
    assert metrics(tmp_path / "m.prom")["edge_difom_frames_total",] == 1

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prometheus, "write", full)
    with Telemetry(metrics=tmp_path / "m.prom") as telemetry:
        telemetry.frame(frame(0), Result(None, (), 0.0, None))
        assert telemetry._metrics is not None
        writer = telemetry._metrics
    assert writer.failed == 1
    assert metrics(tmp_path / "m.prom")["edge_difom_frames_total",] == 1, "the one before stays"


def test_metrics_without_their_package_name_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"\[metrics\]"):
        Telemetry(metrics=tmp_path / "m.prom")


def test_without_files_everything_is_silent(tmp_path: Path) -> None:
    with Telemetry() as telemetry:
        telemetry.status(Status(State.RUNNING, None, 5))
        telemetry.frame(frame(0), Result(None, (), 0.0, None))
        telemetry.event("fault")
    assert telemetry.numbers.frames == 1


def test_starting_imports_no_prometheus() -> None:
    code = "import sys, edge.telemetry.observer; sys.exit('prometheus_client' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
