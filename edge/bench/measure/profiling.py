"""Measure the machine's peak: memory bandwidth, and its engines on dense convolutions."""

from __future__ import annotations

import statistics
import threading
import time
from contextlib import closing
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from edge.bench.measure.dense import DENSE, dense_files, dense_work
from edge.bench.measure.environment import EnvironmentGuard, take_snapshot
from edge.bench.measure.sensors import machine_settings
from edge.bench.report.profile_record import DeviceProfile, Peak
from edge.errors import DataError, EdgeDifomError
from edge.util.host import read_device, usable_cpus, versions

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.bench.measure.environment import MachineSnapshot

PRECISIONS = ("int8", "f32")
_SIZE = (352, 352)
_MEGABYTES = 256
_WARM_RUNS = 3
_PASSES = 7


def profile_device(
    *,
    threads: int | None = None,
    seconds: float = 3.0,
    size: tuple[int, int] = _SIZE,
    megabytes: int = _MEGABYTES,
    snapshot: Callable[[], MachineSnapshot] = take_snapshot,
    done: Callable[[str], None] = lambda _: None,
) -> DeviceProfile:
    """Measure the peak performance of this machine.

    Args:
        threads: Threads of engines and of the memory test; one per usable core by default.
        seconds: Time to run each engine.
        size: Height and width of the dense stack's input.
        megabytes: Size of each copied array; must be far larger than the caches.
        snapshot: Reads the counters for the environment guard.
        done: Called with the name of each part after it was measured.
    """
    threads = threads or len(usable_cpus())
    peaks, missing = [], {}
    with EnvironmentGuard(snapshot) as guard:
        copy, triad = memory_bandwidth(threads, megabytes=megabytes)
        done("memory")
        for engine in DENSE:
            for precision in PRECISIONS:
                try:
                    peaks.append(_peak(engine, precision, threads, seconds, size))
                except (ModuleNotFoundError, EdgeDifomError) as error:
                    missing[f"{engine} {precision}"] = str(error).splitlines()[0]
                done(f"{engine} {precision}")
    return DeviceProfile(
        valid=guard.verdict.valid,
        reason=guard.verdict.reason,
        unknown=guard.verdict.unknown,
        threads=threads,
        copy_gb_s=copy,
        triad_gb_s=triad,
        peaks=peaks,
        missing=missing,
        device=read_device(),
        machine=machine_settings(),
        versions=versions(),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def memory_bandwidth(threads: int, *, megabytes: int = _MEGABYTES) -> tuple[float, float]:
    """Measure the bandwidth of a copy and of the triad a = b + s c, in 10^9 bytes per second.

    The arrays hold doubles; the best of several passes counts. As in STREAM, a copy moves two
    arrays and a triad three, without counting reads of cache lines that are then overwritten. In
    numpy the triad takes two passes: the first one writes `a`, the second one reads it again.

    Args:
        threads: Number of threads; each works on its own array.
        megabytes: Size of one array, summed over all threads.
    """
    count = max(1, megabytes * 10**6 // 8 // threads)
    parts = [tuple(np.full(count, value) for value in (1.0, 2.0, 3.0)) for _ in range(threads)]

    def copy(number: int) -> None:
        a, b, _ = parts[number]
        np.copyto(a, b)

    def triad(number: int) -> None:
        a, b, c = parts[number]
        np.multiply(c, 3.0, out=a)
        np.add(a, b, out=a)

    moved = count * 8 * threads
    # numpy releases the interpreter's lock while it works; multiply moves 2 arrays and add 3.
    return 2 * moved / _best(copy, threads) / 1e9, 5 * moved / _best(triad, threads) / 1e9


def _best(work: Callable[[int], None], threads: int) -> float:
    """Return the seconds of the fastest pass of all threads together."""
    durations = []
    for _ in range(_PASSES):
        others = [threading.Thread(target=work, args=(number,)) for number in range(1, threads)]
        begin = time.perf_counter()
        for thread in others:
            thread.start()
        work(0)
        for thread in others:
            thread.join()
        durations.append(time.perf_counter() - begin)
    return min(durations)


def _peak(engine: str, precision: str, threads: int, seconds: float, size: tuple[int, int]) -> Peak:
    """Measure the operations per second of an engine on the dense stack.

    Raises:
        ModuleNotFoundError: Its runtime, or the package that writes its files, is missing.
        DataError: The engine executed the stack in a different precision.
    """
    from edge.engines.open import open_engine_files

    with closing(
        open_engine_files(engine, dense_files(engine, precision, size), threads)
    ) as opened:
        executed = opened.settings()["precision"]
        if executed != precision:
            raise DataError(
                f"{engine} did not execute the {precision} stack in that precision",
                expected=precision,
                got=executed,
            )
        image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
        for _ in range(_WARM_RUNS):
            opened.infer(image)
        samples: list[float] = []
        end = time.perf_counter() + seconds
        while not samples or time.perf_counter() < end:
            begin = time.perf_counter_ns()
            opened.infer(image)
            samples.append((time.perf_counter_ns() - begin) / 1e6)
    reached = dense_work(size).giga_operations / statistics.median(samples) * 1e3
    return Peak(
        engine=engine, precision=executed, giga_operations_per_second=reached, samples_ms=samples
    )


def read_profile(path: Path) -> DeviceProfile:
    """Read a profile that `edge-difom bench device` wrote.

    Raises:
        DataError: The file is missing or is not a profile.
    """
    import msgspec

    try:
        return msgspec.json.decode(path.read_bytes(), type=DeviceProfile)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(
            f"{path} is not a device profile",
            expected="a file that the profiling of a machine wrote",
            got=str(error),
        ) from error
