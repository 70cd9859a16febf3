"""The stream under its loads: stages sum to the whole, runs are refused, stalls are counted."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench.measure.environment import Snapshot
from edge.bench.measure.run import measure, run_bench
from edge.bench.measure.sampler import Sampler, Soak
from edge.bench.measure.sensors import Reading
from edge.bench.measure.stream import STAGES, Load, Stream, run_load
from edge.bench.report import journal as j
from edge.bench.report.record import BenchReport
from edge.bench.report.summary import summarize
from edge.bundle import manifest as m
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.bench.report.record import LoadReport
    from edge.frame import ImageU8

MANIFEST = m.Manifest(
    schema_version=m.SCHEMA_VERSION,
    name="fake",
    intended_use="",
    licence="",
    input=m.Input(height=16, width=16),
    output=m.Output(height=8, width=8),
    engines=[],
    golden=m.GoldenSet(frames=[]),
    parity=[],
    accuracy=[],
    provenance=m.Provenance(
        student="", teachers=[], recipe="", data={}, versions={}, seed=0, created="2026-01-01"
    ),
    files={},
)
IMAGES = [np.full((40, 60, 3), value, np.uint8) for value in (10, 200)]
MAX = Load("max", None)


class FakeEngine:
    """An engine with a clock of its own: an inference takes 1 ms, and more on some calls.

    Args:
        stall_every: Every so many calls one takes `stall_ms` more.
        stall_ms: How much more.
        extra_ms: Number of the call, from 1 -> how much more it takes.
        base_ms: What each takes.
    """

    input_buffer = None

    name = "openvino"
    input_size = (16, 16)

    def __init__(
        self,
        stall_every: int = 0,
        stall_ms: float = 20.0,
        extra_ms: Callable[[int], float] = lambda _: 0.0,
        base_ms: float = 1.0,
    ) -> None:
        self.calls = self.now_ns = 0
        self.stall_every, self.stall_ms, self.extra_ms, self.base_ms = (
            stall_every,
            stall_ms,
            extra_ms,
            base_ms,
        )

    def clock(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)

    def infer(self, image: ImageU8) -> ImageU8:
        self.calls += 1
        stalls = self.stall_every and self.calls % self.stall_every == 0
        milliseconds = self.base_ms + self.extra_ms(self.calls) + (self.stall_ms if stalls else 0)
        self.now_ns += round(milliseconds * 1e6)
        return np.full((8, 8), int(image[0, 0, 0]), np.uint8)

    def settings(self) -> dict[str, Any]:
        return {"threads": 1}

    def close(self) -> None:
        pass

    def machine(self, **reading: Any) -> j.Sample:
        """A quiet machine at this engine's time: nothing but this process used it."""
        seconds = self.now_ns / 1e9
        snapshot = Snapshot(
            at_s=seconds,
            cores=1,
            busy_s=seconds,
            own_s=seconds,
            swapped_pages=0,
            governor=("performance",),
        )
        return j.Sample(snapshot=snapshot, reading=Reading(**reading))


def header(**changes: Any) -> j.Header:
    from edge.util.host import read_device

    values: dict[str, Any] = {
        "seconds": 1.0,
        "bundle": "fake",
        "digest": "0" * 64,
        "engine": "openvino",
        "precision": "int8",
        "threads": 1,
        "frame_size": (40, 60),
        "compile_ms": 1.0,
        "first_inference_ms": 1.0,
        "settings": {"threads": 1},
        "accuracy": [],
        "parity": [],
        "golden": None,
        "work": None,
        "profile": None,
        "machine": {},
        "sensors_missing": [],
        "energy_range": {},
        "device": read_device(),
        "versions": {},
        "command": "",
        "created": "",
    }
    return j.Header(**(values | changes))


def lines_of(engine: FakeEngine, seconds: float, load: Load = MAX, **more: Any) -> list[Any]:
    stream = Stream(
        engine,
        IMAGES,
        MANIFEST,
        clock=engine.clock,
        sleep=engine.sleep,
        cpu_clock=lambda: engine.now_ns,
    )
    more.setdefault("sample", engine.machine)
    return list(run_load(stream, load, seconds, **more))


def run(engine: FakeEngine, seconds: float = 0.2, load: Load = MAX, **more: Any) -> LoadReport:
    return summarize([header(seconds=seconds), *lines_of(engine, seconds, load, **more)]).first


def test_stages_share_their_boundaries_and_sum_to_the_whole() -> None:
    engine = FakeEngine()
    stream = Stream(engine, IMAGES, MANIFEST, clock=engine.clock)
    frame = stream.frame(3, engine.clock())
    assert set(frame.stamps) == set(STAGES)
    spans = [frame.stamps[name] for name in STAGES]
    assert all(before[1] == after[0] for before, after in pairwise(spans))
    assert spans[0][0] == frame.captured_ns
    report = run(FakeEngine())
    means = [report.stages_ms[name].mean for name in STAGES]
    assert sum(means) == pytest.approx(float(np.mean(report.samples_us)) / 1e3, abs=1e-3)
    assert report.stages_ms["infer"].mean == pytest.approx(1.001)
    assert report.seconds == pytest.approx(0.2, abs=0.01)
    assert report.samples == len(report.samples_us) == sum(row.frames for row in report.series)
    assert report.valid


def test_500_frames_give_no_p99() -> None:
    report = run(FakeEngine(), seconds=0.502)
    assert 480 <= report.samples <= 520
    assert report.latency_ms["p97"] is not None
    for figures in (report.latency_ms, report.latency_empirical_ms, report.latency_ci95_ms):
        assert figures["p99"] is None


def test_a_stall_every_50_frames_shows_in_p99_and_not_in_p90() -> None:
    report = run(FakeEngine(stall_every=50), seconds=2.0)
    assert 662 <= report.samples < 6636
    assert report.latency_ms["p99"] is not None
    assert report.latency_ms["p90"] is not None
    assert report.latency_ms["p99"] > 20 > 2 > report.latency_ms["p90"]
    assert report.latency_ms["p99.9"] is None
    assert report.latency_empirical_ms["p99.9"] is None


def test_a_rare_stall_shows_in_p999_but_not_in_p99() -> None:
    report = run(FakeEngine(stall_every=200), seconds=11.5)
    assert 9_500 <= report.samples <= 10_500
    assert report.latency_ms["p99.9"] is not None
    assert report.latency_ms["p99"] is not None
    assert report.latency_ms["p99.9"] > 20 > 2 > report.latency_ms["p99"]
    assert len(report.series) == 12
    assert all(row.max_ms > 20 > 2 > row.p50_ms for row in report.series[:11])


def test_a_camera_waits_for_its_pictures_and_a_fast_engine_drops_none() -> None:
    report = run(FakeEngine(), seconds=2.0, load=Load.parse("60"))
    assert report.samples == pytest.approx(120, abs=1)
    assert report.fps == pytest.approx(60, rel=0.01)
    assert report.dropped == 0
    assert report.stages_ms["capture"].mean < 0.01
    # The time between pictures is in no latency.
    assert report.latency_ms["p50"] == pytest.approx(1.0, abs=0.1)


def test_a_stall_counts_against_the_pictures_that_wait_for_its_end() -> None:
    # 20 ms of stall at 100 fps: the picture itself, and the newest of those that came meanwhile.
    report = run(FakeEngine(stall_every=50, stall_ms=25), seconds=5.0, load=Load.parse("100"))
    slow = [value for value in report.samples_us if value > 5000]
    stalled = [value for value in slow if value > 25_000]
    assert len(slow) == pytest.approx(2 * len(stalled), abs=1)
    assert report.dropped == pytest.approx(len(stalled), abs=1)


def test_a_slow_engine_takes_the_newest_picture_and_counts_others() -> None:
    report = run(FakeEngine(base_ms=40), seconds=4.0, load=Load.parse("60"))
    assert report.fps == pytest.approx(25, abs=2)
    assert report.dropped + report.samples == pytest.approx(240, abs=4)
    # A picture waits less than one period, however long the engine is behind.
    assert max(report.samples_us) < (40 + 17) * 1e3
    assert report.latency_ms["p50"] is not None
    assert report.latency_ms["p50"] > 40


def test_the_warm_up_is_not_counted() -> None:
    engine = FakeEngine(extra_ms=lambda call: max(0.0, 2 - call / 100))
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
    warmup = run(FakeEngine(extra_ms=lambda call: call / 10), seconds=3.0).warmup
    assert not warmup.settled
    assert warmup.drift >= 0.02
    assert warmup.seconds == pytest.approx(3.0, abs=0.1)


def test_a_short_run_shortens_the_warm_up_and_never_below_ten_frames() -> None:
    warmup = run(FakeEngine(), seconds=0.002).warmup
    assert warmup.shortened
    assert warmup.runs >= 10


def test_a_slow_engine_gives_few_samples_and_no_percentile() -> None:
    report = run(FakeEngine(base_ms=51.0), seconds=0.2)
    assert 1 <= report.samples < 11
    assert set(report.latency_ms.values()) == {None}
    assert report.stages_ms["infer"].mean == pytest.approx(51.0, abs=0.1)
    assert report.stages_ms["infer"].p50 is None


def test_a_machine_that_throttles_shows_in_the_retention() -> None:
    # 50 ms each; half the speed from 150 s on.
    steady = run(FakeEngine(base_ms=50), seconds=240.0)
    assert steady.retention == pytest.approx(1.0)
    slowed = FakeEngine(base_ms=50)
    slowed.extra_ms = lambda _: 50.0 if slowed.now_ns > 150e9 else 0.0
    report = run(slowed, seconds=240.0)
    assert report.retention == pytest.approx(2.0, rel=0.01)
    assert report.series[30].p50_ms == pytest.approx(50, rel=0.02)
    assert report.series[-1].p50_ms == pytest.approx(100, rel=0.02)
    assert run(FakeEngine(base_ms=50), seconds=119.0).retention is None


def test_cpu_energy_and_memory_are_told_per_frame() -> None:
    engine = FakeEngine()

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
    engine = FakeEngine()
    rails = {"ina3221/VDD_IN": 12.0, "ina3221/VDD_CPU": 4.0}
    report = run(engine, seconds=2.0, sample=lambda: engine.machine(power_w=rails))
    assert report.energy_source == "ina3221/VDD_IN"
    assert report.energy_mj_per_frame == pytest.approx(
        12e3 * report.seconds / report.samples, rel=0.01
    )
    bare = run(FakeEngine(), seconds=2.0)
    assert bare.energy_mj_per_frame is None
    assert bare.energy_source is None


def test_a_load_that_others_spoil_is_invalid_and_named() -> None:
    engine = FakeEngine()

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
    engine = FakeEngine(base_ms=100)

    def look() -> j.Sample:
        seconds = engine.now_ns / 1e9
        return engine.machine(temperature_c={"cpu": 60 - 20 * 2 ** (-seconds / 100)})

    lines = lines_of(engine, 1800.0, sample=look, settled=Soak().settled)
    ended = lines[-1].at_ns / 1e9
    assert 700 < ended < 900
    # Without a sensor it lasts as long as was asked for.
    blind = FakeEngine(base_ms=1000)
    assert lines_of(blind, 900.0, settled=Soak().settled)[-1].at_ns / 1e9 >= 900


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_run_without_length_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="seconds > 0"):
        lines_of(FakeEngine(), seconds)


@pytest.mark.parametrize("text", ["", "fast", "0", "-30", "nan", "1e9"])
def test_a_load_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="frames per second"):
        Load.parse(text)


def test_loads_have_one_name_each() -> None:
    assert Load.parse("max") == MAX
    assert Load.parse("60.0") == Load.parse("60") == Load("60", 60.0)


def test_the_command_writes_record_and_reports(tiny_bundle: Path, tmp_path: Path) -> None:
    from edge_difom.cli.bench import command

    json, out = tmp_path / "bench.json", tmp_path / "run"
    arguments = [
        "--bundle",
        tiny_bundle,
        "--engine",
        "openvino",
        "--seconds",
        "0.3",
        "--threads",
        "1",
    ]
    arguments += [
        "--rate",
        "max",
        "--rate",
        "30",
        "--frame",
        "320x240",
        "--json",
        json,
        "--out",
        out,
    ]
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    report = msgspec.json.decode(json.read_bytes(), type=BenchReport)
    assert result.stdout.splitlines()[0] == (
        "VALID" if report.valid else f"INVALID: {report.reason}"
    )
    assert f"made: {out / 'record.jsonl'}" in result.stdout
    assert "next: edge-difom" in result.stdout
    assert report.engine == "openvino"
    assert [row.load for row in report.loads] == ["max", "30"]
    assert report.complete
    assert not report.publishable
    assert any("shorter than the 600 s" in note for note in report.notes)
    assert report.settings["threads"] == 1
    assert report.golden is not None
    assert report.golden.ok
    assert report.work is not None
    # The tiny student: 16 x 16 cells, each 4 x 4 x 3 weights.
    assert report.work.macs == 16 * 16 * 4 * 4 * 3
    assert report.compile_ms > 0
    assert report.command.startswith("edge-difom bench run --bundle")
    assert "--rate max --rate 30" in report.command
    assert list(report.first.latency_ms) == ["p50", "p90", "p95", "p97", "p99", "p99.9"]
    assert msgspec.json.decode((out / "report.json").read_bytes(), type=BenchReport) == report
    assert summarize(j.read_journal(out)) == report
    again = CliRunner().invoke(command, list(map(str, arguments)))
    assert isinstance(again.exception, UsageError)


def test_the_accuracy_of_the_same_engine_stands_beside_its_speed(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]],
    tmp_path: Path,
    tiny_scene: Callable[..., ImageU8],
) -> None:
    import cv2

    from edge.bundle.reader import write_bundle
    from edge.datasets.pairs import find_pairs

    manifest, files = tiny_parts
    rows = [
        m.Accuracy(dataset="d", engine=engine, n=5, dice=0.9, iou=0.8, dice_ci95=(0.8, 0.95))
        for engine in ("openvino int8", "openvino f32", "tflite int8")
    ]
    bundle = write_bundle(
        tmp_path / "bundle", msgspec.structs.replace(manifest, accuracy=rows), files
    )
    for number in range(2):
        picture = tiny_scene(number)
        for folder, image in (
            ("images", picture[..., ::-1]),
            ("masks", 255 * (picture[..., 0] > 150).astype(np.uint8)),
        ):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "data" / folder / f"{number}.png"), image)
    report = run_bench(
        bundle,
        engine="openvino",
        seconds=0.05,
        threads=1,
        size=(120, 160),
        pairs=find_pairs(tmp_path / "data"),
        data="data",
    )
    assert report.accuracy[:1] == rows[:1]
    scored = report.accuracy[1]
    assert (scored.dataset, scored.engine, scored.n) == (
        "data, scored in this run",
        "openvino int8",
        2,
    )
    assert scored.dice > 0.7
    assert not any("accuracy" in note for note in report.notes)
    assert report.frame_size == (120, 160)
    assert report.digest == bundle.digest


def test_the_sampler_looks_by_itself_and_ends_with_its_block() -> None:
    import threading

    seen = threading.Event()

    def snapshot() -> Snapshot:
        seen.set()
        return Snapshot(at_s=1.0, cores=1, own_s=0.0)

    with Sampler(snapshot, every_s=0.001) as sampler:
        assert seen.wait(10)
        assert sampler.newest().snapshot.at_s == 1.0
    assert all(thread.name != "bench-sampler" for thread in threading.enumerate())


def test_frames_without_a_mask_are_named() -> None:
    engine = FakeEngine()
    # Scores of 200 of 256 everywhere: the mask covers the whole frame.
    stream = Stream(engine, IMAGES[1:], MANIFEST, clock=engine.clock, cpu_clock=engine.clock)
    journal = j.Journal()
    journal.add(header())
    with Sampler(every_s=60) as sampler:
        measure(stream, journal, [MAX], 0.05, sampler)
    report = summarize(journal.lines)
    assert report.complete
    assert any("frames gave no mask: implausible" in note for note in report.notes)
    assert report.inference_only_ms is not None
    assert report.inference_only_ms.mean == pytest.approx(1.001, abs=0.01)
