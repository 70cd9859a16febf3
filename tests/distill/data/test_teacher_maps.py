"""What teachers are shown, and what is told before they are run."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from distill.data import teacher_maps
from distill.data.frames import Frames
from distill.data.image_store import Sample, decode_images
from distill.data.teacher_maps import HELD_OUT, TRAINING, open_maps, paced
from distill.options import TeacherOptions
from distill.teachers.build import build_teacher
from edge.errors import DataError
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input
from edge.util.progress import silent

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    """Pictures of several sizes, each a bright field of view in a black border."""
    rng = np.random.default_rng(0)
    rows = []
    for number, (height, width) in enumerate([(240, 320), (180, 400), (300, 200)]):
        image = np.zeros((height, width, 3), np.uint8)
        box = (slice(height // 6, -height // 6), slice(width // 4, -width // 8))
        image[box] = rng.integers(60, 250, image[box].shape)
        path = tmp_path / f"{number}.png"
        cv2.imwrite(str(path), image)
        rows.append(Sample(str(path), "", "set", str(number)))
    return rows


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))


@pytest.mark.parametrize("size", [32, 512])
def test_a_teacher_sees_the_student_s_field_of_view(
    samples: list[Sample], tmp_path: Path, size: int
) -> None:
    """A teacher sees the original in the student's field of view."""
    images = Frames(samples, "view").batch(slice(0, 3), size)
    for sample, image in zip(samples, images, strict=True):
        original = cv2.cvtColor(cv2.imread(sample.image), cv2.COLOR_BGR2RGB)
        part = cut(original, seen_part(original, "view"))
        assert part.shape != original.shape, "there is a border to cut off"
        assert np.array_equal(image, to_input(part, (size, size), bgr=False))
    store = decode_images(samples, (32, 32), tmp_path / "images", rule="view")
    if size == 32:
        assert np.array_equal(images, store.images), "the same part as the student's"


def test_the_key_depends_on_the_part_and_not_on_the_size(samples: list[Sample]) -> None:
    """The key depends on the part and not on the student's size."""
    keys = {Frames(samples, rule).key for rule in ("view", "full-frame")}
    assert len(keys) == 2
    assert Frames(samples[:2], "view").key not in keys


def test_disk_need_and_time_are_told(
    samples: list[Sample], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    teacher = build_teacher("efficientnet_lite2?size=128")
    frames = {TRAINING: Frames(samples, "view"), HELD_OUT: Frames(samples[:2], "view")}
    caplog.clear()
    full = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as context:
        context.setattr(shutil, "disk_usage", lambda _: full)
        with pytest.raises(DataError, match=r"not enough room in .* for the teachers"):
            open_maps([teacher], None, frames, 32, TeacherOptions(), silent)
    needed = 2 * 5 * 120 * (8 * 8 + 4 * 4)
    assert f"teachers' maps take {needed / 1e6:.1f} MB more" in caplog.text
    maps, held_out = open_maps([teacher], None, frames, 32, TeacherOptions(), silent)
    assert held_out is not None
    assert (maps.targets[0].grid, len(maps.targets[0]), len(held_out.targets[0])) == ((4, 4), 3, 2)
    same = held_out.targets[0].batch([1]) - maps.targets[0].batch([1])
    assert float(same.abs().max()) < 1e-6, "standardized alike"
    caplog.clear()
    monkeypatch.setattr(teacher_maps, "require_space", None)
    open_maps([teacher], None, frames, 32, TeacherOptions(), silent)
    assert not caplog.records, "nothing is left to write"


def test_the_rate_counts_what_this_process_did() -> None:
    class Bar:
        def __init__(self) -> None:
            self.done, self.notes = 0, [""]

        def update(self, n: int = 1, note: str = "") -> None:
            self.done += n
            self.notes.append(note)

    bar, now = Bar(), iter([10.0, 12.0, 14.0])
    advance = paced(bar, lambda: next(now))
    for done in (100, 108, 110):
        advance(done, 200)
    assert bar.done == 10
    assert bar.notes[1:] == ["4 images/s", "2.5 images/s"]


def test_a_map_is_that_of_the_original(samples: list[Sample]) -> None:
    """The cache holds what the teacher gives for the frame at its own size."""
    teacher = build_teacher("efficientnet_lite2?size=128")
    frames = Frames(samples, "full-frame")
    maps, _ = open_maps([teacher], None, {TRAINING: frames}, 64, TeacherOptions(), silent)
    images = torch.from_numpy(frames.batch(slice(0, 3), 128)).permute(0, 3, 1, 2)
    expected = teacher.features(images)
    assert torch.allclose(maps.targets[0].raw([0, 1, 2]), expected, rtol=2e-3, atol=2e-3)
