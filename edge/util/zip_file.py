"""Write a zip whose bytes depend on its content alone."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from edge.util.files import naming

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)


def write_zip(out: Path, contents: Mapping[str, bytes]) -> None:
    """Write an uncompressed zip; the same contents in the same order give the same bytes.

    Args:
        out: File to write; it appears only after it is complete.
        contents: Path inside the archive -> content.

    Raises:
        OSError: It cannot be written, for example because the disk is full.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    try:
        with naming(out), zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            for name, data in contents.items():
                info = zipfile.ZipInfo(name, _EPOCH)
                info.create_system, info.external_attr = 3, 0o100644 << 16
                archive.writestr(info, data)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)
