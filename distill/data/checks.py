"""Find what is wrong with decoded data: no polyp, swapped colors, frames on both sides."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.datasets.duplicates import find_same, thumbnails
from edge.datasets.masks import inversion_note, looks_inverted
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.image_store import ImageStore
    from distill.data.splits import Sample, Splits

logger = logging.getLogger(__name__)

POLYP_COVERAGE = 128
"""Coverage of a pixel in 1/255 from which validation counts it as polyp."""
_MAX_NAMES = 2
"""Number of frames that a warning names."""


def check_stores(
    splits: Splits, train: ImageStore, validation: ImageStore, further: Sequence[ImageStore] = ()
) -> None:
    """Refuse or warn of data that would train or validate wrongly.

    Args:
        splits: The samples.
        train: Images of `train` and `clean_train`.
        validation: Images of `validation` and `clean_validation`.
        further: Images of `unlabeled`, `boxed` and `images`, where they are trained on.

    Raises:
        DataError: No frame to train on, or none to validate on, has a polyp.
    """
    labeled = ((splits.train, train, "training"), (splits.validation, validation, "validation"))
    for samples, store, kind in labeled:
        _warn_inverted(samples, store)
        _refuse_without_polyp(samples, store, kind)
    learned = [
        *splits.train,
        *splits.clean_train,
        *splits.unlabeled,
        *splits.boxed,
        *splits.images,
    ]
    images = np.concatenate([thumbnails(store.images) for store in (train, *further)])
    held_out = [*splits.validation, *splits.clean_validation]
    twice = find_same(images, thumbnails(validation.images))
    if twice:
        pairs = [f"{held_out[left].image} is {learned[right].image}" for left, right in twice]
        logger.warning(
            "%d of %d validation frames are also trained on, so that validation flatters: %s%s",
            len(twice),
            len(held_out),
            ", ".join(pairs[:_MAX_NAMES]),
            ", ..." if len(twice) > _MAX_NAMES else "",
        )


def _warn_inverted(samples: Sequence[Sample], store: ImageStore) -> None:
    masks = store.masks[: len(samples)]
    rows = [row for row, mask in enumerate(masks) if looks_inverted(mask)]
    if rows:
        areas = [float(np.mean(masks[row] >= POLYP_COVERAGE)) for row in rows]
        with_polyp = sum(bool(mask.any()) for mask in masks)
        names = [samples[row].mask for row in rows]
        logger.warning("%s", inversion_note(names, areas, with_polyp))


def _refuse_without_polyp(samples: Sequence[Sample], store: ImageStore, kind: str) -> None:
    """Refuse masks without any polyp: nothing to learn, and no Dice to choose an epoch by."""
    masks = store.masks[: len(samples)]
    if any(bool((mask >= POLYP_COVERAGE).any()) for mask in masks):
        return
    folders = sorted({str(Path(sample.mask).parent) for sample in samples})
    height, width = store.size
    raise DataError(
        f"no {kind} frame has a polyp",
        expected="at least one mask with a polyp, better many",
        got=f"{len(samples)} masks without a polyp at {width}x{height} pixels, in "
        + ", ".join(folders[:3]),
        hint="add frames with a polyp, choose a different validation share, or train at a larger "
        "size if polyps are tiny; frames without a polyp belong to the negatives",
    )
