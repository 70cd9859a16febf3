"""Work behind the frame loop's back: one thread and a bounded queue, so that a slow disk stops neither."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

RETRY_S = 0.25
"""Pause after work that could not be done."""


class Background(Generic[T]):
    """Does work in the order in which it is put; starts when it is made.

    Args:
        work: Does one item. An OSError, such as of a full disk, keeps the item, and it is tried again after a
            pause; any other error ends the thread, and is raised by `close` and by a `put` that waits; any other `put`
            drops from then on.
        capacity: Most items that wait.
        when_full: `put` drops the oldest item or the one that is put, and counts it, or waits for room.
        name: Of the thread.
        retry_s: Pause after an OSError, seconds.
    """

    def __init__(
        self,
        work: Callable[[T], object],
        *,
        capacity: int,
        when_full: Literal["oldest", "newest", "wait"],
        name: str,
        retry_s: float = RETRY_S,
    ) -> None:
        self.dropped = 0
        """Items that were never done."""
        self.failed = 0
        """Attempts that ended in an OSError."""
        self._work, self._capacity, self._when_full = work, capacity, when_full
        self._retry_s = retry_s
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._abandoned = threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def has_room(self) -> bool:
        """Whether `put` would neither drop nor wait."""
        return len(self._items) < self._capacity

    @property
    def error(self) -> Exception | None:
        """What ended the thread."""
        return self._error

    def put(self, item: T) -> bool:
        """Hand over an item.

        Returns:
            Whether nothing was dropped for it.

        Raises:
            Exception: What ended the thread, where `put` waits for room.
        """
        with self._changed:
            if self._when_full == "wait":
                self._changed.wait_for(lambda: self.has_room or self._error is not None)
            if self._error is not None and self._when_full == "wait":
                raise self._error
            fits = self.has_room
            if not fits or self._error is not None:
                self.dropped += 1
                if self._when_full == "newest" or self._error is not None:
                    return False
                self._items.popleft()
            self._items.append(item)
            self._changed.notify_all()
            return fits

    def close(self, timeout: float | None) -> bool:
        """Finish what waits, and end the thread; what is not done in time is dropped and counted.

        Args:
            timeout: Seconds; None waits as long as it takes.

        Returns:
            Whether the thread ended; where it did not, it hangs in the kernel.

        Raises:
            Exception: What ended the thread before.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(timeout)
        if self._thread.is_alive():
            self._abandoned.set()
            self._thread.join(self._retry_s)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except Exception as error:  # noqa: BLE001 - it is raised where the caller sees it
            self._error = error
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()

    def _step(self) -> bool:
        """Do one item; False where there will be no other."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing)
            if not self._items or self._abandoned.is_set():
                return False
            item = self._items.popleft()
            # What fails before the end is tried once more: the disk may have room again by then.
            last = self._closing
            self._changed.notify_all()
        try:
            self._work(item)
        except OSError:
            with self._changed:
                self.failed += 1
                if self.has_room:
                    self._items.appendleft(item)
                else:
                    self.dropped += 1
                if last:
                    return False
            self._abandoned.wait(self._retry_s)
        return True
