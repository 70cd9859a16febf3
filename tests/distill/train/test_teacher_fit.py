"""Fitted teachers: they learn the task, teach by maps and logits, and keep the split honest."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.data.load import open_data
from distill.data.teacher_splits import learned_frames
from distill.run_folder import load_checkpoint, load_run, save_checkpoint
from distill.teachers.build import build_task_teacher, build_teacher
from distill.teachers.fitted import FittedTeacher, load_fitted
from distill.train.runs import start_run
from distill.train.teacher_fit import fit_config, fit_teacher
from edge.errors import DataError, TrainingError, UsageError
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from pathlib import Path

NETWORK = "efficientnet_lite2?size=64"
TRAIN, VALIDATION = 8, 4


@pytest.fixture(scope="module", autouse=True)
def runs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(tmp_path_factory.mktemp("runs")))
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs with their masks, in two parts."""
    root = tmp_path_factory.mktemp("discs")
    rng = np.random.default_rng(0)
    for part, count in (("train", TRAIN), ("validation", VALIDATION)):
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((72, 80), np.uint8)
            cv2.circle(mask, (int(rng.integers(20, 60)), int(rng.integers(20, 52))), 14, 255, -1)
            image = cv2.merge([mask // 3, mask // 4, mask // 2]) + rng.integers(0, 60, (72, 80, 3))
            cv2.imwrite(str(root / part / "images" / f"{index}.png"), image.astype(np.uint8))
            cv2.imwrite(str(root / part / "masks" / f"{index}.png"), mask)
    return root


def settings(data: Path, **changes: Any) -> dict[str, Any]:
    return {"data": [str(data)], "size": 64, "batch_size": 4, "epochs": 1} | changes


def fit(data: Path, out: Path, network: str = NETWORK, **changes: Any) -> dict[str, float]:
    return fit_teacher(fit_config(network, settings(data, **changes)), out)


@pytest.fixture(scope="module")
def fitted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that has learned the discs."""
    out = tmp_path_factory.mktemp("fits") / "lite"
    best = fit(data, out, epochs=30, lr=0.01)
    assert best["dice_val"] > 0.6
    return out


def student(data: Path, **changes: Any) -> Any:
    return make_config(settings(data, student="edge-xs", pretrained=False) | changes)


def test_a_fit_learns_the_task_and_keeps_its_best_epoch(fitted: Path) -> None:
    rows = [json.loads(line) for line in (fitted / "metrics.jsonl").read_text().splitlines()]
    best = load_checkpoint(fitted / "head.pt")["metrics"]
    assert len(rows) == 30
    assert best["dice_val"] == max(row["dice_val"] for row in rows)
    assert rows[0]["task"] > rows[-1]["task"]


def test_only_the_training_part_is_learned(fitted: Path, data: Path) -> None:
    splits = json.loads((fitted / "splits.json").read_text())
    assert len(splits["train"]) == TRAIN
    learned = learned_frames(f"fitted:{fitted}")
    files = splits["files"]
    assert learned == {files[sample["image"]] for sample in splits["train"]}
    assert not learned & {files[sample["image"]] for sample in splits["validation"]}


def test_a_fitted_teacher_teaches_by_maps_and_by_logits(fitted: Path, data: Path) -> None:
    teacher = build_teacher(f"fitted:{fitted}")
    assert isinstance(teacher, FittedTeacher)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    assert teacher.features(images).shape == (2, 128, 4, 4)
    both = build_teacher(f"fitted:{fitted}?layers=1,3")
    assert both.channels == 256
    torch.testing.assert_close(both.features(images)[:, 128:], teacher.features(images))
    logits = build_task_teacher([f"fitted:{fitted}"]).features(images, (4, 4))
    with torch.no_grad():
        torch.testing.assert_close(logits, teacher.head.logit(teacher.features(images)))


def test_its_logits_find_the_polyps_of_the_frames(fitted: Path, data: Path) -> None:
    """The teacher as it is loaded gives what the fit has validated, on whole frames."""
    config = student(data, schedule="teachers-only", teachers=[], epochs=1)
    config = config.changed(task_teachers=[f"fitted:{fitted}"])
    opened = open_data(config)
    inside, outside = [], []
    for batch in opened.held_out_batches():
        assert batch.task_logits is not None
        cells = batch.task_logits.shape[-1]
        masks = torch.nn.functional.adaptive_avg_pool2d(batch.masks, cells)
        inside.append(batch.task_logits[masks > 0.9])
        outside.append(batch.task_logits[masks < 0.1])
    assert torch.cat(inside).mean() > 0 > torch.cat(outside).mean()


def test_a_student_learns_from_fitted_teachers_and_an_ensemble(
    fitted: Path, data: Path, tmp_path: Path
) -> None:
    """A student is distilled from fitted teachers and an ensemble."""
    fit(data, tmp_path / "second", seed=1)
    config = student(
        data,
        teachers=[f"fitted:{fitted}", f"fitted:{tmp_path / 'second'}?layers=2"],
        task_teachers=[f"fitted:{fitted}", f"fitted:{tmp_path / 'second'}"],
    )
    run = start_run(config, out=tmp_path / "run")
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    assert row["distill"] > 0
    assert row["cwd"] > 0
    ensemble = build_task_teacher(config.teachers.task_specs)
    images = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    alone = [build_task_teacher([spec]).features(images) for spec in config.teachers.task_specs]
    mean = torch.stack(alone).sigmoid().mean(0)
    torch.testing.assert_close(ensemble.features(images).sigmoid(), mean)
    # A head on the maps of that student knows what the student was taught with.
    fit(data, tmp_path / "third", f"run:{run}")
    assert build_teacher(f"fitted:{tmp_path / 'third'}").name == "fitted-run"
    assert learned_frames(f"fitted:{tmp_path / 'third'}") == learned_frames(f"fitted:{fitted}")
    assert load_run(run).metrics["dice_val"] >= 0


@pytest.mark.parametrize("key", ["teachers", "task_teachers"])
def test_validation_frames_of_a_teacher_are_refused(
    fitted: Path, data: Path, tmp_path: Path, key: str
) -> None:
    """Validation frames that a teacher has learned are refused."""
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "train").symlink_to(data / "validation")
    (swapped / "validation").symlink_to(data / "train")
    with pytest.raises(DataError, match="has learned from frames that validate here") as caught:
        start_run(student(swapped, **{key: [f"fitted:{fitted}"]}), out=tmp_path / "run")
    assert f"{TRAIN} of {TRAIN} validation frames" in caught.value.got
    assert "validation/images/0.png" in caught.value.got
    assert not (tmp_path / "run").exists()
    unused = {"recipe": "none", key: [f"fitted:{fitted}"]}
    assert open_data(student(swapped, **unused)).steps


def test_what_a_teachers_teacher_has_learned_counts(
    fitted: Path, data: Path, tmp_path: Path
) -> None:
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "train").symlink_to(data / "validation")
    (swapped / "validation").symlink_to(data / "train")
    with pytest.raises(DataError, match="has learned from frames"):
        fit(swapped, tmp_path / "nested", f"fitted:{fitted}")
    fit(data, tmp_path / "nested", f"fitted:{fitted}")
    record = tmp_path / "nested" / "splits.json"
    learned = json.loads(record.read_text())
    learned["train"] = learned["train"][:1]
    record.write_text(json.dumps(learned))
    with pytest.raises(DataError, match="has learned from frames"):
        open_data(student(swapped, teachers=[f"fitted:{tmp_path / 'nested'}"]))


def test_a_teacher_without_a_record_of_its_frames_is_named(
    fitted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "fit.yaml").write_text((fitted / "fit.yaml").read_text())
    assert learned_frames(f"fitted:{tmp_path}") == set()
    assert f"{tmp_path} does not say which frames" in caplog.text


def test_a_folder_without_a_fitting_teacher_is_refused(fitted: Path, tmp_path: Path) -> None:
    """A folder without a fit or with another network is refused."""
    with pytest.raises(UsageError, match="is not a fitted teacher"):
        build_teacher(f"fitted:{tmp_path}")
    (tmp_path / "fit.yaml").write_text((fitted / "fit.yaml").read_text())
    with pytest.raises(TrainingError, match="no checkpoint"):
        build_teacher(f"fitted:{tmp_path}")
    state = load_checkpoint(fitted / "head.pt")
    save_checkpoint(tmp_path / "head.pt", state | {"network": "efficientnet_lite2 of before"})
    with pytest.raises(DataError, match="fitted on a different network"):
        load_fitted(str(tmp_path))
    save_checkpoint(tmp_path / "head.pt", {"network": state["network"]})
    with pytest.raises(TrainingError, match="does not hold a fitted head"):
        load_fitted(str(tmp_path))
    with pytest.raises(UsageError, match="unknown option 'size'"):
        build_teacher(f"fitted:{fitted}?size=64")


def test_the_command_writes_a_teacher_and_names_the_next_one(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "made"
    command = ["teacher", "fit", NETWORK, "--data", str(data), "--out", str(out)]
    command += ["--size", "64", "--epochs", "1", "--batch-size", "4"]
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 0
    assert f"--teacher fitted:{out}" in capsys.readouterr().out
    assert build_teacher(f"fitted:{out}").channels == 128
    with pytest.raises(SystemExit) as ended:
        main(command)
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["distill", "--data", str(data), "--teacher", f"fitted:{tmp_path}"])
    assert ended.value.code == 2
    assert "edge-difom teacher fit" in capsys.readouterr().err


def test_teachers_of_a_later_stage_are_refused_before_the_first(
    fitted: Path, data: Path, tmp_path: Path
) -> None:
    swapped = tmp_path / "swapped"
    swapped.mkdir()
    (swapped / "train").symlink_to(data / "validation")
    (swapped / "validation").symlink_to(data / "train")
    stages = [
        {"name": "first", "settings": {"recipe": "none"}, "averaged": False},
        {"name": "second", "settings": {"teachers": [f"fitted:{fitted}"]}, "after": "first"},
    ]
    with pytest.raises(DataError, match="has learned from frames"):
        start_run(student(swapped, stages=stages), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
