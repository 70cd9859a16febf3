"""`still.json`: what is known of a still, and of the mark that a person set on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import RESEARCH_USE, Strict
from edge.contracts import MarkKind  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle
    from edge.frame import Region

SCHEMA = 2


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
    """A region of a frame.

    Attributes:
        box: x, y, width, height, frame pixels.
        area: Share of the part, 0 to 1.
        score: Highest score in the region, 0 to 1.
    """

    box: tuple[int, int, int, int]
    area: float
    score: float

    @classmethod
    def of(cls, region: Region) -> StillRegion:
        """Return what is kept of a region."""
        return cls(box=region.box, area=region.area, score=region.score)


class Mark(Strict, frozen=True, kw_only=True):
    """What a person found wrong with a frame, and what the run was of.

    Attributes:
        kind: A false alarm, or a polyp that was missed.
        source: Source of the frames, without credentials.
        clip_ms: Time of the frame in its clip, milliseconds; null if the source is no clip.
        delay_ms: Time from the capture of the frame to the request, milliseconds.
        bundle: Bundle in use, also if nobody judged the frame; null if there was none.
        held_back: Regions that the scores show and the device did not, because they were seen too
            briefly; largest first.
    """

    kind: MarkKind
    source: str
    clip_ms: float | None = None
    delay_ms: float = 0.0
    bundle: BundleIdentity | None = None
    held_back: tuple[StillRegion, ...] = ()


class StillRecord(Strict, frozen=True, kw_only=True):
    """`still.json`.

    Attributes:
        schema: Version of the format, `SCHEMA`.
        intended_use: Notice on the intended use.
        version: Version of this project.
        frame: Number of the frame in its source.
        captured_ns: Capture time, CLOCK_MONOTONIC nanoseconds.
        taken: Date and time in UTC of the request; for display only, the clock may be wrong.
        asked_by: `pedal 1`, `signal`, `page`, or `command`.
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
        mark: What a person found wrong with the frame; null if it was only kept.
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
    mark: Mark | None = None
