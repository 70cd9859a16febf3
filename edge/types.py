"""The types and contracts that the device's modules share.

Images are (H, W, 3) uint8. Frames travel in the camera's BGR order; the engine's input is RGB. Times are
`time.monotonic_ns()`. Coordinates are pixels of the frame as captured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    ImageU8 = NDArray[np.uint8]
    MaskBool = NDArray[np.bool_]


@dataclass(slots=True)
class Frame:
    """One picture of a source and the stamps that it gathered on its way.

    Attributes:
        index: Number of the frame in its source, gaps where the source dropped some.
        image: (H, W, 3) uint8, BGR.
        captured_ns: When the source had the picture, CLOCK_MONOTONIC.
        stamps: Stage name -> (begin, end) in CLOCK_MONOTONIC nanoseconds, in the order of the stages.
    """

    index: int
    image: ImageU8
    captured_ns: int
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Region:
    """One connected region of the mask.

    Attributes:
        box: x, y, width, height in frame pixels.
        contour: Outline as (x, y) frame pixels.
        area: Share of the frame, 0 to 1.
        score: Highest score inside, 0 to 1.
    """

    box: tuple[int, int, int, int]
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline found on a frame.

    Attributes:
        scores: (h, w) uint8 score map of the engine in 1/256, None where no inference ran.
        regions: Regions left after threshold and postprocessing.
        mask_area: Share of the frame that the regions cover.
        reason: Why no mask may be drawn; None where it may.
    """

    scores: ImageU8 | None
    regions: tuple[Region, ...]
    mask_area: float
    reason: str | None


@runtime_checkable
class Engine(Protocol):
    """A compiled student. Built by `edge.backends.open_engine`."""

    @property
    def name(self) -> str:
        """`openvino`, `tflite` or `onnx`."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input."""
        ...

    def infer(self, image: ImageU8) -> ImageU8:
        """Scores of an RGB image.

        Args:
            image: (H, W, 3) uint8 RGB at `input_size`, C-contiguous.

        Returns:
            (h, w) uint8 score map in units of 1/256; valid until the next call.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Effective settings as the runtime reports them: precision, threads, streams, version."""
        ...

    def close(self) -> None:
        """Release the runtime's resources."""
        ...


class Source(Protocol):
    """Where frames come from; a context manager that opens on enter."""

    @property
    def live(self) -> bool:
        """Whether frames arrive at their own pace, so that only the newest matters."""
        ...

    @property
    def description(self) -> str:
        """One line for logs and reports."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read(self) -> Frame | None:
        """Next frame, or None at the end of the source.

        Raises:
            SourceError: The source failed.
        """
        ...


class Sink(Protocol):
    """Where results go; a context manager that finishes its output on exit."""

    def __enter__(self) -> Sink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, frame: Frame, result: Result) -> None:
        """Take one frame and what was found on it."""
        ...
