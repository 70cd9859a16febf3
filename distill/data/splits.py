"""Training and validation samples: which frames there are, and which of them decide.

Frames of one video sequence are nearly the same picture, so a split never cuts a sequence.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.datasets.negatives import find_negatives, sequence_of
from edge.datasets.pairs import dataset_names, find_pairs
from edge.datasets.parts import find_parts, has_parts
from edge.errors import DataError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.datasets.pairs import Pair

logger = logging.getLogger(__name__)


class Sample(msgspec.Struct, frozen=True, omit_defaults=True):
    """One frame and what is known of it.

    Attributes:
        image: Path of the picture.
        mask: Path of its mask; empty for a frame that is known to show no polyp, and for one of
            which other things are known.
        dataset: Name of the folder that it came from.
        group: Frames of one group stay on one side of a split: a video sequence, or the frame
            alone.
        boxes: Left, upper, right and lower edge of the boxes of its polyps, in shares of the part
            of the frame that the student sees; only for `Splits.boxed`.
    """

    image: str
    mask: str
    dataset: str
    group: str
    boxes: tuple[tuple[float, float, float, float], ...] = ()


class Splits(msgspec.Struct, frozen=True):
    """Samples to train on and samples that decide which checkpoint is best.

    Attributes:
        train: Labeled frames to train on.
        validation: Labeled frames that choose the checkpoint and the operating point.
        clean_train: Frames without a polyp to train on.
        clean_validation: Frames without a polyp that choose the checkpoint and the operating point.
        unlabeled: Frames without masks to train on.
        boxed: Frames with boxes instead of masks to train on.
        images: Frames without masks that only teachers label.
    """

    train: list[Sample]
    validation: list[Sample]
    clean_train: list[Sample] = []
    clean_validation: list[Sample] = []
    unlabeled: list[Sample] = []
    boxed: list[Sample] = []
    images: list[Sample] = []

    def samples(self) -> list[Sample]:
        """All of them."""
        return [
            *self.train,
            *self.validation,
            *self.clean_train,
            *self.clean_validation,
            *self.unlabeled,
            *self.boxed,
            *self.images,
        ]


class _Sequence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sequence: int
    first: int
    last: int


def load_splits(
    roots: Sequence[Path],
    *,
    val_sequences: Sequence[int] = (),
    val_fraction: float = 0.1,
    seed: int = 0,
) -> Splits:
    """Find the samples of all folders and split them.

    A root holds `images/` and `masks/`, or `train/` and `validation/` (also `val/` or `valid/`)
    with both; the latter is its split, and where there is no `validation/` none of it validates.
    `test/` is not used, which a warning says. A root of the first kind is split by `val_sequences`
    where it has a `sequences.json` (`[{"sequence", "first", "last"}]`, inclusive ranges of the
    numeric stems), else whole groups are drawn until `val_fraction` of its frames is reached. A
    split depends on nothing but names and `seed`.

    Args:
        roots: Data folders.
        val_sequences: Numbers of the sequences to validate on.
        val_fraction: Share of the frames of a root to validate on, over 0 and under 1.
        seed: Seed of the draw.

    Raises:
        DataError: A folder, pairing or `sequences.json` is wrong, a sequence is unknown, or a split
            is empty.
        UsageError: No root, the same root twice, or `val_fraction` out of range.
    """
    if not roots:
        raise UsageError(
            "no data folder was given",
            hint="set data to a folder of images and masks",
            code="no-data",
        )
    if not 0 < val_fraction < 1:
        raise UsageError(
            f"validation fraction {val_fraction}", expected="a number over 0 and under 1"
        )
    names = dataset_names(roots)
    _check_numbers(roots, val_sequences)
    train: list[Sample] = []
    validation: list[Sample] = []
    for root, name in zip(roots, names, strict=True):
        parts = find_parts(root)
        if parts is not None:
            given_train = _samples(root, parts.train, name)
            given_validation = _samples(root, parts.validation, name)
            if parts.unused is not None:
                logger.warning("%s neither trains nor validates", parts.unused)
            _refuse_cut_sequences(root, given_train, given_validation)
            train += given_train
            validation += given_validation
            continue
        samples = _samples(root, find_pairs(root), name)
        if val_sequences and (root / "sequences.json").is_file():
            chosen = {_sequence_group(name, number) for number in val_sequences}
        else:
            chosen = _draw([sample.group for sample in samples], val_fraction, seed)
        train += [sample for sample in samples if sample.group not in chosen]
        validation += [sample for sample in samples if sample.group in chosen]
    for part, kind in ((train, "train on"), (validation, "validate on")):
        if not part:
            raise DataError(
                f"no frame is left to {kind}",
                expected="at least two groups of frames, one for each side",
                got=f"{len(train)} frames to train on, {len(validation)} to validate on",
                hint=_hint(roots, [*train, *validation]),
            )
    return Splits(train, validation)


def load_negatives(
    roots: Sequence[Path], *, val_fraction: float = 0.25, seed: int = 0
) -> tuple[list[Sample], list[Sample]]:
    """Find the frames without a polyp and split them by sequence.

    Frames of a folder whose names differ only in a trailing number (`s03_0017`, `s03_0018`) are one
    sequence, and a sequence is never cut. A folder that is a single sequence trains and validates
    nothing.

    Args:
        roots: Folders of pictures, or with `images/` and black `masks/`.
        val_fraction: Share of the frames of each folder to validate on, 0 up to but not including
            1.
        seed: Seed of the draw.

    Returns:
        Frames to train on and frames to validate on; their `mask` is empty.

    Raises:
        DataError: A folder holds no picture, or a mask shows a polyp.
        UsageError: The same folder twice.
    """
    train: list[Sample] = []
    validation: list[Sample] = []
    for root, name in zip(roots, dataset_names(roots), strict=True):
        samples = [
            Sample(str(path), "", name, f"{name}/{sequence_of(path.stem)}")
            for path in find_negatives(root)
        ]
        groups = [sample.group for sample in samples]
        chosen = (
            _draw(groups, val_fraction, seed) if val_fraction and len(set(groups)) > 1 else set()
        )
        train += [sample for sample in samples if sample.group not in chosen]
        validation += [sample for sample in samples if sample.group in chosen]
    return train, validation


def _hint(roots: Sequence[Path], samples: Sequence[Sample]) -> str:
    """What to do about a split without training or without validation frames."""
    groups = {sample.group for sample in samples}
    if len(groups) == 1 and len(samples) > 1:
        return f"a video is never cut, and there is only {min(groups)}: add a second one"
    split = [root for root in roots if has_parts(root)]
    if split:
        return f"put frames into {split[0] / 'validation'}, or add a folder that is not split yet"
    return "other val_sequences, a different val_fraction, or more data"


def _samples(root: Path, pairs: Sequence[Pair], dataset: str) -> list[Sample]:
    ranges = _read_sequences(root / "sequences.json")
    return [
        Sample(str(pair.image), str(pair.mask), dataset, _group(pair, ranges, root, dataset))
        for pair in pairs
    ]


def _group(pair: Pair, ranges: list[_Sequence], root: Path, dataset: str) -> str:
    if not ranges:
        return f"{dataset}/{pair.video or pair.name}"
    number = int(pair.name) if pair.name.isdecimal() else None
    for item in ranges:
        if number is not None and item.first <= number <= item.last:
            return _sequence_group(dataset, item.sequence)
    raise DataError(
        f"{pair.image} belongs to no sequence of {root / 'sequences.json'}",
        expected="a number in one of its ranges as the name",
        got=repr(pair.name),
        hint="add its range, or move the frame away",
    )


def _sequence_group(dataset: str, number: int) -> str:
    return f"{dataset}/sequence-{number}"


def _read_sequences(path: Path) -> list[_Sequence]:
    if not path.is_file():
        return []
    shape = '[{"sequence": 1, "first": 1, "last": 25}, ...]'
    try:
        ranges = msgspec.json.decode(path.read_bytes(), type=list[_Sequence])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} does not list sequences", expected=shape, got=str(error)
        ) from error
    if not ranges:
        raise DataError(
            f"{path} lists no sequence", expected=shape, hint="list them, or remove the file"
        )
    ordered = sorted(ranges, key=lambda item: item.first)
    for item in ordered:
        if item.last < item.first:
            raise DataError(
                f"{path}: sequence {item.sequence} ends before it begins",
                got=f"first {item.first}, last {item.last}",
            )
    for left, right in itertools.pairwise(ordered):
        if right.first <= left.last:
            raise DataError(
                f"{path}: sequences {left.sequence} and {right.sequence} overlap",
                expected="each frame in one sequence",
                got=f"frames {right.first} to {min(left.last, right.last)} in both",
            )
    return ordered


def _check_numbers(roots: Sequence[Path], numbers: Sequence[int]) -> None:
    if not numbers:
        return
    available = {
        item.sequence for root in roots for item in _read_sequences(root / "sequences.json")
    }
    unknown = sorted(set(numbers) - available)
    if unknown:
        raise DataError(
            f"no data folder has sequence {', '.join(map(str, unknown))}",
            expected=f"numbers out of {', '.join(map(str, sorted(available)))}"
            if available
            else "a data folder with a sequences.json",
            hint="val_sequences with such numbers" if available else "val_fraction",
        )


def _refuse_cut_sequences(
    root: Path, train: Sequence[Sample], validation: Sequence[Sample]
) -> None:
    if not (root / "sequences.json").is_file():
        return
    both = {sample.group for sample in train} & {sample.group for sample in validation}
    if both:
        raise DataError(
            f"{root}: {', '.join(sorted(both))} to train on and to validate on",
            expected="whole sequences on one side",
        )


def _draw(groups: Sequence[str], fraction: float, seed: int) -> set[str]:
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    order = sorted(sizes)
    np.random.default_rng(seed).shuffle(order)
    chosen: set[str] = set()
    taken_frames = 0
    for group in order[:-1]:  # the last group always stays to train on
        if taken_frames >= fraction * len(groups):
            break
        chosen.add(group)
        taken_frames += sizes[group]
    return chosen
