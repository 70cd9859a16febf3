"""Frames that are known to show no polyp, on their way from a folder to the loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from distill.config import DistillConfig, make_config
from distill.data.digests import data_digest
from distill.data.load import draw_splits, open_data
from distill.data.splits import load_negatives
from distill.losses.task import (
    TASK_LOSSES,
    clean_loss,
    presence_loss,
    segmentation_loss,
    structure_loss,
)
from distill.run_folder import load_run, load_start
from distill.students.build import build_student
from distill.train.runs import start_run
from edge.datasets.negatives import sequence_of
from edge.errors import DataError, TrainingError

if TYPE_CHECKING:
    from pathlib import Path

CLEAN = {"s01": 6, "s02": 4, "s07": 2}


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Bright discs with their masks, and dark grounds without any."""
    root = tmp_path_factory.mktemp("negatives")
    rng = np.random.default_rng(0)
    for part, count in (("train", 12), ("validation", 4)):
        for kind in ("images", "masks"):
            (root / "discs" / part / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((72, 80), np.uint8)
            cv2.circle(mask, (int(rng.integers(20, 60)), int(rng.integers(20, 52))), 14, 255, -1)
            image = cv2.merge([mask // 3, mask // 4, mask // 2]) + rng.integers(0, 60, (72, 80, 3))
            cv2.imwrite(
                str(root / "discs" / part / "images" / f"{index}.png"), image.astype(np.uint8)
            )
            cv2.imwrite(str(root / "discs" / part / "masks" / f"{index}.png"), mask)
    (root / "clean").mkdir()
    for name, count in CLEAN.items():
        for index in range(count):
            frame = rng.integers(0, 60, (72, 80, 3)).astype(np.uint8)
            cv2.imwrite(str(root / "clean" / f"{name}_{index:04d}.png"), frame)
    return root / "discs", root / "clean"


def config(folders: tuple[Path, Path], **changes: object) -> DistillConfig:
    settings = {
        "data": [str(folders[0])],
        "negatives": [str(folders[1])],
        "recipe": "none",
        "size": 64,
        "epochs": 1,
        "batch_size": 4,
        "pretrained": False,
    }
    return make_config(settings | changes)


@pytest.mark.parametrize(
    ("stem", "sequence"),
    [
        ("s03_0017", "s03"),
        ("case-2-frame-118", "case-2-frame"),
        ("0017", ""),
        ("mucosa", "mucosa"),
        ("s03.17", "s03"),
    ],
)
def test_a_sequence_is_the_name_without_its_trailing_number(stem: str, sequence: str) -> None:
    assert sequence_of(stem) == sequence


def test_runs_of_other_seeds_validate_on_the_same_frames(folders: tuple[Path, Path]) -> None:
    splits = [draw_splits(config(folders, seed=seed).data) for seed in range(6)]
    assert all(split == splits[0] for split in splits)
    others = [draw_splits(config(folders, split_seed=seed).data) for seed in range(6)]
    choices = {tuple(sample.group for sample in split.clean_validation) for split in others}
    assert len(choices) > 1


def test_a_split_of_clean_frames_never_cuts_a_sequence(folders: tuple[Path, Path]) -> None:
    for seed in range(5):
        train, validation = load_negatives([folders[1]], val_fraction=0.4, seed=seed)
        sides = [{sample.group for sample in side} for side in (train, validation)]
        assert sides[0]
        assert sides[1]
        assert not sides[0] & sides[1]
        assert len(train) + len(validation) == sum(CLEAN.values())
        assert all(sample.mask == "" for sample in train + validation)


def test_a_folder_of_one_sequence_validates_nothing(tmp_path: Path) -> None:
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), np.zeros((8, 8, 3), np.uint8))
    train, validation = load_negatives([tmp_path], val_fraction=0.5)
    assert (len(train), validation) == (3, [])


def test_a_folder_of_negatives_with_a_polyp_is_refused(folders: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="not free of polyps"):
        load_negatives([folders[0] / "validation"])


def test_a_digest_changes_with_a_clean_frame(tmp_path: Path) -> None:
    picture = tmp_path / "a_1.png"
    cv2.imwrite(str(picture), np.zeros((8, 8, 3), np.uint8))
    before = data_digest(load_negatives([tmp_path])[0])
    cv2.imwrite(str(picture), np.ones((8, 8, 3), np.uint8))
    assert data_digest(load_negatives([tmp_path])[0]) != before


def test_every_batch_holds_its_share_of_clean_frames(folders: tuple[Path, Path]) -> None:
    data = open_data(config(folders, val_negatives=0.3, negative_share=0.5, polyp_free_views=0.0))
    assert (data.labeled, data.order.clean_in_batch, data.steps) == (12, 2, 6)
    views = []
    for batch in data.batches(0):
        empty = batch.masks.flatten(1).amax(dim=1) == 0
        assert int(empty.sum()) >= 2
        assert bool(empty[-2:].all())
        views += list(batch.images[-2:])
    # Twelve views of at most ten frames: none of them is the same picture twice.
    assert all(not torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])


def test_an_epoch_shows_every_labeled_frame_once(
    folders: tuple[Path, Path],
) -> None:
    data = open_data(config(folders, negative_share=0.25))
    rows = np.array([view.index for step in data.order.epoch(3) for view in step.known])
    assert sorted(rows[rows < data.labeled].tolist()) == list(range(data.labeled))
    batches = [batch.images for batch in data.batches(3)]
    rest = [batch.images for batch in data.batches(3, start=2)]
    assert len(rest) == len(batches) - 2
    assert all(torch.equal(a, b) for a, b in zip(batches[2:], rest, strict=True))


def test_without_negatives_a_batch_is_what_it_was(folders: tuple[Path, Path]) -> None:
    data = open_data(config(folders, negatives=[], negative_share=0.5))
    assert (data.order.clean_in_batch, data.steps) == (0, 3)


def test_a_clean_image_s_loss_falls_with_its_highest_logits() -> None:
    """The loss of a clean image falls with its highest logits alone."""
    quiet = torch.full((2, 1, 20, 20), -8.0)
    peak = quiet.clone()
    peak[:, :, :2, :4] = 3.0
    assert clean_loss(quiet) < 0.001
    assert clean_loss(peak) == pytest.approx(np.log1p(np.exp(3.0)), rel=1e-5)
    floor = peak.clone()
    floor[:, :, 10:] = -2.0
    assert torch.equal(clean_loss(floor), clean_loss(peak))


def test_without_a_weight_the_task_loss_judges_every_image() -> None:
    logits, masks = torch.randn(2, 1, 8, 8), torch.zeros(2, 1, 8, 8)
    masks[0, :, 2:5, 2:5] = 1
    loss = segmentation_loss(structure_loss, logits, masks, clean_weight=0.0)
    assert torch.equal(loss, structure_loss(logits, masks))


def test_the_loss_is_the_mean_of_both_kinds_of_images() -> None:
    """The segmentation loss is the mean of both kinds of images."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 1, 16, 16, generator=generator, requires_grad=True)
    masks = torch.zeros(4, 1, 32, 32)
    masks[:3, :, 8:20, 8:20] = 1
    loss = segmentation_loss(structure_loss, logits, masks, clean_weight=2.0)
    expected = (3 * structure_loss(logits[:3], masks[:3]) + 2 * clean_loss(logits[3:])) / 4
    assert torch.allclose(loss, expected)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient[3].abs().sum() > 0


@pytest.mark.parametrize("name", sorted(TASK_LOSSES))
def test_images_with_a_polyp_alone_have_the_task_loss(name: str) -> None:
    logits, masks = torch.randn(3, 1, 8, 8), torch.ones(3, 1, 16, 16)
    assert torch.equal(
        segmentation_loss(TASK_LOSSES[name], logits, masks), TASK_LOSSES[name](logits, masks)
    )


def test_presence_is_not_asked_of_a_sliver() -> None:
    masks = torch.zeros(3, 1, 64, 64)
    masks[0, :, :32] = 1
    masks[1, :, 0, :2] = 1
    right = torch.tensor([9.0, 0.0, -9.0]).view(3, 1, 1, 1)
    assert presence_loss(right, masks) < 0.001
    wrong = presence_loss(-right, masks)
    assert wrong == pytest.approx(9.0, abs=0.01)
    right[1] = 50.0
    assert presence_loss(right, masks) < 0.001


@pytest.mark.parametrize("name", ["edge-s", "edge-xs"])
def test_presence_is_part_of_every_logit(name: str) -> None:
    student = build_student(name, pretrained=False).eval()
    with torch.no_grad():
        frame = torch.randn(1, 3, 64, 64)
        before = student.maps(frame)
        student.presence.head.bias += 2.0  # type: ignore[union-attr, operator]
        after = student.maps(frame)
    assert after.presence is not None
    assert before.presence is not None
    assert torch.allclose(after.presence, before.presence + 2)
    assert torch.allclose(after.logits, before.logits + 2, atol=1e-5)


def test_a_student_that_flags_clean_frames_loses(
    folders: tuple[Path, Path],
) -> None:
    """A student that flags clean frames loses to one that does not."""
    data = open_data(config(folders, val_negatives=0.3))

    class Everywhere(torch.nn.Module):
        def __init__(self, height: float) -> None:
            super().__init__()
            self.height = torch.nn.Parameter(torch.tensor(height))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            bright = images.amax(dim=1, keepdim=True) + 0.4
            return 10 * bright + self.height

    careful, eager = (data.validate(Everywhere(height)) for height in (0.0, 30.0))
    assert careful["flagged_val"] == 0.0
    assert eager["flagged_val"] == 1.0
    assert eager["score"] < careful["score"] <= careful["dice_val"]


def test_a_run_with_negatives_trains_and_says_what_is_flagged(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    run = start_run(config(folders, epochs=1), out=tmp_path / "run")
    loaded = load_run(run)
    assert 0 <= loaded.metrics["flagged_val"] <= 1
    assert loaded.metrics["score"] <= loaded.metrics["dice_val"]
    again = start_run(config(folders, epochs=1, start=str(run)), out=tmp_path / "again")
    assert load_run(again).config.student.start == str(run)


def test_a_start_is_of_the_same_student(folders: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(build_student("unetpp-16").state_dict(), path)
    with pytest.raises(TrainingError, match="weights of this student"):
        load_start(path, build_student("edge-xs", pretrained=False))
    state = build_student("edge-xs", pretrained=False).state_dict()
    torch.save({"student": state, "metrics": {}}, path)
    assert load_start(path, build_student("edge-xs", pretrained=False)) == []
    torch.save({k: v for k, v in state.items() if not k.startswith("presence.")}, path)
    missing = load_start(path, build_student("edge-xs", pretrained=False))
    assert missing
    assert all(name.startswith("presence.") for name in missing)
