"""What `edge-difom run` prints at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import BundleError
from edge.status import GUARDED
from edge_difom.cli import console

if TYPE_CHECKING:
    from edge.contracts import Engine
    from edge.errors import EdgeDifomError
    from edge.pipeline.run_stats import RunSummary
    from edge.record_header import RecordHeader


def show(summary: RunSummary) -> None:
    """Print the figures of a run."""
    console.say(
        f"{summary.frames} frames in {summary.seconds:.1f} s ({summary.fps:.1f} fps), "
        f"{summary.judged} judged, {summary.frames_with_mask} with a mask, "
        f"{summary.dropped} dropped"
    )
    for kind, count in summary.reasons.items():
        console.say(f"not judged: {count} frames, {kind}")
    rows: list[tuple[object, ...]] = [
        (name, stage.p50, stage.p90, stage.p99) for name, stage in summary.stages_ms.items()
    ]
    if summary.age_ms is not None:
        age = summary.age_ms
        rows.append(("age", age.p50, age.p90, age.p99))
    console.table(["ms", "p50", "p90", "p99"], rows)


def refuse_unjudged(summary: RunSummary, failure: EdgeDifomError | None) -> None:
    """Fail if the student judged no frame of a run that ended by itself.

    Frames that the guard left out, such as black ones, need no student.

    Args:
        summary: The figures of the run.
        failure: Why no student is left to run; None if one is.

    Raises:
        EdgeDifomError: It judged none; the failure, if there is one.
    """
    guarded = sum(summary.reasons.get(kind.value, 0) for kind in GUARDED)
    if summary.ended == "stopped" or summary.judged or guarded == summary.frames:
        return
    raise failure or BundleError(
        "the student judged no frame",
        expected=f"a result for at least one of {summary.frames} frames",
        got=", ".join(f"{kind} on {count}" for kind, count in summary.reasons.items()),
        hint="edge-difom doctor",
    )


def with_header(summary: RunSummary, header: RecordHeader, engine: Engine) -> RunSummary:
    """Add to the summary what the run was of: the bundle that ran last."""
    from msgspec import structs

    from edge.bundle.header import of_bundle
    from edge.inference.supervisor import Supervisor

    if isinstance(engine, Supervisor) and engine.bundle is not None:
        header = of_bundle(header, engine.bundle, engine=engine.name)
    return structs.replace(summary, header=header)
