"""Benchmarks of the work around inference: guard, view, layer, temporal smoothing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from benchmarks.micro import frames
from benchmarks.studies.clips import draw_clip, write_sequences
from benchmarks.studies.simulated_detector import MAP, Mistakes, scores_of
from benchmarks.studies.smoothing import SETTINGS, Study, compare, made_up
from edge.bundle.manifest import Output
from edge.clip_evaluation.events import ShownFrame, polyp_tracks
from edge.datasets.phantom.render import write_clip
from edge.errors import DataError, ParityError
from edge.frame import OperatingPoint
from edge.imaging.postprocess import regions
from edge.pipeline.frame_guard import FrameGuard, Judgment
from edge.pipeline.smoothing import Smoothing
from edge.sources.clip import ClipSource

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import Box


def test_guard_view_and_layer_are_measured_after_their_checks() -> None:
    for row, word in (
        (frames.guard_cost, "black"),
        (frames.view_cost, "octagon"),
        (frames.layer_cost, "pixels"),
    ):
        comparison = row(2)
        assert word in comparison.check
        assert comparison.goal is not None
        assert 0 < comparison.goal.value < 1000
        assert len(comparison.left.samples) == len(comparison.right.samples) == 2


def test_a_guard_that_sees_nothing_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    view = FrameGuard().judge
    monkeypatch.setattr(
        FrameGuard, "judge", lambda _, frame: Judgment(None, view(frame).view), raising=True
    )
    monkeypatch.setattr(
        frames, "interleave", lambda *_, **__: pytest.fail("timed before the check")
    )
    with pytest.raises(ParityError, match="misjudges a frame"):
        frames.guard_cost(2)


def test_the_made_up_detector_follows_its_process() -> None:
    """88 % of the false positives last at most 6 frames at 30 a second, half of them below 3."""
    lasted = []
    for seed in range(12):
        nothing: list[list[Box]] = [[] for _ in range(1800)]
        boxes_of_frames = [
            tuple(region.box for region in regions(scores, MAP, OperatingPoint(0.3, 0.0001)))
            for scores in scores_of(
                nothing, MAP, fps=30, mistakes=Mistakes(per_minute=12), seed=seed
            )
        ]
        frames = [ShownFrame(n * 33_333_333, boxes, ()) for n, boxes in enumerate(boxes_of_frames)]
        lasted += [len(track) for track in polyp_tracks(frames)]
    assert 100 < len(lasted) < 190
    assert np.mean(np.array(lasted) <= 6) == pytest.approx(0.88, abs=0.08)
    assert np.mean(np.array(lasted) < 3) == pytest.approx(0.51, abs=0.12)


def test_smoothing_shows_no_more_and_spares_false_events() -> None:
    """Smoothing never shows more than none and spares false events."""
    clip = draw_clip(1, 30.0, seconds=12.0)
    output = Output(height=0, width=0)
    study = compare([made_up(clip, seed) for seed in range(2)], {"made up": ""}, output)
    rows = {row.setting: row for row in study.rows}
    assert rows.keys() == SETTINGS.keys()
    assert study.minutes == pytest.approx(0.4)
    none, default = rows["none"], rows["4 of 6, 130 ms"]
    assert default.smoothing == asdict(Smoothing())
    assert none.polyps_found == default.polyps_found == study.polyps > 0
    assert none.share_hit is not None
    assert none.share_false is not None
    for row in study.rows:
        assert row.share_hit is not None
        assert row.share_false is not None
        assert row.share_hit <= none.share_hit
        assert row.share_false <= none.share_false
    assert default.all_events < 0.6 * none.all_events
    assert none.first_s_median is not None
    assert default.first_s_median is not None
    assert 0.06 < default.first_s_median - none.first_s_median < 0.3
    assert msgspec.json.decode(msgspec.json.encode(study), type=Study) == study


def test_sequences_of_clean_pictures_become_lossless_clips(tmp_path: Path) -> None:
    source, out = tmp_path / "images", tmp_path / "clips"
    source.mkdir()
    out.mkdir()
    rng = np.random.default_rng(0)
    pictures = {
        name: rng.integers(0, 255, (35, 61, 3)).astype(np.uint8)
        for name in ("s01_0002", "s01_0010", "s02_0001", "s02_0002", "s02_0003", "s03_0001")
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(source / f"{name}.png"), picture)
    one, two = write_sequences(tmp_path, 25.0, out)
    assert [clip.clip.name for clip in (one, two)] == ["s01.mkv", "s02.mkv"]
    assert (one.kind, one.path) == ("clean", None)
    with ClipSource(one.clip) as clip:
        read = [frame.image for frame in iter(clip.read, None)]
    assert len(read) == 2
    assert np.array_equal(read[1], pictures["s01_0010"][:34, :60])
    cv2.imwrite(str(source / "s02_0004.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match="differs in size"):
        write_sequences(tmp_path, 25.0, out)


def test_pictures_without_a_sequence_are_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a_1.png"), np.zeros((20, 20, 3), np.uint8))
    with pytest.raises(DataError, match="no sequence"):
        write_sequences(tmp_path, 25.0, tmp_path)


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="no frames"):
        compare([], {}, Output(height=0, width=0))


def test_a_student_is_compared_from_the_command_line(tiny_bundle: Path, tmp_path: Path) -> None:
    out, path = tmp_path / "study.json", tmp_path / "clip.mp4"
    write_clip(path, frames=8, size=(64, 96))
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"frames": {str(number): [[1, 2, 40, 40]] for number in range(8)}}))
    command = [sys.executable, "-m", "benchmarks.studies.smoothing"]
    clips = ["--video", str(path), "--boxes", str(boxes), "--video", str(path), "--clean"]
    full = [*command, "--bundle", str(tiny_bundle), *clips, "--out", str(out)]
    done = subprocess.run(full, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    study = msgspec.json.decode(out.read_bytes(), type=Study)
    assert study.detector["bundle"] == "tiny"
    assert [(clip.name, clip.truth, clip.frames) for clip in study.clips] == [
        ("clip.mp4", "boxes", 8),
        ("clip.mp4", "clean", 8),
    ]
    assert {row.setting for row in study.rows} == SETTINGS.keys()
    for arguments, code in (
        ([], 3),
        (clips, 2),
        (["--bundle", str(tiny_bundle), "--phantom", "1"], 2),
    ):
        wrong = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
        assert wrong.returncode == code, wrong.stderr
        assert "Traceback" not in wrong.stderr
