"""Summarize the lines of a record as a report; also works for the record of a killed run."""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from edge.bench.measure import percentiles
from edge.bench.measure.environment import judge
from edge.bench.measure.sensors import board_power, energy_between
from edge.bench.report.journal import Aside, Begin, End, Header, Second
from edge.bench.report.record import BenchReport, LoadReport, Moment, Stage
from edge.bench.report.resampling import blocks_of, interval, quantile_draws
from edge.errors import DataError
from edge.util.files import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge.bench.report.journal import Line, Sample

PUBLISHED_SECONDS = 600.0
"""Minimum duration of a publishable load; shorter loads are marked: they miss rare events."""

_RETENTION_NS = 60_000_000_000
_BOARD_METERS = ("psys",)
_PACKAGE_METERS = ("package", "dram")


def summarize(lines: Sequence[Line]) -> BenchReport:
    """Make the report of a record.

    Args:
        lines: The lines of a `Journal`, the header first.

    Raises:
        DataError: The record has no counted second.
    """
    header, loads = lines[0], _loads(lines)
    assert isinstance(header, Header), "a journal begins with its header"
    if not loads:
        raise DataError(
            "the record has no second of a load",
            expected="a run that counted frames",
            got=f"{len(lines)} lines",
        )
    asides = [line for line in lines if isinstance(line, Aside)]
    ends = [line for line in lines if isinstance(line, End)]
    reports = [_load_report(begin, seconds, header.energy_range) for begin, seconds in loads]
    aside, complete = asides[0] if asides else None, bool(ends)
    spoilt = [row for row in reports if not row.valid]
    reason = "; ".join(
        row.reason or "" if len(reports) == 1 else f"load {row.load}: {row.reason}"
        for row in spoilt
    )
    shared = {name: getattr(header, name) for name in Header.__struct_fields__ if name in _SHARED}
    return BenchReport(
        **shared,
        valid=not spoilt,
        reason=reason or None,
        unknown=sorted({name for row in reports for name in row.unknown}),
        complete=complete,
        publishable=not spoilt
        and complete
        and all(row.seconds >= PUBLISHED_SECONDS for row in reports),
        notes=[
            *_notes(header, reports, complete=complete),
            *(note for end in ends for note in end.notes),
        ],
        loads=reports,
        inference_only_ms=_stage(aside.inference_ms) if aside else None,
        preprocess_postprocess_cpu_ms=statistics.fmean(aside.around_cpu_ms) if aside else None,
        peak_rss_mb=aside.peak_rss_mb if aside else None,
    )


_SHARED = set(BenchReport.__struct_fields__)


def _loads(lines: Sequence[Line]) -> list[tuple[Begin, list[Second]]]:
    """Group each load's beginning with its seconds; leave out loads without seconds."""
    loads: list[tuple[Begin, list[Second]]] = []
    for line in lines:
        if isinstance(line, Begin):
            loads.append((line, []))
        elif isinstance(line, Second) and loads:
            loads[-1][1].append(line)
    return [(begin, seconds) for begin, seconds in loads if seconds]


def _load_report(begin: Begin, seconds: Sequence[Second], wraps: Mapping[str, int]) -> LoadReport:
    blocks = [np.array(second.whole_ns()) / 1e6 for second in seconds]
    samples = np.concatenate(blocks).tolist()
    counts = [block.size for block in blocks]
    last = seconds[-1]
    verdict = judge(begin.machine.snapshot, last.machine.snapshot)
    elapsed = last.at_ns / 1e9
    energy = _energy([begin.machine, *(second.machine for second in seconds)], wraps, elapsed)
    first_rss, last_rss = begin.machine.reading.rss_mb, last.machine.reading.rss_mb
    growth = (
        None
        if first_rss is None or last_rss is None
        else 1024 * (last_rss - first_rss) / len(samples)
    )
    stages = {
        name: [value / 1e6 for second in seconds for value in second.stages_ns[name]]
        for name in last.stages_ns
    }
    return LoadReport(
        load=begin.load,
        samples=len(samples),
        seconds=elapsed,
        fps=len(samples) / elapsed,
        dropped=sum(second.dropped for second in seconds),
        valid=verdict.valid,
        reason=verdict.reason,
        unknown=verdict.unknown,
        other_cpu_per_core=verdict.other_cpu_per_core,
        warmup=begin.warmup,
        latency_ms=percentiles.bounds(samples),
        latency_empirical_ms=percentiles.quantiles(samples),
        latency_ci95_ms=_intervals(samples, counts),
        stages_ms={name: _stage(values) for name, values in stages.items()},
        cpu_ms_per_frame=sum(second.cpu_ns for second in seconds) / 1e6 / len(samples),
        rss_mb=last_rss,
        rss_growth_kib_per_frame=growth,
        energy_mj_per_frame=None if energy is None else 1e3 * energy[1] / len(samples),
        energy_source=None if energy is None else energy[0],
        retention=_retention(seconds, blocks),
        series=_series(begin, seconds, blocks, wraps),
        samples_us=[round(1e3 * value, 1) for value in samples],
    )


def _stage(values: Sequence[float]) -> Stage:
    return Stage(
        mean=statistics.fmean(values),
        p50=percentiles.plain_quantile(values, 0.5),
        p99=percentiles.plain_quantile(values, 0.99),
    )


def _intervals(
    samples: Sequence[float], counts: Sequence[int]
) -> dict[str, tuple[float, float] | None]:
    """Compute 95 % intervals of the plain quantiles that have enough samples."""
    blocks = blocks_of(samples, counts)
    names = [
        name
        for name, p in percentiles.PERCENTILES.items()
        if len(samples) >= percentiles.min_samples(p)
    ]
    intervals: dict[str, tuple[float, float] | None] = dict.fromkeys(percentiles.PERCENTILES)
    if blocks and names:
        draws = quantile_draws(blocks, [percentiles.PERCENTILES[name] for name in names])
        intervals |= {name: interval(column) for name, column in zip(names, draws.T, strict=True)}
    return intervals


def _retention(seconds: Sequence[Second], blocks: Sequence[np.ndarray]) -> float | None:
    """Return p50 of the last minute over that of the first; None if the minutes overlap."""
    total = seconds[-1].at_ns
    if total < 2 * _RETENTION_NS:
        return None
    pairs = list(zip(seconds, blocks, strict=True))
    first = [block for second, block in pairs if second.at_ns <= _RETENTION_NS]
    last = [block for second, block in pairs if second.at_ns > total - _RETENTION_NS]
    return float(np.median(np.concatenate(last)) / np.median(np.concatenate(first)))


def _series(
    begin: Begin, seconds: Sequence[Second], blocks: Sequence[np.ndarray], wraps: Mapping[str, int]
) -> list[Moment]:
    rows, before = [], begin.machine
    for second, block in zip(seconds, blocks, strict=True):
        reading = second.machine.reading
        spent = _energy([before, second.machine], wraps, 0.0)
        took = second.machine.snapshot.at_s - before.snapshot.at_s
        board = board_power(reading)
        power = board[1] if board else spent[1] / took if spent and took > 0 else None
        rows.append(
            Moment(
                at_s=second.at_ns / 1e9,
                frames=block.size,
                p50_ms=float(np.median(block)),
                max_ms=float(block.max()),
                temperature_c=reading.hottest_c,
                frequency_mhz=reading.frequency_mhz,
                power_w=power,
                rss_mb=reading.rss_mb,
            )
        )
        before = second.machine
    return rows


def _energy(
    looks: Sequence[Sample], wraps: Mapping[str, int], seconds: float
) -> tuple[str, float] | None:
    """Return meter and joules between first and last sample, from a counter or power x time."""
    joules: dict[str, float] = {}
    for before, after in pairwise(looks):
        for name, value in energy_between(before.reading, after.reading, dict(wraps)).items():
            joules[name] = joules.get(name, 0.0) + value
    for meters in (_BOARD_METERS, _PACKAGE_METERS):
        chosen = {name: value for name, value in joules.items() if name.startswith(meters)}
        if chosen:
            return "RAPL " + " + ".join(chosen), sum(chosen.values())
    powers = [power for look in looks if (power := board_power(look.reading))]
    if powers and seconds:
        return powers[-1][0], statistics.fmean(watts for _, watts in powers) * seconds
    return None


def _notes(header: Header, loads: Sequence[LoadReport], *, complete: bool) -> list[str]:
    notes = []
    if not complete:
        notes.append("the run did not come to its end; these are the seconds that it wrote")
    if header.seconds < PUBLISHED_SECONDS:
        notes.append(
            f"a run of {header.seconds:g} s, shorter than the {PUBLISHED_SECONDS:g} s of a "
            "published one"
        )
    for row in loads:
        name = f"load {row.load}: "
        if row.warmup.shortened:
            notes.append(f"{name}the warm-up was shortened to {row.warmup.seconds:.1f} s")
        if not row.warmup.settled:
            notes.append(
                f"{name}the latency still drifted by {row.warmup.drift:.1%} after the warm-up"
            )
        if refused := [key for key, value in row.latency_ms.items() if value is None]:
            notes.append(f"{name}{row.samples} frames are too few for {', '.join(refused)}")
        if row.dropped:
            notes.append(f"{name}{row.dropped} pictures were overwritten before their turn came")
    executed = header.settings.get("precision")
    if executed is not None and executed != header.precision:
        notes.append(
            f"the bundle calls the engine {header.precision}, "
            f"and most of it was executed in {executed}"
        )
    if not header.accuracy:
        notes.append(
            "no accuracy of this engine is known, without which a latency is half a figure"
        )
    if header.golden and not header.golden.ok:
        notes.append("the engine strays from the bundle's golden frames on this machine")
    if header.sensors_missing:
        notes.append(f"this machine shows no {', no '.join(header.sensors_missing)}")
    return notes


def encode_report(report: BenchReport) -> bytes:
    """Return the report as indented JSON."""
    return json_text(report)
