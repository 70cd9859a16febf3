"""Raw access to the files of a bundle: a directory or one zip.

Hashes are not checked here; `edge.bundle.reader` checks them. The content is untrusted: links are
not followed. Sizes are limited before anything is read and while it is produced, because a file may
state another size than it has.
"""

from __future__ import annotations

import io
import os
import stat
import unicodedata
import zipfile
from contextlib import ExitStack, contextmanager
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Protocol

from edge.bundle.shipped import shipped_bundles
from edge.bundle.zip_directory import check_directory
from edge.errors import BundleError
from edge.util.machine_fault import refuse_machine_fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SUFFIX = ".difom"
MEND = "copy the bundle again from where it was made"

LARGEST, LARGEST_SUM, MAX_FILES = 512 << 20, 1 << 30, 1000
"""Limits: bytes of one file, bytes of all files, number of files.

The largest student, U-Net in float, has 124 MB.
"""

_LONGEST_NAME, _LOCAL_HEADER, _PIECE = 255, 30, 1 << 20
_RATIO, _RATIO_FROM = 200, 1 << 20
"""Maximum compression ratio, and the content size in bytes from which it is checked."""


class Store(Protocol):
    """Unverified access to the files of a bundle."""

    def names(self) -> list[str]:
        """Return the paths inside the bundle, with forward slashes."""
        ...

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        """Read a file.

        Args:
            name: Path inside the bundle.
            largest: Maximum size in bytes of what is read, whatever the bundle states.

        Raises:
            BundleError: The file is missing or unreadable.
            MachineError: The machine prevents reading it.
        """
        ...


def open_store(path: Path) -> Store:
    """Open a directory or zip.

    Raises:
        BundleError: The path does not exist, or the zip has content that no bundle has: names that
            leave the bundle or collide, links, encrypted or overlapping entries, or too much data.
    """
    if path.is_dir():
        return _Directory(path)
    if path.is_file():
        return _Zip(path)
    shipped = " | ".join(shipped_bundles())
    raise BundleError(
        f"{path} does not exist",
        expected=f"a bundle: a directory with manifest.json, or a {SUFFIX} file"
        + (f", or the name of one that comes with the package: {shipped}" if shipped else ""),
        hint="make a bundle from a trained run",
        code="bundle-not-found",
    )


def check_name(name: str, path: Path) -> None:
    """Refuse a name that would leave the bundle.

    Raises:
        BundleError: `name` is absolute, contains `..`, foreign separators or unprintable
            characters, or is too long for a file system.
    """
    short = len(name) <= _LONGEST_NAME and len(name.encode(errors="replace")) <= _LONGEST_NAME
    parts = PurePosixPath(name).parts if short else ()
    safe = name == "/".join(parts) and ".." not in parts and not name.startswith("/")
    if not safe or not name or "\\" in name or ":" in name or not name.isprintable() or not short:
        raise BundleError(
            f"{path}: a file name leaves the bundle",
            expected="a relative path without ..",
            got=repr(name[: _LONGEST_NAME + 1]),
        )


def check_names(names: Sequence[str], path: Path) -> None:
    """Refuse names that leave the bundle or that some file system treats as the same name.

    Raises:
        BundleError: A name fails `check_name`, two names differ only in case or in the encoding of
            accents, a name is both a file and a folder, or there are too many names.
    """
    if len(names) > MAX_FILES:
        raise BundleError(
            f"{path} has too many files",
            expected=f"at most {MAX_FILES}",
            got=f"{len(names)}",
            hint=MEND,
        )
    folded: dict[str, str] = {}
    for name in names:
        check_name(name, path)
        key = _key(name)
        if key in folded:
            raise BundleError(
                f"{path}: {name} is there twice", got=f"{folded[key]!r} and {name!r}", hint=MEND
            )
        folded[key] = name
    for name in names:
        folder = next(
            (str(parent) for parent in PurePosixPath(_key(name)).parents if str(parent) in folded),
            None,
        )
        if folder is not None:
            raise BundleError(f"{path}: {folded[folder]} is a file and a folder", hint=MEND)


def _key(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _refuse_large(sizes: Sequence[tuple[str, int]], path: Path, largest: int = LARGEST) -> None:
    for name, size in sizes:
        if size > largest:
            raise BundleError(
                f"{path}: {name} is too large",
                expected=f"at most {largest} bytes",
                got=f"{size} bytes",
            )
    total = sum(size for _, size in sizes)
    if total > LARGEST_SUM:
        raise BundleError(
            f"{path} is too large",
            expected=f"at most {LARGEST_SUM} bytes in all",
            got=f"{total} bytes",
        )


class _Directory:
    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        return [(folder / name).relative_to(self._path).as_posix() for folder, name in self._walk()]

    def _walk(self) -> list[tuple[Path, str]]:
        """Return everything except real folders; links to folders are listed, not followed."""
        entries: list[tuple[Path, str]] = []
        for place, folders, files in os.walk(self._path):
            folder = type(self._path)(place)
            links = [name for name in folders if (folder / name).is_symlink()]
            entries += [(folder, name) for name in (*files, *links)]
            if len(entries) > MAX_FILES:
                raise BundleError(
                    f"{self._path} has too many files", expected=f"at most {MAX_FILES}", hint=MEND
                )
        return entries

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        try:
            check_name(name, self._path)
            with ExitStack() as stack, _open_inside(self._path, name, stack) as file:
                size = os.fstat(file.fileno()).st_size
                _refuse_large([(name, size)], self._path, largest)
                data = file.read(size + 1)
        except OSError as error:
            what = f"{self._path}: {name} cannot be read"
            refuse_machine_fault(what, error)
            raise BundleError(what, got=error.strerror or str(error), hint=MEND) from error
        if len(data) != size:
            raise BundleError(f"{self._path}: {name} changes while it is read", hint=MEND)
        return data


def _open_inside(root: Path, name: str, stack: ExitStack) -> IO[bytes]:
    """Open a regular file below a folder, each step of its path without following a link.

    Raises:
        OSError: A step is a link or is missing, or the target is not a regular file.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC
    *folders, last = PurePosixPath(name).parts
    place = os.open(root, flags | os.O_DIRECTORY)
    stack.callback(os.close, place)
    for folder in folders:
        place = os.open(folder, flags | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
        stack.callback(os.close, place)
    # O_NONBLOCK: a pipe must not hold the reader until somebody writes to it.
    handle = os.open(last, flags | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("it is no regular file")
    return os.fdopen(handle, "rb")


class _Zip:
    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            with _open_zip(path) as archive:
                entries = [info for info in archive.infolist() if not info.is_dir()]
                end = archive.start_dir
        except BundleError:
            raise
        # zipfile documents no error types for damaged input: struct, codec and zipfile errors
        # occur.
        except Exception as error:
            refuse_machine_fault(f"{path} cannot be read", error)
            raise BundleError(
                f"{path} is not a bundle",
                expected=f"a directory, or a {SUFFIX} file",
                got=str(error),
                hint=MEND,
            ) from error
        self._names = [info.filename for info in entries]
        check_names(self._names, path)
        _refuse_large([(info.filename, info.file_size) for info in entries], path)
        for info in entries:
            _refuse_kind(info, path)
        _refuse_overlap(entries, end, path)

    def names(self) -> list[str]:
        return list(self._names)

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        if name not in self._names:
            inside = [other for other in self._names if other.endswith(f"/{name}")]
            if inside:
                raise BundleError(
                    f"{self._path}: {name} is not at the top of the archive",
                    expected=f"the files of the bundle without a folder around them: {name}",
                    got=inside[0],
                    hint="pack the bundle without its folder",
                    code="archive-with-folder",
                )
            raise BundleError(f"{self._path}: {name} is missing", got="no such entry", hint=MEND)
        try:
            with _open_zip(self._path) as archive:
                # The file may have been replaced since it was opened, so check the entry again.
                info = archive.getinfo(name)
                _refuse_kind(info, self._path)
                _refuse_large([(name, info.file_size)], self._path, largest)
                return _unpacked(archive, info)
        except BundleError:
            raise
        # zlib.error and the encryption's RuntimeError have no common base below Exception.
        except Exception as error:
            what = f"{self._path}: {name} cannot be read"
            refuse_machine_fault(what, error)
            raise BundleError(what, got=str(error), hint=MEND) from error


@contextmanager
def _open_zip(path: Path) -> Iterator[zipfile.ZipFile]:
    # One open file for check and use: the path may lead to another file in between.
    with path.open("rb") as file:
        check_directory(file, path, MAX_FILES)
        with zipfile.ZipFile(file) as archive:
            yield archive


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """Return an entry's content, never more than it states.

    In one piece, zipfile would inflate all that the packed bytes give and cut it afterwards.
    """
    data = io.BytesIO()
    with archive.open(info) as file:
        while piece := file.read(_PIECE):
            data.write(piece)
    return data.getvalue()


def _refuse_kind(info: zipfile.ZipInfo, path: Path) -> None:
    """Refuse an entry that is not a plain file, stored or deflated."""
    mode = info.external_attr >> 16
    wrong = ""
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        wrong = "a link or a device"
    elif info.orig_filename != info.filename:
        wrong = f"a name that ends early: {info.orig_filename!r}"
    elif info.flag_bits & 0x1:
        wrong = "encrypted"
    elif info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        wrong = f"compressed by method {info.compress_type}"
    elif info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        wrong = "of two sizes"
    elif info.file_size > max(_RATIO_FROM, _RATIO * info.compress_size):
        wrong = f"{info.compress_size} bytes that unpack to {info.file_size}"
    if wrong:
        raise BundleError(
            f"{path}: {info.filename} is no file of a bundle",
            expected="plain files",
            got=wrong,
            hint=MEND,
        )


def _refuse_overlap(entries: Sequence[zipfile.ZipInfo], end: int, path: Path) -> None:
    """Refuse entries that share bytes, with which a small file can unpack to a huge one."""
    ordered = sorted(entries, key=lambda info: info.header_offset)
    # An archive may have no entry at all; it then lacks its manifest.
    starts = [*(info.header_offset for info in ordered), end][1:]
    for info, following in zip(ordered, starts, strict=True):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > following:
            raise BundleError(f"{path}: {info.filename} lies over another entry", hint=MEND)
