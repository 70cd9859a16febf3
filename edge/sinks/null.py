"""`null`: nowhere, to measure or to look at the summary only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.sinks.base import BaseSink

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.sinks.base import SinkOptions


class NullSink(BaseSink):
    """Takes frames and keeps nothing."""

    @classmethod
    def from_text(cls, target: str, options: SinkOptions) -> Self:  # noqa: ARG003 - shared form
        """The sink; it takes no path.

        Raises:
            UsageError: There is a path.
        """
        if target:
            raise UsageError(f"the null sink takes no path, got {target!r}", hint="--sink null")
        return cls()

    def write(self, frame: Frame, result: Result) -> None:
        """Forget the frame."""
