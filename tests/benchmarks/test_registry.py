"""The comparisons: statistics find a known ratio, gates refuse, records read back."""

from __future__ import annotations

import gc
import itertools
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest

from benchmarks import table
from benchmarks.micro import (
    against_unet,
    device,
    engines,
    harness,
    live,
    training,
    training_formats,
    whole,
)
from benchmarks.record import Goal, Record, Side, compare, interleave, ratio_with_interval
from benchmarks.registry import BENCHMARKS, run_benchmark
from edge.errors import DataError, ParityError, UsageError
from edge.sinks.jsonl import FrameLine
from edge.util.extras import resolve
from edge.util.host import read_device

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8


def test_every_row_of_the_registry_loads() -> None:
    for reference, what in BENCHMARKS.values():
        assert callable(resolve(reference))
        assert what


def test_an_unknown_benchmark_lists_the_legal_ones() -> None:
    with pytest.raises(UsageError, match="int8-unet"):
        run_benchmark("speed", rounds=2)


def test_sides_are_measured_in_turn_and_in_both_orders() -> None:
    clock = itertools.count(1)
    left, right = interleave(lambda: float(next(clock)), lambda: float(next(clock)), rounds=4)
    assert left == [1, 4, 5, 8]
    assert right == [2, 3, 6, 7]


def test_the_interval_covers_a_known_ratio_despite_drift() -> None:
    """The interval covers a known ratio and drift does not widen it."""
    generator = np.random.default_rng(3)
    drift = np.linspace(1, 3, 60)
    covered, widths = 0, []
    for _ in range(40):
        left = drift * 3 * generator.lognormal(sigma=0.05, size=60)
        right = drift * generator.lognormal(sigma=0.05, size=60)
        ratio, (low, high) = ratio_with_interval(left.tolist(), right.tolist())
        assert low <= ratio <= high
        covered += low <= 3 <= high
        widths.append(high - low)
    assert covered >= 34
    assert float(np.mean(widths)) < 0.5


def test_goals_in_both_directions() -> None:
    assert Goal(what="", value=3.0, bound=3.0, at_least=True).reached
    assert not Goal(what="", value=2.9, bound=3.0, at_least=True).reached
    assert Goal(what="", value=2.0, bound=2.0).reached
    assert not Goal(what="", value=2.1, bound=2.0).reached


def test_help_and_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "records.json"
    command = [sys.executable, "-m", "benchmarks", "help", "--rounds", "2", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "ratio: " in done.stdout
    (record,) = msgspec.json.decode(out.read_bytes(), type=list[Record])
    assert record.name == "help"
    assert len(record.comparison.left.samples) == 2
    assert record.comparison.ratio > 1
    assert record.device.usable_cores >= 1
    assert json.loads(out.read_text())[0]["versions"]["edge-difom"]
    unknown = subprocess.run([*command[:3], "speed"], capture_output=True, text=True, check=False)
    assert unknown.returncode == 2
    assert "Traceback" not in unknown.stderr


class _Constant:
    """An engine that gives the same scores for everything."""

    input_buffer = None

    name = "openvino"

    def __init__(self, value: int, precision: str) -> None:
        self.value, self.precision = value, precision

    def infer(self, image: ImageU8) -> ImageU8:
        return np.full(image.shape[:2], self.value, np.uint8)

    def settings(self) -> dict[str, object]:
        return {"precision": self.precision}

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("fast", "word"),
    [
        (_Constant(128, "f32"), "does not run in its precision"),
        (_Constant(150, "int8"), "disagree"),
    ],
)
def test_engines_that_are_not_what_they_say_are_not_timed(
    fast: _Constant, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        engines,
        "open_engine_files",
        lambda _, files, __: _Constant(128, "f32") if files == [b"f32"] else fast,
    )
    files = {(r, p): [p.encode()] for r in engines.RUNTIMES for p in engines.PRECISIONS}
    monkeypatch.setattr(engines, "student_files", lambda *_: files)
    monkeypatch.setattr(engines, "timed_ms", lambda *_: pytest.fail("timed before the check"))
    with pytest.raises(ParityError, match=word):
        engines.int8_edge_s(2, size=(32, 32))


def test_a_resize_that_strays_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "to_input", lambda *_, **__: np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ParityError, match="area resize"):
        device.frame_cost(2, size=(64, 64))


def test_a_record_keeps_its_settings() -> None:
    comparison = compare(
        Side(what="a", samples=[2.0, 2.0]),
        Side(what="b", samples=[1.0, 1.0]),
        check="c",
        unit="ms",
        size=(8, 8),
    )
    assert comparison.ratio == 2
    assert list(comparison.ratio_ci95) == [2, 2]
    assert msgspec.json.decode(msgspec.json.encode(comparison))["settings"] == {"size": [8, 8]}


@pytest.mark.slow
# NNCF never closes the thread pool in which it loads its C++ extension.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Pool:pytest.PytestUnraisableExceptionWarning"
)
def test_the_engine_and_device_rows_work_on_a_small_student() -> None:
    size = (64, 64)
    int8 = engines.int8_edge_s(2, size=size)
    assert int8.goal is None
    assert int8.check.count("executed as f32 and int8") == 2
    speeds = int8.settings["speeds"]
    assert isinstance(speeds, dict)
    assert {"openvino int8", "tflite int8", "edge-s tflite f32"} <= speeds.keys()
    assert max(row["share_of_int8_peak"] for name, row in speeds.items() if name[:4] != "edge") == 1
    assert engines.int8_edge_s_tflite(2, size=size).settings["speeds"] is speeds, (
        "one run for both rows"
    )
    smaller = engines.size_tflite(1, size=size)
    assert smaller.goal is not None
    assert 0.1 < smaller.goal.value < 0.5
    gc.collect()
    cost = device.frame_cost(3, size=size)
    assert cost.goal is not None
    assert 0 < cost.goal.value < 100
    memory = device.device_memory(2, size=size, frames=3)
    assert memory.goal is not None
    assert 50 < memory.goal.value < 2000
    assert memory.ratio > 1
    # Contours run through the outermost cells' centers: on 16 x 16 cells they miss too much of the
    # mask.
    frame = whole.whole_cost(3, size=(128, 128))
    assert frame.goal is not None
    assert "contours enclose the mask" in frame.check
    assert len(frame.left.samples) == len(frame.right.samples) == 3
    start = live.start_time(2, size=size)
    assert all(200 < sample < 60_000 for sample in (*start.left.samples, *start.right.samples))


def lines(*frames: tuple[int, str | None], fps: float = 50.0) -> list[FrameLine]:
    """Frames of a source with their reasons, 30 ms old when they are done."""
    return [
        FrameLine(
            number, round(number * 1e9 / fps), {"capture": 1.0, "infer": 9.0}, 30.0, 0.0, [], reason
        )
        for number, reason in frames
    ]


def test_rate_and_age_are_those_of_the_settled_run() -> None:
    starting = [(number, "starting: the student is loaded") for number in range(50)]
    late = [(number, None if number % 10 else "stale: 130 ms old") for number in range(151, 451)]
    verdict = live.judge(lines(*starting, *((number, None) for number in range(50, 151)), *late))
    assert verdict.rate == pytest.approx(50)
    assert verdict.withheld == pytest.approx(0.1, abs=0.005)
    assert set(verdict.ages_ms) == {30.0}
    every_other = live.judge(lines(*((number, None) for number in range(0, 400, 2))))
    assert every_other.rate == pytest.approx(25)


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        ([(0, None), (1, None), (1, None)], "order"),
        ([(number, "starting: the student is loaded") for number in range(200)], "'starting': 200"),
    ],
)
def test_a_run_that_shows_nothing_is_not_counted(
    frames: list[tuple[int, str | None]], word: str
) -> None:
    with pytest.raises(ParityError, match=word):
        live.judge(lines(*frames))


def test_contours_of_something_else_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(whole, "regions", lambda *_, **__: ())
    monkeypatch.setattr(whole, "interleave", lambda *_, **__: pytest.fail("timed before the check"))
    with pytest.raises(ParityError, match="contours are not"):
        whole.mask_cost(2)


def test_a_full_mask_beside_contours() -> None:
    comparison = whole.mask_cost(2)
    assert comparison.goal is None
    assert len(comparison.left.samples) == len(comparison.right.samples) == 2


def test_memory_is_that_of_a_process_and_its_children() -> None:
    hold = "import time; kept = bytearray(b'x') * (60 << 20); time.sleep(0.4)"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    assert 60 < device._peak_mib([sys.executable, "-c", hold]) < 90
    assert 63 < device._peak_mib([sys.executable, "-c", parent]) < 120


@pytest.mark.slow
def test_the_cost_of_teachers_is_measured_on_targets_that_teach(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = training.step_cost(3, size=64, batch=4, pretrained=False)
    assert step.ratio > 0.5
    assert "standard deviation of" in step.check
    assert len(step.left.samples) == len(step.right.samples) == 3
    cache = training.cache_cost(2, size=64, images=8)
    assert cache.goal is not None
    assert cache.goal.value == pytest.approx(cache.ratio)
    monkeypatch.setattr("distill.recipes.target_monitor.target_deviation", lambda _: 0.0)
    with pytest.raises(ParityError, match="not standardized"):
        training.cache_cost(2, size=64, images=8)


@pytest.mark.slow
# NNCF never closes the thread pool in which it loads its C++ extension.
@pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <function Pool:pytest.PytestUnraisableExceptionWarning"
)
def test_a_step_under_quantization_is_timed_on_the_same_student(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step = training.qat_step_cost(2, student="edge-xs", size=64, batch=2, pretrained=False)
    assert step.ratio > 0.5
    assert len(step.left.samples) == len(step.right.samples) == 2
    assert "by rounding" in step.check
    monkeypatch.setattr(training, "_MAX_MEAN_DIFFERENCE", 0.0)
    with pytest.raises(ParityError, match="differs from the float one"):
        training.qat_step_cost(2, student="edge-xs", size=64, batch=2, pretrained=False)


@pytest.mark.slow
def test_the_shipped_bundles_are_timed_against_the_u_net(monkeypatch: pytest.MonkeyPatch) -> None:
    large, small = against_unet.edge_s(2), against_unet.edge_xs(2)
    assert large.left == small.left, "one run for both rows"
    assert large.ratio > 1
    assert small.goal is not None
    assert small.goal.bound == 200
    assert "golden frames of edge-xs" in small.check
    assert "U-Net within" in small.check
    against_unet.measured.cache_clear()
    monkeypatch.setattr(against_unet, "pictures", lambda size: [np.zeros((*size, 3), np.uint8)])
    monkeypatch.setattr("torch.sigmoid", lambda logits: logits + 1)
    with pytest.raises(ParityError, match="computes different scores"):
        against_unet.edge_s(2)


@pytest.mark.slow
def test_a_memory_format_is_timed_only_where_it_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    comparison = training_formats.channels_last(2, student="edge-xs", size=64, batch=2)
    assert len(comparison.left.samples) == len(comparison.right.samples) == 2
    assert "first losses differ by" in comparison.check
    monkeypatch.setattr("torch.compile", lambda model: lambda images: model(images) + 1)
    with pytest.raises(ParityError, match="compute different losses"):
        training_formats.compiled(2, student="edge-xs", size=64, batch=2)


def test_the_harness_costs_little_and_loses_no_frame() -> None:
    comparison = harness.harness_cost(2, seconds=0.1)
    assert comparison.goal is not None
    assert 0 < comparison.left.median < 1000
    assert "one after the other" in comparison.check


def _record(
    name: str, created: str, *, ratio: float, valid: bool = True, cpu: str = "C", flag: str = "avx2"
) -> Record:
    comparison = compare(
        Side(what="left", samples=[ratio] * 3),
        Side(what="right", samples=[1.0] * 3),
        check="c",
        unit="ms",
        goal=Goal(what="ratio", value=ratio, bound=3.0, at_least=True),
    )
    machine = msgspec.structs.replace(
        read_device(),
        architecture="x86_64",
        cpu=cpu,
        board=None,
        usable_cores=2,
        flags=[flag],
        cuda=[],
    )
    return Record(
        name=name,
        what="w",
        comparison=comparison,
        valid=valid,
        reason=None,
        device=machine,
        versions={},
        created=created,
    )


def test_the_table_holds_the_newest_valid_record_of_each_machine(tmp_path: Path) -> None:
    records = [
        _record("a", "2026-02-01", ratio=4.0),
        _record("a", "2026-01-01", ratio=5.0),
        _record("a", "2026-03-01", ratio=6.0, valid=False),
        _record("a", "2026-01-01", ratio=2.0, cpu="D"),
        _record("a", "2026-01-01", ratio=3.0, cpu="D", flag="avx512_vnni"),
    ]
    (tmp_path / "one.json").write_bytes(msgspec.json.encode(records))
    (tmp_path / "study.json").write_text('{"rows": []}')
    text = table.benchmark_table(table.read_records(tmp_path))
    rows = text.splitlines()[2:]
    assert rows == [
        "| w | 4 over 1 ms | 4 | 4 to 4 | ratio at least 3: 4 | C, 2 cores, no VNNI |",
        "| w | 3 over 1 ms | 3 | 3 to 3 | ratio at least 3: 3 | D, 2 cores, VNNI |",
        "| w | 2 over 1 ms | 2 | 2 to 2 | ratio at least 3: 2, missed | D, 2 cores, no VNNI |",
    ]
    (tmp_path / "broken.json").write_text("[{}]")
    with pytest.raises(DataError, match="no records"):
        table.read_records(tmp_path)


def test_the_table_takes_its_place_between_the_markers() -> None:
    text = f"a\n{table.BEGIN}\nold\n{table.END}\nb\n"
    once = table.put_between(text, "| new |")
    assert once == f"a\n{table.BEGIN}\n\n| new |\n\n{table.END}\nb\n"
    assert table.put_between(once, "| new |") == once
    for broken in ("a", f"{table.END}{table.BEGIN}", f"{text}{text}"):
        with pytest.raises(DataError, match="no place"):
            table.put_between(broken, "x")


def test_the_committed_records_make_a_table() -> None:
    assert table.benchmark_table(table.read_records(table.RESULTS)).count("\n") > 5
