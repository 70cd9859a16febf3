"""Hints: interpolated targets, their cost and its price, and runs with a confidence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from distill.config import DistillConfig, make_config
from distill.data.batch import Batch, Step
from distill.losses.hints import FIRST_PRICE, ConfidenceHints, hinted_logits
from distill.recipes.objectives import Objective
from distill.run_folder import load_checkpoint, load_run
from distill.students.build import build_student
from distill.students.edge import EdgeXS
from distill.train.evaluation import evaluate_run, student_logits
from distill.train.runs import resume_run, start_run
from distill.train.trainer import Trainer
from edge.datasets.pairs import find_pairs, read_image
from edge.datasets.phantom.render import write_dataset
from edge.errors import UsageError
from quantize.bundle.make import make_bundle
from quantize.export.external_checkpoint import load_student_file
from quantize.runs.folder import exported_engines
from quantize.runs.train import train_qat


def test_the_task_loss_sees_interpolated_probabilities() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 1, 5, 5, generator=rng)
    masks = (torch.rand(2, 1, 5, 5, generator=rng) > 0.5).float()
    confidence = torch.tensor([0.25, 0.8]).view(2, 1, 1, 1)
    hinted = hinted_logits(logits, masks, confidence, torch.tensor([True, False]))
    c, p, y = (x.numpy()[0] for x in (confidence, torch.sigmoid(logits), masks))
    np.testing.assert_allclose(torch.sigmoid(hinted)[0].numpy(), c * p + (1 - c) * y, atol=1e-5)
    assert torch.equal(hinted[1], logits[1])


def test_doubt_lowers_the_loss_of_wrong_images_alone() -> None:
    masks = torch.ones(2, 1, 4, 4)
    doubt = torch.zeros(2, 1, 1, 1, requires_grad=True)
    logits = torch.full((2, 1, 4, 4), -3.0)
    logits[1] = 3.0  # the second image is right already
    hinted = hinted_logits(logits, masks, torch.sigmoid(doubt), torch.tensor([True, True]))
    loss = torch.nn.functional.binary_cross_entropy_with_logits(hinted, masks)
    (gradient,) = torch.autograd.grad(loss, doubt)
    wrong, right = gradient.flatten().tolist()
    assert wrong > 5 * right > 0


def test_a_saturated_confidence_has_finite_gradients() -> None:
    logits = torch.tensor([[[[-40.0, 40.0]]]], requires_grad=True)
    masks = torch.tensor([[[[1.0, 0.0]]]])
    for value in (-60.0, 60.0):
        doubt = torch.full((1, 1, 1, 1), value, requires_grad=True)
        hints = ConfidenceHints(0.3)
        torch.manual_seed(0)
        hinted, cost = hints(logits, masks, doubt)
        total = torch.nn.functional.binary_cross_entropy_with_logits(hinted, masks) + cost
        assert all(
            bool(torch.isfinite(g).all()) for g in torch.autograd.grad(total, (logits, doubt))
        )


def test_the_price_follows_the_budget() -> None:
    logits, masks = torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)
    hints = ConfidenceHints(0.3)
    dear, cheap = (torch.full((2, 1, 1, 1), value) for value in (-2.0, 3.0))
    _, cost = hints(logits, masks, dear)
    assert cost.item() == pytest.approx(FIRST_PRICE * np.log(1 + np.exp(2)), rel=1e-5)
    assert hints.price.item() == pytest.approx(FIRST_PRICE / 0.99)
    hints(logits, masks, cheap)
    assert hints.price.item() == pytest.approx(FIRST_PRICE / 0.99 / 1.01)
    assert "price" in hints.state_dict()


def test_the_confidence_takes_no_gradient_and_no_engine_has_it() -> None:
    """The confidence reads scores without a gradient, and no engine has it."""
    student = EdgeXS(pretrained=False, uncertainty=True)
    x = torch.randn(2, 3, 64, 64)
    maps = student.train().maps(x)
    assert maps.confidence is not None
    assert maps.confidence.shape == (2, 1, 1, 1)
    gradients = torch.autograd.grad(
        maps.confidence.sum(), student.head.weight, allow_unused=True, retain_graph=True
    )
    assert all(gradient is None for gradient in gradients)
    student.eval()
    assert torch.equal(student(x), student.maps(x).logits)
    plain = EdgeXS(pretrained=False)
    assert plain.maps(x).confidence is None
    assert build_student("edge-s+emcad+uncertainty", pretrained=False).has_confidence
    with pytest.raises(UsageError, match="does not fit student unet"):
        build_student("unet+uncertainty")


def test_the_objective_adds_the_cost_and_learns_the_confidence() -> None:
    settings = make_config(
        {"data": ["x"], "recipe": "none", "student": "edge-xs", "uncertainty": True}
    )
    assert settings.student.network == "edge-xs+uncertainty"
    student = build_student(settings.student.network, pretrained=False)
    objective = Objective(student, settings.loss, settings.run)
    images = torch.randn(2, 3, 64, 64)
    masks = (torch.rand(2, 1, 64, 64) > 0.5).float()
    objective(Batch(images, masks, []), Step(0, 0)).total.backward()
    assert isinstance(student, EdgeXS)
    assert student.confidence is not None
    gradient = student.confidence.head.weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hints") / "data"
    write_dataset(folder, train=8, validation=4, negatives=0, seed=1, size=(72, 80))
    return folder


def config(data: Path, **changes: object) -> DistillConfig:
    settings = {
        "data": [str(data)], "recipe": "none", "student": "edge-xs", "uncertainty": True,
        "pretrained": False, "size": 64, "epochs": 2, "batch_size": 4,
    }  # fmt: skip
    return make_config(settings | changes)


def test_recipe_paper_knows_no_hints(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    with pytest.raises(UsageError, match="does not fit recipe paper"):
        start_run(config(data, recipe="paper", teachers=[]), out=tmp_path / "run")


@pytest.mark.slow
def test_a_killed_run_continues_and_is_judged_but_not_quantized(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    settings = config(data, checkpoint_minutes=1e-9)
    uncut = start_run(settings, out=tmp_path / "whole")
    original, steps = Trainer.train_step, 0

    def killed(self: Trainer, batch: Batch) -> dict[str, float]:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Trainer, "train_step", killed)
    with pytest.raises(KeyboardInterrupt):
        start_run(settings, out=tmp_path / "cut")
    monkeypatch.setattr(Trainer, "train_step", original)
    left, right = (
        load_checkpoint(run / "checkpoints" / "last.pt")["objective"]
        for run in (uncut, resume_run(tmp_path / "cut"))
    )
    assert left["hints.price"] != FIRST_PRICE
    assert all(torch.equal(left[name], right[name]) for name in left)

    pairs = find_pairs(data / "validation")
    report = evaluate_run(uncut, pairs)
    assert report.confidence is not None
    assert report.confidence.n == len(pairs) == 4
    assert set(report.confidence.by_confidence) == {"maximum score", "peak score", "confidence"}
    loaded = load_run(uncut)
    image = read_image(pairs[0].image)
    assert student_logits(loaded.student, image, 64).shape == (16, 16)

    for refused in (
        lambda: train_qat(uncut),
        lambda: make_bundle(uncut, tmp_path / "bundle"),
        lambda: exported_engines(uncut, "f32"),
        lambda: load_student_file(Path("weights.pt"), "edge-s+uncertainty"),
    ):
        with pytest.raises(UsageError, match="confidence, which is for training and evaluation"):
            refused()
    assert not (uncut / "qat8").exists()
