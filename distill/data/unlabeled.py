"""Frames without masks, whose pseudo-labels change every step (`distill.recipes.consistency`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.data.splits import Sample
from edge.datasets.pairs import find_images
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def load_unlabeled(roots: Sequence[Path], validation: Sequence[Sample]) -> list[Sample]:
    """Find the frames without masks.

    Args:
        roots: Folders of images, or folders with `images/`.
        validation: Frames that choose the checkpoint, which training may not see.

    Raises:
        DataError: A folder holds no image, or a frame is one of `validation`.
    """
    held_out = {sample.image for sample in validation}
    samples = []
    for root in roots:
        for path in find_images(root):
            if str(path) in held_out:
                raise DataError(
                    f"{path} is a validation frame",
                    expected="unlabeled frames that validate nothing",
                    hint="remove it from the unlabeled folder, or choose another validation set",
                )
            samples.append(Sample(str(path), "", root.name, f"{root.name}/{path.stem}"))
    return samples
