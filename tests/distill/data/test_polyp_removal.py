"""Frames whose polyp has been covered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from distill.config import make_config
from distill.data.load import open_data
from distill.data.polyp_removal import remove_polyps
from edge.datasets.phantom.render import render, write_dataset
from edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_polyp_is_covered_and_the_rest_of_the_picture_stays() -> None:
    covered = 0
    for seed in range(12):
        frame = render(seed, size=(128, 160))
        mask = frame.mask.astype(np.uint8) * 255
        before = frame.image.copy()
        cleaned = remove_polyps(frame.image, mask, np.random.default_rng(seed))
        assert np.array_equal(frame.image, before)
        if cleaned is None:
            continue
        covered += 1
        assert (cleaned.shape, cleaned.dtype) == (before.shape, before.dtype)
        changed = (cleaned != before).any(axis=2)
        inside = mask > 0
        assert changed[inside].mean() > 0.5
        far = np.ones_like(inside)
        rows, columns = np.nonzero(inside)
        far[
            max(0, rows.min() - 12) : rows.max() + 13,
            max(0, columns.min() - 12) : columns.max() + 13,
        ] = False
        assert not changed[far].any()
    assert covered >= 4


def test_what_cannot_be_covered_gives_none() -> None:
    image = np.full((64, 64, 3), 120, np.uint8)
    rng = np.random.default_rng(0)
    assert remove_polyps(image, np.zeros((64, 64), np.uint8), rng) is None, "there is no polyp"
    assert remove_polyps(image, np.full((64, 64), 255, np.uint8), rng) is None, (
        "nothing to cover it with"
    )
    corner = np.zeros((64, 64), np.uint8)
    corner[:9, :9] = 255
    assert remove_polyps(image, corner, rng) is not None, "at the edge of the picture too"
    assert remove_polyps(image // 12, corner, rng) is None, "only darkness"


def test_training_views_without_their_polyp_have_an_empty_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    write_dataset(tmp_path / "data", train=16, validation=2, negatives=0, seed=3, size=(96, 96))
    settings = {"data": [str(tmp_path / "data")], "size": 64, "batch_size": 16, "recipe": "none"}
    empty = []
    for share in (0.0, 0.99):
        batch = next(open_data(make_config(settings | {"removed_polyps": share})).batches(0))
        empty.append(int((batch.masks.amax((1, 2, 3)) == 0).sum()))
    assert empty[1] >= empty[0] + 4, "more than those that lie outside the view"
    with pytest.raises(UsageError, match="removed_polyps"):
        open_data(make_config(settings | {"removed_polyps": 0.5, "recipe": "difom"}))
