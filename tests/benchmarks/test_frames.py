"""Benchmarks of what happens to frames beside inference: guard, view, layer, smoothing over time."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from benchmarks.micro import frames
from benchmarks.studies.clips import boxes_of, draw_clip, link, read_clip, read_sequences
from benchmarks.studies.simulated_detector import MAP, Mistakes, scores_of
from benchmarks.studies.smoothing import SETTINGS, Study, compare, made_up_results
from edge.contracts import OperatingPoint
from edge.datasets.phantom.render import write_clip
from edge.errors import DataError, ParityError
from edge.imaging.postprocess import regions
from edge.pipeline.frame_guard import FrameGuard, Judgement

if TYPE_CHECKING:
    from pathlib import Path

    from edge.contracts import Box


def test_guard_view_and_layer_are_measured_after_their_checks() -> None:
    for row, word in (
        (frames.guard_cost, "black"),
        (frames.view_cost, "octagon"),
        (frames.layer_cost, "pixels"),
    ):
        found = row(2)
        assert word in found.check
        assert found.goal is not None
        assert 0 < found.goal.value < 1000
        assert len(found.left.samples) == len(found.right.samples) == 2


def test_a_guard_that_sees_nothing_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    view = FrameGuard().judge
    monkeypatch.setattr(
        FrameGuard, "judge", lambda _, frame: Judgement(True, "", "", view(frame).view), raising=True
    )
    monkeypatch.setattr(frames, "interleave", lambda *_, **__: pytest.fail("timed before the check"))
    with pytest.raises(ParityError, match="takes a frame for another"):
        frames.guard_cost(2)


def test_the_made_up_detector_follows_its_process() -> None:
    """88 % of the false positives last at most 6 frames at 30 a second, and half of them under 3."""
    lasted = []
    for seed in range(12):
        nothing: list[list[Box]] = [[] for _ in range(1800)]
        found = [
            [region.box for region in regions(scores, MAP, OperatingPoint(0.3, 0.0001))]
            for scores in scores_of(nothing, MAP, fps=30, mistakes=Mistakes(per_minute=12), seed=seed)
        ]
        lasted += [len({number for number, _ in run}) for run in link(found, gap=0)]
    assert 100 < len(lasted) < 190
    assert np.mean(np.array(lasted) <= 6) == pytest.approx(0.88, abs=0.08)
    assert np.mean(np.array(lasted) < 3) == pytest.approx(0.51, abs=0.12)


def test_smoothing_never_finds_more_than_none_and_spares_false_alarms() -> None:
    clip = draw_clip(1, 30.0, seconds=12.0)
    study = compare(
        [(clip, made_up_results(clip, seed)) for seed in range(2)],
        {"made up": ""},
    )
    rows = {row.setting: row for row in study.rows}
    assert rows.keys() == SETTINGS.keys()
    assert study.polyps > 0
    assert study.minutes == pytest.approx(0.4)
    none, default = rows["none"], rows["4 of 6, 130 ms"]
    assert none.polyps == default.polyps == 1.0
    assert all(row.frames <= none.frames for row in study.rows)
    assert all(row.false_per_minute["0"] <= none.false_per_minute["0"] for row in study.rows)
    assert default.false_per_minute["0"] < 0.6 * none.false_per_minute["0"]
    assert none.first_ms is not None
    assert default.first_ms is not None
    assert 60 < default.first_ms - none.first_ms < 300
    assert msgspec.json.decode(msgspec.json.encode(study), type=Study) == study


def test_boxes_are_linked_over_gaps_and_jumps() -> None:
    here, near, far = (10, 10, 20, 20), (16, 10, 20, 20), (90, 60, 20, 20)
    assert link([[here], [near], [], [near]], gap=1) == [[(0, 0), (1, 0), (3, 0)]]
    assert len(link([[here], [near], [], [near]], gap=0)) == 2
    assert len(link([[here], [far], [here]], gap=0)) == 3
    assert len(link([[here], [far], [here]], gap=0, jumps=True)) == 1
    assert link([[here, far], [far, here]], gap=0) == [[(0, 0), (1, 1)], [(0, 1), (1, 0)]]


def test_boxes_of_a_mask_leave_out_specks() -> None:
    mask = np.zeros((100, 100), np.uint8)
    mask[10:30, 40:60] = mask[80, 80] = 1
    assert boxes_of(mask) == [(40, 10, 20, 20)]


def test_a_clip_is_read_with_its_boxes(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=6, size=(64, 96))
    with pytest.raises(DataError, match="no truth"):
        read_clip(path)
    boxes = {"width": 96, "height": 64, "frames": [[{"bbox": [1, 2, 11, 22]}]] * 6}
    path.with_suffix(".boxes.json").write_text(json.dumps(boxes))
    clip = read_clip(path)
    assert clip.truth == [[(1, 2, 10, 20)]] * 6
    assert [image.shape for image in clip.images()] == [(64, 96, 3)] * 6
    path.with_suffix(".boxes.json").write_text(json.dumps({**boxes, "frames": boxes["frames"][:5]}))  # type: ignore[index]
    with pytest.raises(DataError, match="does not fit"):
        read_clip(path)


def test_sequences_of_a_folder_are_clips(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(1, 5):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:20, 10 * number : 10 * number + 10] = 255
        cv2.imwrite(str(tmp_path / "masks" / f"{number}.png"), mask)
        cv2.imwrite(
            str(tmp_path / "images" / f"{number}.png"), np.full((40, 60, 3), (number, 0, 0), np.uint8)
        )
    with pytest.raises(DataError, match="no sequences"):
        read_sequences(tmp_path, 25.0)
    listing = [{"sequence": 1, "first": 1, "last": 3}, {"sequence": 2, "first": 4, "last": 6}]
    (tmp_path / "sequences.json").write_text(json.dumps(listing))
    first, second = read_sequences(tmp_path, 25.0)
    assert first.truth == [[(10, 10, 10, 10)], [(20, 10, 10, 10)], [(30, 10, 10, 10)]]
    assert [int(image[0, 0, 0]) for image in first.images()] == [1, 2, 3]
    assert len(second.truth) == 1


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(DataError, match="no frames"):
        compare([], {})


def test_a_student_is_compared_from_the_command_line(tiny_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "study.json"
    path = tmp_path / "clip.mp4"
    write_clip(path, frames=8, size=(64, 96))
    boxes = {"width": 96, "height": 64, "frames": [[{"bbox": [1, 2, 41, 42]}]] * 8}
    path.with_suffix(".boxes.json").write_text(json.dumps(boxes))
    command = [
        sys.executable,
        "-m",
        "benchmarks.studies.smoothing",
        "--bundle",
        str(tiny_bundle),
        "--video",
        str(path),
    ]
    done = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    study = msgspec.json.decode(out.read_bytes(), type=Study)
    assert study.detector["bundle"] == "tiny"
    assert study.clips == [("clip.mp4", 8, 25.0)]
    assert {row.setting for row in study.rows} == SETTINGS.keys()
    missing = subprocess.run(command[:3], capture_output=True, text=True, check=False)
    assert missing.returncode == 3
    assert "Traceback" not in missing.stderr
