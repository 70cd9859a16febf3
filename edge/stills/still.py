"""What a still is: one frame, its own mask or none, its field of view, and what the device was and ran by then."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.bundle.manifest import RESEARCH_USE, Strict
from edge.imaging.region_masks import region_labels
from edge.imaging.view import black_outside

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle
    from edge.frame import Frame, ImageU8, Result
    from edge.imaging.view import View
    from edge.status import Status

SCHEMA = 2


def now() -> datetime:
    """Date and time in UTC: a note for people, no decision hangs on it."""
    return datetime.now(timezone.utc)


class BundleIdentity(Strict, frozen=True, kw_only=True):
    """Which bundle a mask comes from.

    Attributes:
        name: The manifest's.
        digest: SHA-256 of the manifest, which names the bundle with all its files.
        student: Of its provenance.
        created: Likewise.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        engine: `openvino`, `tflite` or `onnx`.
    """

    name: str
    digest: str
    student: str
    created: str
    threshold: float
    engine: str

    @classmethod
    def of(cls, bundle: Bundle, engine: str) -> BundleIdentity:
        """The identity of an open bundle, run by an engine."""
        manifest = bundle.manifest
        return cls(
            name=manifest.name,
            digest=bundle.digest,
            student=manifest.provenance.student,
            created=manifest.provenance.created,
            threshold=manifest.output.threshold,
            engine=engine,
        )


class StillRegion(Strict, frozen=True, kw_only=True):
    """A region that was shown: box as x, y, width, height in frame pixels, share of the part, highest score."""

    box: tuple[int, int, int, int]
    area: float
    score: float


class StillRecord(Strict, frozen=True, kw_only=True):
    """`still.json`.

    Attributes:
        schema: `SCHEMA`.
        intended_use: The notice.
        version: Of this project.
        frame: Number of the frame in its source.
        captured_ns: CLOCK_MONOTONIC of the capture.
        taken: Date and time in UTC at which the still was asked for; a note, the clock may be wrong.
        asked_by: `pedal 1`, `signal`, or `command`.
        state: What the device was doing.
        reason: Why, empty while it was running.
        size: Height and width of the frame.
        field_of_view: Its box, frame pixels.
        part: What of the frame the student was shown and the scores cover, frame pixels; null for all of it.
        bundle: What the mask comes from; null where there is none.
        regions: What was shown, largest first.
        no_mask: Why there is no mask; null where there is one, which may be empty.
        files: Name -> SHA-256.
    """

    schema: int = SCHEMA
    intended_use: str = RESEARCH_USE
    version: str
    frame: int
    captured_ns: int
    taken: str
    asked_by: str
    state: str
    reason: str
    size: tuple[int, int]
    field_of_view: tuple[int, int, int, int]
    part: tuple[int, int, int, int] | None
    bundle: BundleIdentity | None
    regions: list[StillRegion]
    no_mask: str | None
    files: dict[str, str] = msgspec.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Still:
    """A still in memory.

    Attributes:
        record: Everything but the pictures.
        image: (H, W, 3) uint8 BGR, black outside the view.
        view: The field of view.
        mask: (H, W) uint8, 255 where a region was shown; None where there is no mask.
        scores: (h, w) uint8 in 1/256, of the record's part of the frame; None where there is no mask.
    """

    record: StillRecord
    image: ImageU8
    view: View
    mask: ImageU8 | None
    scores: ImageU8 | None


def compose(
    frame: Frame,
    result: Result,
    view: View,
    status: Status,
    bundle: BundleIdentity | None,
    *,
    version: str,
    taken: str,
    asked_by: str,
) -> Still:
    """The still of a frame.

    Args:
        frame: Its image is left as it is.
        result: Of this very frame; with a reason there is no mask, however good its scores may be.
        view: The field of view of this frame.
        status: The device's.
        bundle: What the scores come from.
        version: Of this project.
        taken: UTC.
        asked_by: As in the record.
    """
    size = (frame.image.shape[0], frame.image.shape[1])
    mask = scores = None
    no_mask = None if result.reason is None else str(result.reason)
    if result.reason is None and result.scores is not None and bundle is not None:
        scores = result.scores
        mask = shown_mask(result, view, bundle.threshold)
    elif no_mask is None:
        no_mask = "no inference ran"
    record = StillRecord(
        version=version,
        frame=frame.index,
        captured_ns=frame.captured_ns,
        taken=taken,
        asked_by=asked_by,
        state=status.state.value,
        reason=status.text,
        size=size,
        field_of_view=view.box,
        part=None if mask is None else result.part,
        bundle=None if mask is None else bundle,
        regions=[
            StillRegion(box=region.box, area=region.area, score=region.score)
            for region in (() if mask is None else result.regions)
        ],
        no_mask=no_mask,
    )
    return Still(record=record, image=black_outside(frame.image, view), view=view, mask=mask, scores=scores)


def shown_mask(result: Result, view: View, threshold: float) -> ImageU8:
    """The mask of the regions of a result, pixel for pixel of its frame.

    What reaches the threshold in the scores at full size, as far as it is connected to a region of the result and
    lies in the view: a region that was held back is not in it.

    Args:
        result: With scores.
        view: The field of view of its frame.
        threshold: 0 to 1.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    mask = np.zeros(view.frame_size, np.uint8)
    if result.scores is not None:
        labels = region_labels(result.scores, result.regions, view.frame_size, threshold, result.part)
        mask[labels > 0] = 255
    return black_outside(mask, view)
