"""`splits.json` of a run: which frames it trains and validates on, and what their files hold."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from distill.data.digests import data_digest, file_digests
from distill.data.splits import Sample, Splits
from edge.errors import DataError
from edge.util.files import write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

logger = logging.getLogger(__name__)

_HINT = "restore the data as they were, or train again on what they are now"
_MAX_NAMES = 3
"""Number of files that an error names."""


class SplitRecord(Splits, frozen=True):
    """Content of `splits.json`.

    Attributes:
        files: Path of every image and mask -> SHA-256 of the file.
        data_digest: `distill.data.digests.data_digest` of all samples, in their order.
    """

    files: dict[str, str] = msgspec.field(default_factory=dict)
    data_digest: str = ""


def write_splits(path: Path, splits: Splits) -> None:
    """Write the split of a run and the digests of its files.

    Raises:
        DataError: A file cannot be read.
    """
    samples = splits.samples()
    parts = {name: getattr(splits, name) for name in Splits.__struct_fields__}
    record = SplitRecord(**parts, files=file_digests(samples), data_digest=data_digest(samples))
    write_json(path, record)


def read_splits(path: Path, *, unlabeled: bool = False) -> Splits:
    """The split of a run, whose files must be what they were when it was written.

    Args:
        path: `splits.json` of the run.
        unlabeled: Also return and check the frames without masks, those with boxes among them.

    Raises:
        DataError: The record is missing or damaged, or a file is gone or has changed.
    """
    try:
        record = msgspec.json.decode(path.read_bytes(), type=SplitRecord)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} does not say which frames the run was trained on", got=str(error), hint=_HINT
        ) from error
    splits = Splits(
        record.train,
        record.validation,
        record.clean_train,
        record.clean_validation,
        record.unlabeled if unlabeled else [],
        record.boxed if unlabeled else [],
        record.images if unlabeled else [],
    )
    samples = splits.samples()
    if record.files:
        _refuse_changed(path, samples, record.files)
    else:
        logger.warning(
            "%s holds no digests: changes of the data since the training cannot be noticed", path
        )
    return splits


def _refuse_changed(path: Path, samples: Sequence[Sample], files: dict[str, str]) -> None:
    names = dict.fromkeys(name for sample in samples for name in (sample.image, sample.mask))
    missing = [name for name in names if name and not Path(name).is_file()]
    changed: list[str] = []
    if not missing:
        today = file_digests(samples)
        changed = [name for name, digest in today.items() if files.get(name) != digest]
    for names_wrong, what in ((missing, "missing"), (changed, "changed")):
        if names_wrong:
            raise DataError(
                f"the data are not those that {path.parent} was trained on",
                expected=f"the files that {path} lists, as they were",
                got=f"{len(names_wrong)} {what}: {', '.join(names_wrong[:_MAX_NAMES])}"
                + (", ..." if len(names_wrong) > _MAX_NAMES else ""),
                hint=_HINT,
            )
