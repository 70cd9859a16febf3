"""The recipe that is kept on: quantized maps, heads, gradients, and a resumed run's repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn

from distill.config import make_config
from distill.data.batch import Batch, Step
from distill.recipes.objectives import Difom
from distill.run_folder import LoadedRun, save_checkpoint
from distill.students.base import Student, StudentMaps
from distill.students.pranet import PraNet
from distill.students.unet import UNet
from distill.students.unetpp import UNetPP
from edge.errors import TrainingError, UsageError
from quantize.graph.canonical import canonicalize
from quantize.qat.finetuning import Finetuning
from quantize.qat.keep_distillation import (
    build_kept_objective,
    load_heads,
    quantized_maps,
    refuse_without_recipe,
)
from quantize.qat.nncf import quantize_student, quantized_state, restore
from quantize.runs.folder import QatConfig, load_qat_checkpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 32
CHANNELS = 5


class Chain(Student):
    """Two blocks with distilled outputs; only a convolution reads the first, so it is equalized."""

    stride = divisor = 1
    low_channels, high_channels = 4, 6

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.head = nn.Conv2d(6, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        low = self.first(x)
        high = self.second(low)
        return StudentMaps(self.head(high), low, high)


class Taught:
    """Batches of noise with masks, and teacher maps and logits that follow from the images."""

    steps = 3

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps):
            generator = torch.Generator().manual_seed(100 * epoch + step)
            images = 2 * torch.rand(2, 3, SIZE, SIZE, generator=generator) - 1
            gray = images.mean(1, keepdim=True)
            small = nn.functional.avg_pool2d(gray, 4)
            yield Batch(
                images, (gray > 0).float(), [small.repeat(1, CHANNELS, 1, 1)] * 2, 4 * small
            )

    def validate(self, model: nn.Module) -> dict[str, float]:
        batch = next(self.batches(50))
        with torch.no_grad():
            right = ((model(batch.images) >= 0) == (batch.masks > 0)).float().mean().item()
        return {"dice_val": right, "iou_val": right, "score": right}


CONFIG = make_config(
    {
        "data": ["x"],
        "teachers": ["a", "b"],
        "task_teachers": ["run:c"],
        "radius": 1,
        "teacher_dropping": 0.5,
        "similarity_weight": 0.1,
        "focal_weight": 0.1,
        "schedule": "distil-first",
    }
)


def student() -> Chain:
    torch.manual_seed(0)
    network = Chain().eval()
    norm = network.first[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([1.0, 0.5, 0.1, 0.02]))
    return network


def samples() -> list[Tensor]:
    return [batch.images[:1] for batch in Taught().batches(99)]


def loaded(path: Path) -> LoadedRun:
    return LoadedRun(path, CONFIG, student(), {"dice_val": 0.5})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(Chain, id="chain"),
        pytest.param(lambda: UNet(width=4), id="unet", marks=pytest.mark.slow),
        pytest.param(lambda: UNetPP(width=4), id="unetpp", marks=pytest.mark.slow),
        pytest.param(
            lambda: PraNet(
                pretrained=False, width=8, reverse=(16, 8, 8), base=16, blocks=(1, 1, 1, 1)
            ),
            id="pranet",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_maps_are_those_of_the_quantized_forward_pass(make: type[Student]) -> None:
    torch.manual_seed(0)
    quantized = quantize_student(make().eval(), [2 * torch.rand(1, 3, 64, 64) - 1])
    images = 2 * torch.rand(2, 3, 64, 64) - 1
    maps = quantized_maps(quantized, images)
    assert torch.equal(maps.logits, quantized(images))
    plain = quantized.maps(images)  # type: ignore[operator]
    assert not torch.equal(maps.high, plain.high), "rounded"
    assert maps.high.shape == plain.high.shape
    assert torch.unique(maps.low).numel() <= 256 < torch.unique(plain.low).numel()


def test_gradients_of_every_term_reach_the_quantized_weights(tmp_path: Path) -> None:
    run = loaded(tmp_path)
    quantized = quantize_student(run.student, samples())
    objective = build_kept_objective(run, quantized, [CHANNELS, CHANNELS], 0.3)
    assert isinstance(objective, Difom)
    assert all(name.startswith("heads.") for name in objective.state_dict()), (
        "the student is not the objective's"
    )
    batch = next(Taught().batches(0))
    losses = objective(batch, Step(0, 0))
    assert losses.cwd is not None
    for term in (losses.task, *losses.distillation, losses.cwd):
        quantized.zero_grad()
        term.backward(retain_graph=True)
        for name in ("first.0.weight", "second.0.weight"):
            gradient = dict(quantized.named_parameters())[name].grad
            assert gradient is not None
            assert float(gradient.abs().max()) > 0
    ranges = [
        p.grad for name, p in quantized.named_parameters() if "scale" in name and p.requires_grad
    ]
    assert any(grad is not None and float(grad.abs().max()) > 0 for grad in ranges)
    before = losses.total.item()
    weighted = build_kept_objective(run, quantized, [CHANNELS, CHANNELS], 0.0)
    weighted.load_state_dict(objective.state_dict())
    alone = weighted(batch, Step(0, 0))
    assert alone.total.item() == pytest.approx(
        alone.task.item() + CONFIG.loss.cwd_weight * losses.cwd.item()
    )
    assert before > alone.total.item()


def test_the_run_s_heads_see_equalized_maps_as_before(tmp_path: Path) -> None:
    """Heads of the run see the equalized maps as they saw the maps."""
    run = loaded(tmp_path)
    trained = Difom(run.student, CONFIG.loss, CONFIG.run, [CHANNELS, CHANNELS])
    save_checkpoint(tmp_path / "checkpoints" / "last.pt", {"objective": trained.state_dict()})
    quantized = quantize_student(run.student, samples())
    objective = build_kept_objective(run, quantized, [CHANNELS, CHANNELS], 0.3)
    assert load_heads(objective, run, quantized, samples())
    batch = next(Taught().batches(0))
    with torch.no_grad():
        grown, original = quantized.maps(batch.images), run.student.maps(batch.images)  # type: ignore[operator]
        assert float(grown.low[:, 3].amax()) > 5 * float(original.low[:, 3].amax()), (
            "this student is equalized"
        )
        for own_head, trained_head in zip(objective.heads, trained.heads, strict=True):
            for actual, expected in zip(
                own_head(grown, (8, 8)), trained_head(original, (8, 8)), strict=True
            ):
                assert float((actual - expected).abs().max()) < 0.05 * float(expected.std())


def test_heads_start_anew_without_a_checkpoint(tmp_path: Path) -> None:
    """Heads start anew without a checkpoint and refuse a wrong one."""
    run = loaded(tmp_path)
    quantized = quantize_student(run.student, samples())
    objective = build_kept_objective(run, quantized, [CHANNELS], 0.3)
    assert not load_heads(objective, run, quantized, samples())
    wrong = Difom(run.student, CONFIG.loss, CONFIG.run, [CHANNELS + 1])
    last = tmp_path / "checkpoints" / "last.pt"
    save_checkpoint(last, {"objective": wrong.state_dict()})
    with pytest.raises(TrainingError, match="do not fit the run's teachers"):
        load_heads(objective, run, quantized, samples())
    last.write_bytes(b"cut short")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_heads(objective, run, quantized, samples())


def test_runs_without_a_recipe_have_nothing_to_keep_on() -> None:
    for config in (
        make_config({"data": ["x"], "recipe": "none"}),
        make_config({"data": ["x"], "recipe": "paper"}),
        make_config({"data": ["x"], "teachers": []}),
    ):
        with pytest.raises(UsageError, match="this run has none"):
            refuse_without_recipe(config)
    refuse_without_recipe(CONFIG)


def tuned(path: Path, model: nn.Module) -> Finetuning:
    objective = build_kept_objective(loaded(path), model, [CHANNELS, CHANNELS], 0.3)
    return Finetuning(
        path, QatConfig(epochs=3, lr=1e-2, distill_weight=0.3), Taught(), model, objective
    )


def test_distilled_fine_tuning_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Distilled fine tuning trains heads and resumes to the same bits."""
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    uncut = tuned(tmp_path / "whole", quantize_student(student(), samples()))
    assert uncut.objective is not None
    fresh = {name: value.clone() for name, value in uncut.objective.state_dict().items()}
    uncut.train()
    trained = uncut.objective.state_dict()
    assert all(not torch.equal(fresh[name], trained[name]) for name in fresh)
    rows = (tmp_path / "whole" / "metrics.jsonl").read_text()
    assert rows.count('"distill"') == rows.count('"cwd"') == rows.count('"task"') == 3
    original = Finetuning._train_epoch

    def killed(self: Finetuning, bar: object) -> dict[str, float]:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return original(self, bar)

    cut = tuned(tmp_path / "cut", quantize_student(student(), samples()))
    monkeypatch.setattr(Finetuning, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        cut.train()
    monkeypatch.setattr(Finetuning, "_train_epoch", original)
    state = load_qat_checkpoint(tmp_path / "cut" / "checkpoints" / "last.pt", ("quantized",))
    model = restore(student(), state["quantized"], torch.zeros(1, 3, SIZE, SIZE))
    again = tuned(tmp_path / "cut", model)
    again.restore(state)
    again.train()
    assert again.objective is not None
    for left, right in (
        (uncut.model.state_dict(), again.model.state_dict()),
        (trained, again.objective.state_dict()),
    ):
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)
    assert not any("heads" in name for name in quantized_state(again.model)["model"]), (
        "heads are not exported"
    )
    canonicalize(again.model, (SIZE, SIZE))
