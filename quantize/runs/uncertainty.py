"""Refuse students with a confidence: no engine expresses it (`distill.losses.hints`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig


def refuse_uncertainty(network: str) -> None:
    """Refuse a student with a confidence, which no engine expresses.

    Args:
        network: Name of the whole network.

    Raises:
        UsageError: It has one.
    """
    if is_uncertain(network):
        raise UsageError(
            f"{network} has a confidence, which is for training and evaluation alone",
            expected="a student without uncertainty",
            hint="train the same configuration with uncertainty=false",
        )


def refuse_uncertain_run(config: DistillConfig, run: Path) -> None:
    """Refuse a run whose student has a confidence.

    Raises:
        UsageError: It has one.
    """
    if is_uncertain(config.student.network):
        raise UsageError(
            f"{config.student.network} has a confidence, which is for training and evaluation "
            "alone",
            expected="a run of a student without uncertainty",
            got=str(run),
            hint="train the same configuration with uncertainty=false",
            code="student-uncertain",
            values={"run": run},
        )


def is_uncertain(network: str) -> bool:
    """Whether a network, named in full, has a learned confidence."""
    return "uncertainty" in network.split("+")
