"""Students with a detection head: what it costs, what it learns, and who refuses it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.data.batch import Batch, Step
from distill.data.tensors import mask_tensor, to_tensor
from distill.delimit.runs import RunHead, open_head
from distill.recipes.objectives import Objective
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from distill.train.trainer import build_objective
from edge.datasets.phantom.render import render
from edge.errors import UsageError
from edge.evaluation.delimit.base import mask_box
from edge.evaluation.delimit.boxes import box_figures

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64


def test_the_head_is_light_and_leaves_the_mask_as_it_is() -> None:
    torch.manual_seed(0)
    plain = build_student("edge-s", pretrained=False).eval()
    torch.manual_seed(0)
    student = build_student("edge-s+detection", pretrained=False).eval()
    missing = student.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing
    assert all(key.startswith("detection.") for key in missing)
    added = sum(p.numel() for p in student.parameters()) - sum(
        p.numel() for p in plain.parameters()
    )
    assert added < 45_000
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        maps = student.maps(x)
        assert torch.equal(student(x), plain(x))
        assert torch.equal(maps.logits, student(x))
    assert maps.boxes is not None
    assert [tuple(value.shape) for value in maps.boxes] == [
        (2, 1, 16, 16),
        (2, 2, 16, 16),
        (2, 2, 16, 16),
        (2, 48, 16, 16),
    ]
    assert student.has_boxes
    assert not plain.has_boxes


@pytest.mark.parametrize(
    "network", ["edge-xs+detection", "edge-s+emcad+detection", "ssformer-b0+detection"]
)
def test_other_parts_go_with_it(network: str) -> None:
    student = build_student(network, pretrained=False).train()
    maps = student.maps(torch.randn(2, 3, SIZE, SIZE))
    assert maps.boxes is not None
    maps.boxes.size.sum().backward()
    first = next(student.get_submodule("encoder").parameters())
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="detection does not fit student unet"):
        build_student("unet+detection", pretrained=False)
    base = {"data": ["x"], "student": "edge-xs", "pretrained": False, "teachers": ["dinov2"]}
    for settings, words in (
        ({"detection": True, "recipe": "paper"}, "detection=true does not fit recipe paper"),
        ({"hard_frames": True}, "hard_frames has no effect without detection=true"),
    ):
        config = make_config(base | settings)
        student = build_student(config.student.network, pretrained=False)
        with pytest.raises(UsageError, match=words):
            build_objective(student, config, [4])


@pytest.mark.slow
def test_boxes_are_learned(tmp_path: Path) -> None:
    """A student finds the phantom's polyps by its boxes, from the masks alone."""
    pictures = [render(seed, size=(SIZE, SIZE)) for seed in range(12)]
    images = to_tensor(np.stack([picture.image for picture in pictures]))
    masks = mask_tensor(np.stack([picture.mask * np.uint8(255) for picture in pictures]))
    settings = {"student": "edge-xs", "detection": True, "size": SIZE, "pretrained": False}
    config = make_config({"data": ["x"], "recipe": "none", **settings})
    torch.manual_seed(0)
    student = build_student(config.student.network, pretrained=False)
    objective = build_objective(student, config, [])
    assert isinstance(objective, Objective)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    objective.train()
    first = last = 0.0
    for step in range(60):
        losses = objective(Batch(images, masks, []), Step(0, step))
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        last = losses.total.item()
        first = first or last
    assert last < first / 3
    detector = RunHead(student.eval(), SIZE, "full-frame")
    true = [picture.mask > 0 for picture in pictures]
    proposals = [
        detector.detect(picture.image, mask) for picture, mask in zip(pictures, true, strict=True)
    ]
    figures = box_figures(proposals, [[mask_box(mask)] if mask.any() else [] for mask in true])
    assert figures.f1 is not None
    assert figures.f1 > 0.8
    describe_run(tmp_path, config)
    state = {"student": student.state_dict(), "metrics": {}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    assert isinstance(open_head(tmp_path), RunHead)


def test_a_run_without_boxes_is_no_detection(tmp_path: Path) -> None:
    config = make_config({"data": ["x"], "student": "edge-xs", "pretrained": False})
    describe_run(tmp_path, config)
    state = {"student": build_student("edge-xs", pretrained=False).state_dict(), "metrics": {}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    with pytest.raises(UsageError, match="gives no boxes"):
        open_head(tmp_path)
