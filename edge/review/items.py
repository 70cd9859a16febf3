"""The stills of a folder as a review lists them: the most doubtful first.

A person's time goes to the frames that teach most (uncertainty sampling, Lewis and Gale, SIGIR
1994): marks first, then frames on which smoothing and scores disagree or a score is close to the
threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.errors import DataError
from edge.imaging.postprocess import UNITS
from edge.review.decision import Verdict, read_decision
from edge.stills.files import read_record, read_scores
from edge.stills.folder import MARK, NAME, STILL, stills_in

if TYPE_CHECKING:
    from pathlib import Path

    from edge.stills.record import BundleIdentity, StillRecord


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """A still in the list, as JSON for the page.

    Attributes:
        name: Name of its folder.
        error: Why it cannot be reviewed; empty if it can.
        kind: `false-alarm`, `missed`, or `still` without a mark.
        taken: Date and time in UTC.
        frame: Number of the frame in its source.
        clip_ms: Time of the frame in its clip, milliseconds.
        asked_by: Who kept it.
        state: State of the device.
        why: Why nobody judged the frame; empty if somebody did.
        source: Source of the frames.
        bundle: Name and engine of the bundle; empty if there was none.
        digest: SHA-256 of its manifest.
        size: Width and height, pixels.
        found: Boxes of the regions that were shown, frame pixels.
        held_back: Boxes of the regions that smoothing held back.
        peak: Highest score, 0 to 1; null if nobody judged the frame.
        threshold: Score from which a pixel belongs to the mask; null likewise.
        doubt: How doubtful the result is, 0 to 1.
        verdict: What was decided; empty if nothing was.
        drawn: Whether the decided mask was drawn.
        decided: Date and time in UTC of the decision.
    """

    name: str
    error: str = ""
    kind: str = ""
    taken: str = ""
    frame: int = 0
    clip_ms: float | None = None
    asked_by: str = ""
    state: str = ""
    why: str = ""
    source: str = ""
    bundle: str = ""
    digest: str = ""
    size: tuple[int, int] = (0, 0)
    found: tuple[tuple[int, int, int, int], ...] = ()
    held_back: tuple[tuple[int, int, int, int], ...] = ()
    peak: float | None = None
    threshold: float | None = None
    doubt: float = 0.0
    verdict: str = ""
    drawn: bool = False
    decided: str = ""


def list_items(folder: Path) -> list[Item]:
    """List the stills and marks of a folder, the most doubtful first.

    Those that cannot be read are listed last, with the reason.

    Raises:
        DataError: The folder does not exist, or holds neither marks nor stills.
    """
    try:
        paths = [path for path in stills_in(folder, MARK, STILL) if NAME.fullmatch(path.name)]
    except OSError as error:
        raise DataError(f"{folder} cannot be read", got=error.strerror or str(error)) from error
    if not paths:
        raise DataError(
            f"{folder} holds nothing to review",
            expected="marks or stills of a run",
            code="nothing-to-review",
        )
    return sorted((read_item(path) for path in paths), key=_rank)


def read_item(path: Path) -> Item:
    """Read what the list shows of a still; it never fails, an error is in the item."""
    try:
        record = read_record(path)
        scores = read_scores(path, record)
        decision = read_decision(path)
    except DataError as error:
        return Item(name=path.name, error=str(error))
    peak = None if scores is None else float(scores.max()) / UNITS
    bundle = _bundle(record)
    mark = record.mark
    return Item(
        name=path.name,
        kind=str(mark.kind) if mark is not None else "still",
        taken=record.taken,
        frame=record.frame,
        clip_ms=None if mark is None else mark.clip_ms,
        asked_by=record.asked_by,
        state=record.state,
        why=record.no_mask or "",
        source="" if mark is None else mark.source,
        bundle="" if bundle is None else f"{bundle.name} {bundle.engine}",
        digest="" if bundle is None else bundle.digest,
        size=(record.size[1], record.size[0]),
        found=tuple(region.box for region in record.regions),
        held_back=() if mark is None else tuple(region.box for region in mark.held_back),
        peak=peak,
        threshold=None if peak is None or bundle is None else bundle.threshold,
        doubt=round(doubt(record, peak), 3),
        verdict="" if decision is None else str(decision.verdict),
        drawn=decision is not None and decision.mask is not None,
        decided="" if decision is None else decision.decided,
    )


def doubt(record: StillRecord, peak: float | None) -> float:
    """Return how doubtful the result of a still is, 0 to 1.

    It is 1 if smoothing held back what the scores show. Otherwise it falls with the distance of the
    score closest to the threshold: of the regions, or of the highest score where there is none.

    Args:
        record: Its record.
        peak: Highest score inside the field of view, 0 to 1; None if nobody judged the frame.
    """
    if record.mark is not None and record.mark.held_back:
        return 1.0
    if peak is None or record.bundle is None:
        return 0.0
    threshold = record.bundle.threshold
    peaks = [region.score for region in record.regions] or [peak]
    nearest = min(abs(score - threshold) for score in peaks)
    return max(0.0, 1 - nearest / max(threshold, 1 - threshold))


def _bundle(record: StillRecord) -> BundleIdentity | None:
    return record.bundle or (None if record.mark is None else record.mark.bundle)


def _rank(item: Item) -> tuple[bool, bool, float, str]:
    return bool(item.error), item.kind == "still", -item.doubt, item.name


def count(items: list[Item]) -> dict[str, int]:
    """Return verdict -> number of items, and `open` -> number of those without one."""
    counts = {verdict.value: 0 for verdict in Verdict} | {"open": 0, "unreadable": 0}
    for item in items:
        counts["unreadable" if item.error else item.verdict or "open"] += 1
    return counts
