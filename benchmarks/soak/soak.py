"""A soak: its settings, faults from outside, and the judgment of what the device did.

From outside, the process of the device's student is killed and stopped, its journal is moved and
removed, and its metrics file is removed. Meanwhile its shared memory is read as a display would
read it. In the second half nothing is done to the student's process, so that its memory can be
followed.
"""

from __future__ import annotations

import math
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.soak.checks import (
    FAULT_BOUNDS,
    Check,
    Span,
    changes_of,
    check_calm,
    check_faults,
    check_lines,
    check_worker,
    read_journal,
)
from benchmarks.soak.memory import check_leak
from benchmarks.soak.runtime import Runtime
from benchmarks.soak.screen import ScreenWatch
from edge.bench.measure.environment import EnvironmentGuard
from edge.shm.reader import SegmentReader
from edge.sources.faults import FAULTS, Timetable
from edge.util.host import Device, read_device, versions

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.bench.measure.environment import Verdict

_POLL_S = 0.004
_SECOND = 1_000_000_000
_SAVE_S = 30.0
_WORKER_EVERY_S = 40.0
"""Three faults of the student's process within a minute would mark the bundle bad."""
_LONGEST_BACK_NS = 1_500_000_000


class Protocol(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of a soak.

    Attributes:
        minutes: Length in minutes.
        size: Width and height of the frames.
        fps: Rate of the frames.
        every_s: Seconds from one fault of the source to the next.
        length_s: Seconds of each fault.
        least_rate: Minimum share of the rate.
        bundle: Name of the bundle.
        engine: Requested engine.
        poll_ms: Milliseconds between two reads of the shared memory.
    """

    minutes: float
    size: tuple[int, int]
    fps: float
    every_s: float
    length_s: float
    least_rate: float
    bundle: str
    engine: str
    poll_ms: float = 1000 * _POLL_S


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """Record of a soak.

    Attributes:
        finished: False if the soak was killed.
        passed: Whether no check failed; a check of None could not be decided.
        protocol: Settings.
        seconds: Seconds that it ran.
        faults: Number of faults of the source.
        injected: Maps each injection from outside to its count.
        checks: Results of the checks.
        watching_cpu: CPU of the watching process, share of one core.
        valid: Whether nothing disturbed the machine; response times of a disturbed soak mean less.
        reason: Reason why the soak was disturbed.
        device: The machine.
        versions: Software versions.
        created: UTC, ISO 8601.
    """

    finished: bool
    passed: bool
    protocol: Protocol
    seconds: float
    faults: int
    injected: dict[str, int]
    checks: list[Check]
    watching_cpu: float
    valid: bool | None
    reason: str | None
    device: Device
    versions: dict[str, str | None]
    created: str


def plan(turn: int, *, every_s: float, seconds: float) -> str:
    """Return the injection from outside after a fault of the source; empty for none.

    Args:
        turn: Number of the fault that ended, from 1.
        every_s: Seconds between two faults.
        seconds: Length of the soak.
    """
    rounds = max(9, math.ceil(_WORKER_EVERY_S / every_s))
    lap, at = divmod(turn, rounds)
    if at == 3 and turn * every_s < seconds / 2:
        return ("kill", "stop")[lap % 2]
    if at == 5:
        return ("journal-moved", "journal-removed")[lap % 2]
    return "metrics-removed" if at == 7 else ""


def soak(protocol: Protocol, arguments: list[str], save: Callable[[Soak], None]) -> Soak:
    """Run a soak and judge it.

    Args:
        protocol: Settings.
        arguments: Arguments of the device except for its outputs.
        save: Receives a record from time to time, and the last one.
    """
    timetable = Timetable(every_s=protocol.every_s, length_s=protocol.length_s)
    screen, device, software = ScreenWatch(protocol.fps), read_device(), versions()
    with (
        tempfile.TemporaryDirectory(prefix="edge-difom-soak-") as folder,
        Runtime(Path(folder), arguments) as runtime,
    ):
        begin, cpu = time.monotonic_ns(), time.process_time()
        judge = _Judge(protocol, timetable, runtime, screen)

        def record(end: Check | None = None, verdict: Verdict | None = None) -> Soak:
            checks = judge.checks(end)
            lasted = (time.monotonic_ns() - begin) / 1e9
            kinds = [one.kind for one in runtime.injections]
            return Soak(
                finished=end is not None,
                passed=all(check.passed is not False for check in checks),
                protocol=protocol,
                seconds=lasted,
                faults=len(judge.over(time.monotonic_ns())),
                injected={kind: kinds.count(kind) for kind in sorted(set(kinds))},
                checks=checks,
                watching_cpu=(time.process_time() - cpu) / lasted,
                valid=None if verdict is None else verdict.valid,
                reason=None if verdict is None else verdict.reason,
                device=device,
                versions=software,
                created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            )

        with EnvironmentGuard() as guard:
            until = begin + round(60e9 * protocol.minutes)
            _watch(runtime, screen, protocol, until, lambda: save(record()))
            runtime.sample()
        judge.stopped_ns = time.monotonic_ns()
        end = runtime.terminate()
        done = record(end, guard.verdict_without(runtime.cpu_s))
    save(done)
    return done


def _watch(
    runtime: Runtime, screen: ScreenWatch, protocol: Protocol, until: int, save: Callable[[], None]
) -> None:
    """Read the stream until the time is over, and inject faults between those of the source."""
    reader = SegmentReader(runtime.segment)
    snapshot, turn = None, 0
    begin = saved = sampled = time.monotonic_ns()
    every, gap = protocol.every_s, 0.4 * (protocol.every_s - protocol.length_s)
    while (now := time.monotonic_ns()) < until and runtime.alive:
        number, news_ns = reader.news()
        if snapshot is None or number != snapshot.number:
            snapshot = reader.read(pixels=False) or snapshot
        screen.observe(time.monotonic_ns(), snapshot, news_ns)
        if now - sampled >= _SECOND:
            sampled = now
            runtime.sample()
        if screen.origin_ns is not None:
            passed_s = (now - screen.origin_ns) / 1e9
            over = int((passed_s - protocol.length_s - gap) // every)
            if over > turn:
                turn = over
                if kind := plan(turn, every_s=every, seconds=(until - begin) / 1e9):
                    runtime.inject(kind)
                elif now - saved >= _SAVE_S * _SECOND:
                    saved = now
                    save()
        time.sleep(_POLL_S)
    reader.close()


class _Judge:
    """Judges the recorded data.

    Attributes:
        stopped_ns: Time at which the device was told to end; None before.
    """

    def __init__(
        self, protocol: Protocol, timetable: Timetable, runtime: Runtime, screen: ScreenWatch
    ) -> None:
        self.stopped_ns: int | None = None
        self._protocol, self._timetable = protocol, timetable
        self._runtime, self._screen = runtime, screen

    def over(self, now: int) -> list[Span]:
        """Return the faults of the source whose time to respond is over."""
        origin = self._screen.origin_ns
        if origin is None:
            return []
        spans = [
            Span(fault.kind, origin + round(fault.begin_s * 1e9), origin + round(fault.end_s * 1e9))
            for fault in self._timetable.until((now - origin) / 1e9)
        ]
        return [span for span in spans if span.end + _LONGEST_BACK_NS < now]

    def checks(self, end: Check | None) -> list[Check]:
        """Return every check of the data so far; with `end`, of the whole soak."""
        now, screen, protocol = self.stopped_ns or time.monotonic_ns(), self._screen, self._protocol
        journals = self._runtime.journals()
        events, torn = read_journal(journals, self._runtime.pid)
        changes, all_spans = changes_of(events), self._spans(now)
        answered = [one for one in self._runtime.injections if now - one.at > 10 * _SECOND]
        worker, away = check_worker(events, answered, screen.visibility)
        away += [(one.at, now) for one in self._runtime.injections if one not in answered]
        first = next((change.at for change in changes if change.state == "running"), now)
        over = [span for span in self.over(now) if span.begin > first]
        wrong = [
            *away,
            *(
                (span.begin, span.end + round(FAULT_BOUNDS[span.kind].back_ms * 1e6))
                for span in all_spans
            ),
        ]
        round_s = protocol.every_s * len(FAULTS)
        warm_s = min(300.0, 12 * protocol.minutes)
        leaks = [
            check_leak(name, series, block_s=round_s, warm_s=warm_s)
            for name, series in self._runtime.memory.items()
        ]
        checks = [
            screen.check_masks(),
            screen.check_order(),
            check_faults(changes, over, away, screen.visibility, screen.sizes),
            check_calm(changes, all_spans, away, now),
            worker,
            check_lines(events, torn, files=len(journals), ended=end is not None),
            self._runtime.check_metrics(),
            *leaks,
            screen.check_rate(
                lambda begin, last: not any(first < last and over > begin for first, over in wrong),
                least=protocol.least_rate,
            ),
        ]
        return [*checks, end] if end is not None else checks

    def _spans(self, now: int) -> list[Span]:
        """Return every fault that has begun."""
        origin = self._screen.origin_ns or now
        return [
            Span(fault.kind, origin + round(fault.begin_s * 1e9), origin + round(fault.end_s * 1e9))
            for fault in self._timetable.until((now - origin) / 1e9)
        ]
