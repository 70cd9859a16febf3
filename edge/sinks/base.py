"""What most sinks share: a life cycle that may be empty, and no interest in the status between frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.types import Frame, Result, Status


class BaseSink(ABC):
    """A sink that takes frames; a subclass overrides what it needs besides `write`."""

    @classmethod
    @abstractmethod
    def from_text(cls, target: str, *, fps: float | None, force: bool) -> Self:
        """The sink of what stands behind its kind on the command line.

        Raises:
            UsageError: `target` does not fit.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    @abstractmethod
    def write(self, frame: Frame, result: Result) -> None:
        """Take one frame and what was found on it."""

    def tell(self, status: Status) -> None:  # noqa: B027 - most sinks have nothing to say between frames
        """Take the device's status; nothing by default."""
