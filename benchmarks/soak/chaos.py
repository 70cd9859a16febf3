"""`python -m benchmarks.soak.chaos`: a device whose machine is short of everything, in turn.

Unlike a soak it promises no times. Every few seconds one thing is done to the device, chosen by a
seed: its student's process is killed or stopped, it is killed or ended itself and started again
after a second, as its unit does, or for two seconds its process gets no further descriptors, no
file may grow, or it gets no further memory (limits of the kernel, `prlimit`). Whatever happens, no
mask may be shown that is older than 120 ms, no line of the journal may be missing between others,
and in a calm minute at the end the device must be RUNNING again. The wall clock is not changed,
because it is that of the whole machine.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from benchmarks.soak.checks import Check, check_lines, read_journal
from benchmarks.soak.runtime import Runtime
from benchmarks.soak.screen import ScreenWatch
from edge.errors import LatencyError
from edge.shm.reader import SegmentReader
from edge.status import State
from edge.util.host import Device, read_device, versions
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = (
    *("kill-student", "stop-student", "kill", "end"),
    *("descriptors", "disk", "memory", "journal-moved"),
)
"""What is done to the device."""

CALM_S = 60.0
"""Time at the end in which nothing is done."""

_RESTART_S = 1.0
_SHORT_S = 2.0
_POLL_S = 0.004
_REOPEN_S = 0.5
_FRESH_NS = 1_000_000_000
"""Age of the writer's last sign of life from which it counts as silent, ns."""

_NOT_RESTARTED = (2, 8)
"""Exit codes after which the unit does not start it again."""


class ChaosRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A chaos run.

    Attributes:
        passed: Whether every check passed.
        seconds: Length.
        seed: Seed of what was done.
        starts: Number of starts of the device.
        injected: What was done -> how often.
        ended: Exit codes of the device -> how often.
        states: States that were seen, or `silent` -> number of looks.
        last: State at the end, with its reason.
        checks: The checks.
        load: Mean load of the machine over the last minute, at the end.
        device: The machine.
        versions: Its software.
        created: Time of the record, UTC.
    """

    passed: bool
    seconds: float
    seed: int
    starts: int
    injected: dict[str, int]
    ended: dict[str, int]
    states: dict[str, int]
    last: str
    checks: list[Check]
    load: float
    device: Device
    versions: dict[str, str | None]
    created: str


class _Restarted(Runtime):
    """A device that is started again whenever it ends, and its limits."""

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        super().__init__(folder, arguments)
        self.pids: list[int] = []
        self.ended: Counter[str] = Counter()
        self._due = 0.0
        self._limited: dict[int, tuple[int, int]] = {}
        self._restore_s = 0.0

    def follow(self) -> None:
        """Start it again if it has ended, and give back what was withheld long enough."""
        now = time.monotonic()
        if self._limited and now >= self._restore_s:
            self.restore()
        if not self.alive:
            if not self._due:
                code = self._process.returncode
                self.ended[str(code)] += 1
                self._due = now + _RESTART_S if code not in _NOT_RESTARTED else float("inf")
                self._limited.clear()
            elif now >= self._due:
                self._due = 0.0
                with self._errors.open("ab") as errors:
                    self._process = subprocess.Popen(
                        self.command,
                        stdout=subprocess.DEVNULL,
                        stderr=errors,
                        cwd=Path(__file__).parents[2],
                    )
        if self.pid not in self.pids:
            self.pids.append(self.pid)

    def harm(self, kind: str) -> bool:
        """Do one thing to it; return whether it was possible now."""
        if not self.alive:
            return False
        with suppress(ProcessLookupError, FileNotFoundError):
            if kind in ("kill-student", "stop-student"):
                worker = self.worker()
                if worker is None:
                    return False
                os.kill(worker, signal.SIGKILL if kind == "kill-student" else signal.SIGSTOP)
            elif kind in ("kill", "end"):
                os.kill(self.pid, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
            elif kind == "journal-moved":
                count = len(list(self.journal.parent.glob(f"{self.journal.name}*")))
                self.journal.rename(self.journal.with_name(f"{self.journal.name}.moved-{count}"))
            else:
                self._withhold(kind)
            return True
        return False

    def restore(self) -> None:
        """Give back what was withheld."""
        for limit, before in self._limited.items():
            with suppress(ProcessLookupError):
                resource.prlimit(self.pid, limit, before)
        self._limited.clear()

    def _withhold(self, kind: str) -> None:
        if kind == "descriptors":
            limit, most = resource.RLIMIT_NOFILE, len(list(Path(f"/proc/{self.pid}/fd").iterdir()))
            if worker := self.worker():
                os.kill(worker, signal.SIGKILL)  # its successor needs some
        elif kind == "disk":
            limit, most = resource.RLIMIT_FSIZE, 0
        else:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[5])
            limit, most = resource.RLIMIT_DATA, pages * resource.getpagesize()
        if limit not in self._limited:
            self._limited[limit] = resource.prlimit(self.pid, limit)
        resource.prlimit(self.pid, limit, (most, self._limited[limit][1]))
        self._restore_s = time.monotonic() + _SHORT_S


def chaos(
    arguments: list[str],
    *,
    seconds: float,
    every_s: float,
    fps: float,
    seed: int,
    calm_s: float = CALM_S,
) -> ChaosRecord:
    """Harm a device and judge it.

    Args:
        arguments: Arguments of the device except for its outputs.
        seconds: Length, with the calm time at the end.
        every_s: Mean time between two harms.
        fps: Rate of its source.
        seed: Seed of what is done.
        calm_s: Time at the end in which nothing is done, s.
    """
    chance, screen = random.Random(seed), ScreenWatch(fps)
    injected, states = Counter[str](), Counter[str]()
    with tempfile.TemporaryDirectory(prefix="edge-difom-chaos-") as folder:
        with _Restarted(Path(folder), arguments) as device:
            reader, snapshot, begin = SegmentReader(device.segment), None, time.monotonic()
            opened, shown = begin, "silent"
            calm, due = begin + seconds - calm_s, begin + every_s
            while (now := time.monotonic()) < begin + seconds:
                device.follow()
                if now - opened >= _REOPEN_S:
                    opened = now
                    reader.reopen()  # a killed writer retires nothing
                _, news = reader.news()
                snapshot = reader.read(pixels=False) or snapshot
                fresh = time.monotonic_ns() - news < _FRESH_NS
                if news:
                    screen.observe(time.monotonic_ns(), snapshot, news)
                shown = "silent" if snapshot is None or not fresh else snapshot.state.value
                states[shown] += 1
                if now >= calm:
                    device.restore()
                elif now >= due:
                    kind = chance.choice(KINDS)
                    injected[kind] += device.harm(kind)
                    due = now + every_s * chance.uniform(0.5, 1.5)
                time.sleep(_POLL_S)
            reader.close()
            lasted, alive = time.monotonic() - begin, device.alive
            journals = device.journals()
        last = f"{shown} {'' if snapshot is None else snapshot.reason}"
        running = alive and shown == State.RUNNING.value
        checks = [
            screen.check_masks(),
            check_starts(journals, device.pids),
            Check(
                name="recovery",
                what=f"after {calm_s:g} s without a harm the device is RUNNING",
                passed=running,
                figures={"alive": alive},
                failures=[] if running else [last],
            ),
        ]
    return ChaosRecord(
        passed=all(check.passed for check in checks),
        seconds=round(lasted, 1),
        seed=seed,
        starts=len(device.pids),
        injected=dict(sorted(injected.items())),
        ended=dict(device.ended),
        states=dict(states),
        last=last.strip(),
        checks=checks,
        load=round(os.getloadavg()[0], 1),
        device=read_device(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def check_starts(journals: dict[str, bytes], pids: Sequence[int]) -> Check:
    """Check the lines of every start; one that was killed may lack its last ones."""
    lines, starts, failures = 0, 0, list[str]()
    for pid in pids:
        events, _ = read_journal(journals, pid)
        if not events:
            continue  # killed before its first line
        starts += 1
        lines += len(events)
        found = check_lines(events, 0, files=len(journals), ended=False)
        failures += [f"start {pid}: {failure}" for failure in found.failures]
    return Check(
        name="journal",
        what="in each start of the device no line is missing between others, and none is double",
        passed=not failures if starts else False,
        figures={"starts": starts, "lines": lines, "files": len(journals)},
        failures=failures[:20],
    )


@click.command(
    epilog=console.examples(
        "python -m benchmarks.soak.chaos --bundle B --minutes 120 --out chaos.json",
        "python -m benchmarks.soak.chaos --bundle B --minutes 5 --fps 15 --seed 2",
    )
)
@click.option("--bundle", required=True, type=click.Path(path_type=Path, exists=True), metavar="B")
@click.option("--engine", default="auto", show_default=True)
@click.option("--minutes", type=click.FloatRange(min=1.5), default=120.0, show_default=True)
@click.option("--fps", type=click.FloatRange(min=1), default=30.0, show_default=True)
@click.option(
    "--every",
    type=click.FloatRange(min=1),
    default=6.0,
    show_default=True,
    help="Mean seconds between two harms.",
)
@click.option("--seed", default=1, show_default=True)
@click.option("--out", "json_path", metavar="FILE", help="Write the record as JSON.")
def command(
    bundle: Path,
    engine: str,
    minutes: float,
    fps: float,
    every: float,
    seed: int,
    json_path: str | None,
) -> None:
    """Harm a device in every way for some time, and report what held.

    The exit code is 7 if a check fails.
    """
    source = f"synthetic:?width=640&height=480&fps={fps:g}&frames=0"
    arguments = ["--source", source, "--bundle", str(bundle.resolve()), "--engine", engine]
    done = chaos(arguments, seconds=60 * minutes, every_s=every, fps=fps, seed=seed)
    console.say(f"{done.seconds:.0f} s, {done.starts} starts, {done.injected}, load {done.load}")
    console.table(
        ["check", "", "what"],
        [[check.name, "passed" if check.passed else "FAILED", check.what] for check in done.checks],
    )
    if json_path:
        console.write_json(json_path, done)
        console.made(json_path)
    failures = [f"{check.name}: {failure}" for check in done.checks for failure in check.failures]
    for failure in failures:
        console.say(failure)
    if not done.passed:
        raise LatencyError("a device did not hold", got=failures[0] if failures else done.last)


if __name__ == "__main__":
    run_program(command, name="python -m benchmarks.soak.chaos")
