"""Reads a source in a thread and keeps only the newest frame, so that no frame waits in a queue."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from edge.errors import Interruption

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame


class NewestFrame:
    """Keeps the newest frame of something that blocks while it reads.

    Frames that are not fetched in time are overwritten; the gap shows in `Frame.index`.

    Args:
        read: Returns the next frame, or None at the end, and raises as `Source.read` does; called
            in the thread only.
        release: Called once in the thread after the last `read`, so that nothing is released while
            a read still runs.
        name: Name of the thread.
    """

    def __init__(
        self,
        read: Callable[[], Frame | None],
        *,
        release: Callable[[], None] | None = None,
        name: str = "capture",
    ) -> None:
        self._read, self._release = read, release
        self._changed = threading.Condition()
        self._frame: Frame | None = None
        self._interruption: Interruption | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait until `next_frame` would return or raise at once.

        Returns:
            False if the time ran out.
        """
        with self._changed:
            return self._changed.wait_for(self._has_news, timeout_s)

    def next_frame(self, timeout_s: float) -> Frame | None:
        """Return the newest frame, each frame only once; None at the end.

        Raises:
            TimeoutError: No frame came in time.
            Interruption: The last one that `read` raised, again until a frame comes; raised when
                the time has run out, so that a caller in a loop does not spin.
            SourceError: The error that ended `read`, after the last frame was fetched.
        """
        with self._changed:
            if not self._changed.wait_for(self._has_news, timeout_s):
                if self._interruption is not None:
                    raise Interruption(self._interruption.state, self._interruption.reason)
                raise TimeoutError(f"no frame for {timeout_s:g} s")
            if self._frame is not None:
                frame, self._frame = self._frame, None
                return frame
            if self._error is not None:
                raise self._error
            return None

    def close(self, timeout_s: float = 1.0) -> None:
        """End the thread; if it hangs in `read`, it is abandoned and ends with that read."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _has_news(self) -> bool:
        return self._frame is not None or self._ended

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            while not self._stop.is_set():
                interruption = None
                try:
                    frame = self._read()
                except TimeoutError:
                    continue
                except Interruption as caught:
                    frame, interruption = None, caught
                if frame is None and interruption is None:
                    break
                with self._changed:
                    # A frame from before the interruption must not be shown late.
                    self._frame, self._interruption = frame, interruption
                    self._changed.notify_all()
        except BaseException as caught:  # noqa: BLE001 - handed to the reader, whoever that is
            error = caught
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()
        if self._release is not None:
            with contextlib.suppress(Exception):
                self._release()
