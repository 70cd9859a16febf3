"""System call filters as programs of the classic Berkeley packet filter (seccomp(2)).

Two filters exist. `closed` allows what a runtime needs on the CPU and nothing else. `drivers` is
for engines whose drivers make calls that nobody lists: it allows everything except programs,
networks and what changes other processes or the system.
"""

from __future__ import annotations

import errno
import struct
from typing import NamedTuple

from edge.sandbox.syscalls import NEW_FROM, NUMBERS, number

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Architecture -> `AUDIT_ARCH_*` (linux/audit.h)."""

_X32 = 0x40000000
"""Bit of the numbers of x86's x32 calls, which would pass by the numbers that are listed."""

_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
"""`SECCOMP_RET_ALLOW`, `SECCOMP_RET_KILL_PROCESS`, `SECCOMP_RET_ERRNO`."""

_LOAD, _EQUAL, _AT_LEAST, _AND, _RETURN = 0x20, 0x15, 0x35, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_ALL = 0xFFFFFFFF

_CLONE_THREAD = 0x10000
_TRUNCATE, _ACCESS_MODE = 0o1000, 0o3
_OPENED = (0, 1, 2, _TRUNCATE | 1, _TRUNCATE | 2)
"""Ways to open a file; `O_TRUNC` without writing empties it, which old kernels let pass."""

_PRCTL = (15, 16, 29, 30, 50, 51, 0x53564D41)
"""Name and timer slack of a thread, vector length (SVE), name of a mapping."""

_IOCTL = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
"""Is it a terminal and how wide, bytes to read, blocking, close on exec."""

_UNIX = 1
"""`AF_UNIX`."""

_DENIED = (
    *("execve", "execveat", "fork", "vfork"),
    *("ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open", "userfaultfd"),
    *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare"),
    *("keyctl", "add_key", "request_key"),
    *("kexec_load", "init_module", "finit_module", "delete_module"),
    *("reboot", "swapon", "swapoff"),
)
"""Calls that no engine needs, with or without drivers."""


class Check(NamedTuple):
    """Values of one argument with which a call is allowed.

    Attributes:
        argument: Its position; its low 32 bits are compared.
        mask: Bits that count.
        values: What these bits may be.
    """

    argument: int
    mask: int
    values: tuple[int, ...]


def closed_filter(architecture: str, pid: int) -> bytes:
    """Return the filter of an engine on the CPU.

    A call that is not listed fails with EPERM, and with ENOSYS if it is so new that libraries
    still know how to do without it.

    Args:
        architecture: `x86_64` or `aarch64`.
        pid: Process that the filter is for; it may send signals to itself.
    """
    checks = _checks(pid) | {
        "prlimit64": Check(0, _ALL, (0, pid)),
        "sched_setaffinity": Check(0, _ALL, (0, pid)),
        "prctl": Check(0, _ALL, _PRCTL),
        "ioctl": Check(1, _ALL, _IOCTL),
        "openat": Check(2, _TRUNCATE | _ACCESS_MODE, _OPENED),
        "open": Check(1, _TRUNCATE | _ACCESS_MODE, _OPENED),
    }
    code = _begin(architecture)
    for name in NUMBERS:
        if name not in (*_DENIED, "socket"):
            code += _rule(number(name, architecture), checks.get(name))
    code += [(_AT_LEAST, 0, 1, NEW_FROM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    return _encode([*code, (_RETURN, 0, 0, _ERRNO | errno.EPERM)])


def drivers_filter(architecture: str, pid: int) -> bytes:
    """Return the filter of an engine that needs drivers.

    New calls fail with ENOSYS here too, because among them are other ways to do what is denied.

    Args:
        architecture: `x86_64` or `aarch64`.
        pid: Process that the filter is for; it may send signals to itself.
    """
    code = _begin(architecture)
    for name in _DENIED:
        code += _rule(number(name, architecture), Check(0, 0, ()))
    for name, check in (_checks(pid) | {"socket": Check(0, _ALL, (_UNIX,))}).items():
        code += _rule(number(name, architecture), check)
    for name in ("close_range", "faccessat2", "epoll_pwait2"):
        code += _rule(number(name, architecture), None)
    code += [(_AT_LEAST, 0, 1, NEW_FROM), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    return _encode([*code, (_RETURN, 0, 0, _ALLOW)])


def _checks(pid: int) -> dict[str, Check]:
    """Threads but no processes, and signals to itself alone."""
    own = Check(0, _ALL, (pid,))
    return {"clone": Check(0, _CLONE_THREAD, (_CLONE_THREAD,)), "kill": own, "tgkill": own}


Code = list[tuple[int, int, int, int]]
"""Instructions: operation, jump if true, jump if false, operand."""


def _begin(architecture: str) -> Code:
    """Load the number of the call; end a process that calls for a different architecture."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _AUDIT[architecture]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if architecture == "x86_64":
        code += [(_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, _KILL)]
    return code


def _rule(call: int | None, check: Check | None) -> Code:
    """Decide about one call; without a check it is allowed."""
    if call is None:
        return []
    block: Code = []
    if check is not None:
        block += [
            (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * check.argument),
            (_AND, 0, 0, check.mask),
        ]
        for value in check.values:
            block += [(_EQUAL, 0, 1, value), (_RETURN, 0, 0, _ALLOW)]
        block.append((_RETURN, 0, 0, _ERRNO | errno.EPERM))
    else:
        block.append((_RETURN, 0, 0, _ALLOW))
    return [(_EQUAL, 0, len(block), call), *block]


def _encode(code: Code) -> bytes:
    """Return the instructions as an array of `struct sock_filter`."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)
