"""Tells faults of the machine, which pass, from faults of a file or a bundle, which stay.

A process without free file descriptors, memory or disk space cannot open any bundle, and a cable
that is loose for a second makes a good bundle unreadable. Such a fault is retried and reported, and
never counted against the bundle that was being read. This is the only place that decides it.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import EdgeDifomError, MachineError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OF_ALL = {
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EAGAIN,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOBUFS,
    errno.ENOLCK,
}
"""The machine is short of something that every bundle needs."""

_OF_ONE = {errno.EIO, errno.ESTALE, errno.EREMOTEIO, errno.ENOTCONN, errno.ETIMEDOUT}
"""A medium does not answer; a bundle on a different medium or sector may still be readable."""

_MEMORY = "out of memory"
_TEXTS_OF_ONE = (*map(os.strerror, sorted(_OF_ONE)), _MEMORY)
_TEXTS = (
    *_TEXTS_OF_ONE,
    *map(os.strerror, sorted(_OF_ALL)),
    "can't start new thread",
    "bad_alloc",
)
"""How libraries word these faults in errors that carry no number, such as a failed `dlopen`."""

_DEEPEST = 16


class MachineFault(NamedTuple):
    """A fault of the machine.

    Attributes:
        text: What the machine lacks, for people.
        spares_others: Whether a different bundle may work meanwhile: one on a medium that answers,
            or one that needs less memory.
    """

    text: str
    spares_others: bool


def machine_fault(error: BaseException) -> MachineFault | None:
    """Return the machine's fault behind an error, None if the machine is not at fault.

    Args:
        error: Any error; the errors that caused it are looked at, too.
    """
    for link in _chain(error):
        if isinstance(link, MemoryError):
            return MachineFault(_MEMORY, spares_others=True)
        if isinstance(link, OSError) and link.errno in _OF_ALL | _OF_ONE:
            assert link.errno is not None
            name = errno.errorcode[link.errno]
            return MachineFault(
                f"{os.strerror(link.errno)} ({name})", spares_others=link.errno in _OF_ONE
            )
        if isinstance(link, MachineError):
            text = link.got or link.what
            return MachineFault(text, spares_others=any(phrase in text for phrase in _TEXTS_OF_ONE))
        if not isinstance(link, EdgeDifomError | OSError):
            phrase = next((phrase for phrase in _TEXTS if phrase in str(link)), None)
            if phrase is not None:
                # A bundle may have chosen these words, so that others must have their turn, too.
                return MachineFault(phrase, spares_others=True)
    return None


def refuse_machine_fault(what: str, error: BaseException) -> None:
    """Raise the error to report in place of `error` if the machine is at fault; else do nothing.

    Args:
        what: What could not be done, naming the file.
        error: The error that was caught.

    Raises:
        MachineError: The machine is at fault.
    """
    fault = machine_fault(error)
    if fault is not None:
        raise MachineError(
            what,
            expected="free file descriptors, memory and disk space, and a medium that answers",
            got=fault.text,
            hint="try again; nothing is wrong with the file itself",
        ) from error


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that caused it."""
    link: BaseException | None = error
    for _ in range(_DEEPEST):
        if link is None:
            return
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
