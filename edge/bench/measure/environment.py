"""The environment guard: check that the machine was quiet and steady during a measurement.

A pure function judges two snapshots of the kernel's counters, taken before and after a run. A
counter that cannot be read is listed as unknown and does not invalidate the run.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.util.host import governors, read_text, usable_cpus

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_OTHER_CPU = 0.2
"""Maximum CPU of other processes, as a share of each usable core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSnapshot:
    """Counters at one moment; None if they cannot be read.

    Attributes:
        at_s: Monotonic time, seconds.
        cores: Logical processors that this process may use.
        busy_s: CPU seconds of all processes on these processors since boot.
        own_s: CPU seconds of this process and its finished children, all threads.
        swapped_pages: Pages swapped in and out since boot.
        heat_events: Thermal throttling events of the processors since boot.
        quota_events: Periods in which the control group's CPU quota stopped this process.
        governor: Frequency governors in use.
    """

    at_s: float
    cores: int
    busy_s: float | None = None
    own_s: float
    swapped_pages: int | None = None
    heat_events: int | None = None
    quota_events: int | None = None
    governor: tuple[str, ...] | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """The guard's verdict on a run.

    Attributes:
        valid: Whether no disturbance was seen.
        reason: The disturbances; None without any.
        unknown: Counters that could not be read.
        other_cpu_per_core: CPU of other processes during the run, share of each usable core.
    """

    valid: bool
    reason: str | None
    unknown: list[str]
    other_cpu_per_core: float | None

    @property
    def line(self) -> str:
        """Return the first line of a measurement's output."""
        return "VALID" if self.valid else f"INVALID: {self.reason}"


def take_snapshot() -> MachineSnapshot:
    """Read the counters of this machine."""
    cpus = usable_cpus()
    used = os.times()
    governor = governors()
    return MachineSnapshot(
        at_s=time.monotonic(),
        cores=len(cpus),
        busy_s=busy_seconds(read_text("/proc/stat") or "", cpus, os.sysconf("SC_CLK_TCK")),
        own_s=used.user + used.system + used.children_user + used.children_system,
        swapped_pages=_sum_of(read_text("/proc/vmstat"), "pswpin", "pswpout"),
        heat_events=_heat_events(Path("/sys/devices/system/cpu")),
        quota_events=_sum_of(_own_cgroup("cpu.stat"), "nr_throttled"),
        governor=tuple(governor) if governor else None,
    )


def judge(before: MachineSnapshot, after: MachineSnapshot) -> Verdict:
    """Judge whether a run between two snapshots was undisturbed.

    Args:
        before: MachineSnapshot at the start of the run.
        after: MachineSnapshot at the end of the run.
    """
    reasons: list[str] = []
    unknown: list[str] = []

    def growth(name: str, label: str) -> float | None:
        first, last = getattr(before, name), getattr(after, name)
        if first is None or last is None:
            unknown.append(label)
            return None
        return float(last - first)

    busy = growth("busy_s", "CPU of other processes")
    other: float | None = None
    if busy is not None:
        core_seconds = max(after.at_s - before.at_s, 1e-9) * after.cores
        other = max(busy - (after.own_s - before.own_s), 0.0) / core_seconds
        if other > MAX_OTHER_CPU:
            reasons.append(
                f"other processes used {other:.2f} of each core (at most {MAX_OTHER_CPU})"
            )
    if pages := growth("swapped_pages", "swapping"):
        reasons.append(f"the machine swapped {pages:.0f} pages")
    if events := growth("heat_events", "thermal throttling"):
        reasons.append(f"the processor throttled from heat {events:.0f} times")
    if periods := growth("quota_events", "CPU quota"):
        reasons.append(f"the CPU quota stopped this process in {periods:.0f} periods")
    if before.governor is None or after.governor is None:
        unknown.append("frequency governor")
    elif before.governor != after.governor:
        reasons.append(
            f"the frequency governor changed from {'/'.join(before.governor)} "
            f"to {'/'.join(after.governor)}"
        )
    return Verdict(
        valid=not reasons,
        reason="; ".join(reasons) or None,
        unknown=unknown,
        other_cpu_per_core=other,
    )


class EnvironmentGuard:
    """Judges the environment during a `with` block.

    Args:
        snapshot: Reads the counters.

    Attributes:
        verdict: Set at the end of the block.
    """

    verdict: Verdict

    def __init__(self, snapshot: Callable[[], MachineSnapshot] = take_snapshot) -> None:
        self._snapshot = snapshot

    def __enter__(self) -> EnvironmentGuard:
        self._before = self._snapshot()
        return self

    def __exit__(self, *_: object) -> None:
        self._after = self._snapshot()
        self.verdict = judge(self._before, self._after)

    def verdict_without(self, cpu_s: float) -> Verdict:
        """Return the verdict if `cpu_s` belongs to measured processes and is no disturbance."""
        return judge(self._before, replace(self._after, own_s=self._after.own_s + cpu_s))


def busy_seconds(stat: str, cpus: set[int], ticks_per_s: int) -> float | None:
    """Sum the CPU seconds used on some processors, from the text of `/proc/stat`.

    Idle time and waiting for disks do not count; time stolen by a hypervisor counts as use by other
    processes. `user` and `nice` already include the time of guests.
    """
    ticks, read = 0, 0
    for line in stat.splitlines():
        name, *values = line.split()
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cpus:
            user, nice, system, _idle, _wait, interrupt, soft, *more = map(int, values)
            ticks += user + nice + system + interrupt + soft + (more[0] if more else 0)
            read += 1
    return ticks / ticks_per_s if read == len(cpus) else None


def _sum_of(text: str | None, *names: str) -> int | None:
    pairs = dict(line.split(maxsplit=1) for line in (text or "").splitlines() if " " in line)
    return sum(int(pairs[name]) for name in names) if all(name in pairs for name in names) else None


def _heat_events(root: Path) -> int | None:
    texts = [read_text(path) for path in root.glob("cpu*/thermal_throttle/*_throttle_count")]
    counts = [int(text) for text in texts if text]
    return sum(counts) if counts else None


def _own_cgroup(name: str) -> str | None:
    for line in (read_text("/proc/self/cgroup") or "").splitlines():
        if line.startswith("0::"):
            return read_text(Path("/sys/fs/cgroup") / line[3:].lstrip("/") / name)
    return None
