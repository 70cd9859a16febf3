"""Reports: the schema is current, the page is one file, the charts place values correctly."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.bench.report.journal import BenchJournal
from edge.bench.report.markdown import cell, markdown_report, table
from edge.bench.report.page import report_page
from edge.bench.report.profile_record import DeviceProfile, Peak, Work
from edge.bench.report.record import BenchReport, GoldenCheck
from edge.bench.report.schema import SCHEMA_FILE, schema
from edge.bench.report.summary import summarize
from edge.bundle import manifest as m
from edge.errors import MissingDependencyError
from edge.reports.drawing import Chart, Scale, number
from edge.util.host import read_device
from edge_difom.cli.bench.show import write_reports
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORK = Work(macs=500_000_000, values=4_000_000)
PROFILE = DeviceProfile(
    valid=True,
    reason=None,
    unknown=[],
    threads=1,
    copy_gb_s=10.0,
    triad_gb_s=12.0,
    peaks=[
        Peak(
            engine="openvino", precision="int8", giga_operations_per_second=2000.0, samples_ms=[1.0]
        ),
        Peak(
            engine="openvino", precision="f32", giga_operations_per_second=500.0, samples_ms=[1.0]
        ),
    ],
    missing={},
    device=read_device(),
    machine={},
    versions={},
    created="2026-01-01T00:00:00+00:00",
)
ACCURACY = m.Accuracy(
    dataset="<ours>", engine="openvino int8", n=7, dice=0.8123, iou=0.7, dice_ci95=(0.8, 0.9)
)


@pytest.fixture
def report(bench_lines: Callable[..., list[Any]]) -> BenchReport:
    seconds = [[2.0 + 0.01 * i for i in range(40)]] * 30
    golden = GoldenCheck(frames=3, ok=True, worst_iou=0.991, mean_difference=0.2)
    lines = bench_lines(
        seconds, temperature_c=45.0, accuracy=[ACCURACY], golden=golden, work=WORK, profile=PROFILE
    )
    paced = bench_lines(seconds, load="60", temperature_c=45.0)
    return summarize([*lines[:-2], *paced[1:]])


def test_the_schema_in_the_repository_is_current() -> None:
    assert SCHEMA_FILE.read_bytes() == schema(), "python -m edge.bench.report.schema"
    names = msgspec.json.decode(schema())["$defs"]
    assert {"BenchReport", "LoadReport", "DeviceProfile", "Accuracy"} <= set(names)


def test_the_share_of_the_peak_is_that_of_the_executed_precision(report: BenchReport) -> None:
    # 10^9 operations in 1 ms of inference alone.
    assert report.share_of_peak == pytest.approx(1000 / 2000)
    in_f32 = msgspec.structs.replace(report, settings={"precision": "f32"})
    assert in_f32.share_of_peak == pytest.approx(1000 / 500)
    assert msgspec.structs.replace(report, profile=None).share_of_peak is None
    assert msgspec.structs.replace(report, settings={"precision": "bf16"}).share_of_peak is None


def test_the_page_is_one_file_with_every_part(report: BenchReport) -> None:
    page = report_page(report)
    assert not re.search(r"(src|href)=|@import|url\(|<script", page)
    for heading in (
        "Where the time goes",
        "Distribution and tail",
        "Over time",
        "How near to the machine's best",
        "Accuracy and parity",
        "Settings",
        "To repeat it",
    ):
        assert heading in page
    assert page.count("<svg") == 2 + 1 + 3 + 1
    assert "prefers-color-scheme: dark" in page
    assert "@media print" in page
    assert "<b>VALID</b>" in page
    assert "Not for publication" in page
    assert "&lt;ours&gt;" in page
    assert "0.8123" in page
    assert "edge-difom bench run --bundle B" in page
    assert "50.0 % of what openvino reaches here" in page


def test_a_page_says_invalid_and_why(bench_lines: Callable[..., list[Any]]) -> None:
    spoilt = summarize(bench_lines([[2.0] * 40] * 5, busy=1.4))
    page = report_page(spoilt)
    assert "<b>INVALID</b>" in page
    assert "other processes used 0.4" in page
    assert markdown_report(spoilt).startswith("# INVALID: other processes used 0.4")


def test_a_page_of_a_killed_run_without_sensors_or_profile(
    bench_lines: Callable[..., list[Any]],
) -> None:
    bare = summarize(
        bench_lines([[2.0] * 5], ended=False, sensors_missing=["temperature", "power or energy"])
    )
    page = report_page(bare)
    assert "The machine was not profiled" in page
    assert "did not come to its end" in page
    assert "no temperature, no power or energy" in page
    assert "half a figure" in page
    assert markdown_report(bare).count("| - |") >= 1


def test_markdown_has_the_figures_of_the_json(report: BenchReport) -> None:
    text = markdown_report(report)
    assert text.startswith("# VALID")
    assert f"| with 99 % confidence at most | {report.first.latency_ms['p50']:.4g} |" in text
    assert "| &lt;" not in text
    assert "## Pictures at 60 per second" in text
    assert "all within tolerance" in text
    assert table(["a"], []) == ""
    assert cell("a|b") == "a\\|b"


def test_without_jinja2_the_page_is_left_out_with_a_warning(
    report: BenchReport,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gone(_: BenchReport) -> str:
        raise MissingDependencyError("reports need jinja2", hint="pip install 'edge-difom[report]'")

    monkeypatch.setattr("edge.bench.report.page.report_page", gone)
    written = write_reports(report, tmp_path)
    assert [path.name for path in written] == ["report.json", "report.md"]
    assert "pip install 'edge-difom[report]'" in capsys.readouterr().err


def test_marks_lie_where_their_values_are() -> None:
    chart = Chart(Scale(0.0, 10.0), Scale(1.0, 100.0, True), x_label="x")
    chart.dots([(0.0, 1.0), (10.0, 100.0), (5.0, 10.0)], "a")
    places = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', chart.svg("t"))
    (left, low), (right, high), (middle, half) = ((float(x), float(y)) for x, y in places)
    assert left < middle < right
    assert low > half > high
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert half == pytest.approx((low + high) / 2, abs=0.1)


@given(st.floats(1e-6, 1e6), st.floats(1.001, 1e6), st.booleans())
def test_every_scale_has_ticks_between_its_ends(low: float, factor: float, log: bool) -> None:
    scale = Scale(low, low * factor, log)
    ticks = scale.ticks()
    assert 1 <= len(ticks) <= 12
    assert all(low * (1 - 1e-9) <= tick <= low * factor * (1 + 1e-9) for tick in ticks)
    assert all(0 <= scale.at(tick) <= 1 for tick in ticks)
    assert scale.at(low) == 0
    assert scale.at(low * factor) == 1


def test_a_title_or_note_cannot_break_the_drawing() -> None:
    chart = Chart(Scale(0.0, 1.0), Scale(0.0, 1.0), x_label="<b>")
    chart.note(0.5, 0.5, "a & b")
    svg = chart.svg('"><script>')
    assert "<b>" not in svg
    assert "<script>" not in svg
    assert "a &amp; b" in svg


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (2.5, "2.5"), (12345, "12345"), (1e-5, "10⁻⁵"), (3e6, "3·10⁶")]
)
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("busy", "code"), [(1.0, 0), (1.5, 7)])
def test_a_disturbed_measurement_that_must_be_valid_ends_with_7(
    bench_lines: Callable[..., list[Any]], tmp_path: Path, busy: float, code: int
) -> None:
    with BenchJournal(tmp_path / "record.jsonl") as journal:
        for line in bench_lines([[2.0] * 40] * 30, busy=busy):
            journal.add(line)
    for options, expected in (([], 0), (["--require-valid"], code)):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "report", str(tmp_path), *options])
        assert ended.value.code == expected
        assert (tmp_path / "report.html").is_file(), "everything is written before"
        (tmp_path / "report.html").unlink()
