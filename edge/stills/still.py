"""A still: one frame, its mask if it has one, its field of view, and the state of the device."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import numpy as np

from edge.imaging.postprocess import regions
from edge.imaging.region_masks import region_labels
from edge.imaging.view import black_outside, inside
from edge.stills.record import StillRecord, StillRegion

if TYPE_CHECKING:
    from edge.frame import Box, Frame, ImageU8, OperatingPoint, Result
    from edge.imaging.view import View
    from edge.status import Status
    from edge.stills.record import BundleIdentity, Mark


def now() -> datetime:
    """Return the date and time in UTC, for display only; never used for logic."""
    return datetime.now(timezone.utc)


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
    mark: Mark | None = None,
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
        mark: What a person found wrong with the frame.
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
        regions=[StillRegion.of(region) for region in (() if mask is None else result.regions)],
        no_mask=no_mask,
        study_uid=study_uid,
        mark=mark,
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


def find_held_back(result: Result, view: View, point: OperatingPoint) -> tuple[StillRegion, ...]:
    """Find the regions that the scores of a result show and the device did not.

    They were seen too briefly. A region counts as shown if its box meets one that was.

    Args:
        result: A result; without scores, or with a reason, nothing was held back.
        view: The field of view of its frame.
        point: Thresholds of the bundle that made the scores.
    """
    if result.scores is None or result.reason is not None:
        return ()
    found_regions = regions(result.scores, view.frame_size, point, part=result.part)
    return tuple(
        StillRegion.of(region)
        for region in inside(found_regions, view)
        if not any(_meet(region.box, one.box) for one in result.regions)
    )


def _meet(one: Box, other: Box) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )
