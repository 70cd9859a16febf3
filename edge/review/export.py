"""Write what was decided as a data folder that a training reads.

`images/RUN/` and `masks/RUN/` hold the frames with a polyp; a run is a video to the training, which
never cuts one between training and validation. `clean/` holds the frames without a polyp, and
`provenance.json` says where each frame is from.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import RESEARCH_USE
from edge.errors import DataError
from edge.record_header import RecordHeader, make_header
from edge.review.decision import Verdict, decided_mask, encode_mask, read_decision
from edge.review.items import count, list_items
from edge.stills.files import IMAGE, read_file, read_still
from edge.stills.folder import run_of
from edge.stills.record import BundleIdentity  # noqa: TC001 - msgspec reads annotations
from edge.util.files import PRIVATE_FILE, PRIVATE_FOLDER, atomic_dir, atomic_write, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from edge.review.decision import Decision
    from edge.stills.still import Still

IMAGES, MASKS, CLEAN, PROVENANCE = "images", "masks", "clean", "provenance.json"
SCHEMA = 1


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where a frame of the data folder is from.

    Attributes:
        file: Its image, relative to the folder.
        sha256: SHA-256 of its image.
        verdict: `polyp` or `clean`.
        mask: `found` if the device's mask was accepted, `drawn` if a person drew it; empty for a
            clean frame.
        still: Name of the still.
        frame: Number of the frame in its source.
        taken: Date and time in UTC at which it was kept.
        decided: Date and time in UTC of the decision.
        mark: What a person found wrong at the time; empty for a still.
        source: Source of the frames; empty for a still.
        bundle: Bundle in use; null if there was none.
    """

    file: str
    sha256: str
    verdict: str
    mask: str
    still: str
    frame: int
    taken: str
    decided: str
    mark: str
    source: str
    bundle: BundleIdentity | None


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """`provenance.json`.

    Attributes:
        schema: Version of the format, `SCHEMA`.
        intended_use: Notice on the intended use.
        header: What made the folder, and from what.
        left_out: Verdict or `open` -> number of stills that are not in the folder.
        frames: The frames of the folder.
    """

    schema: int = SCHEMA
    intended_use: str = RESEARCH_USE
    header: RecordHeader
    left_out: dict[str, int]
    frames: list[Origin]


def export(folder: Path, out: Path, *, force: bool = False) -> Provenance:
    """Write the decided frames of a folder of stills, all or nothing.

    Args:
        folder: Marks and stills with their decisions.
        out: Folder to create, for its owner only.
        force: Whether an existing folder is replaced.

    Returns:
        The content of `provenance.json`.

    Raises:
        UsageError: `out` exists and `force` is not set.
        DataError: Nothing was decided for a training, or a still was changed.
    """
    items = list_items(folder)
    chosen = sorted(item.name for item in items if item.verdict in (Verdict.POLYP, Verdict.CLEAN))
    counts = count(items)
    if not chosen:
        raise DataError(
            f"nothing of {folder} is decided for a training",
            expected="frames with an accepted or drawn mask, or clean ones",
            got=", ".join(f"{number} {kind}" for kind, number in counts.items() if number),
            code="nothing-decided",
        )
    frames: list[Origin] = []
    numbers: Counter[str] = Counter()
    with atomic_dir(out, force=force, mode=PRIVATE_FOLDER) as home:
        for name in chosen:
            still, decision = read_still(folder / name), read_decision(folder / name)
            assert decision is not None, f"{name} was listed with a decision"
            run = f"run-{run_of(name)}"
            numbers[run] += 1
            image = read_file(folder / name, still.record, IMAGE)
            frames.append(_write(home, f"{run}", numbers[run], name, still, decision, image))
        provenance = Provenance(
            header=make_header(data=str(folder)),
            left_out={
                kind: number
                for kind, number in counts.items()
                if kind not in (Verdict.POLYP, Verdict.CLEAN) and number
            },
            frames=frames,
        )
        write_json(home / PROVENANCE, provenance, mode=PRIVATE_FILE)
    return provenance


def _write(
    home: Path, run: str, number: int, name: str, still: Still, decision: Decision, image: bytes
) -> Origin:
    polyp = decision.verdict is Verdict.POLYP
    file = f"{IMAGES}/{run}/{number:04}.png" if polyp else f"{CLEAN}/{run}_{number:04}.png"
    if polyp:
        mask = encode_mask(decided_mask(decision, still))
        _private(home / MASKS / run / f"{number:04}.png", mask)
    _private(home / file, image)
    record, mark = still.record, still.record.mark
    return Origin(
        file=file,
        sha256=record.files[IMAGE],
        verdict=str(decision.verdict),
        mask=("found" if decision.mask is None else "drawn") if polyp else "",
        still=name,
        frame=record.frame,
        taken=record.taken,
        decided=decision.decided,
        mark="" if mark is None else str(mark.kind),
        source="" if mark is None else mark.source,
        bundle=record.bundle or (None if mark is None else mark.bundle),
    )


def _private(path: Path, data: bytes) -> None:
    path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    atomic_write(path, data, mode=PRIVATE_FILE)
