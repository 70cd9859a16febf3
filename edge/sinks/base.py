"""What sinks share: what they are opened with, a life cycle that may be empty, and what they count."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edge.overlay.layer_cache import LayerDrawing
from edge.status import STARTING, State, Status

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """What the sinks of one run are opened with.

    Attributes:
        fps: Frames per second of a video.
        force: Replace files that exist.
        live: Frames come at their own pace: a sink that cannot follow drops and counts, instead of waiting.
        drawing: Draws the overlay layer once for all sinks.
    """

    fps: float | None = None
    force: bool = False
    live: bool = False
    drawing: LayerDrawing = field(default_factory=LayerDrawing)


class BaseSink(ABC):
    """A sink that takes frames; a subclass overrides what it needs besides `write`.

    Attributes:
        counters: What did not go as it should: `dropped`, `failed` and the like.
        status: The last that was told.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.status = Status(State.BOOT, STARTING, 0)

    @classmethod
    @abstractmethod
    def from_text(cls, target: str, options: SinkOptions) -> Self:
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

    def tell(self, status: Status) -> None:
        """Take the device's status, which is told before each frame and while none comes."""
        self.status = status
