"""The stream under its loads: stages sum to the whole, stalls are counted, bad loads refused."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from edge.bench.measure.sampler import Soak
from edge.bench.measure.stream import STAGES, Load, Stream
from edge.bench.report.summary import summarize
from edge.errors import UsageError
from tests.support.bench_stream import IMAGES, MANIFEST, MAX, TimedEngine, header, lines_of, run

if TYPE_CHECKING:
    from edge.bench.report import journal as j


def test_stages_share_their_boundaries_and_sum_to_the_whole() -> None:
    engine = TimedEngine()
    stream = Stream(engine, IMAGES, MANIFEST, clock=engine.clock)
    frame = stream.frame(3, engine.clock())
    assert set(frame.stamps) == set(STAGES)
    spans = [frame.stamps[name] for name in STAGES]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[0][0] == frame.captured_ns
    report = run(TimedEngine())
    means = [report.stages_ms[name].mean for name in STAGES]
    assert sum(means) == pytest.approx(float(np.mean(report.samples_us)) / 1e3, abs=1e-3)
    assert report.stages_ms["infer"].mean == pytest.approx(1.001)
    assert report.seconds == pytest.approx(0.2, abs=0.01)
    assert report.samples == len(report.samples_us) == sum(row.frames for row in report.series)
    assert report.valid


def test_500_frames_give_no_p99() -> None:
    report = run(TimedEngine(), seconds=0.502)
    assert 480 <= report.samples <= 520
    assert report.latency_ms["p97"] is not None
    for figures in (report.latency_ms, report.latency_empirical_ms, report.latency_ci95_ms):
        assert figures["p99"] is None


def test_a_stall_every_50_frames_shows_in_p99_and_not_in_p90() -> None:
    report = run(TimedEngine(stall_every=50), seconds=2.0)
    assert 662 <= report.samples < 6636
    assert report.latency_ms["p99"] is not None
    assert report.latency_ms["p90"] is not None
    assert report.latency_ms["p99"] > 20 > 2 > report.latency_ms["p90"]
    assert report.latency_ms["p99.9"] is None
    assert report.latency_empirical_ms["p99.9"] is None


def test_a_rare_stall_shows_in_p999_but_not_in_p99() -> None:
    report = run(TimedEngine(stall_every=200), seconds=11.5)
    assert 9_500 <= report.samples <= 10_500
    assert report.latency_ms["p99.9"] is not None
    assert report.latency_ms["p99"] is not None
    assert report.latency_ms["p99.9"] > 20 > 2 > report.latency_ms["p99"]
    assert len(report.series) == 12
    assert all(row.max_ms > 20 > 2 > row.p50_ms for row in report.series[:11])


def test_a_fast_engine_drops_no_picture_of_a_camera() -> None:
    """A camera waits for its pictures and a fast engine drops none."""
    report = run(TimedEngine(), seconds=2.0, load=Load.parse("60"))
    assert report.samples == pytest.approx(120, abs=1)
    assert report.fps == pytest.approx(60, rel=0.01)
    assert report.dropped == 0
    assert report.stages_ms["capture"].mean < 0.01
    # The time between pictures is in no latency.
    assert report.latency_ms["p50"] == pytest.approx(1.0, abs=0.1)


def test_a_stall_counts_against_the_pictures_that_wait() -> None:
    """A stall counts against the pictures that wait for its end."""
    # 20 ms of stall at 100 fps: the picture itself, and the newest of those that came meanwhile.
    report = run(TimedEngine(stall_every=50, stall_ms=25), seconds=5.0, load=Load.parse("100"))
    slow = [value for value in report.samples_us if value > 5000]
    stalled = [value for value in slow if value > 25_000]
    assert len(slow) == pytest.approx(2 * len(stalled), abs=1)
    assert report.dropped == pytest.approx(len(stalled), abs=1)


def test_a_slow_engine_takes_the_newest_picture() -> None:
    """A slow engine takes the newest picture and counts others."""
    report = run(TimedEngine(base_ms=40), seconds=4.0, load=Load.parse("60"))
    assert report.fps == pytest.approx(25, abs=2)
    assert report.dropped + report.samples == pytest.approx(240, abs=4)
    # A picture waits less than one period, however long the engine is behind.
    assert max(report.samples_us) < (40 + 17) * 1e3
    assert report.latency_ms["p50"] is not None
    assert report.latency_ms["p50"] > 40


def test_the_warm_up_is_not_counted() -> None:
    engine = TimedEngine(extra_ms=lambda call: max(0.0, 2 - call / 100))
    lines = lines_of(engine, 6.0)
    report = summarize([header(seconds=6.0), *lines]).first
    assert report.latency_ms["p99"] is not None
    assert report.latency_ms["p99"] < 1.1
    warmup = report.warmup
    assert warmup.settled
    assert warmup.drift < 0.02
    assert warmup.seconds >= 2
    assert not warmup.shortened
    # Nothing is lost and nothing counted twice.
    assert engine.calls == warmup.runs + report.samples


def test_a_warm_up_that_does_not_settle_ends_and_says_so() -> None:
    warmup = run(TimedEngine(extra_ms=lambda call: call / 10), seconds=3.0).warmup
    assert not warmup.settled
    assert warmup.drift >= 0.02
    assert warmup.seconds == pytest.approx(3.0, abs=0.1)


def test_a_short_run_warms_up_for_ten_frames_or_more() -> None:
    """A short run shortens the warm up and never below ten frames."""
    warmup = run(TimedEngine(), seconds=0.002).warmup
    assert warmup.shortened
    assert warmup.runs >= 10


def test_a_slow_engine_gives_few_samples_and_no_percentile() -> None:
    report = run(TimedEngine(base_ms=51.0), seconds=0.2)
    assert 1 <= report.samples < 11
    assert set(report.latency_ms.values()) == {None}
    assert report.stages_ms["infer"].mean == pytest.approx(51.0, abs=0.1)
    assert report.stages_ms["infer"].p50 is None


def test_a_machine_that_throttles_shows_in_the_retention() -> None:
    # 50 ms each; half the speed from 150 s on.
    steady = run(TimedEngine(base_ms=50), seconds=240.0)
    assert steady.retention == pytest.approx(1.0)
    slowed = TimedEngine(base_ms=50)
    slowed.extra_ms = lambda _: 50.0 if slowed.now_ns > 150e9 else 0.0
    report = run(slowed, seconds=240.0)
    assert report.retention == pytest.approx(2.0, rel=0.01)
    assert report.series[30].p50_ms == pytest.approx(50, rel=0.02)
    assert report.series[-1].p50_ms == pytest.approx(100, rel=0.02)
    assert run(TimedEngine(base_ms=50), seconds=119.0).retention is None


def test_cpu_energy_and_memory_are_told_per_frame() -> None:
    engine = TimedEngine()

    def look() -> j.Sample:
        # 5 W, and a MiB more every second; the counter of energy wraps in the run.
        seconds = engine.now_ns / 1e9
        return engine.machine(
            energy_uj={"package-0": round(5e6 * seconds) % 20_000_000, "core": 1},
            rss_mb=100 + seconds,
            temperature_c={"cpu": 40 + seconds, "board": 30},
        )

    lines = [header(seconds=10.0, energy_range={"package-0": 20_000_000, "core": 1000})]
    report = summarize([*lines, *lines_of(engine, 10.0, sample=look)]).first
    assert report.cpu_ms_per_frame == pytest.approx(1e3 * report.seconds / report.samples, rel=0.01)
    assert report.energy_source == "RAPL package-0"
    assert report.energy_mj_per_frame == pytest.approx(
        5e3 * report.seconds / report.samples, rel=0.01
    )
    assert report.rss_growth_kib_per_frame == pytest.approx(
        1024 * report.seconds / report.samples, rel=0.01
    )
    assert report.series[5].power_w == pytest.approx(5, rel=0.02)
    assert report.series[5].temperature_c == pytest.approx(48, abs=0.1)


def test_power_rails_give_energy_where_no_counter_does() -> None:
    engine = TimedEngine()
    rails = {"ina3221/VDD_IN": 12.0, "ina3221/VDD_CPU": 4.0}
    report = run(engine, seconds=2.0, sample=lambda: engine.machine(power_w=rails))
    assert report.energy_source == "ina3221/VDD_IN"
    assert report.energy_mj_per_frame == pytest.approx(
        12e3 * report.seconds / report.samples, rel=0.01
    )
    bare = run(TimedEngine(), seconds=2.0)
    assert bare.energy_mj_per_frame is None
    assert bare.energy_source is None


def test_a_load_that_others_spoil_is_invalid_and_named() -> None:
    engine = TimedEngine()

    def disturbed() -> j.Sample:
        look = engine.machine()
        return msgspec.structs.replace(
            look, snapshot=dataclasses.replace(look.snapshot, busy_s=1.5 * look.snapshot.at_s)
        )

    lines = [
        header(),
        *lines_of(engine, 1.0),
        *lines_of(engine, 1.0, Load.parse("30"), sample=disturbed),
    ]
    report = summarize(lines)
    assert [row.valid for row in report.loads] == [True, False]
    assert not report.valid
    assert report.reason is not None
    assert report.reason.startswith("load 30: other processes used 0.5")


def test_a_soak_ends_where_the_temperature_has_settled() -> None:
    engine = TimedEngine(base_ms=100)

    def look() -> j.Sample:
        seconds = engine.now_ns / 1e9
        return engine.machine(temperature_c={"cpu": 60 - 20 * 2 ** (-seconds / 100)})

    lines = lines_of(engine, 1800.0, sample=look, settled=Soak().settled)
    ended = lines[-1].at_ns / 1e9
    assert 700 < ended < 900
    # Without a sensor it lasts as long as was asked for.
    blind = TimedEngine(base_ms=1000)
    assert lines_of(blind, 900.0, settled=Soak().settled)[-1].at_ns / 1e9 >= 900


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_run_without_length_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="seconds > 0"):
        lines_of(TimedEngine(), seconds)


@pytest.mark.parametrize("text", ["", "fast", "0", "-30", "nan", "1e9"])
def test_a_load_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="frames per second"):
        Load.parse(text)


def test_loads_have_one_name_each() -> None:
    assert Load.parse("max") == MAX
    assert Load.parse("60.0") == Load.parse("60") == Load("60", 60.0)
