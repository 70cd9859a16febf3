"""Where the files of a bundle lie: a directory, or one zip. Nothing here is verified yet; `edge.bundle` does that."""

from __future__ import annotations

import zipfile
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from edge.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

SUFFIX = ".difom"
MEND = "copy the bundle again from where it was made"

_LARGEST = 1 << 30


class Store(Protocol):
    """The files of a bundle as they lie there."""

    def names(self) -> list[str]:
        """Paths inside the bundle, with forward slashes."""
        ...

    def read(self, name: str) -> bytes:
        """Contents of a file.

        Raises:
            BundleError: Missing or unreadable.
        """
        ...


def open_store(path: Path) -> Store:
    """The files of a directory or zip.

    Raises:
        BundleError: There is none, or the zip holds names that leave it or occur twice.
    """
    if path.is_dir():
        return _Directory(path)
    if path.is_file():
        return _Zip(path)
    raise BundleError(
        f"{path} does not exist",
        expected=f"a bundle: a directory with manifest.json, or a {SUFFIX} file",
        mend="edge-difom bundle make RUN --out DIR",
    )


def check_name(name: str, path: Path) -> None:
    """Refuse a name that would leave the bundle.

    Raises:
        BundleError: `name` is absolute, has `..` or another system's separators.
    """
    parts = PurePosixPath(name).parts
    safe = name == "/".join(parts) and ".." not in parts and not name.startswith("/")
    if not safe or not name or "\\" in name or ":" in name or "\0" in name:
        raise BundleError(
            f"{path}: a file name leaves the bundle", expected="a relative path without ..", got=repr(name)
        )


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return [
            file.relative_to(self._path).as_posix() for file in self._path.rglob("*") if not file.is_dir()
        ]

    def read(self, name: str) -> bytes:
        try:
            return (self._path / name).read_bytes()
        except OSError as error:
            raise BundleError(
                f"{self._path}: {name} cannot be read", got=error.strerror or str(error), mend=MEND
            ) from error


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with zipfile.ZipFile(path) as archive:
                entries = [info for info in archive.infolist() if not info.is_dir()]
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise BundleError(
                f"{path} is not a bundle",
                expected=f"a directory, or a {SUFFIX} file",
                got=str(error),
                mend=MEND,
            ) from error
        self._names = [info.filename for info in entries]
        for info in entries:
            check_name(info.filename, path)
            if self._names.count(info.filename) > 1:
                raise BundleError(f"{path}: {info.filename} is in the archive twice", mend=MEND)
            if info.file_size > _LARGEST:
                raise BundleError(
                    f"{path}: {info.filename} is too large",
                    expected=f"at most {_LARGEST} bytes",
                    got=f"{info.file_size} bytes",
                )

    def names(self) -> list[str]:
        return list(self._names)

    def read(self, name: str) -> bytes:
        if name not in self._names:
            raise BundleError(f"{self._path}: {name} is missing", got="no such entry", mend=MEND)
        try:
            with zipfile.ZipFile(self._path) as archive:
                return archive.read(name)
        # zlib.error and the encryption's RuntimeError have no common base below Exception.
        except Exception as error:
            raise BundleError(f"{self._path}: {name} cannot be read", got=str(error), mend=MEND) from error
