"""A frame and its result.

Images are (H, W, 3) uint8. Frames keep the camera's BGR order; the engine's input is RGB.
Coordinates are pixels of the frame as captured. Times are `time.monotonic_ns()`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from edge.status import TextEnum

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edge.status import Reason

    ImageU8 = NDArray[np.uint8]
    MaskBool = NDArray[np.bool_]


Box = tuple[int, int, int, int]
"""x, y, width, height in frame pixels."""

DEFAULT_FPS = 25.0
"""Frame rate that is assumed for a source that reports none."""

PLANES = 6
"""Maps of a student with boxes, below one another: mask, heat, width, height, column and row."""

FieldOfView = Literal["full-frame", "view"]
"""The part of a frame that the model sees: all of it, or the endoscope's image with a margin."""


class OperatingPoint(NamedTuple):
    """Thresholds that decide which regions are shown.

    Thresholding with hysteresis (Canny, IEEE TPAMI 1986, section VIII).

    Attributes:
        threshold: Lowest score of a mask pixel, more than 0, at most 1.
        min_region: Smallest region that is kept, as a share of the part the model saw, 0 to 1.
        min_peak: Lowest peak score of a region that is kept, 0 to 1; 0 keeps every region.
    """

    threshold: float = 0.5
    min_region: float = 0.001
    min_peak: float = 0.0


DEFAULT_OPERATING_POINT = OperatingPoint()
"""Used when a bundle was not calibrated."""


class Stage(TextEnum):
    """The stages of a frame, in their order; each begins where the one before it ends."""

    CAPTURE = "capture"
    """The wait between the capture stamp and the start of processing."""
    GUARD = "guard"
    PREPROCESS = "preprocess"
    INFER = "infer"
    POSTPROCESS = "postprocess"
    OUTPUT = "output"


@dataclass(slots=True)
class Frame:
    """One image of a source, with the time stamps of its stages.

    Attributes:
        index: Number of the frame in its source; dropped frames leave gaps in the numbers.
        image: (H, W, 3) uint8, BGR.
        captured_ns: CLOCK_MONOTONIC nanoseconds at which the source had the image.
        stamps: Stage -> (begin, end) in CLOCK_MONOTONIC nanoseconds, in the order of the stages.
        clip_ns: Time of the frame in its clip, nanoseconds; None if the source is no clip.
    """

    index: int
    image: ImageU8
    captured_ns: int
    stamps: dict[Stage, tuple[int, int]] = field(default_factory=dict)
    clip_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """One connected region of the mask.

    Attributes:
        box: Bounding box, frame pixels.
        contour: Outline as (x, y) frame pixels.
        area: Share of the part of the frame that the model saw, 0 to 1.
        score: Highest score inside, 0 to 1.
    """

    box: Box
    contour: tuple[tuple[int, int], ...]
    area: float
    score: float


@dataclass(frozen=True, slots=True)
class Result:
    """The result of the pipeline for a frame.

    Attributes:
        scores: (h, w) uint8 score map of the engine in 1/256; None if no inference ran.
        regions: Regions left after thresholding and postprocessing.
        mask_area: Share of `part` that the regions cover, 0 to 1.
        reason: Why no mask may be drawn; None if it may be drawn.
        field_of_view: Box of the endoscope's image in the frame; None if it was not estimated.
        part: Part of the frame that the model saw and the scores cover; None for the whole frame.
        boxes: Boxes of a detection head where there is no region, as regions whose outlines are
            rectangles; empty for models without one. They are no part of the mask.
    """

    scores: ImageU8 | None
    regions: tuple[Region, ...]
    mask_area: float
    reason: Reason | None
    field_of_view: Box | None = None
    part: Box | None = None
    boxes: tuple[Region, ...] = ()
