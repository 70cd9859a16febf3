"""Keep a student's process alive, and fall back to the previous bundle if that fails.

Three crashes or hangs within a minute, three damaged answers in a row, a failed self-test or a
damaged bundle condemn a bundle for good. A missing engine only skips the bundle until the next
start. Faults of the machine (`edge.util.machine_fault`) are never counted against a bundle: they
are reported and retried with growing pauses for as long as they last. If no bundle is left, the
supervisor is exhausted and the device bypasses.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, NamedTuple

from edge.errors import (
    BundleError,
    EdgeDifomError,
    InferenceFault,
    MachineError,
    ParityError,
)
from edge.inference import backoff
from edge.inference.candidate_bundles import SingleBundle, UsableBundles
from edge.inference.engine_spec import bundle_spec
from edge.inference.fault_policy import WITHIN_S, FaultHistory, Verdict
from edge.inference.phase import Phase, exhausted_error, required_condition
from edge.inference.process import HANG_MS
from edge.inference.student_start import check_process, open_verified, start_process
from edge.limits import INFERENCE_TIMEOUT_MS
from edge.status import ReasonKind
from edge.util.machine_fault import MachineFault, machine_fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.bundle.manifest import Manifest
    from edge.bundle.reader import Bundle
    from edge.contracts import BundleStore
    from edge.frame import ImageU8
    from edge.inference.messages import EngineSpec
    from edge.inference.process import ProcessEngine
    from edge.status import Condition

__all__ = ["SingleBundle", "Supervisor", "SupervisorEvent"]

CLEAN_S = 60.0
"""Running time without a fault after which a bundle is marked good, if it scored frames."""

_PATIENCE_S = 90.0


class SupervisorEvent(NamedTuple):
    """An event for the journal."""

    kind: str
    detail: str


class Supervisor:
    """An engine (`edge.contracts.Engine`) that outlives its process; a context manager.

    The frame loop calls `infer` and `pop_events`; a separate thread opens, tests and kills the
    process, so that the loop never waits for it.

    Args:
        store: The bundles.
        engine: As in `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        precision: Precision of the engine, as the bundle's manifest declares it.
        timeout_ms: Maximum time for the scores of a frame.
        hang_ms: As in `ProcessEngine`.
        patient: Let `infer` wait for the end of a restart, for sources whose frames can wait. All
            their frames are wanted from the bundle that the store names, so its last resort is not
            used, and a fault of the machine that lasts for a minute is an error.
        clean_s: Running time after which a bundle is marked good.
        spec: Returns the engine to run for a bundle; by default the bundle's own engine.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        counters: `late`, `hang`, `crash`, `memory`, `machine`, `damaged`, `restarts`, `condemned`,
            `passed_over`, and `unstarted`: starts that a fault of the machine prevented.
        phase: The current phase.
        lacking: What the machine lacks, while that keeps the student from running; else empty.
        gave_up: Why the last abandoned bundle was abandoned; empty before.
        failure: The error to raise if nothing else is left to run; None while something is.
    """

    def __init__(
        self,
        store: BundleStore,
        *,
        engine: str = "auto",
        threads: int | None = None,
        precision: str = "int8",
        timeout_ms: float = INFERENCE_TIMEOUT_MS,
        hang_ms: float = HANG_MS,
        patient: bool = False,
        clean_s: float = CLEAN_S,
        spec: Callable[[Bundle], EngineSpec] | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._timeout_ms, self._hang_ms, self._patient = (
            timeout_ms,
            max(hang_ms, timeout_ms),
            patient,
        )
        self._clean_ns, self._clock = round(clean_s * 1e9), clock
        self._spec = spec or (
            lambda bundle: bundle_spec(bundle, engine, threads=threads, precision=precision)
        )
        self.counters: Counter[str] = Counter()
        self.phase, self.gave_up, self.lacking = Phase.BOOT, "", ""
        self.failure: EdgeDifomError | None = None
        self._last: Exception | None = None
        self._changed = threading.Condition()
        self._engine: ProcessEngine | None = None
        self._opening: ProcessEngine | None = None
        self._bundle: Bundle | None = None
        self._fault: InferenceFault | None = None
        self._closing = self._clean = False
        self._good_ns: int | None = None
        self._history = FaultHistory()
        self._events: deque[SupervisorEvent] = deque(maxlen=256)
        self._backoff, self._ready_ns = backoff.Backoff(), 0
        self._path: Path | None = None
        self._bundles = UsableBundles(
            store,
            lambda text: self._events.append(SupervisorEvent("store", text)),
            fallback=not patient,
        )
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def name(self) -> str:
        """Name of the running engine, empty if none runs."""
        engine = self._engine
        return "" if engine is None else engine.name

    @property
    def bundle(self) -> Bundle | None:
        """The bundle opened last, which provides the scores until `infer` raises; None at first."""
        return self._bundle

    @property
    def manifest(self) -> Manifest | None:
        """Manifest of the bundle opened last; None before the first."""
        bundle = self._bundle
        return None if bundle is None else bundle.manifest

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the input of the bundle opened last."""
        manifest = self.manifest
        return (0, 0) if manifest is None else (manifest.input.height, manifest.input.width)

    @property
    def input_buffer(self) -> ImageU8 | None:
        """(H, W, 3) uint8 shared memory of the running engine; None while no engine runs."""
        engine = self._engine
        return None if engine is None else engine.input_buffer

    def settings(self) -> dict[str, Any]:
        """Effective settings of the running engine, empty if none runs."""
        engine = self._engine
        return {} if engine is None else engine.settings()

    @property
    def condition(self) -> Condition | None:
        """The state that the student requires; None while it runs as it should."""
        return required_condition(
            self.phase,
            gave_up=self.gave_up,
            lacking=self.lacking,
            fallen_back=self._bundles.fallen_back,
            trouble=self._bundles.trouble(),
        )

    def wait(self, timeout_s: float) -> bool:
        """Wait until the student is ready or no bundle is left; return whether it is ready."""
        with self._changed:
            self._changed.wait_for(lambda: self.phase in (Phase.READY, Phase.EXHAUSTED), timeout_s)
            return self.phase is Phase.READY

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call.

        Raises:
            InferenceFault: This frame has no scores, because the process failed or none runs at the
                moment.
        """
        if self._patient:
            self.wait(_PATIENCE_S)
        engine = self._engine
        if engine is None:
            exhausted = self.phase is Phase.EXHAUSTED
            kind = ReasonKind.EXHAUSTED if exhausted else ReasonKind.RESTARTING
            raise InferenceFault(kind, f"the student is not ready ({self.phase})")
        if image.shape[:2] != engine.input_size:
            raise InferenceFault(ReasonKind.RESTARTING, "the bundle was changed during this frame")
        try:
            scores = engine.infer(image)
        except InferenceFault as fault:
            self._count_fault(fault)
            raise
        self._history.note_scores()
        if self._good_ns is not None and self._clock() >= self._good_ns:
            with self._changed:
                self._good_ns, self._clean = None, True
                self._changed.notify_all()
        return scores

    def pop_events(self) -> list[SupervisorEvent]:
        """Return the events since the last call."""
        events = []
        while self._events:
            events.append(self._events.popleft())
        return events

    def close(self) -> None:
        """Kill the process, end the thread, and excuse the bundle from the end of this start."""
        with self._changed:
            self._closing = True
            if self._opening is not None:
                self._opening.kill()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._close_engine()
        if self._path is not None:
            self._bundles.refund(self._path)

    def _count_fault(self, fault: InferenceFault) -> None:
        """Count a fault of the running process; wake the thread if it must act."""
        self.counters[fault.kind] += 1
        if fault.kind is ReasonKind.LATE:
            return  # the machine is short of CPU time; the bundle is not at fault
        self._events.append(SupervisorEvent(fault.kind, fault.detail))
        if fault.kind is ReasonKind.DAMAGED:
            enough = self._history.note_damage()
            if self._good_ns is not None:
                self._good_ns = self._clock() + self._clean_ns
            if not enough:
                return
        with self._changed:
            self.phase, self._fault = Phase.RESTARTING, fault
            self._close_engine()
            self._changed.notify_all()

    def _close_engine(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _run(self) -> None:
        """Keep one process running until the supervisor is closed or no bundle is left."""
        while not self._closing:
            path = self._path = self._bundles.choose(lasting=self._backoff.lasting)
            if path is None:
                if self._bundles.fault is not None and self._pause(self._bundles.fault):
                    continue
                self._events.append(SupervisorEvent("exhausted", "no bundle of this device runs"))
                self.failure = exhausted_error(self._last, self.gave_up)
                self._set_phase(Phase.EXHAUSTED)
                return
            try:
                self._start(path)
            except InferenceFault as fault:
                if not self._closing:
                    self._report_start(path, fault)
            # The frame loop must continue in any case, even if this program has a bug.
            except Exception as error:  # noqa: BLE001
                self._judge_error(path, error)
            else:
                self._supervise(path)

    def _report_start(self, path: Path, fault: InferenceFault) -> None:
        """Count a fault of a process that was not ready yet."""
        self.counters[fault.kind] += 1
        self._events.append(SupervisorEvent(fault.kind, f"at the start: {fault.detail}"))
        self._judge(path, fault)

    def _judge_error(self, path: Path, error: Exception) -> None:
        """Decide what an error at the start says about a bundle."""
        fault = machine_fault(error)
        if fault is not None:
            self._pause(fault, path)
            return
        self._last = error
        if isinstance(error, BundleError | ParityError | OSError):
            self._condemn(path, _first_line(error))
        else:  # the engine is not installed or not in the bundle, or this program has a bug
            self._skip(path, f"{type(error).__name__}: {_first_line(error)}")

    def _pause(self, fault: MachineFault, path: Path | None = None) -> bool:
        """Report a fault of the machine and pause; skip the bundle if others may be spared.

        Returns:
            Whether to try again; False if a patient source has waited long enough.
        """
        if self._closing:
            return True
        self.counters["unstarted"] += 1
        if not self.lacking:
            self._events.append(SupervisorEvent("unstarted", fault.text))
        if self._patient and self._backoff.waited_s >= backoff.PATIENCE_S:
            self._last = MachineError(
                "the machine cannot start a student", got=fault.text, hint="try again later"
            )
            if path is not None:
                self._skip(path, fault.text)
            return False
        pause_s = self._backoff.pause_s()
        with self._changed:
            self.lacking, self.phase = fault.text, Phase.RESTARTING
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing, pause_s)
        if path is not None and fault.spares_others and self._backoff.lasting:
            self._bundles.defer(path)
        return True

    def _start(self, path: Path) -> None:
        """Open and test the bundle's engine.

        Raises:
            InferenceFault: The process hung or died.
            EdgeDifomError: The bundle cannot be read, fails its golden frames, or has no engine for
                this machine; a `MachineError` if no process can be started.
        """
        bundle = open_verified(path, self._bundles.digest(path))
        engine = start_process(self._spec(bundle))
        try:
            with self._changed:
                self._opening = engine
                if self._closing:
                    engine.kill()
            engine.wait_ready()
            if engine.sandbox is not None:
                self._events += [
                    SupervisorEvent("sandbox", lacks) for lacks in engine.sandbox.missing
                ]
            if self.phase is Phase.BOOT:
                self._set_phase(Phase.SELFTEST)
            check_process(bundle, engine)
        except BaseException:
            engine.close()
            raise
        finally:
            with self._changed:
                self._opening = None
        engine.timeout_ms, engine.hang_ms = self._timeout_ms, self._hang_ms
        took = f"{engine.name}, {engine.started_s:.2f} s to open"
        self._events.append(
            SupervisorEvent("ready", f"{bundle.manifest.name} {bundle.digest[:12]}, {took}, {path}")
        )
        with self._changed:
            self._bundle, self._engine, self._fault = bundle, engine, None
            self._ready_ns = self._clock()
            self._history.note_scores()
            self._clean, self._good_ns = False, self._ready_ns + self._clean_ns
            self.phase, self.lacking = Phase.READY, ""
            self._changed.notify_all()

    def _supervise(self, path: Path) -> None:
        """Wait for a fault; after a while without one, mark the bundle good or excuse the start."""
        idle_s: float | None = self._clean_ns / 1e9
        while True:
            with self._changed:
                changed = self._changed.wait_for(
                    lambda: self._closing or self._fault is not None or self._clean, idle_s
                )
                if self._closing:
                    return
                fault, self._clean = self._fault, False
            if not changed:
                # Without frames nothing proves the bundle, but nothing is wrong with it either.
                self._bundles.refund(path)
                idle_s = None
            elif fault is not None:
                self._judge(path, fault)
                return
            elif self._bundles.prove(path):
                self._events.append(SupervisorEvent("good", f"{path} ran cleanly"))
            else:
                with self._changed:
                    self._good_ns = self._clock() + self._clean_ns

    def _judge(self, path: Path, fault: InferenceFault) -> None:
        """Condemn or skip the bundle after too many faults; otherwise restart its process."""
        now = self._clock()
        if now - self._ready_ns > WITHIN_S * 1e9:
            self._backoff.reset()
        if fault.kind is ReasonKind.MACHINE:
            self._pause(MachineFault(fault.detail, spares_others=True), path)
            return
        verdict, reason = self._history.judge(fault, now)
        if verdict is Verdict.RESTART:
            self.counters["restarts"] += 1
            self._set_phase(Phase.RESTARTING)
            return
        self._last = None
        if verdict is Verdict.CONDEMN:
            self._condemn(path, reason)
            return
        self._abandon("passed_over", path, reason)
        self._pause(MachineFault("memory", spares_others=True), path)
        self._bundles.defer(path)

    def _condemn(self, path: Path, reason: str) -> None:
        """Mark a bundle bad, so that it is never used again."""
        self._abandon("condemned", path, reason)
        self._bundles.condemn(path, reason)

    def _skip(self, path: Path, reason: str) -> None:
        """Use another bundle until the next start of the device."""
        self._abandon("passed_over", path, reason)
        self._bundles.pass_over(path)

    def _abandon(self, how: str, path: Path, reason: str) -> None:
        self._history.clear()
        self.counters[how] += 1
        self.gave_up = reason
        self._events.append(SupervisorEvent(how.replace("_", "-"), f"{path}: {reason}"))
        self._set_phase(Phase.RESTARTING)

    def _set_phase(self, phase: Phase) -> None:
        with self._changed:
            self.phase = phase
            self._changed.notify_all()


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
