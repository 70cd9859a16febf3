"""System calls that Python has no functions for."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

_PR_SET_NO_NEW_PRIVS = 38


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def call(number: int, *arguments: Any) -> int:
    """Make a system call by its number.

    Args:
        number: Number of the call on this architecture.
        *arguments: Integers, ctypes arrays and structures, or None for a null pointer.

    Raises:
        OSError: The call fails.
    """
    syscall = _libc().syscall
    syscall.restype = ctypes.c_long
    words = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def set_no_new_privileges() -> None:
    """Give up everything that a program with more rights could give this process.

    Raises:
        OSError: The kernel is older than 3.5.
    """
    if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
