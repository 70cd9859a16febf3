"""Keep a student's process alive, and fall back to the previous bundle if that fails.

Three crashes or hangs within a minute, three damaged answers in a row, a failed self-test or an
unreadable bundle condemn a bundle for good. Faults that the machine may have caused, such as too
little memory or a missing engine, only skip the bundle until the next start. If no bundle is left,
the supervisor is exhausted and the device bypasses.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edge.bundle.reader import Bundle
from edge.errors import BundleError, EdgeDifomError, InferenceFault, ParityError
from edge.inference.candidate_bundles import SingleBundle, UsableBundles
from edge.inference.engine_spec import bundle_spec
from edge.inference.phase import Phase
from edge.inference.process import HANG_MS, ProcessEngine
from edge.limits import INFERENCE_TIMEOUT_MS
from edge.status import Condition, ReasonKind, State

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.bundle.manifest import Manifest
    from edge.contracts import BundleStore
    from edge.frame import ImageU8
    from edge.inference.messages import EngineSpec

__all__ = ["News", "SingleBundle", "Supervisor"]

MAX_FAULTS, WITHIN_S = 3, 60.0
"""Number of crashes or hangs within this time that condemns a bundle."""

MAX_DAMAGED = 3
"""Number of consecutive damaged answers that condemns a bundle."""

RETRY_S = 1.0
"""Pause before the next try if no process could be started."""

CLEAN_S = 60.0
"""Running time without a fault after which a bundle is marked good."""

TEST_TIMEOUT_MS = 5000.0
"""Maximum time for a golden frame: the first inferences are slow."""

_PATIENCE_S = 90.0


class News(NamedTuple):
    """An event for the journal."""

    kind: str
    detail: str


class Supervisor:
    """An engine (`edge.contracts.Engine`) that outlives its process; a context manager.

    The frame loop calls `infer` and `news`; a separate thread opens, tests and kills the process,
    so that the loop never waits for it.

    Args:
        store: The bundles.
        engine: As in `edge.engines.open.open_engine`.
        threads: CPU threads; None for every usable core.
        precision: Precision of the engine, as the bundle's manifest declares it.
        timeout_ms: Maximum time for the scores of a frame.
        hang_ms: As in `ProcessEngine`.
        patient: Let `infer` wait for the end of a restart, for sources whose frames can wait.
        clean_s: Running time after which a bundle is marked good.
        spec: Returns the engine to run for a bundle; by default the bundle's own engine.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        counters: `late`, `hang`, `crash`, `memory`, `damaged`, `restarts`, `condemned`,
            `passed_over`, `unstarted`.
        phase: The current phase.
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
        self.phase, self.gave_up = Phase.BOOT, ""
        self.failure: EdgeDifomError | None = None
        self._last: Exception | None = None
        self._changed = threading.Condition()
        self._engine: ProcessEngine | None = None
        self._opening: ProcessEngine | None = None
        self._bundle: Bundle | None = None
        self._fault: InferenceFault | None = None
        self._closing = self._clean = False
        self._damaged = 0
        self._good_ns: int | None = None
        self._faults: deque[tuple[int, str]] = deque(maxlen=MAX_FAULTS)
        self._news: deque[News] = deque(maxlen=256)
        self._bundles = UsableBundles(store, lambda said: self._news.append(News("store", said)))
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
        """The state that the current phase requires, and why; None while the model is ready."""
        condition = self.phase.condition
        if condition is not None and condition.state is State.BYPASS and self.gave_up:
            return Condition(condition.state, replace(condition.reason, detail=self.gave_up))
        return condition

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
            self._note(fault)
            raise
        self._damaged = 0
        if self._good_ns is not None and self._clock() >= self._good_ns:
            with self._changed:
                self._good_ns, self._clean = None, True
                self._changed.notify_all()
        return scores

    def news(self) -> list[News]:
        """Return the events since the last call."""
        found = []
        while self._news:
            found.append(self._news.popleft())
        return found

    def close(self) -> None:
        """Kill the process and end the thread."""
        with self._changed:
            self._closing = True
            if self._opening is not None:
                self._opening.kill()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(2.0)
        self._drop()

    def _note(self, fault: InferenceFault) -> None:
        """Count a fault of the running process; wake the thread if it must act."""
        self.counters[fault.kind] += 1
        if fault.kind is ReasonKind.LATE:
            return  # the machine is short of CPU time; the bundle is not at fault
        self._news.append(News(fault.kind, fault.detail))
        if fault.kind is ReasonKind.DAMAGED:
            self._damaged += 1
            if self._good_ns is not None:
                self._good_ns = self._clock() + self._clean_ns
            if self._damaged < MAX_DAMAGED:
                return
        with self._changed:
            self.phase, self._fault = Phase.RESTARTING, fault
            self._drop()
            self._changed.notify_all()

    def _drop(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _run(self) -> None:
        """Keep one process running until the supervisor is closed or no bundle is left."""
        while not self._closing:
            path = self._bundles.choose()
            if path is None:
                self._news.append(News("exhausted", "no bundle of this device runs"))
                self.failure = self._failure()
                self._enter(Phase.EXHAUSTED)
                return
            try:
                self._start(path)
            except InferenceFault as fault:
                if not self._closing:
                    self.counters[fault.kind] += 1
                    self._news.append(News(fault.kind, f"at the start: {fault.detail}"))
                    self._judge(path, fault)
            except _NoProcessError as error:
                self.counters["unstarted"] += 1
                self._news.append(News("unstarted", str(error)))
                with self._changed:
                    self._changed.wait_for(lambda: self._closing, RETRY_S)
            except (BundleError, ParityError, OSError) as error:
                self._last = error
                self._condemn(path, _first_line(error))
            # The engine is not installed or not in the bundle, or this program has a bug: the frame
            # loop must continue in any case.
            except Exception as error:  # noqa: BLE001
                self._last = error
                self._pass_over(path, f"{type(error).__name__}: {_first_line(error)}")
            else:
                self._watch(path)

    def _start(self, path: Path) -> None:
        """Open and test the bundle's engine.

        Raises:
            InferenceFault: The process hung or died.
            EdgeDifomError: The bundle cannot be read, fails its golden frames, or has no engine for
                this machine.
        """
        bundle = Bundle.open(path)
        spec = self._spec(bundle)
        try:
            engine = ProcessEngine(spec, timeout_ms=TEST_TIMEOUT_MS, hang_ms=TEST_TIMEOUT_MS)
        except OSError as error:
            raise _NoProcessError(f"no process can be started: {error}") from error
        try:
            with self._changed:
                self._opening = engine
                if self._closing:
                    engine.kill()
            engine.wait_ready()
            if self.phase is Phase.BOOT:
                self._enter(Phase.SELFTEST)
            _self_test(bundle, engine)
        except BaseException:
            engine.close()
            raise
        finally:
            with self._changed:
                self._opening = None
        engine.timeout_ms, engine.hang_ms = self._timeout_ms, self._hang_ms
        took = f"{engine.name}, {engine.started_s:.2f} s to open"
        self._news.append(
            News("ready", f"{bundle.manifest.name} {bundle.digest[:12]}, {took}, {path}")
        )
        with self._changed:
            self._bundle, self._engine, self._fault = bundle, engine, None
            self._damaged, self._clean, self._good_ns = 0, False, self._clock() + self._clean_ns
            self.phase = Phase.READY
            self._changed.notify_all()

    def _watch(self, path: Path) -> None:
        """Wait for a fault; mark the bundle good after a clean while."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._closing or self._fault is not None or self._clean
                )
                if self._closing:
                    return
                fault, self._clean = self._fault, False
            if fault is not None:
                self._judge(path, fault)
                return
            if self._bundles.prove(path):
                self._news.append(News("good", f"{path} ran cleanly"))
            else:
                with self._changed:
                    self._good_ns = self._clock() + self._clean_ns

    def _judge(self, path: Path, fault: InferenceFault) -> None:
        """Condemn or skip the bundle after too many faults; otherwise restart its process."""
        if fault.kind is ReasonKind.DAMAGED:
            self._last = None
            self._condemn(path, f"{MAX_DAMAGED} damaged answers in a row: {fault.detail}")
            return
        now = self._clock()
        self._faults.append((now, fault.kind))
        if len(self._faults) < MAX_FAULTS or now - self._faults[0][0] > WITHIN_S * 1e9:
            self.counters["restarts"] += 1
            self._enter(Phase.RESTARTING)
            return
        self._last = None
        reason = f"{MAX_FAULTS} faults within {WITHIN_S:g} s, the last: {fault}"
        # The kernel kills the student first, whichever process used up the memory.
        give_up = (
            self._pass_over
            if {kind for _, kind in self._faults} == {ReasonKind.MEMORY}
            else self._condemn
        )
        give_up(path, reason)

    def _condemn(self, path: Path, reason: str) -> None:
        """Mark a bundle bad, so that it is never used again."""
        self._give_up("condemned", path, reason)
        self._bundles.condemn(path, reason)

    def _pass_over(self, path: Path, reason: str) -> None:
        """Use another bundle until the next start of the device."""
        self._give_up("passed_over", path, reason)
        self._bundles.pass_over(path)

    def _give_up(self, how: str, path: Path, reason: str) -> None:
        self._faults.clear()
        self.counters[how] += 1
        self.gave_up = reason
        self._news.append(News(how.replace("_", "-"), f"{path}: {reason}"))
        self._enter(Phase.RESTARTING)

    def _failure(self) -> EdgeDifomError:
        """Return why nothing is left to run, with the exit code of the last reason."""
        last = self._last
        if isinstance(last, EdgeDifomError):
            kind: type[EdgeDifomError] = type(last)
            return kind(
                f"no student can run: {last.what}",
                expected=last.expected,
                got=last.got,
                hint=last.hint,
                code=last.code,
            )
        return BundleError(
            "no student can run",
            expected="a bundle that opens and passes its self-test on this machine",
            got=self.gave_up or "no bundle",
            hint="check what this machine can run",
            code="no-student",
        )

    def _enter(self, phase: Phase) -> None:
        with self._changed:
            self.phase = phase
            self._changed.notify_all()


class _NoProcessError(Exception):
    """The machine cannot start a process."""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _self_test(bundle: Bundle, engine: ProcessEngine) -> None:
    """Check the golden frames in the process that is going to run; without any, one black image.

    Raises:
        InferenceFault: The process hung or died.
        ParityError: The engine disagrees with the golden scores.
        BundleError: The golden frames cannot be read.
    """
    from edge.engines.golden_check import check_golden

    # Run the slow first inference here, before the first frame.
    engine.infer(np.zeros((*engine.input_size, 3), np.uint8))
    checks = [check_golden(bundle, engine, golden) for golden in bundle.manifest.golden.frames]
    bad = [check.frame for check in checks if not check.ok]
    if bad:
        raise ParityError(
            f"{len(bad)} of {len(checks)} golden frames differ in {engine.name}: {', '.join(bad)}"
        )
