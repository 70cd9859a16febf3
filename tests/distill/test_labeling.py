"""Self-training: an ensemble labels frames without masks, and a student learns from them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from distill.config import make_config
from distill.data.load import open_data
from distill.data.splits import load_splits
from distill.data.tensors import to_tensor
from distill.run_folder import describe_run, load_run, save_checkpoint
from distill.self_training.ensemble import Ensemble
from distill.self_training.labeling import Labels, count_frames, doubt, label_frames
from distill.students.build import build_student
from distill.train.evaluation import student_logits
from edge.errors import DataError, UsageError
from edge.evaluation.protocol_a import sigmoid
from edge.imaging.crop import cut, seen_part
from edge.imaging.postprocess import in_frame
from edge.imaging.preprocess import to_input
from edge_difom.cli.label import label

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    U8 = NDArray[np.uint8]


def make_run(folder: Path, **settings: object) -> Path:
    """A run whose student was never trained."""
    config = make_config({"data": ["x"], "student": "edge-xs", "pretrained": False} | settings)
    describe_run(folder, config)
    student = build_student(config.student.network, pretrained=False)
    save_checkpoint(
        folder / "checkpoints" / "best.pt",
        {"student": student.state_dict(), "metrics": {"dice_val": 0.5}},
    )
    return folder


def redness(_: Ensemble, image: U8) -> NDArray[np.float32]:
    """Stands in for what students answer: the red channel."""
    return np.asarray(image[..., 0] / np.float32(255), np.float32)


def disc(value: int) -> U8:
    """BGR: a disc of that redness on dark ground."""
    image = np.zeros((96, 128, 3), np.uint8)
    cv2.circle(image, (64, 48), 25, (30, 60, value), cv2.FILLED)
    return image


@pytest.fixture
def frames(tmp_path: Path) -> Path:
    """Sure of a polyp, sure of none, in doubt, sure of a polyp again."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number, value in enumerate((254, 1, 140, 254)):
        cv2.imwrite(str(folder / f"{number}.png"), disc(value))
    return folder


def test_an_ensemble_averages_students_with_their_own_rules(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / "a", size=64, field_of_view="view"),
        make_run(tmp_path / "b", size=96, field_of_view="full-frame"),
    ]
    image = np.zeros((240, 320, 3), np.uint8)
    cv2.ellipse(image, (160, 120), (90, 80), 0, 0, 360, (200, 90, 70), cv2.FILLED)
    image += np.random.default_rng(0).integers(0, 6, image.shape).astype(np.uint8)
    part = seen_part(image, "view")
    assert part is not None
    maps = []
    for run, crop in zip(runs, (part, None), strict=True):
        loaded = load_run(run)
        logits = student_logits(loaded.student, cut(image, crop), loaded.config.data.size)
        maps.append(in_frame(sigmoid(logits), (240, 320), crop))
    scores = Ensemble(runs).scores(image)
    np.testing.assert_allclose(scores, (maps[0] + maps[1]) / 2, atol=1e-6)
    assert scores.shape == (240, 320)
    assert scores.dtype == np.float32


def test_doubt_is_large_between_polyp_and_mucosa() -> None:
    sharp, plain = np.zeros((100, 100), np.float32), np.full((100, 100), 0.001, np.float32)
    sharp[20:40, 20:40] = 0.999
    assert doubt(sharp) < 0.01
    assert doubt(plain) == pytest.approx(4 * 0.001 * 0.999 / 0.01, rel=1e-5)
    murky = np.full((100, 100), 0.001, np.float32)
    murky[20:40, 20:40] = 0.5
    assert doubt(murky) == pytest.approx((0.04 + 0.96 * 4 * 0.001 * 0.999) / 0.05, rel=1e-4)
    murky[20:40, 20:40] = 0.3
    assert doubt(murky) > 1


def test_what_is_sure_is_written_as_a_folder_that_only_trains(
    tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "scores", redness)
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    run, out, calls = make_run(tmp_path / "run"), tmp_path / "pseudo", []
    labels = label_frames([run], f"images:{frames}", out, every=1, done=lambda: calls.append(1))
    assert [(row.frame, row.kept) for row in labels.frames] == [
        (0, True),
        (1, True),
        (2, False),
        (3, True),
    ]
    assert [round(row.area, 2) for row in labels.frames] == [0.16, 0, 0.16, 0.16]
    assert len(calls) == 4
    assert msgspec.json.decode((out / "labels.json").read_bytes(), type=Labels) == labels
    assert sorted(path.name for path in (out / "train" / "images").iterdir()) == [
        f"{n:06}.png" for n in (0, 1, 3)
    ]
    mask = cv2.imread(str(out / "train" / "masks" / "000003.png"), cv2.IMREAD_GRAYSCALE)
    assert mask is not None
    assert np.array_equal(mask > 0, disc(254)[..., 2] > 127)
    image = cv2.imread(str(out / "train" / "images" / "000003.png"))
    assert image is not None
    assert np.array_equal(image, disc(254))
    # Beside labeled frames it trains and validates nothing.
    own = tmp_path / "own"
    for kind in ("images", "masks"):
        (own / kind).mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(own / "images" / f"{number}.png"), disc(200 + number))
        cv2.imwrite(
            str(own / "masks" / f"{number}.png"), (disc(200)[..., 2] > 0).astype(np.uint8) * 255
        )
    splits = load_splits([own, out], val_fraction=0.5)
    assert sum(sample.dataset == "pseudo" for sample in splits.train) == 3
    assert {sample.dataset for sample in splits.validation} == {"own"}
    data = open_data(
        make_config(
            {
                "data": [str(own), str(out)],
                "val_fraction": 0.5,
                "recipe": "none",
                "size": 64,
                "batch_size": 5,
            }
        )
    )
    (batch,) = data.batches(0)
    assert batch.masks.max() == 1


def test_frames_are_skipped_of_which_the_students_are_not_sure(
    tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "scores", redness)
    monkeypatch.setattr(Ensemble, "confidence", lambda _, image: 1.0 - int(image.max()) / 500)
    run, out = make_run(tmp_path / "run"), tmp_path / "pseudo"
    labels = label_frames([run], f"images:{frames}", out, every=1, min_confidence=0.6)
    # The surest disc is red enough to be doubted here; the third frame's scores are in doubt.
    assert [row.kept for row in labels.frames] == [False, True, False, False]
    assert [row.confidence for row in labels.frames] == pytest.approx([0.492, 0.88, 0.72, 0.492])
    assert labels.min_confidence == 0.6
    with pytest.raises(DataError, match="no frame of") as caught:
        label_frames([run], f"images:{frames}", tmp_path / "none", every=1, min_confidence=0.999)
    assert "a confidence of at least 0.999" in caught.value.expected
    assert "0.88 at the most" in caught.value.got


def test_an_ensemble_is_as_sure_as_its_students_are_on_average(tmp_path: Path) -> None:
    settings = {"size": 64, "field_of_view": "full-frame"}
    plain = make_run(tmp_path / "plain", **settings)
    unsure = [make_run(tmp_path / name, uncertainty=True, **settings) for name in "ab"]
    image = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
    alone = [Ensemble([run]).confidence(image) for run in unsure]
    assert all(0 < value < 1 for value in alone)
    together = Ensemble([plain, *unsure])
    assert together.confidence(image) == pytest.approx(np.mean(alone))
    member = together.members[1]
    x = to_tensor(to_input(image, (64, 64), bgr=False)[None])
    with torch.no_grad():
        learned = member.student.maps(x).confidence
    assert learned is not None
    assert alone[0] == pytest.approx(float(torch.sigmoid(learned)))
    with pytest.raises(UsageError, match="no student of the ensemble has learned how sure"):
        Ensemble([plain]).confidence(image)


def test_one_frame_of_so_many_is_looked_at(frames: Path) -> None:
    assert [count_frames(f"images:{frames}", every) for every in (1, 2, 3, 9)] == [4, 2, 2, 1]


def test_nothing_is_written_where_nothing_is_sure(
    tmp_path: Path, frames: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Ensemble, "scores", lambda *_: np.full((96, 128), 0.45, np.float32))
    with pytest.raises(DataError, match="no frame of") as caught:
        label_frames([make_run(tmp_path / "run")], f"images:{frames}", tmp_path / "pseudo", every=1)
    assert "99.00 at the least, of 4 frames" in caught.value.got
    assert not (tmp_path / "pseudo").exists()


@pytest.mark.parametrize(
    ("source", "every"), [("synthetic:", 1), ("v4l2:/dev/video0", 1), ("images:DIR", 0), ("x", 1)]
)
def test_only_recorded_frames_are_labeled(tmp_path: Path, source: str, every: int) -> None:
    with pytest.raises(UsageError, match="cannot be labeled"):
        label_frames([make_run(tmp_path / "run")], source, tmp_path / "pseudo", every=every)
    assert not (tmp_path / "pseudo").exists()


def test_a_maker_answers_once_and_there_is_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    for runs in ([], [run, tmp_path / "." / "run"]):
        with pytest.raises(UsageError, match="invalid ensemble"):
            Ensemble(runs)
    with pytest.raises(UsageError, match="is not a run directory"):
        Ensemble([tmp_path])


def test_the_command_tells_what_it_kept_and_what_comes_next(tmp_path: Path, frames: Path) -> None:
    runs = [make_run(tmp_path / name, size=64) for name in "ab"]
    arguments = [
        "--run",
        str(runs[0]),
        "--run",
        str(runs[1]),
        "--source",
        f"images:{frames}",
        "--every",
        "2",
    ]
    out = tmp_path / "pseudo"
    done = CliRunner().invoke(label, [*arguments, "--max-doubt", "1000", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "2 of 2 frames kept" in done.output
    assert f"next: edge-difom distill --data DIR --data {out}" in done.output
    assert len(msgspec.json.decode((out / "labels.json").read_bytes(), type=Labels).makers) == 2
    again = CliRunner().invoke(label, [*arguments, "--out", str(out)])
    assert isinstance(again.exception, UsageError)
