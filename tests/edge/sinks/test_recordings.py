"""Recordings: true times, odd rates and names, full disks, and what dead runs left."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from edge.errors import BusyError, UsageError
from edge.frame import Frame, Result
from edge.sinks.base import SinkOptions
from edge.sinks.open import open_sinks
from edge.sinks.video import VideoSink
from edge.util import clip_writer
from edge.util.clip_writer import encodable_rate

if TYPE_CHECKING:
    from pathlib import Path

NOTHING = Result(None, (), 0.0, None)


def record(path: Path, times_ms: list[int], *, fps: float = 25.0, live: bool = False) -> int:
    """Record frames at times of a clip; the number of frames in the recording."""
    with VideoSink(path, SinkOptions(fps=fps, live=live), codec="mp4v") as sink:
        for number, at in enumerate(times_ms):
            image = np.full((48, 64, 3), 20 + 5 * (number % 40), np.uint8)
            sink.write(Frame(number, image, 0, clip_ns=at * 1_000_000), NOTHING)
    with_descriptor = os.open(path, os.O_RDONLY)
    try:
        capture = cv2.VideoCapture(f"/proc/self/fd/{with_descriptor}", cv2.CAP_FFMPEG)
        count = 0
        while capture.grab():
            count += 1
    finally:
        os.close(with_descriptor)
    return count


@pytest.mark.parametrize(
    ("times_ms", "count"),
    [
        ([40 * n for n in range(20)], 20),
        ([40 * n + (n % 3) * 6 for n in range(20)], 20),
        ([80 * n for n in range(20)], 38),  # half of the frames were dropped
        ([0, 40, 80, 1080, 1120], 28),  # a pause
        ([0, 40, 80, 3_600_080, 3_600_120], 5),  # a recorder that was stopped for an hour
    ],
)
def test_a_recording_keeps_the_times_of_its_clip(
    tmp_path: Path, times_ms: list[int], count: int
) -> None:
    assert abs(record(tmp_path / "o.mp4", times_ms) - count) <= 1


@pytest.mark.parametrize(
    ("fps", "rate"),
    [(25.0, 25.0), (29.97002997, 29.97), (119.987, 119.99), (240.0, 240.0), (959.04, 959.0)],
)
def test_a_rate_is_one_that_the_codec_holds(tmp_path: Path, fps: float, rate: float) -> None:
    assert encodable_rate(fps) == pytest.approx(rate, abs=0.05)
    assert record(tmp_path / "o.mp4", [round(n * 1000 / fps) for n in range(5)], fps=fps) == 5


def test_a_name_outside_utf8_is_recorded(tmp_path: Path) -> None:
    for name in (b"o\xff.mp4", b"folder\xfe/o.mp4"):
        assert record(tmp_path / os.fsdecode(name), [0, 40, 80]) == 3


@pytest.mark.row(
    49, "No free space before the first frame, and a file that FFmpeg could not complete"
)
@pytest.mark.parametrize("live", [False, True])
def test_a_full_disk_leaves_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    monkeypatch.setattr(clip_writer, "is_whole_mp4", lambda _: False)
    with pytest.raises(BusyError, match="the disk is full") as caught:
        record(tmp_path / "o.mp4", [0, 40, 80], live=live)
    assert caught.value.exit_code == 11
    assert list(tmp_path.iterdir()) == []
    if not live:
        monkeypatch.undo()
        monkeypatch.setattr(
            "edge.sinks.video.os.statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096)
        )
        with pytest.raises(BusyError, match="the disk is full"):
            record(tmp_path / "o.mp4", [0, 40, 80])
        assert list(tmp_path.iterdir()) == []


def test_what_a_dead_run_left_is_told_and_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead, alive = tmp_path / ".o.partial99999999.mp4", tmp_path / f".o.partial{os.getppid()}.mp4"
    other = tmp_path / ".other.partial99999999.mp4"
    for path in (dead, alive, other):
        path.touch()
    record(tmp_path / "o.mp4", [0, 40])
    assert sorted(tmp_path.iterdir()) == sorted([alive, other, tmp_path / "o.mp4"])
    assert str(dead) in caplog.text


def test_two_outputs_are_never_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for one, other in (("a.jsonl", "./a.jsonl"), ("a.jsonl", str(tmp_path / "a.jsonl"))):
        with pytest.raises(UsageError, match="same file"):
            open_sinks([f"jsonl:{one}", f"jsonl:{other}"])
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError, match="same file"):
        open_sinks(["jsonl:a.jsonl", "jsonl:link/a.jsonl"])
