"""Validation frames of a run, as its `splits.json` lists them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.datasets.negatives import CleanFrame, sequence_of
from edge.datasets.pairs import Pair
from edge.errors import DataError
from edge.util.files import sha256

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_NAMES = 3
"""Number of files that an error names."""


class _Sample(msgspec.Struct):
    image: str
    mask: str
    dataset: str = ""


class _CleanSample(msgspec.Struct):
    image: str
    dataset: str = ""
    group: str = ""


class _Splits(msgspec.Struct):
    """The lists that evaluation reads; `distill.data.split_record.SplitRecord` is the whole record.

    A file that somebody wrote by hand, with `validation` alone, is accepted too.
    """

    validation: list[_Sample]
    clean_validation: list[_CleanSample] = []
    files: dict[str, str] = {}


def read_splits(path: Path) -> list[Pair]:
    """Read the validation pairs of a run's `splits.json`; their names are `dataset/stem`.

    Raises:
        DataError: The file is missing or malformed, its list is empty, or a listed file is not what
            it was when the run was trained.
    """
    splits = _read_splits(path)
    samples = splits.validation
    if not samples:
        raise DataError(f"{path} lists no validation pair", expected="at least one")
    _refuse_changed(path, splits.files, [name for s in samples for name in (s.image, s.mask)])
    return [
        Pair(
            Path(sample.image),
            Path(sample.mask),
            "/".join(filter(None, (sample.dataset, Path(sample.image).stem))),
        )
        for sample in samples
    ]


def read_clean_splits(path: Path) -> list[CleanFrame]:
    """Read the validation frames without a polyp from a run's `splits.json`; may be empty.

    Raises:
        DataError: The file is missing or malformed, or a listed file is not what it was when the
            run was trained.
    """
    splits = _read_splits(path)
    _refuse_changed(path, splits.files, [sample.image for sample in splits.clean_validation])
    return [
        CleanFrame(
            Path(sample.image),
            sample.dataset,
            sample.group.removeprefix(f"{sample.dataset}/") or sequence_of(Path(sample.image).stem),
        )
        for sample in splits.clean_validation
    ]


def _read_splits(path: Path) -> _Splits:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Splits)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a list of validation pairs",
            expected='{"validation": [{"image": ..., "mask": ..., "dataset": ...}]}',
            got=str(error),
            hint="give RUN/splits.json of a distilled run",
        ) from error


def _refuse_changed(path: Path, digests: Mapping[str, str], names: Sequence[str]) -> None:
    """Raise if a file differs from its digest; a file without one, or that is gone, is not judged.

    A result on other masks than those of the run would be taken for a result of the run.
    """
    changed = [
        name
        for name in dict.fromkeys(names)
        if name in digests and Path(name).is_file() and sha256(Path(name)) != digests[name]
    ]
    if changed:
        raise DataError(
            f"the data are not those that {path} lists",
            expected="the files as they were when the run was trained",
            got=f"{len(changed)} changed: {', '.join(changed[:_MAX_NAMES])}"
            + (", ..." if len(changed) > _MAX_NAMES else ""),
            hint="restore them, or evaluate on a folder instead of the run's frames",
        )
