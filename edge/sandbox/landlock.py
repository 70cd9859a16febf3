"""Landlock: the file system as far as it was handed over (landlock(7)).

The C library has no functions for it, so that the system calls are made by number.
"""

from __future__ import annotations

import ctypes
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from edge.sandbox.kernel import call

if TYPE_CHECKING:
    from collections.abc import Iterable

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE = 1 << 4, 1 << 5
_MAKE_DIR, _MAKE_REG = 1 << 7, 1 << 8
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_TCP, _SCOPES = 0b11, 0b11
"""Bind and connect; abstract UNIX sockets and signals of other processes."""

READ = _READ_FILE | _READ_DIR
CHANGE = READ | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE | _MAKE_DIR | _REMOVE_DIR
DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
_OF_FILES = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV


def version() -> int:
    """Return the version of Landlock's interface, 0 if this kernel has none or does not use it."""
    with suppress(OSError):
        return call(_CREATE, None, 0, _VERSION)
    return 0


def restrict(rules: Iterable[tuple[str, int]], *, reading: bool = True) -> int:
    """Deny this thread, and all that it starts, every file except what the rules name.

    A path counts as it is now: what is put in its place later is not handed over. Paths that do
    not exist are left out. `PR_SET_NO_NEW_PRIVS` must be set.

    Args:
        rules: Path and rights, such as `READ`; those of a folder hold for all that is in it.
        reading: Whether reading is restricted as well, not only changing.

    Returns:
        The version of the interface, which says how much of this the kernel knows.

    Raises:
        OSError: The kernel has no Landlock, or refuses a rule.
    """
    abi = call(_CREATE, None, 0, _VERSION)
    handled = _rights(abi) & ~(0 if reading else READ | 1)
    # Networks since 4, signals and abstract sockets since 6: the structure grew with each.
    scopes = _SCOPES if reading else 0
    attributes = (ctypes.c_uint64 * 3)(handled, _TCP, scopes)
    ruleset = call(_CREATE, attributes, 24 if abi >= 6 else 16 if abi >= 4 else 8, 0)
    try:
        for path, rights in rules:
            _add(ruleset, path, rights & handled)
        call(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _rights(abi: int) -> int:
    """Return every right that a version of the interface knows."""
    return (1 << (13 if abi < 2 else 14 if abi < 3 else 15 if abi < 5 else 16)) - 1


def _add(ruleset: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_FILES
        if rights:
            rule = ctypes.create_string_buffer(
                rights.to_bytes(8, "little") + place.to_bytes(4, "little"), 12
            )
            call(_ADD, ruleset, _PATH_BENEATH, rule, 0)
    finally:
        os.close(place)
