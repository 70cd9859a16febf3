"""Drawings of background and object of a decoder `rpca`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from distill.students.edge import PyramidStudent
from distill.train.rounds import filled_share, mean_rank, round_drawings
from edge.evaluation.gallery import Gallery
from edge.evaluation.metrics import ImageScore, summarize
from edge.evaluation.page import evaluation_page

if TYPE_CHECKING:
    from pathlib import Path


def saved(folder: Path, decoder: str) -> Path:
    settings = {"student": "edge-xs", "decoder": decoder, "size": 64, "pretrained": False}
    config = make_config({"data": ["x"], **settings})
    torch.manual_seed(0)
    student = build_student(config.student.network, pretrained=False)
    describe_run(folder, config)
    state = {"student": student.state_dict(), "metrics": {}}
    save_checkpoint(folder / "checkpoints" / "best.pt", state)
    return folder


def test_ranks_and_shares_by_hand() -> None:
    rng = np.random.default_rng(0)
    one = np.outer(rng.normal(size=8), rng.normal(size=8))
    maps = np.stack([one, np.eye(8), np.zeros((8, 8))]).astype(np.float32)
    assert mean_rank(maps[:1]) == 1
    assert mean_rank(maps[1:2]) == 8
    assert mean_rank(maps[2:]) == 0
    assert mean_rank(maps) == pytest.approx(3)
    strength = np.zeros((4, 4), np.float32)
    assert filled_share(strength) == 0
    strength[0, :2] = 1.0, 0.05
    assert filled_share(strength) == 1 / 16


def test_the_last_object_is_what_the_head_reads() -> None:
    torch.manual_seed(0)
    student = build_student("edge-xs+rpca", pretrained=False).eval()
    assert isinstance(student, PyramidStudent)
    read: list[torch.Tensor] = []
    student.head.register_forward_pre_hook(lambda _, inputs: read.append(inputs[0]))
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        student(x)
        rounds = student.decompose(x)
    assert len(rounds) == 3
    torch.testing.assert_close(-rounds[-1][1], read[0])
    assert build_student("edge-xs", pretrained=False).decompose(x) == []  # type: ignore[operator]


def test_the_page_shows_the_rounds(tmp_path: Path) -> None:
    draw = round_drawings(saved(tmp_path / "rpca", "rpca"))
    assert draw is not None
    assert round_drawings(saved(tmp_path / "fpn", "")) is None
    image = np.random.default_rng(0).integers(0, 255, (70, 90, 3)).astype(np.uint8)
    drawings = draw(image)
    assert len(drawings) == 6
    assert all(drawing.map.shape == (16, 16) for drawing in drawings)
    assert all(0 <= drawing.map.min() <= drawing.map.max() <= 1 for drawing in drawings)
    gallery, mask = Gallery(draw), np.zeros((70, 90), bool)
    mask[10:30, 10:30] = True
    row = ImageScore(name="a", dice=0.5, iou=0.3, area_true=0.1, area_found=0.1, flagged=True)
    gallery.add(row, image, mask, mask)
    page = evaluation_page(summarize([row]), gallery, subject="s", data="d")
    assert page.count("round 3, background: rank") == 2  # picture and caption
    assert "background and object, round by round" in page
