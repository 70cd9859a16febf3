"""A whole measurement: the command's record and reports, accuracy, the sampler, notes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench.measure.environment import MachineSnapshot
from edge.bench.measure.run import BenchOptions, measure, run_bench
from edge.bench.measure.sampler import Sampler
from edge.bench.measure.stream import Stream
from edge.bench.report import journal as j
from edge.bench.report.record import BenchReport
from edge.bench.report.summary import summarize
from edge.bundle import manifest as m
from edge.errors import UsageError
from tests.support.bench_stream import IMAGES, MANIFEST, MAX, TimedEngine, header

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.frame import ImageU8


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
        BenchOptions(engine="openvino", seconds=0.05, threads=1, size=(120, 160), data="data"),
        pairs=find_pairs(tmp_path / "data"),
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

    sampled = threading.Event()

    def snapshot() -> MachineSnapshot:
        sampled.set()
        return MachineSnapshot(at_s=1.0, cores=1, own_s=0.0)

    with Sampler(snapshot, every_s=0.001) as sampler:
        assert sampled.wait(10)
        assert sampler.newest().snapshot.at_s == 1.0
    assert all(thread.name != "bench-sampler" for thread in threading.enumerate())


def test_frames_without_a_mask_are_named() -> None:
    engine = TimedEngine()
    # Scores of 200 of 256 everywhere: the mask covers the whole frame.
    stream = Stream(engine, IMAGES[1:], MANIFEST, clock=engine.clock, cpu_clock=engine.clock)
    journal = j.BenchJournal()
    journal.add(header())
    with Sampler(every_s=60) as sampler:
        measure(stream, journal, [MAX], 0.05, sampler)
    report = summarize(journal.lines)
    assert report.complete
    assert any("frames gave no mask: implausible" in note for note in report.notes)
    assert report.inference_only_ms is not None
    assert report.inference_only_ms.mean == pytest.approx(1.001, abs=0.01)
