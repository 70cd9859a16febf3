"""What recipes teach: the published target collapses, ours does not, and controls work."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.config import DistillConfig, make_config
from distill.data.batch import Batch, Step
from distill.losses.auxiliary import (
    channel_wise_loss,
    patch_similarity_loss,
    resized,
    soft_dice_bce,
)
from distill.losses.spectral.loss import low_band
from distill.losses.spectral.weighted import focal_frequency_loss
from distill.recipes.objectives import Difom, Objective
from distill.recipes.published import Paper, notebook_bands
from distill.recipes.target_monitor import (
    JUDGED_FRAMES,
    TargetMonitor,
    explained_variance,
    target_deviation,
)
from distill.students.base import Student, StudentMaps
from distill.train.ema import WeightAverage
from distill.train.runs import resume_run, start_run
from distill.train.trainer import Trainer
from edge.datasets.phantom.render import write_dataset
from edge.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from distill.options import LossOptions, RunOptions

CHANNELS, GRID = 12, (8, 8)


class Small(Student):
    """Two maps and logits, all at an eighth of the input."""

    stride = divisor = 8

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.low_channels = self.high_channels = width
        self.encoder = nn.Sequential(
            nn.Conv2d(3, width, 8, 8), nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1)
        )
        self.fine = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.head = nn.Conv2d(width, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        low = self.encoder(x)
        high = self.fine(low)
        return StudentMaps(self.head(high), low, high)


def config(**changes: object) -> DistillConfig:
    return make_config({"data": ["x"], "teachers": ["t"], "epochs": 3, "radius": 1} | changes)


def parts(**changes: object) -> tuple[LossOptions, RunOptions]:
    settings = config(**changes)
    return settings.loss, settings.run


def batch(seed: int = 0, size: int = 4, teachers: int = 1) -> Batch:
    """Images whose teacher map is half a fixed linear view of them and half noise."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(size, 3, 64, 64, generator=generator) - 0.5
    masks = (images.mean(1, keepdim=True) > 0).float()
    blocks = images.unfold(2, 8, 8).unfold(3, 8, 8).mean((-1, -2))
    targets = []
    for number in range(teachers):
        view = torch.randn(CHANNELS, 3, generator=torch.Generator().manual_seed(100 + number))
        maps = torch.einsum("oc,bchw->bohw", view, blocks)
        target = maps / maps.std() + torch.randn(maps.shape, generator=generator)
        mean, std = (
            target.mean(dim=(0, 2, 3), keepdim=True),
            target.std(dim=(0, 2, 3), keepdim=True),
        )
        targets.append((target - mean) / std)
    return Batch(images, masks, targets)


def descend(objective: Objective, steps: int, epoch: int, data: Batch) -> list[tuple[float, float]]:
    """Distillation loss and standard deviation of its target at every step."""
    optimizer = torch.optim.Adam(objective.parameters(), 1e-2)
    figures = []
    for step in range(steps):
        losses = objective(data, Step(epoch, step))
        optimizer.zero_grad()
        losses.distillation[0].backward()
        optimizer.step()
        figures.append((losses.distillation[0].item(), target_deviation(losses.targets[0])))
    return figures


def test_the_published_target_collapses_and_ours_stays() -> None:
    torch.manual_seed(0)
    data = batch(size=12)
    paper = descend(Paper(Small(), *parts(recipe="paper"), [CHANNELS], side=12), 400, 1, data)
    difom = descend(Difom(Small(), *parts(), [CHANNELS]), 400, 1, data)
    assert paper[-1][0] < 1e-3 * paper[0][0]
    assert paper[-1][1] < 1e-3 * paper[0][1]
    assert difom[-1][0] < 0.9 * difom[0][0], "it is learned"
    assert difom[-1][0] > 1e-3 * difom[0][0]
    assert difom[-1][1] == difom[0][1] == pytest.approx(1, abs=0.01)


def test_the_paper_trains_in_three_phases() -> None:
    objective = Paper(Small(), *parts(recipe="paper", epochs=6), [CHANNELS], side=12)
    assert [objective.phase(epoch) for epoch in range(6)] == [0, 0, 1, 1, 2, 2]
    data = batch()
    first = objective(data, Step(0, 0))
    assert first.distillation == []
    assert first.total is first.task
    second = objective(data, Step(2, 0))
    assert second.total.item() == pytest.approx(
        0.6 * second.task.item() + 0.1 * second.distillation[0].item(), rel=1e-5
    )
    assert second.targets[0].requires_grad, "this is the defect"
    objective.begin_epoch(4)
    assert not any(
        parameter.requires_grad
        for parameter in objective.student.get_submodule("encoder").parameters()
    )
    assert all(
        parameter.requires_grad
        for parameter in objective.student.get_submodule("fine").parameters()
    )


def test_the_notebooks_bands_add_up_but_are_no_projections() -> None:
    maps = torch.randn(1, 2, 18, 18)
    low, high = notebook_bands(maps)
    torch.testing.assert_close(low + high, maps)
    again, _ = notebook_bands(low)
    assert (again - low).abs().max() > 0.01
    assert (low - low_band(maps, 3)).abs().max() > 0.01


def test_bands_and_guard_speak_of_what_is_taught() -> None:
    target = batch().targets[0]
    low = low_band(target, 1)
    perfect = explained_variance(low, target - low, target, 1)
    assert perfect == pytest.approx((1, 1), abs=1e-5)
    mean = target.mean(dim=(0, 2, 3), keepdim=True).expand_as(target)
    assert explained_variance(mean, 0 * target, target, 1) == pytest.approx((0, 0), abs=1e-4)
    looks = JUDGED_FRAMES // len(target)
    guard = TargetMonitor(only_warn=False)
    for loss in [2.0] * looks + [0.0021] * looks:
        guard.check("t", target, loss)
    with pytest.raises(TrainingError, match=r"fell to 0\.00"):  # noqa: PT012 - a mean of many
        for _ in range(looks):
            guard.check("t", target, 0.0)
    guard = TargetMonitor(only_warn=False)
    for _ in range(looks - 1):
        guard.check("t", 0.1 * target, 2.0)
    with pytest.raises(TrainingError, match="standard deviation"):
        guard.check("t", 0.1 * target, 2.0)
    with pytest.raises(TrainingError, match="gradient"):
        guard.check("t", target.clone().requires_grad_(), 2.0)


@pytest.mark.parametrize("black_frames", [1, 4])
def test_a_black_frame_is_no_collapsed_target(black_frames: int) -> None:
    guard = TargetMonitor(only_warn=False)
    target = batch().targets[0]
    black = torch.zeros_like(target[:1])
    for _ in range(2 * JUDGED_FRAMES // (len(target) + black_frames)):
        for _ in range(black_frames):
            guard.check("t", black, 1e-6)
        guard.check("t", target * (1 + black_frames / len(target)) ** 0.5, 2.0)


def test_under_the_paper_a_guard_warns_once(caplog: pytest.LogCaptureFixture) -> None:
    guard = TargetMonitor(only_warn=True)
    target = batch().targets[0]
    for loss in (1.0, 1e-5, 1e-6):
        guard.check("fused", target, loss)
    assert [record.levelname for record in caplog.records] == ["WARNING"]


def test_distilled_maps_lie_on_the_way_to_the_logits() -> None:
    """Distilled maps lie on the way to the logits and no head does."""
    torch.manual_seed(0)
    objective = Difom(Small(), *parts(), [CHANNELS])
    images = batch().images
    before = objective.student(images)
    with torch.no_grad():
        for parameter in objective.heads.parameters():
            parameter.add_(1.0)
    assert torch.equal(objective.student(images), before)
    maps = objective.student.maps(images)
    for map_of_band in (maps.low, maps.high):
        (grad,) = torch.autograd.grad(maps.logits.sum(), map_of_band, retain_graph=True)
        assert bool((grad != 0).any())


@pytest.mark.parametrize(
    ("schedule", "halves"),
    [
        ("joint", ("both", "both")),
        ("distil-first", ("teacher", "task")),
        ("task-first", ("task", "both")),
        ("teachers-only", ("teacher", "teacher")),
    ],
)
def test_schedules_weigh_task_and_teacher(schedule: str, halves: tuple[str, str]) -> None:
    """Each in the same number of epochs, and so of steps."""
    settings = parts(schedule=schedule, epochs=4, distill_weight=0.3)
    objective = Difom(Small(), *settings, [CHANNELS])
    data = batch()
    for epoch in range(4):
        losses = objective(data, Step(epoch, 0))
        teacher, task = losses.distillation[0], losses.task
        expected = {"teacher": teacher, "task": task, "both": task + 0.3 * teacher}
        torch.testing.assert_close(losses.total, expected[halves[epoch // 2]])


def test_dropping_is_reproducible_and_keeps_the_worst_teacher() -> None:
    objective = Difom(
        Small(),
        *parts(teachers=["a", "b", "c"], teacher_dropping=0.5),
        [CHANNELS, CHANNELS, CHANNELS],
    )
    losses = [torch.tensor(value) for value in (1.0, 3.0, 2.0)]
    masks = [objective._keep_mask(losses, Step(0, step)).tolist() for step in range(200)]
    assert all(mask[1] == 1 for mask in masks)
    shares = np.mean(masks, axis=0)
    assert 0.35 < shares[0] < 0.65
    assert masks == [objective._keep_mask(losses, Step(0, step)).tolist() for step in range(200)]


@pytest.mark.parametrize("grid", [(8, 8), (4, 6), (16, 10)])
def test_projecting_and_resizing_commute(grid: tuple[int, int]) -> None:
    maps, head = torch.randn(1, 5, 8, 8), nn.Conv2d(5, 3, 1)
    torch.testing.assert_close(resized(head(maps), grid), head(resized(maps, grid)))


def test_further_terms_follow_their_definition() -> None:
    maps = torch.randn(2, 5, 8, 8)
    rotated = torch.einsum("oc,bchw->bohw", torch.linalg.qr(torch.randn(5, 5))[0], maps)
    assert patch_similarity_loss(rotated, maps).item() == pytest.approx(0, abs=1e-4)
    assert patch_similarity_loss(torch.randn(2, 5, 8, 8), maps).item() > 0.1
    logits = torch.randn(2, 3, 6, 7)
    assert channel_wise_loss(logits + 4.0, logits).item() == pytest.approx(0, abs=1e-6), (
        "a shift is no news"
    )
    mask = (torch.rand(1, 1, 16, 16) > 0.5).float()
    assert soft_dice_bce(20 * (mask - 0.5), mask) < 0.01 < soft_dice_bce(0 * mask, mask)


def test_channel_wise_distillation_is_its_definition() -> None:
    student_logits, teacher_logits = (
        torch.randn(2, 3, 4, 5, dtype=torch.float64),
        torch.randn(2, 3, 4, 5, dtype=torch.float64),
    )
    tau, total = 2.0, 0.0
    for b in range(2):
        for c in range(3):
            p, q = ((x[b, c].flatten() / tau).exp() for x in (teacher_logits, student_logits))
            p, q = p / p.sum(), q / q.sum()
            total += float((p * (p / q).log()).sum())
    assert channel_wise_loss(
        student_logits, teacher_logits, temperature=tau
    ).item() == pytest.approx(tau**2 / 3 * total / 2, rel=1e-5)


def test_the_task_teachers_logits_teach_beside_the_maps_or_alone() -> None:
    torch.manual_seed(0)
    data, logits = batch(), 5 * torch.randn(4, 1, 16, 16)
    for channels, schedule in (([CHANNELS], "joint"), ([], "joint"), ([], "distil-first")):
        objective = Difom(
            Small(), *parts(schedule=schedule, cwd_weight=3.0, distill_weight=0.5), channels
        )
        batch_of_arm = data._replace(targets=data.targets[: len(channels)], task_logits=logits)
        losses = objective(batch_of_arm, Step(0, 0))
        assert losses.cwd is not None
        expected = 3 * losses.cwd + (losses.task if schedule == "joint" else 0)
        if channels:
            expected = expected + 0.5 * losses.distillation[0]
        torch.testing.assert_close(losses.total, expected)
        (grad,) = torch.autograd.grad(
            losses.cwd, next(objective.student.get_submodule("head").parameters())
        )
        assert bool((grad != 0).any())


def test_focal_frequency_adds_to_the_distance_of_both_bands() -> None:
    torch.manual_seed(0)
    data, student = batch(), Small()
    plain, focal = (
        Difom(student, *parts(focal_weight=weight), [CHANNELS]) for weight in (0.0, 0.5)
    )
    focal.heads.load_state_dict(plain.heads.state_dict())
    target = data.targets[0]
    low, high = plain.heads[0](student.maps(data.images), GRID)
    smooth = low_band(target, 1)
    added = focal_frequency_loss(low, smooth) + focal_frequency_loss(high, target - smooth)
    distances = [o(data, Step(0, 0)).distillation[0] for o in (plain, focal)]
    torch.testing.assert_close(distances[1], distances[0] + 0.5 * added)


def test_the_average_follows_and_resumes() -> None:
    student = Small()
    average = WeightAverage(student, 0.9)
    again = WeightAverage(student, 0.9)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    for number in range(60):
        average.update(student)
        if number == 29:
            again.load_state_dict(average.state_dict())
    for _ in range(30):
        again.update(student)
    for left, right, goal in zip(
        average.student.parameters(), again.student.parameters(), student.parameters(), strict=True
    ):
        assert torch.equal(left, right)
        torch.testing.assert_close(left, goal.detach(), atol=0.01, rtol=0)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("recipes")
    write_dataset(root / "data", train=8, validation=3, negatives=0, seed=1, size=(72, 72))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(root / "runs"))
        yield root / "data"


def settings(phantom: Path, **changes: object) -> DistillConfig:
    base = {"data": [str(phantom)], "size": 64, "epochs": 2, "batch_size": 4, "pretrained": False}
    return make_config(base | changes)


def weights(run: Path, name: str = "last.pt") -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(run / "checkpoints" / name, weights_only=True)["student"]
    return state


@pytest.mark.slow
def test_weight_zero_is_none_bit_for_bit(phantom: Path, tmp_path: Path) -> None:
    none = start_run(settings(phantom, recipe="none"), out=tmp_path / "none")
    zero = start_run(settings(phantom, distill_weight=0.0), out=tmp_path / "zero")
    some = start_run(settings(phantom), out=tmp_path / "some")
    left, right, other = weights(none), weights(zero), weights(some)
    assert all(torch.equal(left[name], right[name]) for name in left)
    assert not all(torch.equal(left[name], other[name]) for name in left)
    (row, _) = (json.loads(line) for line in (some / "metrics.jsonl").read_text().splitlines())
    assert {"r2_low/efficientnet_lite2", "r2_high/efficientnet_lite2", "distill", "task"} <= set(
        row
    )
    assert all(math.isfinite(value) for value in row.values())


@pytest.mark.slow
def test_every_recipe_and_option_trains_and_resumes(
    phantom: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases: dict[str, dict[str, object]] = {
        "paper": {"recipe": "paper", "epochs": 3},
        "options": {
            "band": "radial", "similarity_weight": 0.1, "precision": "bf16", "accumulate": 2,
            "ema": 0.9,
            "freeze_batchnorm": True, "focal_weight": 0.5,
        },
        "answers": {"teachers": [], "task_teachers": [f"run:{tmp_path / 'paper-whole'}"]},
    }  # fmt: skip
    for name, changes in cases.items():
        uncut = start_run(settings(phantom, **changes), out=tmp_path / f"{name}-whole")
        original, steps = Trainer.train_step, 0

        def killed(self: Trainer, data: Batch) -> dict[str, float]:
            nonlocal steps
            steps += 1
            if steps == 4:
                raise KeyboardInterrupt
            return original(self, data)  # noqa: B023 - used up within the loop

        monkeypatch.setattr(Trainer, "train_step", killed)
        with pytest.raises(KeyboardInterrupt):
            start_run(settings(phantom, **changes), out=tmp_path / f"{name}-cut")
        monkeypatch.setattr(Trainer, "train_step", original)
        cut = resume_run(tmp_path / f"{name}-cut")
        for file in ("last.pt", "best.pt"):
            left, right = weights(uncut, file), weights(cut, file)
            assert all(torch.equal(left[key], right[key]) for key in left), (name, file)


def test_parts_of_a_batch_must_be_equal(phantom: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="batch of 4 cannot be computed in 3"):
        start_run(settings(phantom, recipe="none", accumulate=3), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
