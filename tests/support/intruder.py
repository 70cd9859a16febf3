"""An engine that has been taken over, as far as its process is concerned: it tries what it can."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

_LIBC = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _TIOCSTI, _CLONE_NEWUSER = 16, 0x5412, 0x10000000
_IO_URING_SETUP = 425


def _called(name: str, *arguments: Any) -> None:
    if getattr(_LIBC, name)(*arguments) < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _forked() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _threaded() -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def attempts(bundle: str, parent: int, own_folder: str = "") -> dict[str, Callable[[], object]]:
    """What is tried: name -> the try.

    Args:
        bundle: A folder that is handed over for reading.
        parent: Process that started this one.
        own_folder: A folder that is handed over for writing.
    """
    inside, outside = Path(bundle), Path(bundle).parent
    manifest = inside / "manifest.json"
    actions: dict[str, Callable[[], object]] = {
        "read /etc/passwd": Path("/etc/passwd").read_bytes,
        "list /": lambda: list(Path("/").iterdir()),
        "list beside the bundle": lambda: list(outside.iterdir()),
        "read the parent's variables": Path(f"/proc/{parent}/environ").read_bytes,
        "read the parent's command": Path(f"/proc/{parent}/cmdline").read_bytes,
        "write beside the bundle": lambda: (outside / "left").write_bytes(b"x"),
        "write into the bundle": lambda: (inside / "left").write_bytes(b"x"),
        "change the bundle": lambda: manifest.open("r+b").close(),
        "empty a file": lambda: os.close(os.open(manifest, os.O_RDONLY | os.O_TRUNC)),
        "cut a file": lambda: os.truncate(manifest, 0),
        "remove a file": manifest.unlink,
        "change rights": lambda: manifest.chmod(0o777),
        "make a link": lambda: (outside / "link").symlink_to("/etc"),
        "make a socket to the network": lambda: socket.socket().close(),
        "make a local socket": lambda: socket.socket(socket.AF_UNIX).close(),
        "run a program": lambda: subprocess.run(["/bin/true"], check=True),
        "become a program": lambda: os.execv("/bin/false", ["false"]),
        "fork": _forked,
        "signal the parent": lambda: os.kill(parent, 0),
        "limit the parent": lambda: resource.prlimit(parent, resource.RLIMIT_CORE, (0, 0)),
        "move the parent": lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent)),
        "trace the parent": lambda: _called("ptrace", _PTRACE_ATTACH, parent, None, None),
        "mount": lambda: _called("mount", b"none", bytes(outside), b"tmpfs", 0, None),
        "leave the name space": lambda: _called("unshare", _CLONE_NEWUSER),
        "type into a terminal": lambda: _called("ioctl", 2, _TIOCSTI, b"x"),
        "make a ring": lambda: _called("syscall", _IO_URING_SETUP, 1, bytes(120)),
        "dump pictures": lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1)),
        "read the bundle": manifest.read_bytes,
        "import a module": lambda: __import__("sqlite3"),
        "start a thread": _threaded,
    }
    if own_folder:
        actions["write what it may"] = lambda: (Path(own_folder) / "own").write_bytes(b"x")
    return actions


ALLOWED = {"read the bundle", "import a module", "start a thread", "write what it may"}


def try_all(bundle: str, parent: int, own_folder: str = "", names: str = "") -> dict[str, str]:
    """Return what became of each attempt: `done`, or the name of the error's number.

    Args:
        bundle: As in `attempts`.
        parent: As in `attempts`.
        own_folder: As in `attempts`.
        names: Attempts to make, separated by commas; all by default.
    """
    tried = attempts(bundle, parent, own_folder)
    outcome = {}
    for name in names.split(",") if names else tried:
        outcome[name] = _try(tried[name])
    return outcome


def _try(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "OSError")
    except ValueError:
        return "ValueError"
    return "done"


class Intruder:
    """An engine whose settings are what became of its attempts."""

    input_buffer = None

    name, size = "intruder", 8

    def __init__(self, **arguments: Any) -> None:
        self._outcome = try_all(**arguments)

    def settings(self) -> dict[str, Any]:
        return self._outcome

    def infer(self, image: Any) -> Any:
        return np.full((self.size, self.size), image.mean(), np.uint8)

    def close(self) -> None:
        return


if __name__ == "__main__":
    import json

    from edge.sandbox.enter import enter
    from edge.sandbox.grants import Grants

    bundle, parent, drivers, names = sys.argv[1:]
    if drivers != "free":
        enter(Grants(reads=[bundle], drivers=drivers == "drivers"))
    json.dump(try_all(bundle, int(parent), names=names), sys.stdout)
