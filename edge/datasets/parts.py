"""Data folders that are split already: train/ beside validation/, val/ or valid/, and test/.

A part is a folder with images and masks of its own (`train/images`), or a folder inside both of the
two (`images/train`, `masks/train`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.datasets.pairs import find_pairs, layout_has_videos, layouts, pair_folders
from edge.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.datasets.pairs import Pair

TRAIN = ("train", "training")
VALIDATION = ("validation", "val", "valid", "validate", "dev")
TEST = ("test", "testing")
_PART_NAMES = TRAIN + VALIDATION + TEST


class Parts(NamedTuple):
    """The pairs of a folder that is split already.

    Attributes:
        train: To train on.
        validation: To choose a checkpoint by; empty if the folder has no such part.
        unused: Folder of the test part, which neither trains nor validates; None without one.
    """

    train: list[Pair]
    validation: list[Pair]
    unused: Path | None = None


def find_parts(root: Path) -> Parts | None:
    """The parts of a folder that is split already; None for a folder that is not.

    Raises:
        DataError: Frames to validate on without frames to train on, two folders of one part, frames
            beside the parts, or a pairing is wrong.
    """
    if not root.is_dir():
        return None
    inside = _known_folders(root)
    if inside.keys() <= set(TEST):
        return _inner_parts(root)
    _require_train(root, inside)
    if next(layouts(root), None) is not None:
        raise DataError(
            f"{root} holds frames beside {', '.join(f'{path.name}/' for path in inside.values())}",
            expected="either images/ and masks/, or train/ and validation/",
            hint="move one of them away, or give the folders one by one",
        )
    train, validation, unused = (_one(inside, names) for names in (TRAIN, VALIDATION, TEST))
    assert train is not None
    return Parts(find_pairs(train), find_pairs(validation) if validation else [], unused)


def has_parts(root: Path) -> bool:
    """Whether a folder is split already, whatever is wrong with its parts."""
    if not root.is_dir():
        return False
    return bool(_known_folders(root).keys() - set(TEST)) or _parted_layout(root) is not None


def _inner_parts(root: Path) -> Parts | None:
    """Parts inside the folders of images and of masks."""
    layout = _parted_layout(root)
    if layout is None:
        return None
    images, masks = layout
    left, right = _known_folders(images), _known_folders(masks)
    _require_train(images, left)
    if left.keys() != right.keys():
        raise DataError(
            f"{images} and {masks} do not hold the same parts",
            expected=", ".join(f"{masks / name}" for name in left),
            got=", ".join(f"{path.name}/" for path in right.values()) or "no folder in it",
        )
    pairs = {name: pair_folders(left[name], right[name]) for name in left if name not in TEST}
    train = next(pairs[name] for name in TRAIN if name in pairs)
    validation = next((pairs[name] for name in VALIDATION if name in pairs), [])
    return Parts(train, validation, _one(left, TEST))


def _parted_layout(root: Path) -> tuple[Path, Path] | None:
    layout = next(layouts(root), None)
    if layout is None or not layout_has_videos(layout[0]):
        return None
    folders = {path.name.lower() for path in layout[0].iterdir() if path.is_dir()}
    return layout if folders <= set(_PART_NAMES) and folders & set(TRAIN) else None


def _known_folders(where: Path) -> dict[str, Path]:
    return {
        path.name.lower(): path
        for path in sorted(where.iterdir())
        if path.is_dir() and path.name.lower() in _PART_NAMES
    }


def _require_train(where: Path, inside: dict[str, Path]) -> None:
    counts = [sum(name in inside for name in names) for names in (TRAIN, VALIDATION, TEST)]
    if counts[0] != 1 or max(counts) > 1:
        raise DataError(
            f"{where} does not say which frames train and which validate",
            expected="train/ and one of validation/, val/ and valid/",
            got=", ".join(f"{path.name}/" for path in inside.values()),
            hint="rename or move the folders, or give them one by one",
        )


def _one(inside: dict[str, Path], names: tuple[str, ...]) -> Path | None:
    return next((inside[name] for name in names if name in inside), None)
