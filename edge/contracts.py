"""The protocols between the device's modules: engine, source, sink, bundle store, cart link."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from edge.status import TextEnum

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from edge.frame import Frame, ImageU8, Result
    from edge.status import Status


@runtime_checkable
class Engine(Protocol):
    """A compiled student. Built by `edge.engines.open.open_engine`."""

    @property
    def name(self) -> str:
        """`openvino`, `tflite` or `onnx`."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input in pixels."""
        ...

    @property
    def input_buffer(self) -> ImageU8 | None:
        """(H, W, 3) uint8 memory of the engine; an image written there is not copied by `infer`.

        None if the engine takes any array. Its size is that of the running model, even while
        `input_size` already describes the next one.
        """
        ...

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image.

        Args:
            image: (H, W, 3) uint8 RGB at `input_size`, C-contiguous.

        Returns:
            (h, w) uint8 score map in units of 1/256; valid until the next call.

        Raises:
            InferenceFault: There are no scores for this frame; only an engine in a separate process
                raises it.
        """
        ...

    def settings(self) -> dict[str, Any]:
        """Return the runtime's effective settings: precision, threads, streams, version."""
        ...

    def close(self) -> None:
        """Release the runtime's resources."""
        ...


@runtime_checkable
class Counted(Protocol):
    """Something that counts what happened in it, for the journal and the metrics."""

    @property
    def counters(self) -> Mapping[str, int]:
        """Event -> number of times that it happened."""
        ...


class Source(Protocol):
    """A source of frames; a context manager that opens on enter."""

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
        """Event -> number, for undelivered frames: `corrupt`, `gaps`, `reopened` and the like."""
        ...

    def __enter__(self) -> Source: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def read(self) -> Frame | None:
        """Return the next frame, or None at the end of the source.

        Raises:
            TimeoutError: A live source has no new frame yet; nothing is wrong.
            Interruption: A live source has no image for now; the error has the reason.
            SourceError: The source failed for good.
        """
        ...


class Sink(Protocol):
    """An output of results; a context manager that finishes its output on exit."""

    def outputs(self) -> list[Path]:
        """Return the files that the sink leaves behind, for the summary of a run."""
        ...

    def __enter__(self) -> Sink: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def write(self, frame: Frame, result: Result) -> None:
        """Write one frame and its result."""
        ...

    def notify(self, status: Status) -> None:
        """Receive the status: at each change, and at least every 50 ms while no frame comes."""
        ...


class BundleStore(Protocol):
    """The bundles of a device, one of them in use: two slots, or one folder."""

    def current(self) -> Path | None:
        """Return the bundle in use; None if no bundle may be used."""
        ...

    def previous(self) -> Path | None:
        """Return the bundle to fall back to; None if there is none that may be used."""
        ...

    def fallback(self) -> Path | None:
        """Return the last resort if neither of them runs, such as the shipped bundle; or None."""
        ...

    def digest(self, path: Path) -> str | None:
        """Return the SHA-256 that the manifest of a bundle must have; None if it is not known.

        Everything that is loaded from the bundle is checked against its manifest, so this ties the
        loaded bytes to what the store verified, whatever happens to the file meanwhile.
        """
        ...

    def trouble(self) -> str:
        """Return why the store cannot record what happens at the moment; empty if it can."""
        ...

    def mark_bad(self, path: Path, reason: str) -> None:
        """Never use this bundle again; `current` then returns what `previous` returned."""
        ...

    def mark_good(self, path: Path) -> None:
        """Record that the bundle passed its self-test and ran for a while without faults."""
        ...

    def refund(self, path: Path) -> None:
        """Record that this start does not count against a bundle on trial.

        It was ended from outside, or ran idle for a while without a fault.
        """
        ...


@dataclass(frozen=True, slots=True)
class CartEvent:
    """A report of the cart's controller.

    Attributes:
        kind: `power-fail`, `link-up`, `link-down` or `refused`.
        detail: Particulars for the log.
        holdup_ms: Milliseconds for which the supply still holds; `power-fail` only.
    """

    kind: str
    detail: str
    holdup_ms: int | None = None


@dataclass(frozen=True, slots=True)
class PedalEvent:
    """A pedal was pressed or released.

    Attributes:
        pedal: Number of the pedal, from 1.
        pressed: True if it was pressed, False if it was released.
    """

    pedal: int
    pressed: bool

    @property
    def kind(self) -> str:
        """The kind in the log."""
        return "pedal"

    @property
    def name(self) -> str:
        """The pedal in records, such as `pedal 1`."""
        return f"pedal {self.pedal}"

    @property
    def detail(self) -> str:
        """Text for the log, such as `pedal 1 pressed`."""
        return f"{self.name} {'pressed' if self.pressed else 'released'}"


CartReport = CartEvent | PedalEvent
"""Anything that the controller reports."""


class MarkKind(TextEnum):
    """What a person finds wrong with what was shown on a frame."""

    FALSE_ALARM = "false-alarm"
    """A region was shown where there is no polyp."""
    MISSED = "missed"
    """A polyp was in the picture, and nothing was shown on it."""


class MarkOutcome(NamedTuple):
    """What became of a mark.

    Attributes:
        number: Number of outcomes so far, so that two with one text can be told apart.
        text: The outcome, for a person; empty before the first.
    """

    number: int
    text: str


class MarkDesk(Protocol):
    """Where marks are asked for, from any thread; nothing here blocks."""

    @property
    def last(self) -> MarkOutcome:
        """What became of the last mark."""
        ...

    def ask(self, kind: MarkKind | None, by: str) -> None:
        """Ask to keep the frame that was just seen, with a mark.

        Args:
            kind: What is wrong with it; None if the frame decides: a false alarm if a region was
                shown just now, otherwise missed.
            by: Who asks, such as `pedal 2`.
        """
        ...


@runtime_checkable
class TakesMarks(Protocol):
    """An output at which a person can ask for marks."""

    def offer_marks(self, desk: MarkDesk) -> None:
        """Receive the desk, before the output is entered."""
        ...


@runtime_checkable
class TakesCues(Protocol):
    """A cart that can draw attention to a finding."""

    def cue(self) -> None:
        """Ask for a cue; how long and how often one is shown is the cart's to limit."""
        ...


class CartLink(Protocol):
    """The cart's controller; a context manager. Nothing here blocks the frame loop."""

    def __enter__(self) -> CartLink: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def beat(self, status: Status, *, frame_age_ms: float | None, mask: bool) -> None:
        """Tell the controller that the frame loop made progress; call it only after progress.

        Args:
            status: Status of the device.
            frame_age_ms: Age of the frame that was just completed; None without a frame.
            mask: Whether an overlay is shown, which renews the lease of its route.
        """
        ...

    def events(self) -> Sequence[CartReport]:
        """Return the reports since the last call."""
        ...
