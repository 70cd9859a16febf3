"""Comparisons: a slower run is a regression, noise is none, and what must not be judged is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edge.bench.report import compare as c
from edge.bench.report.compare import Ratio, compare_runs, load_reports
from edge.bench.report.journal import BenchJournal
from edge.bench.report.resampling import blocks_of, interval, quantile_draws
from edge.bench.report.summary import summarize
from edge.errors import DataError, LatencyError
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.bench.report.record import BenchReport


def latencies(
    seed: int, factor: float = 1.0, seconds: int = 40, frames: int = 30
) -> list[list[float]]:
    """Seconds whose level wanders, as a real machine's does."""
    generator = np.random.default_rng(seed)
    levels = generator.lognormal(sigma=0.03, size=(seconds, 1))
    samples = factor * levels * (2 + generator.gamma(2, 0.2, size=(seconds, frames)))
    return [row.tolist() for row in samples]


@pytest.fixture
def make(bench_lines: Callable[..., list[Any]]) -> Callable[..., BenchReport]:
    def made(seed: int, factor: float = 1.0, **more: Any) -> BenchReport:
        return summarize(bench_lines(latencies(seed, factor), **more))

    return made


def ratios(report: c.CompareReport) -> dict[str, Ratio]:
    return {ratio.percentile: ratio for ratio in report.pairs[0].ratios}


def test_a_slower_run_is_a_regression(
    make: Callable[..., BenchReport],
) -> None:
    """A slower run is a regression, and its opposite is an improvement."""
    comparison = compare_runs([make(1)], [make(2, 1.3)])
    assert comparison.verdict == c.REGRESSION
    assert list(ratios(comparison)) == ["p50", "p90", "p99"]
    for ratio in ratios(comparison).values():
        assert ratio.ci95 is not None
        assert ratio.ci95[0] < 1.3 < ratio.ci95[1]
    back = compare_runs([make(2, 1.3)], [make(1)])
    assert back.verdict == c.IMPROVEMENT
    assert ratios(back)["p50"].ratio == pytest.approx(1 / ratios(comparison)["p50"].ratio)


def test_two_runs_of_one_thing_do_not_differ(make: Callable[..., BenchReport]) -> None:
    for seed in range(10):
        assert compare_runs([make(seed)], [make(seed + 100)]).verdict == c.NO_DIFFERENCE


def test_a_difference_within_the_margin_is_none(make: Callable[..., BenchReport]) -> None:
    assert compare_runs([make(1)], [make(1, 1.04)]).verdict == c.NO_DIFFERENCE
    assert compare_runs([make(1)], [make(1, 1.04)], margin=0.01).verdict == c.REGRESSION


def test_a_slower_tail_alone_is_found(
    bench_lines: Callable[..., list[Any]], make: Callable[..., BenchReport]
) -> None:
    stalling = latencies(2)
    for row in stalling:
        row[7] = 40.0
    by_name = ratios(compare_runs([make(1)], [summarize(bench_lines(stalling))]))
    assert by_name["p50"].verdict == c.NO_DIFFERENCE
    assert by_name["p99"].verdict == c.REGRESSION


def test_an_invalid_run_is_not_judged_unless_that_is_asked_for(
    make: Callable[..., BenchReport],
) -> None:
    spoilt = make(2, 1.5, busy=1.4)
    comparison = compare_runs([make(1)], [spoilt])
    assert comparison.verdict == c.NOT_JUDGED
    assert comparison.pairs[0].why is not None
    assert comparison.pairs[0].why.startswith("B is INVALID: other processes")
    assert compare_runs([make(1)], [spoilt], judge_invalid=True).verdict == c.REGRESSION


def test_runs_that_are_too_short_are_not_judged(bench_lines: Callable[..., list[Any]]) -> None:
    short = summarize(bench_lines([[2.0] * 12] * 2))
    comparison = compare_runs([short], [short])
    assert comparison.verdict == c.NOT_JUDGED
    assert ratios(comparison)["p50"].ci95 is None
    assert list(ratios(comparison)) == ["p50"]


def test_rows_are_paired_by_what_they_are(make: Callable[..., BenchReport]) -> None:
    a = [make(1), make(2, load="60"), make(3, engine="tflite")]
    b = [make(4, load="60"), make(5)]
    comparison = compare_runs(a, b)
    assert [pair.key[4] for pair in comparison.pairs] == ["max", "60"]
    assert [key[1] for key in comparison.only_a] == ["tflite"]
    assert comparison.only_b == []
    new = make(6, bundle="successor")
    assert compare_runs([make(1)], [new]).notes == ["bundle fake compared with successor"]
    with pytest.raises(DataError, match="share no row"):
        compare_runs([make(1)], [make(2, engine="onnx")])


def test_runs_of_different_machines_are_named_so(make: Callable[..., BenchReport]) -> None:
    other = make(2)
    other = msgspec.structs.replace(
        other, device=msgspec.structs.replace(other.device, cpu="another")
    )
    assert "the runs come from different machines" in compare_runs([make(1)], [other]).notes


def test_the_command_ends_with_the_exit_code_of_its_verdict(
    bench_lines: Callable[..., list[Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, seed, factor, busy in (
        ("a", 1, 1.0, 1.0),
        ("b", 2, 1.3, 1.0),
        ("c", 3, 1.0, 1.0),
        ("d", 4, 1.3, 1.5),
    ):
        with BenchJournal(tmp_path / name / "record.jsonl") as journal:
            for line in bench_lines(latencies(seed, factor), busy=busy):
                journal.add(line)

    def code(*names: str) -> object:
        with pytest.raises(SystemExit) as ended:
            main(["bench", "compare", *(str(tmp_path / name) for name in names)])
        return ended.value.code

    assert code("a", "b") == LatencyError.exit_code == 7
    captured = capsys.readouterr()
    assert captured.out.splitlines()[0] == "regression"
    assert "p50 x 1.298" in captured.err
    assert code("a", "c") == 0
    assert capsys.readouterr().out.splitlines()[0] == "no difference"
    assert code("b", "a") == 0
    assert capsys.readouterr().out.splitlines()[0] == "improvement"
    assert code("a", "d") == DataError.exit_code
    assert code("a", "nothing") == DataError.exit_code


def test_reports_are_found_in_files_and_folders(
    make: Callable[..., BenchReport], tmp_path: Path
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_bytes(msgspec.json.encode(make(1)))
    assert len(load_reports(tmp_path)) == 2
    assert load_reports(tmp_path / "one" / "report.json") == load_reports(tmp_path / "one")
    (tmp_path / "one" / "report.json").write_text("{}")
    with pytest.raises(DataError, match="is not a report"):
        load_reports(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no run"):
        load_reports(tmp_path / "empty")


def test_the_interval_covers_a_wandering_quantile() -> None:
    """The interval covers the true quantile of samples that wander."""
    # Seconds at a level of their own: drawing single frames would give far too narrow intervals.
    generator = np.random.default_rng(0)
    truth = float(
        np.median(generator.lognormal(sigma=0.2, size=400_000) * generator.gamma(20, 0.05, 400_000))
    )
    covered = 0
    for _ in range(60):
        levels = generator.lognormal(sigma=0.2, size=(40, 1))
        run = (levels * generator.gamma(20, 0.05, (40, 30))).ravel()
        low, high = interval(quantile_draws(blocks_of(run.tolist(), [30] * 40), [0.5])[:, 0])
        covered += low <= truth <= high
    assert covered >= 51


def test_a_draw_is_the_quantile_of_the_blocks_that_were_drawn() -> None:
    blocks = [np.array([1.0, 2.0, 3.0]), np.array([10.0])]
    draws = quantile_draws(blocks, [0.5, 1.0])
    assert set(map(tuple, draws.tolist())) == {(2.0, 3.0), (2.0, 10.0), (10.0, 10.0)}


def test_short_runs_are_cut_into_stretches() -> None:
    samples = [float(i) for i in range(100)]
    blocks = blocks_of(samples, [50, 50])
    assert len(blocks) == 20
    assert np.concatenate(blocks).tolist() == samples
    assert blocks_of(samples[:39], [39]) == []
    assert len(blocks_of(samples, [5] * 20)) == 20
