"""A folder of marks and stills, as runs leave it behind."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.contracts import MarkKind
from edge.frame import OperatingPoint
from edge.imaging.postprocess import regions
from edge.stills.files import write_still
from edge.stills.record import Mark
from edge.stills.still import find_held_back
from tests.support.stills import WHO, circle, result, still

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import Result

SIZE = (120, 160)
POINT = OperatingPoint(WHO.threshold, 0.001)


def peak(value: int, *, visible: bool = True) -> Result:
    """A result whose highest score is `value` in 1/256."""
    base = result(SIZE)
    assert base.scores is not None
    scores = np.where(base.scores == base.scores.max(), value, base.scores).astype(np.uint8)
    found_regions = regions(scores, SIZE, POINT) if visible else ()
    return replace(
        base, scores=scores, regions=found_regions, mask_area=sum(one.area for one in found_regions)
    )


def name(number: int, *, run: str = "5b1f0c9e", word: str = "mark") -> str:
    return f"{word}-20310501T1200{number:02}Z-{run}-{number}"


def put(
    folder: Path,
    called: str,
    shown_result: Result | None = None,
    kind: MarkKind | None = MarkKind.FALSE_ALARM,
    **changes: Any,
) -> Path:
    """Write a mark, or a still if `kind` is None."""
    folder.mkdir(mode=0o700, exist_ok=True)
    shown = shown_result or result(SIZE)
    mark = None
    if kind is not None:
        lost = find_held_back(shown, circle(SIZE), POINT)
        mark = Mark(kind=kind, source="camera", bundle=WHO, held_back=lost)
    write_still(still(SIZE, shown, mark=mark, **changes), folder / called)
    return folder / called
