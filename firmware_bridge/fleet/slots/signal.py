"""Presence of a video signal: a file that the runtime keeps locked while there is one.

The kernel releases the lock when the runtime ends for any reason, so a crash never blocks updates
permanently.
"""

from __future__ import annotations

import fcntl
from typing import IO, TYPE_CHECKING

from edge.errors import BusyError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

SIGNAL = "signal"


class SignalLock:
    """The runtime's side of the lock; a non-blocking context manager.

    Args:
        folder: State folder of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SIGNAL
        self._file: IO[bytes] | None = None
        self._holding = False

    def present(self, signal: bool) -> bool:
        """Report whether a signal is present.

        Call it with every status, because a concurrent check may briefly hold the lock.


        Returns:
            True if updates are refused now.
        """
        if signal == self._holding:
            return self._holding
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB if signal else fcntl.LOCK_UN)
        except OSError:
            return self._holding
        self._holding = signal
        return signal

    def __enter__(self) -> SignalLock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._file, self._holding = None, False


def open_signal(folder: Path | str) -> SignalLock:
    """Open the lock of a state folder for the runtime."""
    from pathlib import Path

    return SignalLock(Path(folder))


def refuse_under_signal(folder: Path) -> None:
    """Refuse to continue if a signal is present.

    Raises:
        BusyError: The runtime holds the lock.
    """
    try:
        file = (folder / SIGNAL).open("rb")
    except FileNotFoundError:
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BusyError(
                "a signal is present: the device may be in use on a patient",
                expected="no signal at the input while a bundle is installed",
                hint="unplug or switch off the endoscope's processor, then install again",
            ) from error
