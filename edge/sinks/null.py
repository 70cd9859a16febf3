"""`null`: nowhere, to measure or to look at the summary only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.types import Frame, Result


class NullSink:
    """Takes frames and keeps nothing."""

    @classmethod
    def from_text(cls, target: str, *, fps: float | None, force: bool) -> Self:  # noqa: ARG003 - shared form
        """The sink; it takes no path.

        Raises:
            UsageError: There is a path.
        """
        if target:
            raise UsageError(f"the null sink takes no path, got {target!r}", mend="--sink null")
        return cls()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return

    def write(self, frame: Frame, result: Result) -> None:
        """Forget the frame."""
