"""A share of the labeled frames of data folders, and the rest of them without their masks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distill.data.splits import load_splits
from edge.util.files import atomic_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.splits import Sample


class LabelShare(NamedTuple):
    """Folders of links that hold a share of the labels.

    Attributes:
        data: One data folder with train/ and validation/ for each source.
        rest: Folders of the frames to train on whose masks were left out.
    """

    data: list[Path]
    rest: list[Path]


def write_label_share(
    sources: Sequence[Path],
    share: int,
    out: Path,
    *,
    val_sequences: Sequence[int] = (),
    val_fraction: float = 0.1,
    seed: int = 0,
) -> LabelShare:
    """Write links to a share of the training frames of every source, and to all that validate.

    Whole groups of frames, such as video sequences, are drawn in one order, so that a smaller share
    is part of every larger one. The validation frames are those of the undivided folders.

    Args:
        sources: Data folders.
        share: Labeled frames to keep, in per cent of the training frames of each source.
        out: Folder to write; one that is there is kept.
        val_sequences: As in `load_splits`.
        val_fraction: As in `load_splits`.
        seed: Seed of the split and of the draw.

    Raises:
        DataError: A folder cannot be used.
        UsageError: A folder is given twice.
    """
    if not out.is_dir():
        splits = load_splits(
            sources, val_sequences=val_sequences, val_fraction=val_fraction, seed=seed
        )
        with atomic_dir(out) as folder:
            (folder / "labeled").mkdir()
            (folder / "rest").mkdir()
            for name in sorted({sample.dataset for sample in splits.train}):
                own = [sample for sample in splits.train if sample.dataset == name]
                labeled, left = _choose_groups(own, share, seed)
                _link(labeled, folder / "labeled" / name / "train", masks=True)
                _link(left, folder / "rest" / name, masks=False)
            for name in sorted({sample.dataset for sample in splits.validation}):
                own = [sample for sample in splits.validation if sample.dataset == name]
                _link(own, folder / "labeled" / name / "validation", masks=True)
    return LabelShare(sorted((out / "labeled").iterdir()), sorted((out / "rest").iterdir()))


def _choose_groups(
    samples: Sequence[Sample], share: int, seed: int
) -> tuple[list[Sample], list[Sample]]:
    groups = sorted({sample.group for sample in samples})
    np.random.default_rng(seed).shuffle(groups)
    chosen_samples: list[Sample] = []
    chosen: set[str] = set()
    for group in groups:
        if len(chosen_samples) >= share / 100 * len(samples):
            break
        chosen.add(group)
        chosen_samples += [sample for sample in samples if sample.group == group]
    return chosen_samples, [sample for sample in samples if sample.group not in chosen]


def _link(samples: Sequence[Sample], home: Path, *, masks: bool) -> None:
    for number, sample in enumerate(samples):
        image = Path(sample.image)
        name = f"{sample.group.replace('/', '_')}-{number:05d}"
        for kind, path in (("images", image), ("masks", Path(sample.mask))):
            if kind == "masks" and not masks:
                continue
            place = home / kind / f"{name}{path.suffix}"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
