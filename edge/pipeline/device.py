"""Build the whole device: student, frame loop, thermal monitor, cart, watchdog and records."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.contracts import Counted, PedalEvent, TakesMarks
from edge.errors import UsageError
from edge.frame import DEFAULT_FPS
from edge.inference.supervisor import Supervisor
from edge.limits import INFERENCE_TIMEOUT_MS
from edge.pipeline.frame_guard import FrameGuard
from edge.pipeline.identity import IdentityObserver
from edge.pipeline.loop import FrameLoop
from edge.pipeline.marks import MarkObserver
from edge.pipeline.observers import (
    CartObserver,
    CounterObserver,
    SignalObserver,
    SupervisorObserver,
    ThermalObserver,
    WatchdogObserver,
)
from edge.pipeline.smoothing import Smoother
from edge.pipeline.stills import StillObserver
from edge.pipeline.thermal import ThermalMonitor
from edge.pipeline.watchdog import Watchdog
from edge.stills.folder import MARK
from edge.stills.keeper import MARK_DAYS, KeptRun, StillKeeper
from edge.telemetry.observer import Telemetry
from edge.util.process_env import one_opencv_thread
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edge.contracts import BundleStore, CartLink, Sink
    from edge.frame import Frame, Result
    from edge.pipeline.loop import Observer
    from edge.pipeline.observers import SignalLock
    from edge.record_header import RecordHeader
    from edge.sources.base import BaseSource

MARK_PEDAL = PedalEvent(2, pressed=True).name
"""The pedal that marks a frame."""

_PATIENT_MS = 30_000.0
"""Maximum inference time of a frame that does not age: under emulation it may take seconds."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions:
    """Options of a device.

    Attributes:
        engine: As in `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        log: File of the journal; None for no journal.
        metrics: File of the metrics; None for no metrics.
        guard: Whether frames that are unfit for the student are detected and left out; separate
            images are never left out.
        smooth: Whether a region is shown only after it was seen on several frames; on separate
            images every region is shown.
        stills: Folder for stills that a pedal or `still` of `open_device` requests; None keeps no
            stills.
        marks: Folder for frames that a person marks as false alarms or missed; None keeps none.
        marks_days: Age at which a mark is removed, days.
        bounded: Whether a run of a live source ends by itself, so that it waits for the student
            first, and ends with an error if none can run.
        linger: As in `FrameLoop`.
    """

    engine: str = "auto"
    threads: int | None = None
    log: Path | None = None
    metrics: Path | None = None
    guard: bool = True
    smooth: bool = True
    stills: Path | None = None
    marks: Path | None = None
    marks_days: float = MARK_DAYS
    bounded: bool = False
    linger: bool = False


@contextmanager
def open_device(
    source: BaseSource,
    sinks: Sequence[Sink],
    store: BundleStore,
    options: DeviceOptions,
    *,
    cart: CartLink | None = None,
    lock: SignalLock | None = None,
    stop: threading.Event | None = None,
    still: threading.Event | None = None,
    mark: threading.Event | None = None,
    on_frame: Callable[[Frame, Result], None] | None = None,
    followers: Sequence[Observer] = (),
    header: RecordHeader | None = None,
    clock: Callable[[], int] = time.monotonic_ns,
) -> Iterator[FrameLoop]:
    """Yield a frame loop that is ready to `run`; student, cart and records end with the block.

    Args:
        source: Source of the frames; entered by the loop.
        sinks: Outputs of the results; entered by the loop.
        store: The bundles.
        options: Options of the device.
        cart: The cart's controller, entered here; None without a cart.
        lock: Lock that delays updates while a signal is present, entered here; None without slots.
        stop: Ends the run when set.
        still: Requests a still when set.
        mark: Marks the frame that was just seen when set.
        on_frame: Called after each frame.
        followers: Further observers, such as a display of the status.
        header: What the run is of, without bundle and engine, for the outputs and the metrics.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: Stills or marks cannot be kept.
        MissingDependencyError: The metrics need a package that is not installed.
        OSError: The journal cannot be created.
        EdgeDifomError: The source is not live or the run is bounded, and no student can run: the
            reason, as raised when it was opened.
    """
    stop = stop or threading.Event()
    # Frames of a clip are timed by their numbers, so that results are equal on every machine.
    fps = None if source.live else source.fps or DEFAULT_FPS
    finite = not source.live or options.bounded
    with ExitStack() as stack:
        stack.enter_context(one_opencv_thread())
        telemetry = stack.enter_context(Telemetry(options.log, options.metrics, clock=clock))
        supervisor = stack.enter_context(
            Supervisor(
                store,
                engine=options.engine,
                threads=options.threads,
                timeout_ms=INFERENCE_TIMEOUT_MS if source.live else _PATIENT_MS,
                patient=not source.live,
                clock=clock,
            )
        )
        guard = FrameGuard(fps=fps) if options.guard and source.continuous else None
        run_identity = KeptRun.new()
        stills: StillObserver | None = None
        marks: MarkObserver | None = None
        if options.stills is not None:
            viewer = _required(guard, "stills")
            stills = stack.enter_context(
                StillObserver(
                    StillKeeper(options.stills, run=run_identity),
                    telemetry,
                    requested=still or threading.Event(),
                    view=lambda: viewer.view,
                    supervisor=supervisor,
                    clock=clock,
                )
            )
        if options.marks is not None:
            finder = _required(guard, "marks")
            marks = stack.enter_context(
                MarkObserver(
                    StillKeeper(
                        options.marks, word=MARK, max_days=options.marks_days, run=run_identity
                    ),
                    telemetry,
                    requested=mark or threading.Event(),
                    source=redact(source.description),
                    view=lambda: finder.view,
                    supervisor=supervisor,
                    clock=clock,
                )
            )
            for sink in sinks:
                if isinstance(sink, TakesMarks):
                    sink.offer_marks(marks)
        thermal = ThermalMonitor(clock=clock)
        observers: list[Observer] = [
            SupervisorObserver(supervisor, telemetry, finite=finite),
            ThermalObserver(thermal),
            WatchdogObserver(stack.enter_context(Watchdog(clock=clock))),
            telemetry,
        ]
        if cart is not None:
            link = stack.enter_context(cart)
            observers.append(CartObserver(link, telemetry, stop, _pedals(stills, marks)))
        observers += [keeper for keeper in (stills, marks) if keeper is not None]
        if lock is not None:
            observers.append(SignalObserver(stack.enter_context(lock)))
        counted: dict[str, object] = {
            "source": source,
            "inference": supervisor,
            "cart": cart,
            "still": stills,
            "mark": marks,
        }
        counted |= {f"sink.{number}": sink for number, sink in enumerate(sinks)}
        observers.append(
            CounterObserver(
                telemetry,
                counters=lambda: _counters(counted),
                gauges=lambda: (
                    {} if thermal.celsius is None else {"temperature_celsius": thermal.celsius}
                ),
                clock=clock,
            )
        )
        if header is not None:
            observers.append(IdentityObserver(supervisor, header, (*sinks, telemetry)))
        observers += followers
        if finite:
            supervisor.wait(_PATIENT_MS / 1000)
            if supervisor.failure is not None:
                raise supervisor.failure
        yield FrameLoop(
            source=source,
            engine=supervisor,
            manifest=lambda: supervisor.manifest,
            sinks=sinks,
            guard=guard,
            smoother=Smoother(fps=fps) if options.smooth and source.continuous else None,
            observers=observers,
            keep_every=thermal.keep_every,
            clock=clock,
            stop=stop,
            on_frame=on_frame,
            linger=options.linger,
        )


def _required(guard: FrameGuard | None, what: str) -> FrameGuard:
    """The guard, which finds the field of view."""
    if guard is None:
        raise UsageError(
            f"{what} need the field of view, outside of which they are made black",
            expected="frames of a camera or clip, with the guard that finds it",
            hint="enable the guard and use a camera or clip",
            code="stills-need-guard",
        )
    return guard


def _pedals(
    stills: StillObserver | None, marks: MarkObserver | None
) -> Callable[[str], None] | None:
    """What a pressed pedal asks for: `MARK_PEDAL` a mark, where marks are kept, others a still."""
    if marks is None:
        return None if stills is None else stills.ask

    def pressed(pedal: str) -> None:
        if pedal == MARK_PEDAL:
            marks.ask(None, pedal)
        elif stills is not None:
            stills.ask(pedal)

    return pressed


def _counters(counted: Mapping[str, object]) -> dict[str, int]:
    """Return `origin.event` -> number, for every object that counts."""
    return {
        f"{origin}.{event}": count
        for origin, counter in counted.items()
        if isinstance(counter, Counted)
        for event, count in dict(counter.counters).items()
    }
