"""Supervision of the background and of the reconstruction, for every student."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import torch.nn.functional as F

from distill.config import make_config
from distill.losses import background_loss, structure_loss
from distill.students.edge import EdgeXS
from distill.students.pranet_v2 import PraNetV2
from distill.train.trainer import build_objective
from edge.errors import UsageError

if TYPE_CHECKING:
    from distill.recipes.objectives import Objective


def disc(side: int = 64) -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    inside = (rows - 20) ** 2 + (columns - 30) ** 2 < 150
    return torch.stack([inside, torch.zeros_like(inside)])[:, None].float()


def test_it_is_the_weighted_cross_entropy_of_the_inverted_mask() -> None:
    torch.manual_seed(0)
    mask, logits = disc(), torch.randn(2, 1, 64, 64)
    near = F.avg_pool2d(mask, 31, stride=1, padding=15, count_include_pad=False)
    # Averages along one axis after the other leave the border out alike.
    weight = 1 + 5 * (near - mask).abs()
    score = torch.sigmoid(logits)
    entropy = -((1 - mask) * score.log() + mask * (1 - score).log())
    expected = ((weight * entropy).sum((1, 2, 3)) / weight.sum((1, 2, 3))).mean()
    torch.testing.assert_close(background_loss(logits, mask), expected, rtol=1e-4, atol=1e-5)
    sure = background_loss(20 * (1 - 2 * mask), mask)
    assert sure < 1e-6
    assert structure_loss(20 * (2 * mask - 1), mask) < 1e-3, "the polyp's loss is what it was"


def objective(student: EdgeXS | PraNetV2, **values: object) -> Objective:
    config = make_config({"data": ["x"], "recipe": "none", **values})
    return build_objective(student, config, [])


def test_any_student_is_given_a_head_that_is_not_exported() -> None:
    torch.manual_seed(1)
    student = EdgeXS(pretrained=False, width=8)
    names = set(student.state_dict())
    plain, taught = objective(student), objective(student, background=True)
    assert plain.background is None
    assert taught.background is not None
    assert set(student.state_dict()) == names
    images, masks = torch.randn(2, 3, 64, 64), disc()
    maps = taught.maps(images)
    total, without = taught.task_loss(maps, masks), plain.task_loss(maps, masks)
    entropy = background_loss(taught.background(maps.high), masks)
    torch.testing.assert_close(total, without + 0.8 * entropy)
    total.backward()
    assert taught.background.weight.grad is not None


def test_a_student_with_a_background_of_its_own_needs_no_head() -> None:
    torch.manual_seed(2)
    student = PraNetV2(pretrained=False, base=8, blocks=(1, 1, 1, 1), width=4, reverse=(8, 4, 4))
    built = objective(student, background=True)
    assert built.background is None
    maps, masks = built.maps(torch.randn(2, 3, 64, 64)), disc()
    heavy = objective(student, background_weight=1.6).task_loss(maps, masks)
    light = objective(student, background_weight=0.0).task_loss(maps, masks)
    entropy = torch.stack([background_loss(logits, masks) for logits in maps.background]).mean()
    torch.testing.assert_close(heavy - light, 1.6 * entropy)


def test_the_reconstruction_counts_with_its_weight() -> None:
    torch.manual_seed(3)
    student = EdgeXS(pretrained=False, decoder="rpca")
    built = objective(student, reconstruction_weight=0.5)
    maps, masks = built.maps(torch.randn(2, 3, 64, 64)), disc()
    assert maps.reconstruction is not None
    light = objective(student, reconstruction_weight=0.0).task_loss(maps, masks)
    torch.testing.assert_close(built.task_loss(maps, masks) - light, 0.5 * maps.reconstruction)


def test_the_published_recipe_has_no_loss_of_the_background() -> None:
    student = EdgeXS(pretrained=False, width=8)
    config = make_config({"data": ["x"], "recipe": "paper", "background": True})
    with pytest.raises(UsageError, match="recipe paper"):
        build_objective(student, config, [8])
