"""The types and contracts that the device's modules share.

Images are (H, W, 3) uint8. Frames travel in the camera's BGR order; the engine's input is RGB. Times are
`time.monotonic_ns()`. Coordinates are pixels of the frame as captured.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    ImageU8 = NDArray[np.uint8]
    MaskBool = NDArray[np.bool_]


Box = tuple[int, int, int, int]
"""x, y, width, height in frame pixels."""

Rule = Literal["full-frame", "view"]
"""Which part of a frame a student is shown, as `edge.imaging.crop` cuts it."""


class OperatingPoint(NamedTuple):
    """From which scores on a region is shown: thresholding with hysteresis (Canny, IEEE TPAMI 1986, section VIII).

    Attributes:
        threshold: Score from which a pixel belongs to the mask, more than 0, at most 1.
        min_region: Smallest region that is kept, share of what the student was shown.
        least_peak: Score that a region reaches at its highest, or it is left out; 0 to 1, 0 keeps all.
    """

    threshold: float = 0.5
    min_region: float = 0.001
    least_peak: float = 0.0


USUAL_POINT = OperatingPoint()
"""Where nothing else was chosen."""


class State(str, Enum):
    """What the device is doing; the value is what logs, metrics and the cart's controller are told."""

    BOOT = "boot"
    SELFTEST = "selftest"
    NO_SIGNAL = "no-signal"
    RUNNING = "running"
    PAUSED = "paused"
    DEGRADED = "degraded"
    BYPASS = "bypass"


def kind_of(reason: str) -> str:
    """The kind of a reason: what stands before its first colon."""
    return reason.partition(":")[0].strip()


@dataclass(frozen=True, slots=True)
class Status:
    """A state and why it holds.

    Attributes:
        state: What the device is doing.
        reason: Why, as `kind` or `kind: detail`; empty only while RUNNING.
        since_ns: CLOCK_MONOTONIC nanoseconds at which state and kind of reason began to hold.
    """

    state: State
    reason: str
    since_ns: int


class Interruption(Exception):  # noqa: N818 - a camera may be silent without an error
    """A live source has no picture to give for now; it stays open, and `read` may be called again at once.

    Args:
        state: `NO_SIGNAL`, or `DEGRADED` where pictures come that cannot be used.
        reason: `kind: detail`, such as `unplugged: /dev/video0 is gone, tried 3 times`.
    """

    def __init__(self, state: State, reason: str) -> None:
        super().__init__(reason)
        self.state, self.reason = state, reason


class InferenceFault(Exception):  # noqa: N818 - a fault is recovered from, and known by that name
    """The engine gives no scores for this frame; the next call may.

    Args:
        kind: `late`, `hang`, `crash`, `memory`, `damaged`, `restarting` or `exhausted`.
        detail: What happened.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind, self.detail = kind, detail


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
        box: Where it lies.
        contour: Outline as (x, y) frame pixels.
        area: Share of what the student was shown of the frame, 0 to 1.
        score: Highest score inside, 0 to 1.
    """

    box: Box
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """What the pipeline found on a frame.

    Attributes:
        scores: (h, w) uint8 score map of the engine in 1/256, None where no inference ran.
        regions: Regions left after threshold and postprocessing.
        mask_area: Share of what the student was shown that the regions cover.
        reason: Why no mask may be drawn; None where it may.
        field_of_view: Where the endoscope's picture lies in the frame; None where it was not looked for.
        part: What of the frame the student was shown, and the scores cover; None for all of it.
    """

    scores: ImageU8 | None
    regions: tuple[Region, ...]
    mask_area: float
    reason: str | None
    field_of_view: Box | None = None
    part: Box | None = None


@runtime_checkable
class Engine(Protocol):
    """A compiled student. Built by `edge.engines.open.open_engine`."""

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

        Raises:
            InferenceFault: No scores for this frame; of an engine in a process of its own only.
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

    @property
    def counters(self) -> Mapping[str, int]:
        """What happened to frames that were not given: `corrupt`, `gaps`, `reopened` and the like."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read(self) -> Frame | None:
        """Next frame, or None at the end of the source.

        Raises:
            TimeoutError: A live source has no new frame yet; nothing is wrong.
            Interruption: A live source has no picture for now, and says why.
            SourceError: The source failed for good.
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

    def tell(self, status: Status) -> None:
        """Take the device's status: at each change, and at least every 50 ms while no frame comes."""
        ...


class BundleStore(Protocol):
    """The bundles of a device, of which one is in use: two slots, or one folder."""

    def current(self) -> Path | None:
        """The bundle in use; None where there is none that may be used."""
        ...

    def previous(self) -> Path | None:
        """The bundle to fall back to; None where there is none that may be used."""
        ...

    def mark_bad(self, path: Path, reason: str) -> None:
        """Never use this bundle again; `current` is then what `previous` was."""
        ...

    def mark_good(self, path: Path) -> None:
        """The bundle passed its self-test and a clean running period."""
        ...


@dataclass(frozen=True, slots=True)
class CartEvent:
    """What the cart's controller reports.

    Attributes:
        kind: `pedal`, `power-fail`, `link-up`, `link-down` or `refused`.
        detail: For the log, such as `pedal 1 pressed`.
        holdup_ms: Of `power-fail`: how long the supply still holds.
    """

    kind: str
    detail: str
    holdup_ms: int | None = None


class CartLink(Protocol):
    """The cart's controller; a context manager. Nothing here blocks the frame loop."""

    def __enter__(self) -> CartLink: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def beat(self, status: Status, *, frame_age_ms: float | None, mask: bool) -> None:
        """Tell the controller that the frame loop made progress; called on that alone.

        Args:
            status: The device's.
            frame_age_ms: Age of the frame that was just done; None without one.
            mask: Whether an overlay is on show, for which the route is leased.
        """
        ...

    def events(self) -> Sequence[CartEvent]:
        """What was reported since the last call."""
        ...
