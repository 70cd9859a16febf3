"""The controller's application as a shared library for this machine, compiled once and cached."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from edge.errors import MissingDependencyError

FIRMWARE = Path(__file__).parent.parent / "firmware"
_FOLDERS = ("core", "codec", "boards/host")
_COMPILERS = ("cc", "gcc", "clang")


def library() -> Path:
    """Return the path of the library; compiles the sources if they are new or changed.

    The library is stored under `$EDGE_DIFOM_CACHE`, `$XDG_CACHE_HOME/edge-difom` or
    `~/.cache/edge-difom`.
    Processes that compile at the same time do not disturb each other.

    Raises:
        MissingDependencyError: There is no C compiler, or it failed.
    """
    digest = hashlib.sha256(os.uname().machine.encode())
    for folder in _FOLDERS:
        for path in sorted((FIRMWARE / folder).glob("*.[ch]")):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    built = _cache() / f"libcart-{digest.hexdigest()[:16]}.so"
    if not built.exists():
        _compile(built)
    return built


def _cache() -> Path:
    if folder := os.environ.get("EDGE_DIFOM_CACHE"):
        return Path(folder)
    try:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:  # a user without a home
        home = Path(tempfile.gettempdir()) / f"cache-{os.geteuid()}"
    return Path(home) / "edge-difom"


def _compile(built: Path) -> None:
    chosen = os.environ.get("CC")
    compiler = next(filter(None, map(shutil.which, (chosen,) if chosen else _COMPILERS)), None)
    if compiler is None:
        raise MissingDependencyError(
            "the simulated cart is C code, and there is no compiler to build it",
            expected=chosen or ", ".join(_COMPILERS),
            got="none on the PATH",
            hint="apt-get install gcc libc6-dev",
        )
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent, prefix=".libcart.") as folder:
        binary = Path(folder) / built.name
        sources = [str(path) for name in _FOLDERS for path in sorted((FIRMWARE / name).glob("*.c"))]
        options = [
            "-std=c99",
            "-O2",
            "-fPIC",
            "-shared",
            "-w",
            "-fno-strict-aliasing",
            "-DZCBOR_CANONICAL",
        ]
        includes = [f"-I{FIRMWARE / name}" for name in _FOLDERS]
        run = subprocess.run(
            [compiler, *options, *includes, "-o", str(binary), *sources],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode:
            raise MissingDependencyError(
                "the simulated cart does not compile",
                expected=f"{compiler} with the headers of the C library",
                got="; ".join(run.stderr.strip().splitlines()[:3]),
                hint="apt-get install gcc libc6-dev",
            )
        binary.replace(built)
