"""A repository as a device reads it: a plain folder or stick, never the network."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from edge.errors import BundleError, UsageError

METADATA, TARGETS = "metadata", "targets"


def open_folder(source: str) -> Folder:
    """The repository at a path or `file://` address.

    Raises:
        UsageError: Another kind of address.
        BundleError: There is no repository.
    """
    path = Path(source)
    if "://" in source:
        address = urlsplit(source)
        if address.scheme != "file" or address.netloc not in ("", "localhost"):
            raise UsageError(
                f"{source} is not read by a device",
                expected="a folder: a path, or file:///PATH",
                hint="copy the repository to a stick, or mount the file server",
            )
        path = Path(unquote(address.path))
    if not (path / METADATA).is_dir():
        raise BundleError(
            f"{path} is no repository",
            expected=f"a folder with {METADATA}/ and {TARGETS}/",
            hint="edge-difom bundle publish B --repository DIR --keys KEYS",
        )
    return Folder(path)


class Folder:
    """A repository's files, read within bounds.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def metadata(self, name: str, largest: int) -> bytes | None:
        """A file of metadata, None where there is none.

        Args:
            name: Its name.
            largest: Bytes that it may have.

        Raises:
            BundleError: Larger, or not to be read.
        """
        path = self.path / METADATA / name
        try:
            with open_plain(path) as file:
                data = file.read(largest + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise BundleError(f"{path} cannot be read", got=error.strerror or str(error)) from error
        if len(data) > largest:
            raise BundleError(f"{path} is too large", expected=f"at most {largest} bytes")
        return data

    def target(self, name: str) -> IO[bytes]:
        """A bundle, opened.

        Raises:
            BundleError: Missing, or not to be read.
        """
        path = self.path / TARGETS / name
        try:
            return open_plain(path)
        except OSError as error:
            raise BundleError(
                f"{path} cannot be read",
                got=error.strerror or str(error),
                hint="copy the repository again, whole",
            ) from error


def open_plain(path: Path) -> IO[bytes]:
    """Open a regular file; a symbolic link, a pipe or a device is none.

    Raises:
        OSError: It is none, or cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is no regular file")
    return os.fdopen(handle, "rb")
