"""Frames without masks: pseudo-labeled in every step, or labeled by teachers' maps alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from distill.data.splits import Sample
from edge.datasets.pairs import find_images
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


def load_unlabeled(
    roots: Sequence[Path], validation: Sequence[Sample], known: Sequence[Sample] = ()
) -> list[Sample]:
    """Find the frames without masks.

    Args:
        roots: Folders of images, or folders with `images/`.
        validation: Frames that choose the checkpoint, which training may not see.
        known: Frames that are trained on anyway and left out here.

    Raises:
        DataError: A folder holds no image, or a frame is one of `validation`.
    """
    held_out = {Path(sample.image).resolve() for sample in validation}
    trained = {Path(sample.image).resolve() for sample in known}
    samples = []
    for root in roots:
        for path in find_images(root):
            if path.resolve() in trained:
                continue
            if path.resolve() in held_out:
                raise DataError(
                    f"{path} is a validation frame",
                    expected="unlabeled frames that validate nothing",
                    hint="remove it from the unlabeled folder, or choose another validation set",
                )
            samples.append(Sample(str(path), "", root.name, f"{root.name}/{path.stem}"))
    return samples
