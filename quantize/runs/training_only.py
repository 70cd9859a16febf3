"""Refuse students with parts that are for training and evaluation alone, and say what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig


class _Part(NamedTuple):
    """A part of a student that no engine here expresses.

    Attributes:
        has: What a student with it has, and why that stays here.
        expected: What is accepted.
        hint: What to do instead.
    """

    has: str
    expected: str
    hint: str


_TEACH = (
    "let it teach a student without one, by its maps (teachers=[run:RUN]) or its logits "
    "(task_teachers=[run:RUN])"
)
_SCAN = _Part(
    "a selective scan, whose state runs over all cells with decays that each cell computes: no "
    "runtime here has such an operation, and none has one in integers",
    "a student without a selective scan",
    _TEACH,
)
_PARTS = {
    "uncertainty": _Part(
        "a confidence, which is for training and evaluation alone",
        "a student without uncertainty",
        "train the same configuration with uncertainty=false",
    ),
    "selective-scan": _SCAN,
    "sam-mamba": _SCAN,
    "pro-mamba": _Part(
        "selective scans, which no runtime here has, and looks into boxes that something else must "
        "find first",
        "a student without a selective scan, such as edge-s",
        _TEACH,
    ),
    "sam-cnn": _Part(
        "the encoder of SAM, a transformer whose attention has no integer form here",
        "a student for the device, such as edge-s",
        _TEACH,
    ),
}
"""Student or part of its name -> why it is refused."""


def is_training_only(network: str) -> bool:
    """Whether a network, named in full, is for training and evaluation alone."""
    return _part_of(network) is not None


def refuse_training_only(network: str) -> None:
    """Refuse a student that no engine expresses.

    Args:
        network: Name of the whole network.

    Raises:
        UsageError: It has a part that is for training and evaluation alone.
    """
    part = _part_of(network)
    if part is not None:
        raise UsageError(f"{network} has {part.has}", expected=part.expected, hint=part.hint)


def refuse_training_only_run(config: DistillConfig, run: Path) -> None:
    """Refuse a run whose student no engine expresses.

    Raises:
        UsageError: It has a part that is for training and evaluation alone.
    """
    network = config.student.network
    part = _part_of(network)
    if part is None:
        return
    what = f"{network} has {part.has}"
    if part is _PARTS["uncertainty"]:
        raise UsageError(
            what,
            expected=part.expected,
            got=str(run),
            hint=part.hint,
            code="student-uncertain",
            values={"run": run},
        )
    raise UsageError(
        what,
        expected=part.expected,
        got=str(run),
        hint=part.hint,
        code="student-teaches",
        values={"run": run},
    )


def _part_of(network: str) -> _Part | None:
    names = network.split("+")
    names[0] = names[0].partition(":")[0]
    return next((_PARTS[name] for name in names if name in _PARTS), None)
