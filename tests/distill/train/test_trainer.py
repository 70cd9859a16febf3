from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING
from unittest.mock import Mock, call

import pytest
import torch

from distill.config import DistillConfig, make_config, parse_assignments, read_config_file
from distill.data import batches
from distill.data.load import open_data
from distill.data.made_ahead import made_ahead
from distill.data.validation import FrameScores
from distill.run_folder import load_checkpoint, load_run
from distill.students.build import build_student
from distill.train.optimizer import parameter_groups
from distill.train.runs import resume_run, start_run
from distill.train.trainer import Trainer, build_objective
from edge.errors import DataError, TrainingError, UsageError
from edge.util.progress import silent
from tests.support.discs import write_discs

if TYPE_CHECKING:
    from pathlib import Path

    from distill.data.batch import Batch, Step


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Bright discs on a dark ground: a task that a few steps can begin to learn."""
    root = tmp_path_factory.mktemp("discs")
    write_discs(root, {"train": 10, "validation": 4}, rows=(20, 52))
    return root


def config(folder: Path, **changes: object) -> DistillConfig:
    settings = {
        "data": [str(folder)],
        "size": 64,
        "epochs": 2,
        "batch_size": 4,
        "pretrained": False,
    }
    return make_config(settings | changes)


def weights(run: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    state = load_checkpoint(run / "checkpoints" / name)["student"]
    assert isinstance(state, dict)
    return state


def test_batches_made_ahead_are_those_made_when_asked_for(folder: Path) -> None:
    data = open_data(config(folder, recipe="none", shifted_views=1))
    plain = list(data.batches(1))
    data.loaders = 3
    for one, other in zip(plain, data.batches(1), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)


def test_that_share_of_the_views_is_shifted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted = Mock(side_effect=lambda image, mask, _, __: (image, mask))
    monkeypatch.setattr(batches, "shift_domain", shifted)
    shares = {}
    for share in (0, 0.5, 1):
        shifted.reset_mock()
        data = open_data(config(folder, recipe="none", shifted_views=share))
        views = sum(len(batch.images) for epoch in range(12) for batch in data.batches(epoch))
        shares[share] = shifted.call_count / views
    assert shares[0] == 0
    assert 0.3 < shares[0.5] < 0.7
    assert shares[1] == 1


def test_work_made_ahead_keeps_its_order_and_its_errors() -> None:
    """What is made ahead stays in order and fails in its place."""

    def make(number: int) -> float:
        time.sleep(0.002 * (number % 3))
        return 1 / (5 - number)

    results = made_ahead(make, range(9), 4)
    assert [next(results) for _ in range(5)] == [1 / (5 - number) for number in range(5)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def assert_equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name in left:
        assert torch.equal(left[name], right[name]), name


class KilledError(Exception):
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": "difom"},
        {"recipe": "none", "scales": [0.5, 1.0], "encoder_lr": 0.3, "drop_path": 0.5},
    ],
)
def test_a_killed_run_continues_bit_for_bit(
    folder: Path,
    tmp_path: Path,
    changes: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = config(folder, checkpoint_minutes=1e-9, **changes)
    uncut = start_run(settings, out=tmp_path / "whole")
    steps = 0
    step = Trainer.train_step

    def killed(self: Trainer, batch: object) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KilledError
        return step(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Trainer, "train_step", killed)
    with pytest.raises(KilledError):
        start_run(settings, out=tmp_path / "cut")
    monkeypatch.setattr(Trainer, "train_step", step)
    report = Mock(side_effect=silent)
    cut = resume_run(tmp_path / "cut", report=report)
    assert report.mock_calls[-1] == call(1, "distill edge-s from step 3")
    assert_equal(weights(uncut), weights(cut))
    rows = [
        [
            json.loads(line) | {"seconds": 0, "images_per_second": 0}
            for line in (run / "metrics.jsonl").read_text().splitlines()
        ]
        for run in (uncut, cut)
    ]
    assert rows[0] == rows[1]
    assert [row["epoch"] for row in rows[1]] == [1, 2]


@pytest.mark.slow
def test_a_run_learns_keeps_its_best_and_describes_itself(folder: Path, tmp_path: Path) -> None:
    run = start_run(
        config(folder, epochs=6, recipe="none", lr=3e-3, student="unet-32"), out=tmp_path / "run"
    )
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["task"] < 0.8 * rows[0]["task"]
    loaded = load_run(run)
    assert loaded.metrics["dice_val"] == max(row["dice_val"] for row in rows)
    assert loaded.config == config(folder, epochs=6, recipe="none", lr=3e-3, student="unet-32")
    splits = json.loads((run / "splits.json").read_text())
    assert (len(splits["train"]), len(splits["validation"])) == (10, 4)


def test_distillation_trains_all_of_the_student_and_no_teacher(
    folder: Path, tmp_path: Path
) -> None:
    settings = config(folder)
    data = open_data(settings)
    trainer = Trainer(tmp_path, settings, data)
    trainer.student.train()
    batch = next(data.batches(0))
    losses = trainer.train_step(batch)
    assert losses["distill"] > 0.1
    assert all(not target.requires_grad for target in batch.targets)
    presence = {id(parameter) for parameter in trainer.student.presence.parameters()}  # type: ignore[union-attr]
    for parameter in trainer.objective.parameters():
        # Without clean frames, nothing may teach the presence logit.
        assert (parameter.grad is None) == (id(parameter) in presence)


def test_a_step_uses_one_scale_and_masks_keep_their_size(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(folder, recipe="none", scales=[0.5, 1.0, 1.4], epochs=9)
    data = open_data(settings)
    trainer = Trainer(tmp_path, settings, data)
    shapes = []
    forward = trainer.objective.forward

    def watched(batch: Batch, clock: Step) -> object:
        shapes.append((batch.images.shape[-1], batch.masks.shape[-1]))
        return forward(batch, clock)

    monkeypatch.setattr(trainer.objective, "forward", watched)
    batch = next(data.batches(0))
    for trainer.step in range(12):
        trainer.train_step(batch)
    assert set(shapes) == {(32, 64), (64, 64), (96, 64)}


def test_the_encoder_has_a_learning_rate_of_its_own(folder: Path) -> None:
    settings = config(folder, encoder_lr=0.25, lr=4e-3)
    student = build_student("edge-s", pretrained=False)
    objective = build_objective(student, settings, [8])
    decoder, encoder, presence = parameter_groups(objective, student, settings.optimizer)
    assert (decoder["lr"], encoder["lr"], presence["lr"]) == (4e-3, 1e-3, 4e-4)
    assert {id(p) for p in encoder["params"]} == {
        id(p) for name, p in student.named_parameters() if name.startswith("encoder.")
    }
    assert {id(p) for p in presence["params"]} == {
        id(p) for name, p in student.named_parameters() if name.startswith("presence.")
    }
    count = sum(len(group["params"]) for group in (decoder, encoder, presence))
    assert count == len(list(objective.parameters()))
    unet = build_student("unet-32", pretrained=False)
    (alone,) = parameter_groups(unet, unet, settings.optimizer)
    assert len(alone["params"]) == len(list(unet.parameters()))


def test_frozen_stages_keep_their_weights_and_statistics(folder: Path, tmp_path: Path) -> None:
    settings = config(folder, recipe="none", pretrained=True, frozen_stages=3, weight_decay=0.1)
    data = open_data(settings)
    trainer = Trainer(tmp_path, settings, data)
    before = {name: value.clone() for name, value in trainer.student.state_dict().items()}
    trainer.prepare_epoch()
    trainer.train_step(next(data.batches(0)))
    moved = {
        name
        for name, value in trainer.student.state_dict().items()
        if not torch.equal(value, before[name])
    }
    still = before.keys() - moved
    frozen = (
        "encoder.conv_stem",
        "encoder.bn1",
        "encoder.blocks.0.",
        "encoder.blocks.1.",
        "presence.",
    )
    assert {name for name in before if name.startswith(frozen)} == still
    with pytest.raises(UsageError, match="frozen_stages=9"):
        Trainer(tmp_path, config(folder, frozen_stages=9, pretrained=True), data)
    with pytest.raises(UsageError, match="frozen_stages=1"):
        Trainer(tmp_path, config(folder, frozen_stages=1), data)


def test_early_stop_waits_for_as_many_epochs_as_it_was_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(folder, recipe="none", epochs=9, patience=2)
    data = open_data(settings)
    (tmp_path / "checkpoints").mkdir()
    trainer = Trainer(tmp_path, settings, data)
    scores = iter([0.5, 0.4, 0.3, 0.9])
    one, polyp = torch.ones(1), torch.ones(1, dtype=torch.bool)
    monkeypatch.setattr(
        data, "score_frames", lambda _: FrameScores(one * next(scores), one, one, polyp)
    )
    best = trainer.train()
    assert (best["dice_val"], best["epoch"]) == (0.5, 1)
    assert trainer.epoch == 3


def test_an_infinite_loss_stops_the_run_and_keeps_the_batch(folder: Path, tmp_path: Path) -> None:
    """A loss that is not finite stops the run and keeps the batch."""
    settings = config(folder, recipe="none")
    trainer = Trainer(tmp_path, settings, open_data(settings))
    torch.nn.init.constant_(next(trainer.student.parameters()), float("nan"))
    with pytest.raises(TrainingError, match="loss became nan"):
        trainer.train()
    assert (tmp_path / "checkpoints" / "diverged-batch.pt").is_file()


def test_a_size_that_does_not_fit_names_one_that_does(folder: Path) -> None:
    """A size that does not fit the student names one that does."""
    with pytest.raises(UsageError, match="size=96"):
        open_data(config(folder, size=100))


def test_unusable_data_leaves_no_run_behind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError):
        start_run(config(tmp_path / "empty"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_a_run_is_not_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="exists already"):
        start_run(config(folder), out=tmp_path / "run")


def test_a_truncated_checkpoint_is_named(folder: Path, tmp_path: Path) -> None:
    run = start_run(config(folder, recipe="none", epochs=1), out=tmp_path / "run")
    best = run / "checkpoints" / "best.pt"
    best.write_bytes(best.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"best\.pt is not a readable checkpoint"):
        load_run(run)


def test_configuration_errors_name_the_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lerning_rate"):
        make_config({"data": ["x"], "lerning_rate": 1})
    with pytest.raises(UsageError, match="epochs"):
        make_config({"data": ["x"], "epochs": 0})
    with pytest.raises(UsageError, match="key=value"):
        parse_assignments(("lr",))
    (tmp_path / "c.yaml").write_text("- a\n- b\n")
    with pytest.raises(UsageError, match="no configuration"):
        read_config_file(tmp_path / "c.yaml")
    assert parse_assignments(("lr=0.5", "teachers=[sam]")) == {"lr": 0.5, "teachers": ["sam"]}
