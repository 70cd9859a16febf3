"""A repository as a device reads it: a plain folder or USB stick, never the network."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from edge.errors import BundleError, UsageError

METADATA, TARGETS = "metadata", "targets"


def open_folder(source: str) -> Folder:
    """Open the repository at a path or `file://` address.

    Raises:
        UsageError: The address is of a different kind.
        BundleError: There is no repository.
    """
    path = Path(source)
    if "://" in source:
        address = urlsplit(source)
        if address.scheme != "file" or address.netloc not in ("", "localhost"):
            raise UsageError(
                f"{source} cannot be read by a device",
                expected="a folder: a path, or file:///PATH",
                hint="copy the repository to a stick, or mount the file server",
            )
        path = Path(unquote(address.path))
    if not (path / METADATA).is_dir():
        raise BundleError(
            f"{path} is not a repository",
            expected=f"a folder with {METADATA}/ and {TARGETS}/",
            hint="publish a bundle there first",
            code="nothing-published",
        )
    return Folder(path)


class Folder:
    """Files of a repository, read with size limits.

    Args:
        path: Folder of the repository.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def metadata(self, name: str, largest: int) -> bytes | None:
        """Read a metadata file; None if it is missing.

        Args:
            name: Name of the file.
            largest: Size limit in bytes.

        Raises:
            BundleError: The file is larger, or cannot be read.
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
        """Open a bundle.

        Raises:
            BundleError: The file is missing, or cannot be read.
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
    """Open a regular file; symbolic links, pipes and devices are refused.

    Raises:
        OSError: It is not a regular file, or cannot be opened.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(f"{path} is not a regular file")
    return os.fdopen(handle, "rb")
