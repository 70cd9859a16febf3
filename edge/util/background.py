"""Background worker: one thread and one bounded queue, so that a slow disk blocks no caller."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

RETRY_S = 0.25
"""Pause after an item that failed with an OSError, seconds."""


class Background(Generic[T]):
    """Processes items in the order in which they are put; the thread starts at once.

    Args:
        work: Processes one item. After an OSError, such as a full disk, the item is kept and tried
            again after a pause. Any other error ends the thread; it is raised by `close`, and by
            `put` if that waits for room. Other calls of `put` drop their items from then on.
        capacity: Maximum number of waiting items.
        when_full: Whether `put` drops and counts the oldest item, drops and counts the new one, or
            waits for room.
        name: Name of the thread.
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
        """Number of items that were never processed."""
        self.failed = 0
        """Number of attempts that ended in an OSError."""
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
        """The error that ended the thread, None if there is none."""
        return self._error

    def put(self, item: T) -> bool:
        """Queue an item.

        Returns:
            Whether no item was dropped.

        Raises:
            Exception: The error that ended the thread, if `put` waits for room.
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
        """Process the waiting items and end the thread; items that take too long are dropped.

        Args:
            timeout: Seconds to wait; None waits without limit.

        Returns:
            Whether the thread ended; if not, it hangs in the kernel.

        Raises:
            Exception: The error that ended the thread.
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
        except Exception as error:  # noqa: BLE001 - raised in the thread of the caller
            self._error = error
        with self._changed:
            self.dropped += len(self._items)
            self._items.clear()
            self._changed.notify_all()

    def _step(self) -> bool:
        """Process one item; return False if there are no further ones."""
        with self._changed:
            self._changed.wait_for(lambda: self._items or self._closing)
            if not self._items or self._abandoned.is_set():
                return False
            item = self._items.popleft()
            # An item that failed before `close` is tried once more: the disk may have room again.
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
