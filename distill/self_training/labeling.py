"""Self-training: trained students label frames without masks for the next student to learn from.

The labeling students see unchanged images; the next student sees them augmented (Noisy Student: Xie
et al., CVPR 2020). Uncertain frames are skipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from distill.self_training.ensemble import Ensemble
from edge.errors import DataError, UsageError
from edge.record_header import RecordHeader, make_header
from edge.sources.open import open_source
from edge.util.files import (
    PRIVATE_FOLDER,
    atomic_dir,
    naming,
    refuse_existing,
    sha256,
    write_json,
)
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edge.frame import ImageU8

MAX_DOUBT = 0.4
"""Kept half of the frames with known masks for two students: Dice .93, and .80 on the others."""
_BASE = 0.01
"""Share of the image added to the polyp's area, so that empty masks have a finite doubt."""
_SCHEMES = ("file", "images")


class LabeledFrame(msgspec.Struct, frozen=True, kw_only=True):
    """A frame that was scored.

    Attributes:
        frame: Number of the frame in the source.
        doubt: Uncertainty, as `doubt` computes it.
        area: Share of the image that the mask covers.
        kept: Whether the frame was written.
        confidence: Learned confidence, 0 to 1; None if it was not asked for.
    """

    frame: int
    doubt: float
    area: float
    kept: bool
    confidence: float | None = None


class Labels(msgspec.Struct, frozen=True, kw_only=True):
    """`labels.json`.

    Attributes:
        source: Source of the frames.
        makers: Run -> SHA-256 of its weights.
        every: Every n-th frame was scored.
        max_doubt: Largest doubt of a frame that is kept.
        frames: All frames that were scored.
        min_confidence: Smallest learned confidence of a frame that is kept; None for no limit.
        header: What the record is of; None in records of older versions.
    """

    source: str
    makers: dict[str, str]
    every: int
    max_doubt: float
    frames: list[LabeledFrame]
    min_confidence: float | None = None
    header: RecordHeader | None = None


def doubt(scores: NDArray[np.float32]) -> float:
    """Compute the doubt of a score map: mean 4 p (1 - p) over the mask's share plus 1 %.

    About a fifth for a polyp with a sharp rim, more than 1 where a region is neither polyp nor
    mucosa.

    Args:
        scores: (H, W), 0 to 1.
    """
    undecided = float(np.mean(4.0 * scores * (1.0 - scores)))
    return undecided / (float(np.mean(scores >= 0.5)) + _BASE)


def label_frames(
    runs: Sequence[Path],
    source: str,
    out: Path,
    *,
    every: int = 5,
    max_doubt: float = MAX_DOUBT,
    min_confidence: float | None = None,
    force: bool = False,
    done: Callable[[], None] | None = None,
) -> Labels:
    """Pseudo-label the frames of a source with an ensemble and write them as a data folder.

    `out/train/{images,masks}` holds the frames that were kept, as PNG, and `out/labels.json` lists
    all of them with their uncertainty. The folder has no validation frames.

    Args:
        runs: Runs of the ensemble.
        source: `file:CLIP` or `images:DIR`.
        out: Folder to write.
        every: Use every n-th frame: neighbors in a clip are nearly the same image.
        max_doubt: Skip frames whose uncertainty exceeds this.
        min_confidence: Skip frames of which students that have learned a confidence are less sure,
            0 to 1.
        force: Replace an existing folder.
        done: Called after each frame that was scored.

    Raises:
        UsageError: A folder is not a run directory, the source is of another kind, `every` is
            below 1, or no student has learned a confidence that is asked for.
        TrainingError: A checkpoint cannot be used.
        SourceError: The source cannot be read.
        DataError: No frame is kept.
        OSError: The disk is full; nothing is left of the folder then.
    """
    refuse_existing(out, force=force)
    makers = Ensemble(runs)
    rows = []
    with atomic_dir(out, force=force, mode=PRIVATE_FOLDER) as folder:
        for part in ("images", "masks"):
            (folder / "train" / part).mkdir(parents=True)
        for number, image in _frames(source, every):
            rgb = np.ascontiguousarray(image[..., ::-1])
            scores = makers.scores(rgb)
            mask = scores >= 0.5
            row = LabeledFrame(
                frame=number,
                doubt=doubt(scores),
                area=float(mask.mean()),
                kept=False,
                confidence=None if min_confidence is None else makers.confidence(rgb),
            )
            if row.doubt <= max_doubt and (row.confidence or 0.0) >= (min_confidence or 0.0):
                row = msgspec.structs.replace(row, kept=True)
                name = f"{number:06}.png"
                _write_png(folder / "train" / "images" / name, image)
                _write_png(folder / "train" / "masks" / name, mask.astype(np.uint8) * 255)
            rows.append(row)
            if done:
                done()
        if not any(row.kept for row in rows):
            least = min((row.doubt for row in rows), default=float("inf"))
            expected, got = f"a doubt of at most {max_doubt:g}", f"{least:.2f} at the least"
            if min_confidence is not None:
                most = max((row.confidence or 0.0 for row in rows), default=0.0)
                expected += f", a confidence of at least {min_confidence:g}"
                got += f", {most:.2f} at the most"
            raise DataError(
                f"no frame of {source} is kept",
                expected=expected,
                got=f"{got}, of {len(rows)} frames",
                hint="other frames, better students, or wider limits",
            )
        labels = Labels(
            source=source.encode("utf-8", "backslashreplace").decode(),
            makers={
                str(member.path): sha256(member.path / "checkpoints" / "best.pt")
                for member in makers.members
            },
            every=every,
            max_doubt=max_doubt,
            frames=rows,
            min_confidence=min_confidence,
            header=msgspec.structs.replace(
                make_header(data=source), engine="torch", precision="f32", threshold=0.5
            ),
        )
        write_json(folder / "labels.json", labels)
    return labels


def _write_png(path: Path, image: ImageU8) -> None:
    """Write a picture; unlike `cv2.imwrite` this raises if the disk is full."""
    with naming(path):
        path.write_bytes(cv2.imencode(".png", image)[1].tobytes())


def count_frames(source: str, every: int) -> int:
    """Number of frames that `label_frames` will score; raises the same errors for the source."""
    return sum(1 for _ in _frames(source, every))


def _frames(source: str, every: int) -> Iterator[tuple[int, ImageU8]]:
    """Number and BGR image of every n-th frame."""
    if source.partition(":")[0] not in _SCHEMES or every < 1:
        raise UsageError(
            "these frames cannot be labeled",
            expected=f"one of {', '.join(f'{name}:' for name in _SCHEMES)} and every 1 or more",
            got=f"{redact(source)}, every {every}",
            hint="for example file:CLIP and every 5",
        )
    with open_source(source) as opened:
        while (frame := opened.read()) is not None:
            if frame.index % every == 0:
                yield frame.index, frame.image
