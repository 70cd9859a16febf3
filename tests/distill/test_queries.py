"""Mask2Former's own masks as a delineator, with a small random network."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import transformers

from distill.delimit.queries import QueryMasks, load_mask2former
from distill.teachers.hub import Processor
from edge.errors import DataError
from edge.evaluation.delimit.base import Proposal
from edge.evaluation.delimit.build import Opening, build_delineator
from tests.support.tiny_teachers import mask2former, sam2_whole

if TYPE_CHECKING:
    from pathlib import Path

TRUE = np.zeros((60, 90), bool)


def picture() -> Any:
    return np.random.default_rng(0).integers(0, 200, (60, 90, 3)).astype(np.uint8)


class Queries(torch.nn.Module):
    """Answers with three masks: the left third, a square at the right, and nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, pixel_values: torch.Tensor) -> Any:
        self.seen.append(pixel_values)
        logits = torch.full((1, 3, 20, 30), -5.0)
        logits[0, 0, :, :10] = 5
        logits[0, 1, 5:15, 18:28] = 5
        return type("Answer", (), {"masks_queries_logits": logits})


def test_the_mask_that_fits_a_box_best_is_drawn() -> None:
    network = Queries()
    part = QueryMasks(network, Processor((0.5, 0.5, 0.5), (0.25, 0.25, 0.25), 64))
    image = np.full((60, 90, 3), 51, np.uint8)
    boxes = [Proposal((50, 10, 35, 40), 1.0), Proposal((0, 0, 20, 60), 0.5)]
    right, left = part.delineate(image, boxes, TRUE)
    square, third = TRUE.copy(), TRUE.copy()
    square[15:45, 54:84] = True
    third[:, :30] = True
    assert (right ^ square).mean() < 0.01
    assert (left ^ third).mean() < 0.01
    (shown,) = network.seen
    assert shown.shape == (1, 3, 64, 96)
    assert torch.allclose(shown, torch.tensor((0.2 - 0.5) / 0.25)), "as the checkpoint normalizes"
    (nothing,) = part.delineate(image, [Proposal((40, 50, 8, 8), 1.0)], TRUE)
    assert not nothing.any()


def test_a_checkpoint_with_its_queries_is_opened_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = mask2former().config
    network = transformers.Mask2FormerForUniversalSegmentation(config)
    network.save_pretrained(tmp_path)
    part = load_mask2former(str(tmp_path))
    masks = part.masks(picture())
    assert masks.shape[1:] == (60, 90)
    assert masks.shape[0] == config.num_queries
    with ExitStack() as stack:
        built = build_delineator(f"mask2former:{tmp_path}", Opening(stack))
        found = built.delineate(picture(), [Proposal((10, 5, 30, 20), 1.0)], TRUE)
    assert [mask.shape for mask in found] == [(60, 90)]


def test_a_folder_without_queries_or_of_another_model_is_refused(tmp_path: Path) -> None:
    sam2_whole().save_pretrained(tmp_path / "sam2")
    with pytest.raises(DataError, match=r"delineator mask2former: .* another model"):
        load_mask2former(str(tmp_path / "sam2"))
    mask2former().save_pretrained(tmp_path / "features")
    with pytest.raises(DataError, match=r"delineator mask2former: .* incomplete"):
        load_mask2former(str(tmp_path / "features"))
