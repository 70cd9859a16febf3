"""The cached maps of all teachers of a run: disk and time are told before hours are spent."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, NamedTuple

import torch
from accelerate import PartialState

from distill.data.image_store import require_space
from distill.run_table import runs_root
from distill.teachers.cache.maps import CachePlan, TeacherCache

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from distill.data.frames import Frames
    from distill.options import TeacherOptions
    from distill.teachers.build import Teacher
    from distill.teachers.cache.standardize import Standardizer
    from edge.util.progress import Progress, Reporter

logger = logging.getLogger(__name__)

TRAINING, HELD_OUT = "training", "validation"
"""Names of two kinds of frames; further kinds are trained on too."""
GRID_STRIDE = 8
"""Pixels of the student's input to a cell of the teachers' maps, at least."""
TASK_STRIDE = 4
"""Pixels of the student's input to a cell of the task teacher's logits, at least."""


class TeacherMaps(NamedTuple):
    """Cached maps of some frames.

    Attributes:
        targets: One cache per teacher.
        logits: The task teacher's logits; None without one.
    """

    targets: list[TeacherCache]
    logits: TeacherCache | None


def open_maps(
    teachers: Sequence[Teacher],
    task_teacher: Teacher | None,
    frames: Mapping[str, Frames],
    size: int,
    options: TeacherOptions,
    report: Reporter,
) -> tuple[TeacherMaps, TeacherMaps | None]:
    """Run the teachers on all frames that they have not seen, and open their caches.

    Args:
        teachers: Frozen teachers.
        task_teacher: Teacher of logits.
        frames: Kind of frames -> the frames: `TRAINING`, whose statistics standardize all maps,
            perhaps others to train on, and perhaps `HELD_OUT`.
        size: Height and width of the student's input.
        options: How maps are standardized.
        report: Shows the progress of each teacher.

    Returns:
        Maps of the frames to train on, in the order of `frames`, and of those that are held out.

    Raises:
        DataError: The disk cannot hold all caches, a frame cannot be read, or a teacher gives
            values that are not finite or do not depend on the frame.
    """
    folder = runs_root() / "cache" / "teachers"
    device = PartialState(cpu=not torch.cuda.is_available()).device
    all_teachers = [(teacher, GRID_STRIDE) for teacher in teachers]
    if task_teacher is not None:
        all_teachers.append((task_teacher, TASK_STRIDE))
    plans = []
    for teacher, stride in all_teachers:
        grid = (max(1, size // stride), max(1, size // stride))
        teacher.to(device)
        plans.append(
            {kind: CachePlan(teacher, sources, grid, folder) for kind, sources in frames.items()}
        )
    needed = sum(plan.bytes_to_write for kinds in plans for plan in kinds.values())
    if needed:
        logger.info("teachers' maps take %.1f MB more in %s", needed / 1e6, folder)
        require_space(folder, needed, "the teachers' maps")
    _probe(plans)
    opened = [_opened(kinds, options, report) for kinds in plans]
    trained = [kind for kind in frames if kind != HELD_OUT]
    return (
        _chosen(opened, trained, task_teacher is not None),
        _chosen(opened, [HELD_OUT], task_teacher is not None) if HELD_OUT in frames else None,
    )


def _probe(plans: Sequence[Mapping[str, CachePlan]]) -> None:
    """Refuse a useless teacher before the ones before it spend hours."""
    waiting = [
        next(plan for plan in kinds.values() if plan.frames_to_see)
        for kinds in plans
        if any(plan.frames_to_see for plan in kinds.values())
    ]
    for plan in waiting[1:]:  # the first one is the first to be run
        plan.probe()


def _opened(
    plans: Mapping[str, CachePlan], options: TeacherOptions, report: Reporter
) -> dict[str, TeacherCache]:
    """The caches of one teacher, all standardized like its maps of the training frames."""
    opened: dict[str, TeacherCache] = {}
    standardizer: Standardizer | None = None
    for kind, plan in plans.items():
        label = f"teacher {plan.teacher.name}, {kind} frames"
        if plan.frames_to_see:
            with report(plan.frames_to_see, label) as bar:
                opened[kind] = plan.build(
                    paced(bar), standardize=options.standardize, standardizer=standardizer
                )
        else:
            opened[kind] = plan.build(standardize=options.standardize, standardizer=standardizer)
        standardizer = opened[kind].standardizer
    return opened


def _chosen(
    opened: Sequence[Mapping[str, TeacherCache]], kinds: Sequence[str], with_logits: bool
) -> TeacherMaps:
    joined = [TeacherCache.joined([caches[kind] for kind in kinds]) for caches in opened]
    return TeacherMaps(joined[:-1], joined[-1]) if with_logits else TeacherMaps(joined, None)


def paced(bar: Progress, clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """A callback `(done, total)` that advances a bar and notes the images a second.

    Args:
        bar: Counts what is done from the first call on.
        clock: Seconds.
    """
    first: int | None = None
    last, begin = 0, 0.0

    def advance(done: int, _total: int) -> None:
        nonlocal first, last, begin
        if first is None:
            first, last, begin = done, done, clock()
            return
        seconds = clock() - begin
        rate = (done - first) / seconds if seconds > 0 else 0.0
        bar.update(done - last, f"{rate:.3g} images/s" if done > first else "")
        last = done

    return advance
