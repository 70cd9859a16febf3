"""Whether a signal is present: a file that the runtime holds locked as long as it is.

The kernel takes the lock back when the runtime ends, however it ends, so a crash never blocks an
update for good.
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
    """The runtime's side; a context manager. Nothing here blocks.

    Args:
        folder: State folder of the device.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / SIGNAL
        self._file: IO[bytes] | None = None
        self._held = False

    def present(self, signal: bool) -> bool:
        """Tell whether a signal is present; call it with every status, because another's look may stand in the way.

        Returns:
            Whether updates are refused now.
        """
        if signal == self._held:
            return self._held
        try:
            if self._file is None:
                self._file = self._path.open("ab")
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB if signal else fcntl.LOCK_UN)
        except OSError:
            return self._held
        self._held = signal
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
        self._file, self._held = None, False


def open_signal(folder: Path | str) -> SignalLock:
    """The runtime's side of a state folder."""
    from pathlib import Path

    return SignalLock(Path(folder))


def refuse_under_signal(folder: Path) -> None:
    """Stop where a signal is present.

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
