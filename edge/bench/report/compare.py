"""Compare two sets of runs row by row: is one slower than the other?

A row is a bundle in an engine under a load. The ratio of a percentile, B over A, has a 95 %
interval from a bootstrap over seconds within each run. This interval does not include differences
between runs, such as the placement of memory, so a ratio must also exceed a margin to count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.bench.measure.percentiles import PERCENTILES, min_samples, plain_quantile
from edge.bench.report.journal import RECORD_NAME, read_journal
from edge.bench.report.record import REPORT_VERSION, BenchReport
from edge.bench.report.resampling import blocks_of, interval, quantile_draws
from edge.bench.report.summary import summarize
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.bench.report.record import LoadReport

COMPARED = ("p50", "p90", "p99")
MARGIN = 0.05
REGRESSION, IMPROVEMENT, NO_DIFFERENCE, NOT_JUDGED = (
    "regression",
    "improvement",
    "no difference",
    "not judged",
)

Key = tuple[str, str, str, str, str]
"""Bundle, engine, precision, threads, load."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """One percentile of one row.

    Attributes:
        percentile: `p50`, `p90` or `p99`.
        a_ms: Plain quantile of A.
        b_ms: Plain quantile of B.
        ratio: B over A.
        ci95: 95 % interval of the ratio; None if a run is too short.
        verdict: `regression`, `improvement`, `no difference` or `not judged`.
    """

    percentile: str
    a_ms: float
    b_ms: float
    ratio: float
    ci95: tuple[float, float] | None
    verdict: str


class ComparedRow(msgspec.Struct, frozen=True, kw_only=True):
    """One row in both sets.

    Attributes:
        key: Bundle, engine, precision, threads, load.
        why: Why the row is not judged; None if it is.
        ratios: One ratio per percentile for which both runs have enough samples.
    """

    key: Key
    why: str | None
    ratios: list[Ratio]


class CompareReport(msgspec.Struct, frozen=True, kw_only=True):
    """Comparison of two sets of runs.

    Attributes:
        verdict: `regression` if any ratio is one, else `improvement` if any ratio is one, else `no
            difference`; `not judged` if no ratio is judged.
        margin: Minimum difference of a ratio from 1.
        pairs: Rows of both sets.
        only_a: Rows that B lacks.
        only_b: Rows that A lacks.
        notes: Remarks that a reader of the figures must know.
    """

    verdict: str
    margin: float
    pairs: list[ComparedRow]
    only_a: list[Key]
    only_b: list[Key]
    notes: list[str]


def load_reports(path: Path) -> list[BenchReport]:
    """Load the reports of a run or of a folder of runs.

    Args:
        path: A report.json, a record.jsonl, or a folder with such files at any depth; if a folder
            has both, its record is read.

    Raises:
        DataError: There is no report, or a report cannot be read.
    """
    if path.is_file():
        return [_read(path)]
    records = sorted(path.rglob(RECORD_NAME)) if path.is_dir() else []
    folders = {record.parent for record in records}
    lone = [report for report in sorted(path.rglob("report.json")) if report.parent not in folders]
    if not records and not lone:
        raise DataError(
            f"{path} has no run", expected="a report.json or record.jsonl of a bench run"
        )
    return [_read(file) for file in (*records, *lone)]


def compare_runs(
    a: Sequence[BenchReport],
    b: Sequence[BenchReport],
    *,
    margin: float = MARGIN,
    judge_invalid: bool = False,
) -> CompareReport:
    """Pair the rows of two sets of runs and judge each pair.

    Args:
        a: The reference.
        b: The runs to judge.
        margin: Minimum difference of a ratio from 1, beyond its interval.
        judge_invalid: Also judge runs that the environment guard calls INVALID.

    Raises:
        DataError: The sets share no row.
    """
    left, right = _rows(a), _rows(b)
    notes = []
    if not left.keys() & right.keys() and len({key[0] for key in (*left, *right)}) == 2:
        # One bundle against its successor: match rows by the other fields.
        left, right = ({("", *key[1:]): row for key, row in rows.items()} for rows in (left, right))
        notes.append(f"bundle {a[0].bundle} compared with {b[0].bundle}")
    both = [key for key in left if key in right]
    if not both:
        raise DataError(
            "the runs share no row",
            expected=", ".join(map(_name, left)),
            got=", ".join(map(_name, right)),
        )
    machines = {
        (report.device.cpu, report.device.board, report.device.usable_cores) for report in (*a, *b)
    }
    if len(machines) > 1:
        notes.append("the runs come from different machines")
    pairs = [_pair(key, left[key], right[key], margin, judge_invalid) for key in both]
    verdicts = {ratio.verdict for pair in pairs for ratio in pair.ratios} or {NOT_JUDGED}
    order = (REGRESSION, IMPROVEMENT, NO_DIFFERENCE, NOT_JUDGED)
    return CompareReport(
        verdict=next(word for word in order if word in verdicts),
        margin=margin,
        pairs=pairs,
        only_a=[key for key in left if key not in right],
        only_b=[key for key in right if key not in left],
        notes=notes,
    )


def _read(path: Path) -> BenchReport:
    if path.name.endswith(".jsonl"):
        return summarize(read_journal(path))
    try:
        report = msgspec.json.decode(path.read_bytes(), type=BenchReport)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} is not a report",
            expected="a report.json of a bench run",
            got=str(error),
        ) from error
    if report.version != REPORT_VERSION:
        raise DataError(
            f"{path} has an unsupported version",
            expected=f"version {REPORT_VERSION}",
            got=f"version {report.version}",
        )
    return report


def _rows(reports: Sequence[BenchReport]) -> dict[Key, LoadReport]:
    return {
        (
            report.bundle,
            report.engine,
            report.precision,
            str(report.settings.get("threads", "")),
            load.load,
        ): load
        for report in reports
        for load in report.loads
    }


def _name(key: Key) -> str:
    return " ".join(part for part in key if part)


def _pair(
    key: Key, a: LoadReport, b: LoadReport, margin: float, judge_invalid: bool
) -> ComparedRow:
    spoilt = [
        f"{side} is INVALID: {row.reason}" for side, row in (("A", a), ("B", b)) if not row.valid
    ]
    why = "; ".join(spoilt) or None
    names = [
        name for name in COMPARED if min(a.samples, b.samples) >= min_samples(PERCENTILES[name])
    ]
    shares = [PERCENTILES[name] for name in names]
    blocks = [blocks_of(row.samples_us, [moment.frames for moment in row.series]) for row in (a, b)]
    draws = None
    if all(blocks) and names:
        # Use different seeds: the two runs are independent.
        first, second = (
            quantile_draws(part, shares, seed=seed) for seed, part in enumerate(blocks)
        )
        draws = second / first
    ratios = []
    for column, (name, p) in enumerate(zip(names, shares, strict=True)):
        values = [plain_quantile(row.samples_us, p) for row in (a, b)]
        assert values[0] is not None
        assert values[1] is not None
        ratio = values[1] / values[0]
        between = interval(draws[:, column]) if draws is not None else None
        judged = between is not None and (why is None or judge_invalid)
        verdict = _verdict(ratio, between, margin) if judged and between else NOT_JUDGED
        ratios.append(
            Ratio(
                percentile=name,
                a_ms=values[0] / 1e3,
                b_ms=values[1] / 1e3,
                ratio=ratio,
                ci95=between,
                verdict=verdict,
            )
        )
    return ComparedRow(key=key, why=why, ratios=ratios)


def _verdict(ratio: float, between: tuple[float, float], margin: float) -> str:
    if between[0] > 1 and ratio > 1 + margin:
        return REGRESSION
    # Use the same factor downward, so that a ratio and its inverse are judged alike.
    if between[1] < 1 and ratio < 1 / (1 + margin):
        return IMPROVEMENT
    return NO_DIFFERENCE
