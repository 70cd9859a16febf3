"""Compiled models of OpenVINO kept on disk, so that a start need not compile again.

An entry is used only where its own SHA-256, written before it, holds, and where nobody else could
have written it; its name is made of everything that it depends on. What cannot be read or written
is compiled, and nothing more. While an entry is loaded it is put aside: one that takes the process
down is not met again.
"""

from __future__ import annotations

import hashlib
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.util.files import atomic_write

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_KEPT = 8
_DIGEST_BYTES = 32


def cache_folder() -> Path | None:
    """Where compiled models are kept: the service manager's cache folder, or the user's.

    None if this user has no home: neither `HOME` nor an entry in the list of users.
    """
    given = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if given:
        return Path(given) / "openvino"
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return Path(home) / "edge-difom" / "openvino"


class CompiledCache:
    """A folder of compiled models.

    Args:
        folder: Made where it is missing; belongs to this user alone.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(files: Sequence[bytes], options: Mapping[str, object], *platform: str) -> str:
        """Name of an entry.

        Args:
            files: Of the model.
            options: That it is compiled with.
            *platform: Version of the runtime, device and what it is able to.
        """
        parts = [
            *(hashlib.sha256(file).hexdigest() for file in files),
            sorted(options.items()),
            *platform,
        ]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def take(self, key: str) -> bytes | None:
        """The compiled model, None where there is none that may be used; put aside until `keep`."""
        try:
            with os.fdopen(os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                about = os.fstat(file.fileno())
                own = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()
                if not own or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return None
                held = file.read()
            self._path(key).replace(self._aside(key))
        except OSError:
            return None
        digest, compiled = held[:_DIGEST_BYTES], held[_DIGEST_BYTES:]
        return compiled if hashlib.sha256(compiled).digest() == digest else None

    def keep(self, key: str) -> None:
        """The model that was taken works."""
        with suppress(OSError):
            self._aside(key).replace(self._path(key))

    def write(self, key: str, compiled: bytes) -> None:
        """Keep a compiled model; the oldest of many are removed."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            atomic_write(self._path(key), hashlib.sha256(compiled).digest() + compiled)
            entries = sorted(self._folder.glob("*.[bt]*"), key=lambda path: path.stat().st_mtime_ns)
            for path in entries[:-_KEPT]:
                path.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.blob"

    def _aside(self, key: str) -> Path:
        return self._folder / f"{key}.taken"
