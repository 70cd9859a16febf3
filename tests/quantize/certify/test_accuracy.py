"""The rows of the report on accuracy, without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.config import make_config
from edge.datasets.pairs import Pair
from quantize.certify.accuracy import F32, score_student

if TYPE_CHECKING:
    from pathlib import Path


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
    accuracy = score_student(F32, LeftHalf(), make_config({"data": ["."], "size": 32}), pairs)
    assert (accuracy.frames, accuracy.n, accuracy.flagged) == (5, 4, 1)
    assert (accuracy.small, accuracy.small_found) == (3, 2)
    assert accuracy.small_recall == pytest.approx(2 / 3)
    assert len(accuracy.dices) == 4
    assert accuracy.small_hits == [True, False, True]
    assert accuracy.dice is not None
    assert accuracy.dice_ci95 is not None
    assert accuracy.dice_ci95[0] <= accuracy.dice <= accuracy.dice_ci95[1]
