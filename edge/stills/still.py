"""A still: one frame, its mask if it has one, its field of view, and the state of the device."""

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
    """Return the date and time in UTC, for display only; never used for logic."""
    return datetime.now(timezone.utc)


class BundleIdentity(Strict, frozen=True, kw_only=True):
    """The bundle that a mask comes from.

    Attributes:
        name: Name in the manifest.
        digest: SHA-256 of the manifest, which identifies the bundle with all its files.
        student: Student in the provenance.
        created: Creation date in the provenance.
        threshold: Minimum score of a pixel of the mask, 0 to 1.
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
        """Return the identity of an open bundle that an engine runs."""
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
    """A region that was shown.

    Attributes:
        box: x, y, width, height, frame pixels.
        area: Share of the part, 0 to 1.
        score: Highest score in the region, 0 to 1.
    """

    box: tuple[int, int, int, int]
    area: float
    score: float


class StillRecord(Strict, frozen=True, kw_only=True):
    """`still.json`.

    Attributes:
        schema: Version of the format, `SCHEMA`.
        intended_use: Notice on the intended use.
        version: Version of this project.
        frame: Number of the frame in its source.
        captured_ns: Capture time, CLOCK_MONOTONIC nanoseconds.
        taken: Date and time in UTC of the request; for display only, the clock may be wrong.
        asked_by: `pedal 1`, `signal`, or `command`.
        state: State of the device.
        reason: Reason of the state; empty while the device was running.
        size: Height and width of the frame, pixels.
        field_of_view: Box of the field of view, frame pixels.
        part: Part of the frame that the scores cover, frame pixels; null for all of it.
        bundle: Bundle that the mask comes from; null if there is no mask.
        regions: Regions that were shown, largest first.
        no_mask: Why there is no mask; null if there is one, which may be empty.
        files: File name to SHA-256.
        study_uid: DICOM UID of the study; the stills of a run share it. Empty in older stills.
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
    study_uid: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class Still:
    """A still in memory.

    Attributes:
        record: Everything except the images.
        image: (H, W, 3) uint8 BGR, black outside the view.
        view: The field of view.
        mask: (H, W) uint8, 255 where a region was shown; None if there is no mask.
        scores: (h, w) uint8 in 1/256 for the record's part of the frame; None if there is no mask.
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
    study_uid: str = "",
) -> Still:
    """Compose the still of a frame.

    Args:
        frame: The frame; its image is not modified.
        result: The result of this frame; a result with a reason gives no mask.
        view: The field of view of this frame.
        status: Status of the device.
        bundle: Bundle that the scores come from.
        version: Version of this project.
        taken: Date and time in UTC.
        asked_by: Who requested the still, as in `StillRecord`.
        study_uid: DICOM UID of the study that the still belongs to; empty for its own.
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
        study_uid=study_uid,
    )
    return Still(
        record=record, image=black_outside(frame.image, view), view=view, mask=mask, scores=scores
    )


def shown_mask(result: Result, view: View, threshold: float) -> ImageU8:
    """Compute the mask of the shown regions of a result, at the size of the frame.

    A pixel belongs to the mask if its interpolated score reaches the threshold, it is connected to
    a region of the result, and it lies in the field of view. Regions that were held back are left
    out.

    Args:
        result: A result with scores.
        view: The field of view of its frame.
        threshold: Minimum score of a pixel of the mask, 0 to 1.

    Returns:
        (H, W) uint8, 0 or 255.
    """
    mask = np.zeros(view.frame_size, np.uint8)
    if result.scores is not None:
        labels = region_labels(
            result.scores, result.regions, view.frame_size, threshold, result.part
        )
        mask[labels > 0] = 255
    return black_outside(mask, view)
