"""Enter the sandbox, and say which parts of it this kernel has.

A process enters before it reads anything that is not trusted, and while it has one thread only:
Landlock holds for the thread that asks for it and for those that it starts. What the kernel lacks
is left out and named; the rest is applied.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from contextlib import suppress
from pathlib import Path

from edge.sandbox import landlock
from edge.sandbox.filters import closed_filter, drivers_filter
from edge.sandbox.grants import Grants, Sandbox
from edge.sandbox.kernel import call, set_no_new_privileges
from edge.sandbox.python_paths import python_paths
from edge.sandbox.syscalls import ARCHITECTURES
from edge.util.host import architecture

_SECCOMP = {"x86_64": 317, "aarch64": 277}
_SET_FILTER, _ACTION_AVAILABLE, _ERRNO_ACTION = 1, 2, 0x00050000
_ALL_THREADS, _SPECULATION = 1, 4
"""Filter flags. Without the second one, kernels before 5.16 slow the process down against a side
channel inside one address space; this process holds nothing in its memory that is not its own."""

DESCRIPTORS = 256
"""Maximum number of open files."""

_FILE_BYTES = 1 << 30
"""Maximum size of a file that is written, bytes."""

_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_KERNEL = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system",
    "/sys/fs/cgroup",
    "/sys/kernel/mm/transparent_hugepage",
)
"""What libraries ask about the processor and its memory."""

_pinned: list[int] = []
"""Descriptors of `/proc`: its files lose what is allowed when the kernel drops them unused."""


def support() -> Sandbox:
    """Return what this kernel has for a sandbox, without entering one."""
    missing = []
    version = landlock.version()
    if not version:
        missing.append(_no_landlock("this kernel does not have it, or not switched on"))
    machine, filtered = architecture(), False
    if machine in ARCHITECTURES:
        with suppress(OSError):
            action = ctypes.c_uint32(_ERRNO_ACTION)
            filtered = call(_SECCOMP[machine], _ACTION_AVAILABLE, 0, ctypes.byref(action)) == 0
    if not filtered:
        missing.append(_no_filter("this kernel does not have it, or not for this processor"))
    return Sandbox(landlock=version, filtered=filtered, missing=missing)


def enter(grants: Grants) -> Sandbox:
    """Give up all rights but those handed over, for good.

    Python, its packages and the system's libraries stay readable, so that modules can be imported
    afterwards.

    Args:
        grants: What the process may use.

    Returns:
        What was applied.
    """
    machine, version, filtered, missing = architecture(), 0, False, list[str]()
    if len(list(Path("/proc/self/task").iterdir())) > 1:
        missing.append(_no_landlock("for threads that run already"))
    _limit(grants)
    try:
        set_no_new_privileges()
        version = landlock.restrict(_rules(grants), reading=not grants.drivers)
    except OSError as error:
        missing.append(_no_landlock(error.strerror or str(error)))
    try:
        _filter(machine, drivers=grants.drivers)
        filtered = True
    except (OSError, KeyError) as error:
        missing.append(_no_filter(str(error)))
    return Sandbox(landlock=version, filtered=filtered, drivers=grants.drivers, missing=missing)


def _no_landlock(reason: str) -> str:
    return f"files are not withheld (Landlock: {reason})"


def _no_filter(reason: str) -> str:
    return f"system calls are not filtered (seccomp: {reason})"


def _rules(grants: Grants) -> list[tuple[str, int]]:
    """Return path and rights of everything that may be used."""
    own = os.path.realpath("/proc/self")
    rules = [(path, landlock.CHANGE) for path in grants.writes]
    if grants.drivers:
        return [*rules, ("/dev", landlock.DEVICE), (own, landlock.DEVICE)]
    for path in (own, *(path for path in _KERNEL if path.startswith("/proc"))):
        with suppress(OSError):
            _pinned.append(os.open(path, os.O_PATH | os.O_CLOEXEC))
    read = (*grants.reads, *python_paths(), own, *_KERNEL)
    rules += [(path, landlock.READ) for path in read]
    return [*rules, *((path, landlock.DEVICE) for path in _DEVICES)]


def _limit(grants: Grants) -> None:
    """Limit memory, descriptors and file sizes, and leave no picture in a core dump."""
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: DESCRIPTORS,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
    }
    if grants.memory_mb is not None:
        # What is private and writable counts. Address space would be the wrong measure: the C
        # library reserves much of it for each thread.
        data_bytes = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
        limits[resource.RLIMIT_DATA] = data_bytes + (grants.memory_mb << 20)
    for what, most in limits.items():
        _, hard = resource.getrlimit(what)
        least = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (least, least))


def _filter(machine: str, *, drivers: bool) -> None:
    code = (drivers_filter if drivers else closed_filter)(machine, os.getpid())
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("@HP", len(code) // 8, ctypes.addressof(buffer))
    flags = _ALL_THREADS | _SPECULATION
    other = call(_SECCOMP[machine], _SET_FILTER, flags, ctypes.c_char_p(program))
    if other:
        raise OSError(f"thread {other} has a different filter")
