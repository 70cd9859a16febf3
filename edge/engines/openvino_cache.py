"""On-disk cache of models compiled by OpenVINO, so that a start need not compile again.

The name of an entry is a hash of everything it depends on. An entry is used only if its stored
SHA-256 matches and no other user could have written it. If an entry cannot be read or written, the
model is compiled. An entry is moved aside while it is loaded, so that one that crashes the process
is not loaded again.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.util.files import atomic_write, remove_abandoned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_MAX_ENTRIES = 8
_DIGEST_BYTES = 32


def cache_folder() -> Path | None:
    """Return the folder of compiled models: the service manager's cache folder, or the user's.

    None if this user has no home: neither `HOME` nor an entry in the list of users.
    """
    systemd_cache = os.environ.get("CACHE_DIRECTORY", "").partition(":")[0]
    if systemd_cache:
        return Path(systemd_cache) / "openvino"
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return Path(home) / "edge-difom" / "openvino"


def claim_cache(digest: str) -> Path | None:
    """Return the folder of one bundle's compiled models, made if it is missing.

    Each bundle has a folder of its own, so that what runs one bundle cannot leave anything for a
    different one. Folders of the bundles that were opened longest ago are removed.

    Args:
        digest: SHA-256 of the bundle's manifest.

    Returns:
        None if there is no such folder and it cannot be made.
    """
    root = cache_folder()
    if root is None:
        return None
    folder = root / digest
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.utime(folder)
        folders = [(path.lstat().st_mtime_ns, path) for path in root.iterdir() if path != folder]
    except OSError:
        return None
    for _, path in sorted(folders)[: -_MAX_ENTRIES + 1]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
    return folder


class CompiledCache:
    """A folder of compiled models.

    Args:
        folder: Created if missing; must belong to this user only.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @staticmethod
    def key(files: Sequence[bytes], options: Mapping[str, object], *platform: str) -> str:
        """Return the name of an entry.

        Args:
            files: Files of the model.
            options: Compilation options.
            *platform: Runtime version, device and capabilities of the device.
        """
        parts = [
            *(hashlib.sha256(file).hexdigest() for file in files),
            sorted(options.items()),
            *platform,
        ]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()

    def load(self, key: str) -> bytes | None:
        """Return the compiled model, None if none is usable; it is moved aside until `confirm`."""
        try:
            with os.fdopen(os.open(self._path(key), os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
                about = os.fstat(file.fileno())
                own = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()
                if not own or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return None
                entry = file.read()
            self._path(key).replace(self._aside(key))
        except OSError:
            return None
        digest, compiled = entry[:_DIGEST_BYTES], entry[_DIGEST_BYTES:]
        return compiled if hashlib.sha256(compiled).digest() == digest else None

    def confirm(self, key: str) -> None:
        """Put the model that `load` moved aside back, after it has loaded successfully."""
        with suppress(OSError):
            self._aside(key).replace(self._path(key))

    def write(self, key: str, compiled: bytes) -> None:
        """Store a compiled model; remove the oldest entries if there are too many."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            remove_abandoned(self._folder, "*.blob")
            atomic_write(self._path(key), hashlib.sha256(compiled).digest() + compiled)
            entries = sorted(self._folder.glob("*.[bt]*"), key=lambda path: path.stat().st_mtime_ns)
            for path in entries[:-_MAX_ENTRIES]:
                path.unlink()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.blob"

    def _aside(self, key: str) -> Path:
        return self._folder / f"{key}.taken"
