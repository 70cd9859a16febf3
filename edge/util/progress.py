"""Progress of long work, reported without knowing how it is displayed."""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Progress(Protocol):
    """A running count."""

    def update(self, n: int = 1, note: str = "") -> None:
        """Count `n` more units of work; `note` describes the current state."""
        ...


class Reporter(Protocol):
    """Opens one `Progress` per task: `with report(total, "read images") as bar: bar.update()`."""

    def __call__(self, total: int, label: str) -> AbstractContextManager[Progress]:
        """Begin a task of `total` units, described by `label`."""
        ...


class _Silent:
    def update(self, n: int = 1, note: str = "") -> None:
        """Count nothing."""


@contextmanager
def silent(total: int, label: str) -> Iterator[Progress]:  # noqa: ARG001 - the signature of a Reporter
    """The `Reporter` that shows nothing: the default of every library function."""
    yield _Silent()


def counter(bar: Progress) -> Callable[[int, int], None]:
    """A callback `(done, total)` that advances a bar to an absolute count."""
    reported = 0

    def advance(done: int, _total: int) -> None:
        nonlocal reported
        bar.update(done - reported)
        reported = done

    return advance
