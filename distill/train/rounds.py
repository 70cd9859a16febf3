"""Drawings of what a decoder `rpca` takes for background and for object, round by round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from distill.data.tensors import to_tensor
from distill.run_folder import load_config, load_run
from distill.students.edge import PyramidStudent
from edge.evaluation.gallery import Drawing
from edge.imaging.crop import cut, seen_part
from edge.imaging.preprocess import to_input

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8

ENERGY = 0.99
"""Share of the squared values that the rank counts singular values for."""
FAINT = 0.1
"""Share of the largest value below which a cell of an object counts as empty."""


def round_drawings(run: Path) -> Callable[[ImageU8], list[Drawing]] | None:
    """What draws the rounds of a run's student; None if its decoder has none.

    Args:
        run: Folder of the run; one without a configuration has no rounds.

    Raises:
        TrainingError: Its checkpoint cannot be used.
    """
    if not (run / "resolved.yaml").is_file() or load_config(run).student.decoder != "rpca":
        return None
    loaded = load_run(run)
    student, size = loaded.student, loaded.config.data.size
    assert isinstance(student, PyramidStudent)
    rule = loaded.config.data.field_of_view

    def draw(image: ImageU8) -> list[Drawing]:
        view = np.ascontiguousarray(cut(image, seen_part(image, rule)))
        with torch.inference_mode():
            rounds = student.decompose(to_tensor(to_input(view, (size, size), bgr=False)[None]))
        drawings = []
        for number, (background, foreground) in enumerate(rounds, 1):
            maps, objects = background[0].float().numpy(), foreground[0].float().numpy()
            strength = np.sqrt(np.square(objects).mean(axis=0))
            rank, filled = mean_rank(maps), filled_share(strength)
            drawings += [
                Drawing(
                    f"round {number}, background: rank {rank:.1f} of {maps.shape[1]}",
                    _stretched(np.sqrt(np.square(maps).mean(axis=0))),
                ),
                Drawing(f"round {number}, object: {filled:.0%} of the cells", _stretched(strength)),
            ]
        return drawings

    return draw


def mean_rank(maps: NDArray[np.float32]) -> float:
    """Mean number of singular values that hold `ENERGY` of a channel's squared values.

    Args:
        maps: (C, h, w); channels of zeros have rank 0.
    """
    squared = np.square(np.linalg.svd(maps, compute_uv=False))
    total = squared.sum(axis=1, keepdims=True)
    below = np.cumsum(squared, axis=1) < ENERGY * total
    return float((below.sum(axis=1) + (total[:, 0] > 0)).mean())


def filled_share(strength: NDArray[np.float32]) -> float:
    """Share of the cells (h, w) of at least `FAINT` of the largest value; 0 if all are 0."""
    largest = float(strength.max())
    return float((strength >= FAINT * largest).mean()) if largest > 0 else 0.0


def _stretched(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(h, w) from 0 to 1."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / max(high - low, 1e-9)
