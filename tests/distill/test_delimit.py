"""Runs and prompted segmenters as detectors and delineators, with small random networks."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.delimit.segmenters import load_sam, load_sam2
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from edge.errors import DataError
from edge.evaluation.delimit.base import Proposal
from edge.evaluation.delimit.build import Opening, build_delineator, build_detector, open_scorer
from tests.support.tiny_teachers import sam2_whole, sam_whole

if TYPE_CHECKING:
    from pathlib import Path

BOXES = [Proposal((10, 5, 30, 20), 1.0), Proposal((50, 30, 20, 15), 0.5)]


def picture(height: int = 60, width: int = 90) -> Any:
    return np.random.default_rng(0).integers(0, 200, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("make", "load"), [(sam_whole, load_sam), (sam2_whole, load_sam2)])
def test_a_mask_for_each_box(make: Any, load: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make().save_pretrained(tmp_path)
    image = picture()
    true = np.zeros(image.shape[:2], bool)
    part = load(str(tmp_path))
    masks = part.delineate(image, BOXES, true)
    assert [mask.shape for mask in masks] == [(60, 90)] * 2
    assert all(mask.dtype == bool for mask in masks)
    alone = part.delineate(image, BOXES[1:], true)
    assert (alone[0] == masks[1]).mean() > 0.99, "boxes do not influence each other"
    assert not (masks[0] == masks[1]).all()


def test_a_frame_is_shown_as_the_checkpoint_was_trained(tmp_path: Path) -> None:
    """Normalization from the checkpoint; padding for SAM, stretching and min-max for MedSAM."""
    torch.manual_seed(0)
    sam_whole().save_pretrained(tmp_path)
    processor = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.5, 0.25]}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    image = np.full((60, 90, 3), 51, np.uint8)
    pixels, size = load_sam(str(tmp_path))._to_input(image)
    assert size == (43, 64)
    assert pixels.shape == (1, 3, 64, 64)
    assert torch.allclose(pixels[0, :, 0, 0], torch.tensor([0.2, 0.0, -0.4]), atol=1e-6)
    assert not pixels[:, :, 43:].any()
    image[0, 0] = 0
    stretched, size = load_sam(str(tmp_path), normalize="min-max")._to_input(image)
    assert size == (64, 64)
    assert float(stretched.max()) == pytest.approx(1.0)
    assert float(stretched.min()) == 0.0


def test_a_box_follows_the_frame_into_the_input(tmp_path: Path) -> None:
    torch.manual_seed(0)
    sam_whole().save_pretrained(tmp_path)
    part = load_sam(str(tmp_path))
    prompts: list[Any] = []
    network = part._network

    def spy(**inputs: Any) -> Any:
        prompts.append(inputs["input_boxes"])
        return network(**inputs)

    part._network = spy
    part.delineate(picture(128, 64), [Proposal((32, 64, 16, 32), 1.0)], np.zeros((128, 64), bool))
    assert prompts[0].tolist() == [[[16.0, 32.0, 24.0, 48.0]]]


def test_a_wrong_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"delineator sam: .* is not a folder"):
        load_sam(str(tmp_path / "missing"))
    sam2_whole().save_pretrained(tmp_path)
    with ExitStack() as stack, pytest.raises(DataError, match=r"delineator sam: .* another model"):
        build_delineator(f"sam:{tmp_path}", Opening(stack))


def test_a_run_is_a_detector(tmp_path: Path) -> None:
    config = make_config({"data": ["x"], "student": "edge-xs", "size": 64, "pretrained": False})
    torch.manual_seed(0)
    student = build_student("edge-xs", pretrained=False)
    describe_run(tmp_path, config)
    state = {"student": student.state_dict(), "metrics": {}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    image = picture()
    with ExitStack() as stack:
        opening = Opening(stack)
        scores = open_scorer(str(tmp_path), opening).score(image)
        assert scores.shape == (16, 16)
        assert 0 < scores.min() <= scores.max() < 1
        proposals = build_detector(f"student:{tmp_path}", opening).detect(
            image, np.zeros((60, 90), bool)
        )
        masks = build_delineator(f"student:{tmp_path}", opening).delineate(
            image, proposals or BOXES, np.zeros((60, 90), bool)
        )
    assert len(masks) == len(proposals or BOXES)
