"""Hours and disk that a study needs, before it begins."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

import torch

from distill.data.frames import Frames
from distill.data.load import draw_splits, refuse_size
from distill.data.sampling import EpochOrder
from distill.data.teacher_maps import GRID_STRIDE
from distill.paper_study.cells import cell_config, study_cells
from distill.paper_study.run import is_trained
from distill.run_table import runs_root
from distill.students.build import build_student
from distill.teachers.base import MAX_CELLS
from distill.teachers.build import build_teacher
from distill.teachers.cache.maps import CachePlan
from edge.util.spec import expand, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from distill.config import DistillConfig
    from distill.data.splits import Splits
    from distill.paper_study.cells import PaperStudy
    from edge.datasets.public_sets import LabeledFrames

PROTOCOLS_S = 0.3
"""Seconds of a core for both protocols on a frame at its native size."""
_STORED = 5
"""Copies of a student's parameters in a run: the best ones, the last ones, and AdamW's state."""
_TEACHER_FACTOR = 1.03
"""A step with teachers over one without."""


class Nominal(NamedTuple):
    """A foundation model that is not on this machine: its published size.

    Attributes:
        channels: Channels of its map.
        cells: Cells of the map along each axis.
        gmac: 10^9 multiply-adds for a frame at its default size.
    """

    channels: int
    cells: int
    gmac: float


NOMINAL = {
    "sam": Nominal(256, 64, 486),  # ViT-B at 1024 pixels
    "dinov2": Nominal(768, 37, 151),  # base, 518 pixels
    "oneformer": Nominal(256, 80, 330),  # Swin-L, 640 pixels
    "mask2former": Nominal(256, 80, 176),  # Swin-B, 640 pixels
}


class StudentCost(NamedTuple):
    """One row of a forecast.

    Attributes:
        student: As the study names it.
        cells: Cells that are not trained yet.
        step_s: Seconds of a step without data and teachers, measured here.
        train_h: Hours of training of all these cells.
        evaluate_h: Hours of evaluating them.
        bytes: Disk of their runs.
    """

    student: str
    cells: int
    step_s: float
    train_h: float
    evaluate_h: float
    bytes: int


class TeacherCost(NamedTuple):
    """What a teacher costs once.

    Attributes:
        teacher: Specification.
        frames: Frames that it has not seen yet.
        hours: Hours of running it on them.
        bytes: Disk of its maps.
        measured: Whether it is on this machine; otherwise published figures are used.
    """

    teacher: str
    frames: int
    hours: float
    bytes: int
    measured: bool


class Forecast(NamedTuple):
    """What a study needs besides what is there already.

    Attributes:
        students: One row for each student.
        teachers: One row for each teacher.
        free_bytes: Room on the disk of the caches.
    """

    students: list[StudentCost]
    teachers: list[TeacherCost]
    free_bytes: int

    @property
    def hours(self) -> float:
        """Hours of all rows."""
        return sum(row.train_h + row.evaluate_h for row in self.students) + sum(
            row.hours for row in self.teachers
        )

    @property
    def bytes(self) -> int:
        """Disk of all rows."""
        runs = sum(row.bytes for row in self.students)
        return runs + sum(row.bytes for row in self.teachers)


def forecast(study: PaperStudy, sets: Mapping[str, LabeledFrames], out: Path) -> Forecast:
    """Measure a step of each student and a frame of each local teacher, and add up.

    Args:
        study: What is to be trained.
        sets: Test sets.
        out: Folder of the study, whose finished runs cost nothing.

    Raises:
        UsageError: A student, teacher or setting is unknown or does not fit.
        DataError: The images cannot be used.
    """
    configs = {cell: cell_config(study, cell) for cell in study_cells(study)}
    any_config = next(iter(configs.values()))
    splits = draw_splits(any_config.data)
    tested = sum(len(frames.pairs) for frames in sets.values())
    students = []
    for student in study.students:
        own = {cell: config for cell, config in configs.items() if cell.student == student}
        left = {c: config for c, config in own.items() if not is_trained(out, c, config)}
        step_s, frame_s, parameters = measured_student(next(iter(own.values())))
        seconds = sum(
            step_s
            * (_TEACHER_FACTOR if cell.foundations else 1)
            * (config.run.epochs * _steps(config, splits))
            for cell, config in left.items()
        )
        students.append(
            StudentCost(
                student,
                len(left),
                step_s,
                seconds / 3600,
                len(left) * tested * (frame_s + PROTOCOLS_S) / 3600,
                len(left) * _STORED * 4 * parameters,
            )
        )
    taught = study.teachers[: max(study.foundations)]
    teachers = [_teacher_cost(spec, any_config, splits) for spec in taught]
    return Forecast(students, teachers, _free(runs_root()))


def _steps(config: DistillConfig, splits: Splits) -> int:
    order = EpochOrder(
        [sample.dataset for sample in splits.train],
        clean=len(splits.clean_train),
        unlabeled=len(splits.unlabeled),
        batch_size=config.run.batch_size,
        clean_share=config.data.negative_share,
        unlabeled_share=config.data.unlabeled_share,
        balance=config.data.balance,
        seed=config.run.seed,
        boxed=len(splits.boxed),
        box_share=config.data.box_share,
    )
    return order.steps


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _timed(call: Callable[[], object]) -> float:
    """Seconds of the second of two calls, as on a machine that does nothing else.

    On a CPU these are seconds of its cores, shared by the threads, so that other programs do not
    lengthen a forecast.
    """
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        return time.perf_counter() - begin
    begin = time.process_time()
    call()
    return (time.process_time() - begin) / torch.get_num_threads()


def measured_student(config: DistillConfig) -> tuple[float, float, int]:
    """Measure a configuration's student here.

    Returns:
        Seconds of a training step without data and teachers, seconds of a frame, and the number of
        parameters.

    Raises:
        UsageError: The student is unknown, or the size does not fit it.
    """
    student = build_student(config.student.network, pretrained=False).to(_device())
    refuse_size(config, student.divisor)
    side = config.data.size
    images = torch.zeros(config.run.batch_size, 3, side, side, device=_device())

    def step() -> None:
        student(images).square().mean().backward()

    def frame() -> None:
        with torch.inference_mode():
            student(images[:1])

    parameters = sum(value.numel() for value in student.parameters())
    seconds = _timed(step)
    student.eval()
    return seconds, _timed(frame), parameters


def _teacher_cost(spec: str, config: DistillConfig, splits: Splits) -> TeacherCost:
    """Cost of a teacher on the training frames; one that is not on this machine is not fetched."""
    samples = [*splits.train, *splits.clean_train]
    grid = max(1, config.data.size // GRID_STRIDE)
    parsed = parse(spec)
    if parsed.scheme in NOMINAL and not (parsed.target and expand(parsed.target).exists()):
        nominal = NOMINAL[parsed.scheme]
        own = min(nominal.cells, MAX_CELLS)
        cells = own**2 + (grid**2 if grid < own else 0)
        hours = len(samples) * nominal.gmac / _gmacs_per_second() / 3600
        size = 2 * len(samples) * nominal.channels * cells
        return TeacherCost(spec, len(samples), hours, size, measured=False)
    teacher = build_teacher(spec).to(_device())
    plan = CachePlan(
        teacher,
        Frames(samples, config.data.field_of_view),
        (grid, grid),
        runs_root() / "cache" / "teachers",
    )
    blank = torch.zeros(1, 3, teacher.size, teacher.size, dtype=torch.uint8, device=_device())
    frame_s = _timed(lambda: teacher.features(blank)) if plan.frames_to_see else 0.0
    hours = plan.frames_to_see * frame_s / 3600
    return TeacherCost(spec, plan.frames_to_see, hours, plan.bytes_to_write, measured=True)


def _gmacs_per_second() -> float:
    """10^9 multiply-adds a second of a large matrix product here."""
    side = 1024
    matrix = torch.ones(side, side, device=_device())
    return side**3 / 1e9 / _timed(lambda: matrix @ matrix)


def _free(folder: Path) -> int:
    place = next(path for path in (folder, *folder.resolve().parents) if path.exists())
    return shutil.disk_usage(place).free
