"""Build the whole device: student, frame loop, thermal monitor, cart, watchdog and records."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.contracts import Counted, TakesCues
from edge.errors import UsageError
from edge.frame import DEFAULT_FPS
from edge.inference.supervisor import Supervisor
from edge.limits import INFERENCE_TIMEOUT_MS
from edge.pipeline.frame_guard import FrameGuard
from edge.pipeline.identity import IdentityObserver
from edge.pipeline.keeping import KeepOptions, Requests, open_keepers
from edge.pipeline.loop import FrameLoop
from edge.pipeline.observers import (
    CartObserver,
    CounterObserver,
    CueObserver,
    SignalObserver,
    SupervisorObserver,
    ThermalObserver,
    WatchdogObserver,
)
from edge.pipeline.smoothing import Smoother
from edge.pipeline.thermal import ThermalMonitor
from edge.pipeline.watchdog import Watchdog
from edge.telemetry.observer import Telemetry
from edge.util.process_env import one_opencv_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edge.contracts import BundleStore, CartLink, Sink
    from edge.frame import Frame, Result
    from edge.pipeline.loop import Observer
    from edge.pipeline.observers import SignalLock
    from edge.record_header import RecordHeader
    from edge.sources.base import BaseSource

_NO_REQUESTS = Requests()
_PATIENT_MS = 30_000.0
"""Maximum inference time of a frame that does not age: under emulation it may take seconds."""


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(KeepOptions):
    """Options of a device, and what it keeps.

    Attributes:
        engine: As in `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        log: File of the journal; None for no journal.
        metrics: File of the metrics; None for no metrics.
        guard: Whether frames that are unfit for the student are detected and left out; separate
            images are never left out.
        smooth: Whether a region is shown only after it was seen on several frames; on separate
            images every region is shown.
        cue: Whether the cart draws attention to each finding, by its lamp.
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
    cue: bool = False
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
    requests: Requests = _NO_REQUESTS,
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
        requests: Ask for stills and marks.
        on_frame: Called after each frame.
        followers: Further observers, such as a display of the status.
        header: What the run is of, without bundle and engine, for the outputs and the metrics.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: Stills, marks or recordings cannot be kept, or the cart has no lamp for a cue.
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
        keepers = open_keepers(
            stack,
            options,
            source=source,
            sinks=sinks,
            guard=guard,
            supervisor=supervisor,
            telemetry=telemetry,
            requests=requests,
            fps=fps,
            clock=clock,
        )
        thermal = ThermalMonitor(clock=clock)
        observers: list[Observer] = [
            SupervisorObserver(supervisor, telemetry, finite=finite),
            ThermalObserver(thermal),
            WatchdogObserver(stack.enter_context(Watchdog(clock=clock))),
            telemetry,
        ]
        if cart is not None:
            link = stack.enter_context(cart)
            observers.append(CartObserver(link, telemetry, stop, keepers.pedals()))
        if options.cue:
            observers.append(CueObserver(_cueing(cart), clock=clock))
        observers += keepers.observers()
        if lock is not None:
            observers.append(SignalObserver(stack.enter_context(lock)))
        counted: dict[str, object] = {
            "source": source,
            "inference": supervisor,
            "cart": cart,
            "still": keepers.stills,
            "mark": keepers.marks,
            "record": keepers.record,
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


def _cueing(cart: object) -> TakesCues:
    """The cart, if it can draw attention to a finding."""
    if isinstance(cart, TakesCues):
        return cart
    raise UsageError(
        "a light cue needs the lamp of a cart",
        expected="a cart's controller with a lamp",
        hint="name the cart",
        code="cue-needs-cart",
    )


def _counters(counted: Mapping[str, object]) -> dict[str, int]:
    """Return `origin.event` -> number, for every object that counts."""
    return {
        f"{origin}.{event}": count
        for origin, counter in counted.items()
        if isinstance(counter, Counted)
        for event, count in dict(counter.counters).items()
    }
