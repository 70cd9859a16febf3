"""The frames of a quantization: those of its run, or of itself where it is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from distill.data.split_record import read_splits
from distill.data.splits import load_negatives
from edge.datasets.negatives import CleanFrame

if TYPE_CHECKING:
    from distill.config import DistillConfig
    from distill.data.splits import Splits
    from quantize.runs.folder import QatConfig

SPLITS = "splits.json"
"""File of a run and of its quantizations that lists their frames."""


def clean_validation(splits: Splits) -> list[CleanFrame]:
    """Return the clean validation frames of a split, as an evaluation takes them."""
    return [
        CleanFrame(
            Path(sample.image), sample.dataset, sample.group.removeprefix(f"{sample.dataset}/")
        )
        for sample in splits.clean_validation
    ]


def recorded_splits(
    path: Path, config: QatConfig, source: DistillConfig, *, resume: bool
) -> Splits:
    """The split that a quantization uses.

    New negatives are split anew, but no frame that the student was trained on validates.

    Args:
        path: Folder of the quantization.
        config: How it quantizes.
        source: Configuration of the distillation.
        resume: Whether an earlier quantization is continued.

    Raises:
        DataError: The record is missing, or the data have changed since the run was trained.
    """
    if resume and (path / SPLITS).is_file():
        return read_splits(path / SPLITS)
    splits = read_splits(path.parent / SPLITS)
    if not config.negatives:
        return splits
    train, validation = load_negatives(
        [Path(root) for root in config.negatives],
        val_fraction=source.data.val_negatives,
        seed=source.data.split_seed,
    )
    learned = {sample.image for sample in splits.clean_train}
    train += [sample for sample in validation if sample.image in learned]
    validation = [sample for sample in validation if sample.image not in learned]
    return replace(splits, clean_train=train, clean_validation=validation)
