"""`null`: discards everything, for measurements and for runs of which only the summary matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.sinks.base import BaseSink

if TYPE_CHECKING:
    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.sinks.base import SinkOptions
    from edge.util.spec import Spec


class NullSink(BaseSink):
    """Discards frames."""

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:  # noqa: ARG003 - shared form
        """Build the sink of `null`, which has neither a target nor options.

        Raises:
            UsageError: There is a target or an option.
        """
        spec.refuse_options()
        if spec.target:
            raise UsageError(f"the null sink takes no path, got {spec.target!r}", expected="null")
        return cls()

    def write(self, frame: Frame, result: Result) -> None:
        """Discard the frame."""
