"""What INT8 may cost: the rows of the report, the gate and the error, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.config import make_config
from edge.datasets.pairs import Pair
from quantize.certify.accuracy import (
    F32,
    MIN_SMALL_POLYPS,
    PTQ,
    QAT,
    AccuracyRow,
    judge,
    score_student,
)
from quantize.runs.folder import QatConfig

if TYPE_CHECKING:
    from pathlib import Path


def row(
    step: str, dice: float | None, *, small: int = 10, found: int = 9, frames: int = 20
) -> AccuracyRow:
    return AccuracyRow(
        step=step,
        frames=frames,
        n=frames,
        dice=dice,
        dice_ci95=None,
        small=small,
        small_found=found,
        small_recall=found / small if small else None,
        flagged=0,
    )


def breaches(*rows: AccuracyRow, config: QatConfig | None = None) -> list[str]:
    return judge(rows, config or QatConfig()).breaches


def test_gate_judges_the_student_and_its_engines_and_not_the_baseline() -> None:
    found = breaches(row(F32, 0.8), row(PTQ, 0.1), row(QAT, 0.795), row("tflite int8", 0.7949))
    assert len(found) == 1
    assert found[0].startswith("tflite int8: Dice 0.7949 against 0.8000 in f32, 0.0051 lost")
    assert not breaches(row(F32, 0.8), row(PTQ, 0.1), row(QAT, 0.9))


def test_allowance_itself_is_allowed() -> None:
    config = QatConfig(max_drop=0.1, max_small_drop=0.1)
    rows = row(F32, 0.8, found=9), row(PTQ, 0.8), row(QAT, 0.7, found=8)
    assert 0.8 - 0.7 > 0.1, "as floats"
    assert not breaches(*rows, config=config)
    assert len(breaches(*rows, config=QatConfig(max_drop=0.0999, max_small_drop=0.0999))) == 2


@pytest.mark.parametrize(
    ("small", "judged"), [(MIN_SMALL_POLYPS, True), (MIN_SMALL_POLYPS - 1, False), (0, False)]
)
def test_few_small_polyps_are_told_and_not_judged(small: int, judged: bool) -> None:
    gate = judge(
        [row(F32, 0.8, small=small, found=small), row(QAT, 0.8, small=small, found=0)], QatConfig()
    )
    assert bool(gate.breaches) is judged
    assert any("small polyps" in note for note in gate.notes) is not judged
    if judged:
        assert f"0 of {small} small polyps found against {small} in f32" in gate.breaches[0]


def test_frames_without_a_polyp_judge_nothing() -> None:
    gate = judge([row(F32, None, small=0), row(QAT, None, small=0)], QatConfig(max_drop=0.0))
    assert gate.breaches == []
    assert any("no validation frame has a polyp" in note for note in gate.notes)


class LeftHalf(nn.Module):
    """Finds the left half of every picture."""

    def forward(self, x: Tensor) -> Tensor:
        logits = torch.full((len(x), 1, *x.shape[-2:]), -5.0)
        logits[..., : x.shape[-1] // 2] = 5.0
        return logits


def test_small_polyps_count_as_found_when_any_of_them_is(tmp_path: Path) -> None:
    masks = {
        "small-left": (10, 10, 14, 14),
        "small-right": (60, 10, 64, 14),
        "small-across": (44, 20, 53, 23),
        "large-left": (5, 5, 45, 45),
        "none": None,
    }
    pairs = []
    for name, box in masks.items():
        image, mask = np.full((73, 97, 3), 90, np.uint8), np.zeros((73, 97), np.uint8)
        if box is not None:
            mask[box[1] : box[3], box[0] : box[2]] = 255
        pair = Pair(tmp_path / f"{name}.png", tmp_path / f"{name}.mask.png", name)
        cv2.imwrite(str(pair.image), image)
        cv2.imwrite(str(pair.mask), mask)
        pairs.append(pair)
    found = score_student(F32, LeftHalf(), make_config({"data": ["."], "size": 32}), pairs)
    assert (found.frames, found.n, found.flagged) == (5, 4, 1)
    assert (found.small, found.small_found) == (3, 2)
    assert found.small_recall == pytest.approx(2 / 3)
    assert found.dice is not None
    assert found.dice_ci95 is not None
    assert found.dice_ci95[0] <= found.dice <= found.dice_ci95[1]
