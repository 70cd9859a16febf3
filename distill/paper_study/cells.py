"""The cells of the table: which students, taught by how many foundation models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from distill.config import resolve_config
from edge.errors import UsageError
from edge.util.spec import expand, parse

if TYPE_CHECKING:
    from distill.config import DistillConfig

STUDENTS: dict[str, dict[str, Any]] = {
    "unet": {"student": "unet"},
    "unetpp": {"student": "unetpp"},
    "pranet": {"student": "pranet"},
    "emcad": {"student": "edge-s", "decoder": "emcad"},
}
"""Students of the paper -> options of ours; EMCAD's decoder stands on the encoder of edge-s."""
FOUNDATIONS = ("sam", "dinov2", "oneformer", "mask2former")
"""Foundation models in the order in which the paper adds them: 2F, 3F, 4F."""
SETTINGS: dict[str, Any] = {"size": 352, "epochs": 75, "batch_size": 6, "lr": 1e-4}
"""Settings of the paper's notebook."""
RANDOM_MARK = "random-weights.txt"
"""File in the folder of a checkpoint that was drawn at random."""


class PaperStudy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What decides the outcome of a study.

    Attributes:
        data: Folders to train and validate on.
        students: Keys of `STUDENTS`, or students of `distill.students.build`.
        foundations: Numbers of teachers; 0 trains the task alone.
        teachers: Teachers in the order in which they are added.
        seeds: Number of seeds of each cell.
        settings: Settings that all runs share, by flat key.
    """

    data: list[str]
    students: Annotated[list[str], Meta(min_length=1)]
    foundations: Annotated[list[int], Meta(min_length=1)]
    teachers: list[str]
    seeds: Annotated[int, Meta(ge=1, le=100)] = 1
    settings: dict[str, Any] = {}


class StudyCell(NamedTuple):
    """One training of the table.

    Attributes:
        student: As the study names it.
        foundations: Number of teachers.
        seed: Seed.
    """

    student: str
    foundations: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its run."""
        return f"{self.student}-{self.foundations}f-{self.seed}"


def study_cells(study: PaperStudy) -> list[StudyCell]:
    """All cells, row by row.

    Raises:
        UsageError: A student or number is given twice, or there are fewer teachers than a number.
    """
    for what, values in (("student", study.students), ("number", study.foundations)):
        if len(set(map(str, values))) < len(values):
            raise UsageError(f"the study names a {what} twice", got=", ".join(map(str, values)))
    if not 0 <= min(study.foundations) <= max(study.foundations) <= len(study.teachers):
        raise UsageError(
            "the study has fewer teachers than foundation models",
            expected=f"numbers from 0 to {len(study.teachers)}: {', '.join(study.teachers)}",
            got=", ".join(map(str, study.foundations)),
        )
    return [
        StudyCell(student, count, seed)
        for student in study.students
        for count in study.foundations
        for seed in range(study.seeds)
    ]


def cell_config(study: PaperStudy, cell: StudyCell) -> DistillConfig:
    """Configuration of one cell.

    Raises:
        UsageError: A setting is unknown or out of range, or there is no data.
    """
    network = STUDENTS.get(cell.student) or _parts(cell.student)
    taught: dict[str, Any] = {"teachers": study.teachers[: cell.foundations]}
    if not cell.foundations:
        taught |= {"recipe": "none", "task_teachers": []}
    values = SETTINGS | study.settings | network | taught
    return resolve_config(None, values | {"data": study.data, "seed": cell.seed})


def _parts(student: str) -> dict[str, Any]:
    name, plus, decoder = student.partition("+")
    return {"student": name, "decoder": decoder} if plus else {"student": name}


def is_random(spec: str) -> bool:
    """Whether a teacher is a network that was drawn at random, which teaches nothing."""
    target = parse(spec).target
    return bool(target) and (expand(target) / RANDOM_MARK).is_file()


def has_no_result(study: PaperStudy, cell: StudyCell) -> bool:
    """Whether a cell only shows that it runs, because a teacher of it is random."""
    return any(is_random(spec) for spec in study.teachers[: cell.foundations])
