"""The runs below a folder as rows of a table, read from their files without any checkpoint."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from distill.config import read_config_file
from distill.run_progress import true_progress
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 4
"""Depth of folders below the given one in which runs are looked for."""


class RunRow(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    Attributes:
        run: Path of the run below the given folder.
        student: Name of the student.
        recipe: What it learned from.
        size: Height and width of its input, pixels.
        epochs: Epochs that were completed.
        of: Epochs that were asked for.
        state: `training`, `complete`, `stopped`, or empty if the run does not record it.
        best: Epoch of the best weights, from 1.
        dice: Validation Dice of the best weights.
        flagged: Share of the clean validation frames that they flag; None without such frames.
        int8: Lowest Dice of an INT8 engine on the validation frames; None if not quantized.
        gate: Verdict of the accuracy gate of its quantization; empty if not quantized.
        seed: Random seed.
        seconds: Time of training.
        changed: Time of the last epoch, local, `YYYY-MM-DD HH:MM`.
        data: Names of the data folders.
    """

    run: str
    student: str
    recipe: str
    size: int | None
    epochs: int
    of: int | None
    state: str
    best: int | None
    dice: float | None
    flagged: float | None
    int8: float | None
    gate: str
    seed: int | None
    seconds: float | None
    changed: str
    data: str


def runs_root() -> Path:
    """Root folder of runs and caches: `EDGE_DIFOM_RUNS`, else ./runs."""
    return Path(os.environ.get("EDGE_DIFOM_RUNS", "runs"))


def read_runs(folder: Path) -> list[RunRow]:
    """Read every run below a folder, in the order of their paths.

    Raises:
        UsageError: The folder does not exist or holds no run.
    """
    if not folder.is_dir():
        raise UsageError(
            f"{folder} is not a folder", expected="a folder of runs", hint="check the path"
        )
    rows = [_read(run, folder) for run in _find(folder, MAX_DEPTH)]
    if not rows:
        raise UsageError(
            f"{folder} holds no run",
            expected="folders with resolved.yaml and metrics.jsonl",
            hint="train a student, or name a different folder",
        )
    return rows


def sort_runs(rows: list[RunRow], column: str, *, reverse: bool = False) -> list[RunRow]:
    """Sort rows by a column; rows without a value come last.

    Raises:
        UsageError: There is no such column.
    """
    if column not in RunRow.__struct_fields__:
        raise UsageError(f"no column {column!r}", expected=", ".join(RunRow.__struct_fields__))
    known = [row for row in rows if getattr(row, column) is not None]
    unknown = [row for row in rows if getattr(row, column) is None]
    return sorted(known, key=lambda row: getattr(row, column), reverse=reverse) + unknown


def _find(folder: Path, depth: int) -> Iterator[Path]:
    if (folder / "resolved.yaml").is_file() and not folder.name.startswith("qat"):
        yield folder
        return
    if depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and os.access(inner, os.R_OK | os.X_OK):
                yield from _find(inner, depth - 1)


def _read(run: Path, folder: Path) -> RunRow:
    config = read_config_file(run / "resolved.yaml")
    rows = _metrics(run / "metrics.jsonl")
    best = max(rows, key=lambda row: row.get("score", row.get("dice_val", 0.0)), default={})
    int8, gate = _quantized(run)
    progress = true_progress(run)
    if progress and progress.best:
        best = progress.best | {"epoch": int(progress.best["epoch"])}
    # Not the page: it may have been written again long after the training.
    written = [
        run / "resolved.yaml",
        *run.glob("metrics.jsonl"),
        *run.glob("stages/*/metrics.jsonl"),
    ]
    end = max(path.stat().st_mtime for path in written)
    data = config.get("data") or []
    return RunRow(
        run=str(run.relative_to(folder)) if run != folder else run.name,
        student=str(config.get("student", "")),
        recipe=str(config.get("recipe", "")),
        size=config.get("size"),
        epochs=progress.epoch if progress else len({row.get("epoch") for row in rows}),
        of=progress.epochs if progress else config.get("epochs"),
        state=progress.state if progress else "",
        best=best.get("epoch"),
        dice=best.get("dice_val"),
        flagged=best.get("flagged_val"),
        int8=int8,
        gate=gate,
        seed=config.get("seed"),
        seconds=rows[-1].get("seconds") if rows else None,
        changed=time.strftime("%Y-%m-%d %H:%M", time.localtime(end)),
        data=", ".join(Path(str(path)).name for path in data),
    )


def _metrics(path: Path) -> list[dict[str, Any]]:
    """Read the epochs of a run; the last line of one that is being trained may be cut."""
    if not path.is_file():
        return []
    complete = path.read_bytes().rpartition(b"\n")[0]
    return [
        msgspec.json.decode(line, type=dict[str, Any]) for line in complete.splitlines() if line
    ]


def _quantized(run: Path) -> tuple[float | None, str]:
    """Return the lowest Dice of an INT8 engine and the verdict of the gate."""
    for name in ("qat8", "qat4"):
        try:
            report = msgspec.json.decode((run / name / "report.json").read_bytes())
            steps = {row["step"]: row["dice"] for row in report["accuracy"]}
            gate = report["gate"]
        except (OSError, msgspec.DecodeError, KeyError, TypeError):
            continue
        dice = [value for step, value in steps.items() if "int8" in step and value is not None]
        verdict = "passed"
        if gate.get("breaches"):
            verdict = "failed"
        elif gate.get("undecided"):
            verdict = "undecided"
        return min(dice, default=None), verdict
    return None, ""
