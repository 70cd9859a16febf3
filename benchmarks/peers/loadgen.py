"""Run MLPerf's LoadGen around our engine and compare its percentiles with ours."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.micro.engines import SIZE, THREADS, student_files
from benchmarks.peers.__main__ import write_inputs
from benchmarks.peers.process import environments_folder
from benchmarks.record import Comparison, Goal, Side, compare
from edge.bench.measure.percentiles import PERCENTILES, plain_quantile, upper_bound
from edge.errors import MissingDependencyError, ParityError

if TYPE_CHECKING:
    from collections.abc import Mapping

QUERIES = 700
"""Slightly more queries than p99 requires."""

_MAX_DIFFERENCE = 0.02
_RUNS = 3


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Result of one run of LoadGen.

    Attributes:
        took_ns: Our durations of each query's inference, in order.
        percentiles_ns: Maps percentiles such as `90.00` to LoadGen's plain values.
        early_ns: Maps percentiles such as `90.0` to LoadGen's early-stopping estimates.
    """

    took_ns: list[int]
    percentiles_ns: dict[str, int]
    early_ns: dict[str, int]


def percentiles_agree(
    rounds: int, *, size: tuple[int, int] = SIZE, queries: int = QUERIES
) -> Comparison:
    """Compare our early-stopping p90 with LoadGen's, for the same queries.

    Args:
        rounds: Maximum number of runs of LoadGen.
        size: Height and width of the input of an untrained edge-s.
        queries: Number of queries in each run.

    Raises:
        MissingDependencyError: LoadGen's environment does not exist.
        ParityError: One of our percentiles differs from LoadGen's by more than 2 %.
    """
    python = environments_folder() / "loadgen" / "bin" / "python"
    if not python.exists():
        raise MissingDependencyError(
            "LoadGen has no environment", hint="sh tools/make-env-peers.sh"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, student_files("edge-s", size), size)
        runs = [run_loadgen(python, folder, queries) for _ in range(max(2, min(rounds, _RUNS)))]
    worst = max(check_agreement(run) for run in runs)
    own = [bound / 1e6 for run in runs if (bound := upper_bound(run.took_ns, 0.9)) is not None]
    left = Side(what="our early-stopping p90", samples=own)
    right = Side(what="LoadGen's", samples=[run.early_ns["90.0"] / 1e6 for run in runs])
    goal = Goal(
        what="largest relative difference of a percentile", value=worst, bound=_MAX_DIFFERENCE
    )
    check = (
        f"p50 to p99 and both estimates within {worst:.2%} of LoadGen's "
        f"over {queries} queries a run"
    )
    return compare(left, right, check=check, unit="ms", goal=goal, queries=queries)


def run_loadgen(python: Path, folder: Path, queries: int) -> Answer:
    """Run LoadGen once in a separate process and environment.

    Raises:
        ParityError: LoadGen failed; the error holds the end of its output.
    """
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [
            str(python),
            "-m",
            "benchmarks.peers.loadgen_worker",
            str(folder),
            str(queries),
            str(THREADS),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    if done.returncode:
        raise ParityError("LoadGen failed", got=" / ".join(done.stderr.strip().splitlines()[-2:]))
    return msgspec.json.decode(done.stdout, type=Answer)


def check_agreement(run: Answer) -> float:
    """Return the largest relative difference of a percentile to LoadGen's.

    LoadGen's times include handing over the query.

    Raises:
        ParityError: The difference exceeds 2 %.
    """
    shares = [p for p in PERCENTILES.values() if plain_quantile(run.took_ns, p) is not None]
    # LoadGen's plain percentile is the (floor(p q) + 1)-th smallest sample, one above ours if p q
    # is an integer.
    ordered = sorted(run.took_ns)
    plain = {f"{100 * p:.2f}": ordered[int(len(ordered) * p)] for p in shares}
    early = {f"{100 * p:.1f}": upper_bound(run.took_ns, p) for p in shares}
    differences = {
        **_differences("plain", plain, run.percentiles_ns),
        **_differences("early-stopping", early, run.early_ns),
    }
    if not {"early-stopping p90.0", "early-stopping p99.0", "plain p50.00"} <= differences.keys():
        raise ParityError("LoadGen's log lacks percentiles", got=", ".join(differences))
    worst = max(differences, key=lambda name: differences[name])
    if differences[worst] > _MAX_DIFFERENCE:
        raise ParityError(
            "our percentiles and LoadGen's disagree",
            expected=f"at most {_MAX_DIFFERENCE:.0%}",
            got=f"{differences[worst]:.1%} at {worst}",
        )
    return differences[worst]


def _differences(
    kind: str, own: Mapping[str, float | int | None], peer: Mapping[str, int]
) -> dict[str, float]:
    return {
        f"{kind} p{name}": abs(value / peer[name] - 1)
        for name, value in own.items()
        if value is not None and name in peer
    }
