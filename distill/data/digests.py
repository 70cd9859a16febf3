"""SHA-256 of the files of a run, each file read once as long as it does not change."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import DataError
from edge.util.files import sha256

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.splits import Sample


def data_digest(samples: Sequence[Sample]) -> str:
    """SHA-256 over the contents of all images and masks in their order; paths do not matter.

    A frame without a mask file counts by its image alone.

    Raises:
        DataError: A file cannot be read.
    """
    files = file_digests(samples)
    total = hashlib.sha256()
    for sample in samples:
        for path in filter(None, (sample.image, sample.mask)):
            total.update(bytes.fromhex(files[path]))
    return total.hexdigest()


def file_digests(samples: Sequence[Sample]) -> dict[str, str]:
    """SHA-256 of every image and mask, by path.

    Raises:
        DataError: A file cannot be read.
    """
    paths = list(
        dict.fromkeys(path for sample in samples for path in (sample.image, sample.mask) if path)
    )
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(paths, pool.map(_file_digest, paths), strict=True))


def _file_digest(path: str) -> str:
    try:
        status = Path(path).stat()
        return _digest(path, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error


@lru_cache(maxsize=1 << 20)
def _digest(path: str, *_status: int) -> str:
    return sha256(Path(path))
