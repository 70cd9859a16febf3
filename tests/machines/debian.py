"""Debian tools and packages of the emulated machines, in a folder that is kept between runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPOSITORY = Path(__file__).resolve().parents[2]


class MachineError(Exception):
    """A machine cannot be made or started; the message says what mends it."""


def say(line: str) -> None:
    """One line of progress."""
    print(f"[machine] {line}", flush=True)  # noqa: T201 - the harness talks to a terminal


def call(
    *command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> str:
    """What a command prints.

    Raises:
        MachineError: It fails.
    """
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        text = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise MachineError(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{text}")
    return done.stdout


def cache(name: str) -> Path:
    """The folder of a machine under `$XDG_CACHE_HOME`, which a second run finds again."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "edge-difom" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def made_whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` when all went well and is removed otherwise."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        filled = Path(temporary) / "filled"
        filled.mkdir()
        yield filled
        filled.rename(folder)


def need(tools: Mapping[str, str]) -> None:
    """Install what is missing of some tools, where this process may.

    Args:
        tools: Program -> Debian package that has it.

    Raises:
        MachineError: Some are missing and cannot be installed; the message has the command.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    os.environ["PATH"] = path
    missing = sorted(
        {package for program, package in tools.items() if shutil.which(program) is None}
    )
    if not missing:
        return
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
    if shutil.which("apt-get") is None:
        raise MachineError(
            f"these Debian packages are missing, and this is no Debian: {' '.join(missing)}"
        )
    if os.geteuid() != 0:
        raise MachineError(f"missing; install with: sudo {' '.join(install)}")
    say(f"installing {' '.join(missing)}")
    subprocess.run(["apt-get", "update", "-qq"], check=False)
    call(*install, environment={"DEBIAN_FRONTEND": "noninteractive"})


def report(error: MachineError) -> int:
    """Print an error; the exit code of something that is not installed."""
    print(f"error: {error}", file=sys.stderr)  # noqa: T201 - likewise
    return 8
