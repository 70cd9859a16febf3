"""The process that a soak watches, and the injections into it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.soak.checks import Check, Injection
from edge.shm.layout import segment_path
from edge.telemetry.journal import MAX_BYTES, Event
from edge.util.python_child import python_command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

EXIT_S = 3.0
"""Longest time from SIGTERM to the end (row 43)."""

_METRICS_BACK_MS = 3000.0
_PREFILLED = 6000
"""Bytes that remain in the journal before it rotates on its own."""
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_TICKS = os.sysconf("SC_CLK_TCK")


class Runtime:
    """`edge-difom run` with shared memory, journal and metrics.

    It is a context manager that leaves no process behind.

    Args:
        folder: Folder for its files.
        arguments: Arguments such as source, bundle and engine.

    Attributes:
        memory: Process -> process id -> seconds since the start and resident MB.
        injections: Injections so far.
    """

    def __init__(self, folder: Path, arguments: Sequence[str]) -> None:
        self.journal, self.metrics = folder / "journal.jsonl", folder / "metrics.prom"
        self._summary, self._errors = folder / "summary.json", folder / "stderr.txt"
        name = f"edge-difom-soak-{os.getpid()}"
        self.segment = segment_path(name)
        self.command = [
            *python_command("edge_difom", "run", *arguments, "--sink", f"shm:{name}", "--force"),
            *(
                "--log",
                str(self.journal),
                "--metrics",
                str(self.metrics),
                "--json",
                str(self._summary),
            ),
        ]
        self.memory: dict[str, defaultdict[int, list[tuple[float, float]]]] = {
            "runtime": defaultdict(list),
            "student": defaultdict(list),
        }
        self.injections: list[Injection] = []
        self._cpu: dict[int, float] = {}
        self._metrics_back_ms: list[float] = []
        self._metrics_gone_ns: int | None = None

    def __enter__(self) -> Self:
        # Lines of an earlier run, so that the journal is rotated during the soak.
        old = msgspec.json.encode(Event(1, "00000000", 0, "", "old", {"text": "x" * 400})) + b"\n"
        self.journal.write_bytes(old * ((MAX_BYTES - _PREFILLED) // len(old)))
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                self.command,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd=Path(__file__).parents[2],
            )
        self._began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            # When it ends, it ends the student's process too.
            self._process.kill()
            self._process.wait()
            self.segment.unlink(missing_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the runtime."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the runtime is running."""
        return self._process.poll() is None

    @property
    def cpu_s(self) -> float:
        """CPU seconds of the runtime and of every student's process, as last seen."""
        return sum(self._cpu.values())

    def worker(self) -> int | None:
        """Process id of the student; None while there is no such process."""
        for task in Path(f"/proc/{self.pid}/task").glob("*/children"):
            with suppress(OSError):
                for child in task.read_text().split():
                    if b"edge.inference.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        return int(child)
        return None

    def sample(self) -> None:
        """Record memory and CPU of both processes, and whether the metrics file is back."""
        seconds = time.monotonic() - self._began
        for name, pid in (("runtime", self.pid), ("student", self.worker())):
            with suppress(OSError, IndexError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                if pid is not None and pages:
                    self.memory[name][pid].append((seconds, pages * _PAGE_MB))
                    self._cpu[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
        if self._metrics_gone_ns is not None and self.metrics.exists():
            self._metrics_back_ms.append((time.monotonic_ns() - self._metrics_gone_ns) / 1e6)
            self._metrics_gone_ns = None

    def inject(self, kind: str) -> None:
        """Inject a fault; faults of a missing student's process are skipped."""
        number = len(self.injections)
        worker = self.worker() if kind in ("kill", "stop") else None
        at = time.monotonic_ns()
        if worker is not None:
            os.kill(worker, signal.SIGKILL if kind == "kill" else signal.SIGSTOP)
        elif kind == "journal-moved":
            self.journal.rename(self.journal.with_name(f"{self.journal.name}.moved-{number}"))
        elif kind == "journal-removed":
            # A different name keeps the written lines, which are counted later.
            os.link(self.journal, self.journal.with_name(f"{self.journal.name}.removed-{number}"))
            self.journal.unlink()
        elif kind == "metrics-removed":
            self.metrics.unlink(missing_ok=True)
            self._metrics_gone_ns = at
        else:
            return
        self.injections.append(Injection(kind, at))

    def journals(self) -> dict[str, bytes]:
        """Return every file of the journal once, although a rotation may rename some meanwhile."""
        journals: dict[tuple[int, int], tuple[str, bytes]] = {}
        for path in self.journal.parent.glob(f"{self.journal.name}*"):
            with suppress(OSError), path.open("rb") as file:
                status = os.fstat(file.fileno())
                journals[status.st_dev, status.st_ino] = path.name, file.read()
        return dict(journals.values())

    def check_metrics(self) -> Check:
        """Check that a removed metrics file comes back."""
        removed = sum(one.kind == "metrics-removed" for one in self.injections)
        worst = max(self._metrics_back_ms, default=None)
        failures = []
        if worst is not None and worst > _METRICS_BACK_MS:
            failures.append(f"away for {worst:.0f} ms")
        if self._metrics_gone_ns is not None:
            away = (time.monotonic_ns() - self._metrics_gone_ns) / 1e6
            if away > _METRICS_BACK_MS:
                failures.append(f"away since {away:.0f} ms")
        return Check(
            name="metrics",
            what=f"a removed metrics file is back within {_METRICS_BACK_MS:.0f} ms",
            passed=not failures if removed else None,
            figures={"removed": removed, "back": len(self._metrics_back_ms), "worst_ms": worst},
            failures=failures,
        )

    def terminate(self) -> Check:
        """End it by SIGTERM; check that it ends in time, without errors and with outputs closed."""
        begin = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(10 * EXIT_S)
        return check_end(
            seconds=time.monotonic() - begin,
            code=self._process.poll(),
            summary=self._summary.read_bytes() if self._summary.exists() else b"",
            metrics=self.metrics.read_text() if self.metrics.exists() else "",
            errors=self._errors.read_text(errors="replace"),
            segment_left=self.segment.exists(),
        )


def check_end(
    *,
    seconds: float,
    code: int | None,
    summary: bytes,
    metrics: str,
    errors: str,
    segment_left: bool,
) -> Check:
    """Check that the run ended as requested and that its outputs are complete.

    Args:
        seconds: Seconds from SIGTERM to its end.
        code: Its exit code; None if it is still running.
        summary: Content of its summary.
        metrics: Content of its metrics file.
        errors: Its output on stderr.
        segment_left: Whether the name of its shared memory still exists.
    """
    failures = []
    if seconds >= EXIT_S:
        failures.append(f"{seconds:.2f} s")
    if code != 0:
        last = errors.strip().rpartition("\n")[2]
        failures.append(f"exit code {code}: {last}")
    report: Mapping[str, Any] = {}
    try:
        report = msgspec.json.decode(summary)
    except msgspec.DecodeError:
        failures.append("the summary is not complete")
    else:
        if report["ended"] != "stopped":
            failures.append(f"ended by {report['ended']!r}")
        if f"edge_difom_frames_total {float(report['frames'])}\n" not in metrics:
            failures.append("the metrics are not the latest")
    if segment_left:
        failures.append("the shared memory is left")
    if "Traceback" in errors:
        failures.append("stderr has a traceback")
    keys = (
        "frames",
        "dropped",
        "fps",
        "frames_with_mask",
        "reasons",
        "age_ms",
        "max_age_ms",
        "stages_ms",
    )
    return Check(
        name="end",
        what=f"SIGTERM ends it within {EXIT_S:g} s with code 0, its outputs closed",
        passed=not failures,
        figures={
            "seconds": seconds,
            "code": code,
            **{key: report[key] for key in keys if key in report},
        },
        failures=failures,
    )
