"""The latency record: stages that sum to the whole, honest refusal, and an injected environment."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge import manifest as m
from edge.bench import stream
from edge.bench.environment import Snapshot
from edge.bench.record import BenchReport
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.types import Frame, ImageU8

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


class FakeEngine:
    """An engine with a clock of its own: an inference takes 1 ms, and more on some calls.

    Args:
        stall_every: Every so many calls one takes `stall_ms` more.
        stall_ms: How much more.
        extra_ms: Number of the call, from 1 -> how much more it takes.
    """

    name = "openvino"
    input_size = (16, 16)

    def __init__(
        self,
        stall_every: int = 0,
        stall_ms: float = 20.0,
        extra_ms: Callable[[int], float] = lambda _: 0.0,
    ) -> None:
        self.calls = self.now_ns = 0
        self.stall_every, self.stall_ms, self.extra_ms = stall_every, stall_ms, extra_ms

    def clock(self) -> int:
        self.now_ns += 1000
        return self.now_ns

    def infer(self, image: ImageU8) -> ImageU8:
        self.calls += 1
        stalls = self.stall_every and self.calls % self.stall_every == 0
        milliseconds = 1 + self.extra_ms(self.calls) + (self.stall_ms if stalls else 0)
        self.now_ns += round(milliseconds * 1e6)
        return np.full((8, 8), int(image[0, 0, 0]), np.uint8)

    def settings(self) -> dict[str, Any]:
        return {"threads": 1}

    def close(self) -> None:
        pass


def quiet() -> Iterator[Snapshot]:
    before = Snapshot(at_s=0.0, cores=1, busy_s=0.0, own_s=0.0, swapped_pages=0, governor=("performance",))
    yield before
    yield dataclasses.replace(before, at_s=1.0, busy_s=1.0, own_s=0.95)


def run(engine: FakeEngine, seconds: float = 0.2, **more: Any) -> Any:
    states = quiet()
    return stream.measure(
        engine, IMAGES, MANIFEST, seconds=seconds, snapshot=lambda: next(states), clock=engine.clock, **more
    )


def test_stages_share_their_boundaries_and_sum_to_the_whole() -> None:
    frames: list[Frame] = []
    measurement, verdict = run(FakeEngine(), on_frame=frames.append)
    assert verdict.valid
    assert measurement.samples == len(frames)
    for frame in frames:
        assert tuple(frame.stamps) == stream.STAGES
        (begin, ready), (start, inferred), (post, end) = frame.stamps.values()
        assert frame.captured_ns < begin < ready == start < inferred == post < end
    means = [stage.mean for stage in measurement.stages_ms.values()]
    whole = [(f.stamps["postprocess"][1] - f.stamps["preprocess"][0]) / 1e6 for f in frames]
    assert sum(means) == pytest.approx(float(np.mean(whole)))
    assert means[1] == pytest.approx(1.001)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    assert measurement.seconds == pytest.approx(0.2, abs=0.01)


def test_a_stall_every_50_frames_shows_in_p99_and_not_in_p90() -> None:
    measurement, _ = run(FakeEngine(stall_every=50), seconds=2.0)
    assert 662 <= measurement.samples < 6636
    assert measurement.latency_ms["p99"] > 20
    assert measurement.latency_ms["p90"] < 2
    assert measurement.latency_ms["p99.9"] is None
    assert measurement.latency_empirical_ms["p99.9"] is None


def test_a_rare_stall_shows_in_p999_and_not_in_p99_of_10000_frames() -> None:
    measurement, _ = run(FakeEngine(stall_every=200), seconds=11.5)
    assert 9_500 <= measurement.samples <= 10_500
    assert measurement.latency_ms["p99.9"] > 20
    assert measurement.latency_ms["p99"] < 2


def test_the_first_inference_and_the_warm_up_are_not_counted() -> None:
    engine = FakeEngine(extra_ms=lambda call: 100.0 if call == 1 else max(0.0, 2 - call / 100))
    measurement, _ = run(engine, seconds=6.0)
    assert measurement.first_inference_ms > 100
    assert measurement.latency_ms["p99"] < 1.1
    warmup = measurement.warmup
    assert warmup.settled
    assert warmup.drift < 0.02
    assert warmup.seconds >= 2
    assert not warmup.shortened
    # First inference, warm-up, frames, inference alone: nothing is lost and nothing counted twice.
    assert engine.calls > 1 + warmup.runs + measurement.samples


def test_a_warm_up_that_does_not_settle_ends_and_says_so() -> None:
    measurement, _ = run(FakeEngine(extra_ms=lambda call: call / 10), seconds=3.0)
    assert not measurement.warmup.settled
    assert measurement.warmup.drift >= 0.02
    assert measurement.warmup.seconds == pytest.approx(3.0, abs=0.1)


def test_a_short_run_shortens_the_warm_up_and_never_below_ten_frames() -> None:
    measurement, _ = run(FakeEngine(), seconds=0.002)
    assert measurement.warmup.shortened
    assert measurement.warmup.runs >= 10


def test_a_slow_engine_gives_few_samples_and_no_percentile() -> None:
    measurement, _ = run(FakeEngine(stall_every=1, stall_ms=50.0), seconds=0.2)
    assert 1 <= measurement.samples < 11
    assert set(measurement.latency_ms.values()) == {None}
    assert measurement.stages_ms["infer"].mean == pytest.approx(51.0, abs=0.1)
    assert measurement.stages_ms["infer"].p50 is None


def test_cpu_time_comes_from_the_processor_and_not_from_the_clock() -> None:
    measurement, _ = run(FakeEngine(extra_ms=lambda _: 1000.0), seconds=2.0)
    assert 0 < measurement.preprocess_postprocess_cpu_ms < 500


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan")])
def test_a_run_without_length_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="seconds > 0"):
        run(FakeEngine(), seconds=seconds)


def test_the_command_writes_the_record(tiny_bundle: Path, tmp_path: Path) -> None:
    from edge.commands.bench import command

    json, samples = tmp_path / "bench.json", tmp_path / "samples.jsonl"
    options = ["--bundle", tiny_bundle, "--engine", "openvino", "--seconds", "0.3", "--threads", "1"]
    arguments = [*options, "--json", json, "--samples", samples]
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0
    report = msgspec.json.decode(json.read_bytes(), type=BenchReport)
    assert result.stdout.splitlines()[0] == ("VALID" if report.valid else f"INVALID: {report.reason}")
    assert f"made: {json}" in result.stdout
    assert "next: edge-difom" in result.stdout
    assert report.engine == "openvino"
    assert report.samples == len(samples.read_bytes().splitlines())
    assert not report.publishable
    assert any("shorter than the 600 s" in note for note in report.notes)
    assert report.settings["threads"] == 1
    assert report.compile_ms > 0
    assert list(report.latency_ms) == ["p50", "p90", "p95", "p97", "p99", "p99.9"]
    line = msgspec.json.decode(samples.read_bytes().splitlines()[0])
    assert set(line["stages_ns"]) == set(stream.STAGES)


def test_the_accuracy_of_the_same_engine_stands_beside_its_speed(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], tmp_path: Path
) -> None:
    from edge.bundle import write_bundle

    manifest, files = tiny_parts
    rows = [
        m.Accuracy(dataset="d", engine=engine, n=5, dice=0.9, iou=0.8, dice_ci95=(0.8, 0.95))
        for engine in ("openvino int8", "openvino f32", "tflite int8")
    ]
    bundle = write_bundle(tmp_path / "bundle", msgspec.structs.replace(manifest, accuracy=rows), files)
    report = stream.run_bench(bundle, engine="openvino", seconds=0.05, threads=1, size=(120, 160))
    assert report.accuracy == rows[:1]
    assert not any("accuracy" in note for note in report.notes)
    assert report.frame_size == (120, 160)
    assert report.digest == bundle.digest
