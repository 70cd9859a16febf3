"""Base class of all sinks, and the options that the sinks of a run share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.overlay.layer_cache import LayerDrawing
from edge.status import STARTING, State, Status

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.record_header import RecordHeader
    from edge.util.spec import Spec


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """Options that all sinks of a run share.

    Attributes:
        fps: Frames per second of a video; None if the source does not know them.
        force: Whether files that exist are replaced.
        live: Whether frames arrive at their own pace; a sink that is too slow then drops and
            counts them instead of waiting.
        drawing: Draws the overlay layer once for all sinks.
    """

    fps: float | None = None
    force: bool = False
    live: bool = False
    drawing: LayerDrawing = field(default_factory=LayerDrawing)


class BaseSink(ABC):
    """A sink for frames and results; a subclass implements `from_spec` and `write`.

    Attributes:
        counters: How often something went wrong, such as `dropped` or `failed`.
        status: The status of the last `notify`.
        header: What the results are of; None if nobody told.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.status = Status(State.BOOT, STARTING, 0)
        self.header: RecordHeader | None = None

    @classmethod
    @abstractmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> BaseSink:
        """Build the sink of a description.

        Args:
            spec: The description; its options are the sink's own.
            options: What all sinks of the run share.

        Raises:
            UsageError: The target or an option does not fit.
        """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        return

    def outputs(self) -> list[Path]:
        """The files that the sink leaves behind; none by default."""
        return []

    def describe(self, header: RecordHeader) -> None:
        """Receive what the results are of: bundle, engine, source, software."""
        self.header = header

    @abstractmethod
    def write(self, frame: Frame, result: Result) -> None:
        """Write one frame and its result."""

    def notify(self, status: Status) -> None:
        """Receive the status of the device, before each frame and while no frame comes."""
        self.status = status
