"""Check data folders before a training: what they hold, and what would go wrong with it."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec
import numpy as np

from edge.datasets.duplicates import find_repeats, find_same, thumbnails
from edge.datasets.masks import inversion_note, looks_inverted
from edge.datasets.pairs import find_pairs, read_pair
from edge.datasets.parts import find_parts
from edge.errors import DataError
from edge.util.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.datasets.pairs import Pair
    from edge.util.progress import Reporter

MIN_POLYP_PIXELS = 25
"""Pixels of a frame's polyps below which the mask is probably a stray click."""
_THREADS = 4
_MAX_NAMES = 3


class Finding(msgspec.Struct, frozen=True):
    """Something that is wrong with the data.

    Attributes:
        kind: `error` if a training would refuse the data or learn wrongly, else `warning`.
        text: What is wrong.
        files: Files that show it.
    """

    kind: Literal["error", "warning"]
    text: str
    files: list[str] = []


class PartSummary(msgspec.Struct, frozen=True):
    """What one part of a data folder holds.

    Attributes:
        folder: The data folder.
        part: `train`, `validation`, or `all` for a folder that is not split.
        frames: Number of pairs of image and mask.
        readable: Number of pairs that can be used.
        with_polyp: Number of usable pairs whose mask shows a polyp.
        sizes: `WxH` of the images -> number of frames.
        area_median: Median share of the picture that the polyps cover; None without a polyp.
        sequences: Number of video sequences, of sequences.json or in folders of their own; None if
            each frame counts for itself.
    """

    folder: str
    part: str
    frames: int
    readable: int
    with_polyp: int
    sizes: dict[str, int]
    area_median: float | None
    sequences: int | None


class DataReport(msgspec.Struct, frozen=True):
    """Result of `check_folders`.

    Attributes:
        parts: What the folders hold.
        findings: What is wrong with it, errors first.
    """

    parts: list[PartSummary]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """Findings that a training would refuse or learn wrongly from."""
        return [finding for finding in self.findings if finding.kind == "error"]


class CheckedPart(NamedTuple):
    """One part of a data folder, read.

    Attributes:
        folder: The data folder.
        part: As in `PartSummary`.
        pairs: Usable pairs.
        images: (N, D) thumbnails of their images.
        areas: (N,) share of each picture that its polyps cover.
    """

    folder: Path
    part: str
    pairs: list[Pair]
    images: NDArray[np.float32]
    areas: NDArray[np.float64]


class _Read(NamedTuple):
    size: tuple[int, int]
    area: float
    pixels: int
    inverted: bool
    thumbnail: NDArray[np.float32]


def check_folders(
    roots: Sequence[Path], *, report: Reporter = silent
) -> tuple[DataReport, list[CheckedPart]]:
    """Read every image and mask of data folders and judge them.

    Args:
        roots: Data folders as `edge-difom distill` takes them.
        report: Shows the progress.

    Returns:
        The report, and the parts for a contact sheet.
    """
    summaries: list[PartSummary] = []
    findings: list[Finding] = []
    checked: list[CheckedPart] = []
    for root in roots:
        try:
            parts = _parts(root)
        except DataError as error:
            findings.append(_as_finding(error))
            continue
        for part, pairs in parts.items():
            with (
                report(len(pairs), f"read {root} {part}") as bar,
                ThreadPoolExecutor(_THREADS) as pool,
            ):
                read = []
                for item in pool.map(_read, pairs):
                    read.append(item)
                    bar.update()
            findings += [_as_finding(item) for item in read if isinstance(item, DataError)]
            usable = [
                (pair, item)
                for pair, item in zip(pairs, read, strict=True)
                if not isinstance(item, DataError)
            ]
            findings += _judge(root, part, usable)
            summaries.append(_summarize(root, part, len(pairs), usable))
            checked.append(_checked(root, part, usable))
    findings += _judge_repeats(checked)
    findings.sort(key=lambda finding: finding.kind)
    return DataReport(summaries, findings), checked


def _parts(root: Path) -> dict[str, list[Pair]]:
    parts = find_parts(root)
    if parts is None:
        return {"all": find_pairs(root)}
    return {"train": parts.train} | ({"validation": parts.validation} if parts.validation else {})


def _read(pair: Pair) -> _Read | DataError:
    try:
        image, mask = read_pair(pair.image, pair.mask)
    except DataError as error:
        return error
    return _Read(
        (image.shape[1], image.shape[0]),
        float(mask.mean()),
        int(mask.sum()),
        looks_inverted(mask),
        thumbnails([image])[0],
    )


def _as_finding(error: DataError) -> Finding:
    got_text = f" (got: {error.got})" if error.got else ""
    return Finding("error", f"{error.what}{got_text}")


def _judge(root: Path, part: str, usable: Sequence[tuple[Pair, _Read]]) -> list[Finding]:
    """What is wrong with the masks of one part."""
    with_polyp = [(pair, item) for pair, item in usable if item.pixels]
    if not with_polyp:
        text = f"{root} {part}: no mask of {len(usable)} shows a polyp"
        return [Finding("error", text)]
    findings = []
    swapped = [(pair, item) for pair, item in with_polyp if item.inverted]
    if swapped:
        names = [str(pair.mask) for pair, _ in swapped]
        note = inversion_note(names, [item.area for _, item in swapped], len(with_polyp))
        findings.append(Finding("warning", f"{root} {part}: {note}", names))
    tiny = [str(pair.mask) for pair, item in with_polyp if item.pixels < MIN_POLYP_PIXELS]
    if tiny:
        text = f"{root} {part}: polyps of less than {MIN_POLYP_PIXELS} pixels in {_named(tiny)}"
        findings.append(Finding("warning", text, tiny))
    return findings


def _summarize(
    root: Path, part: str, frames: int, usable: Sequence[tuple[Pair, _Read]]
) -> PartSummary:
    sizes: dict[str, int] = defaultdict(int)
    for _, item in usable:
        sizes[f"{item.size[0]}x{item.size[1]}"] += 1
    areas = [item.area for _, item in usable if item.pixels]
    return PartSummary(
        folder=str(root),
        part=part,
        frames=frames,
        readable=len(usable),
        with_polyp=len(areas),
        sizes=dict(sorted(sizes.items(), key=lambda item: -item[1])),
        area_median=float(np.median(areas)) if areas else None,
        sequences=_count_sequences(root, usable),
    )


def _count_sequences(root: Path, usable: Sequence[tuple[Pair, _Read]]) -> int | None:
    listed = root / "sequences.json"
    if listed.is_file():
        try:
            return len(msgspec.json.decode(listed.read_bytes(), type=list[dict[str, int]]))
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
    return len({pair.video for pair, _ in usable if pair.video}) or None


def _checked(root: Path, part: str, usable: Sequence[tuple[Pair, _Read]]) -> CheckedPart:
    images = [item.thumbnail for _, item in usable]
    return CheckedPart(
        root,
        part,
        [pair for pair, _ in usable],
        np.array(images, np.float32) if images else thumbnails([]),
        np.array([item.area for _, item in usable]),
    )


def _judge_repeats(checked: Sequence[CheckedPart]) -> list[Finding]:
    """The same picture trained on and validated on, or twice in a part."""
    findings = []
    for part in checked:
        rows = find_repeats(part.images)
        if rows:
            files = [
                f"{part.pairs[later].image} is {part.pairs[first].image}" for later, first in rows
            ]
            text = f"{part.folder} {part.part}: the same picture twice, {_named(files)}"
            if part.part == "all":
                text += "; a split that is drawn may train and validate on it"
            findings.append(Finding("warning", text, files))
    for number, one in enumerate(checked):
        for other in checked[number + 1 :]:
            same = find_same(one.images, other.images)
            if not same:
                continue
            files = [
                f"{other.pairs[row].image} is {one.pairs[earlier].image}" for row, earlier in same
            ]
            leak = one.part != other.part and "validation" in (one.part, other.part)
            text = f"{len(same)} pictures of {other.folder} {other.part} are also in "
            text += f"{one.folder} {one.part}"
            if leak:
                text += ", so that a training validates on what it learns"
            elif "all" in (one.part, other.part):
                text += ", so that a split that is drawn may validate on what it learns"
            findings.append(
                Finding("error" if leak else "warning", f"{text}: {_named(files)}", files)
            )
    return findings


def _named(files: Sequence[str]) -> str:
    return ", ".join(files[:_MAX_NAMES]) + (
        f" and {len(files) - _MAX_NAMES} more" if len(files) > _MAX_NAMES else ""
    )
