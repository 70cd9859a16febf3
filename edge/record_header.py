"""The head of each record: bundle, engine, data, machine, software and command."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec

from edge import __version__
from edge.util.files import sha256
from edge.util.host import machine
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections.abc import Iterable

_GIT_S = 5.0


class RecordHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a record.

    Attributes:
        bundle: Name of the bundle; None if the record is of none, or before one is open.
        digest: SHA-256 of the bundle's manifest, or of a run's weights.
        run: Folder of the training run, if the record is of one.
        engine: `openvino`, `tflite`, `onnx`, or `torch`.
        precision: Precision as the bundle names it.
        threshold: Score from which a pixel belongs to the mask.
        data: Data set or source.
        data_digest: `files_digest` of its files; None for a live source.
        machine: The machine, in words.
        date: Time of the record, UTC, ISO 8601.
        version: Version of this software.
        commit: Git commit of this software, `-dirty` if files were changed; None outside a
            checkout.
        command: The command line, without passwords.
    """

    bundle: str | None = None
    digest: str | None = None
    run: str | None = None
    engine: str | None = None
    precision: str | None = None
    threshold: float | None = None
    data: str | None = None
    data_digest: str | None = None
    machine: str
    date: str
    version: str
    commit: str | None
    command: str


@runtime_checkable
class Described(Protocol):
    """An output that tells what its results are of."""

    def describe(self, header: RecordHeader) -> None:
        """Receive the header: before the first frame, and when bundle or engine change."""
        ...


def make_header(
    *, data: str | None = None, files: Iterable[Path] = (), run: Path | None = None
) -> RecordHeader:
    """Make the header of a record of this process.

    Args:
        data: Data set or source; credentials are removed.
        files: Files of the data, for their digest.
        run: Folder of a training run.
    """
    paths = list(files)
    return RecordHeader(
        run=None if run is None else _text(run),
        data=None if data is None else redact(data),
        data_digest=files_digest(paths) if paths else None,
        machine=machine(),
        date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        version=__version__,
        commit=commit(),
        command=redact(shlex.join(_text(part) for part in _command())),
    )


def files_digest(files: Iterable[Path]) -> str:
    """SHA-256 over the sorted SHA-256 of files: names and order do not matter.

    Raises:
        OSError: A file cannot be read.
    """
    total = hashlib.sha256()
    for digest in sorted(sha256(path) for path in dict.fromkeys(files)):
        total.update(bytes.fromhex(digest))
    return total.hexdigest()


@cache
def commit() -> str | None:
    """Return the commit of the checkout that this software runs from; None outside of one."""
    root = Path(__file__).resolve().parents[1]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None
    command = [git, "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*command, "--exclude=*"], capture_output=True, text=True, timeout=_GIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def _command() -> list[str]:
    """Return the command line, with the program's name instead of the path of its module."""
    program = Path(sys.argv[0])
    own_program = program.name == "__main__.py" and program.parent.name == "edge_difom"
    return ["edge-difom" if own_program else program.name, *sys.argv[1:]]


def _text(value: str | Path) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
