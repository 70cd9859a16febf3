"""Where a zip says that its list of files is, checked before `zipfile` believes it.

`zipfile` reads and decodes the whole list before anything of it can be checked, in the place and
of the size that the last record of the file or a zip64 record states.
"""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING

from edge.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

_LARGEST = 1 << 20
"""Maximum bytes of the list; a thousand long names fill a third of it."""

_END, _END_BYTES = b"PK\x05\x06", 22
_ZIP64, _ZIP64_BYTES = b"PK\x06\x07", 20


def check_directory(file: IO[bytes], path: Path, most: int) -> None:
    """Refuse a zip whose list of files would fill the memory.

    The last record must be the last bytes of the file, so that `zipfile` finds the same one: a
    bundle has no comment behind it. A bundle is far below the sizes for which zip64 was made.

    Args:
        file: The open zip.
        path: Its path, for the error.
        most: Maximum number of files.

    Raises:
        BundleError: There is no such record, or it states too much.
        OSError: The file cannot be read.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _END_BYTES - _ZIP64_BYTES))
    tail = file.read()
    end = tail[-_END_BYTES:]
    if len(end) < _END_BYTES or end[:4] != _END or end[-2:] != b"\0\0":
        raise BundleError(
            f"{path} is not a bundle",
            expected="a zip that ends with its list of files",
            got="an empty file" if size == 0 else "other bytes, or a zip with a comment",
            hint="copy the bundle again from where it was made",
        )
    if tail[:-_END_BYTES][-_ZIP64_BYTES:][:4] == _ZIP64:
        raise BundleError(f"{path} is not a bundle", expected="a zip without zip64 records")
    count, length = int.from_bytes(end[10:12], "little"), int.from_bytes(end[12:16], "little")
    if length > _LARGEST or count > most:
        raise BundleError(
            f"{path} has too many files",
            expected=f"at most {most}, in a list of at most {_LARGEST} bytes",
            got=f"{count}, in {length} bytes",
        )
