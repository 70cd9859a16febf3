"""Judge whether a frame is fit for the student, from its thumbnail and debounced over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2

from edge.imaging.field_of_view import ViewEstimator
from edge.imaging.thumbnail import make_thumbnail
from edge.pipeline.frame_time import moment_ns
from edge.pipeline.quality_checks import find_quality_problem
from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from edge.frame import Box, Frame
    from edge.imaging.thumbnail import Thumbnail
    from edge.imaging.view import View

ENTER_MS = {
    ReasonKind.BLACK: 60.0,
    ReasonKind.LIGHT: 150.0,
    ReasonKind.FREEZE: 0.0,
    ReasonKind.OUT_OF_BODY: 500.0,
    ReasonKind.BLURRED: 300.0,
}
"""Kind -> time for which every frame must show a problem before it is reported.

A freeze needs no further time, because it is only detected after `FREEZE_MS`.
"""

LEAVE_MS = 100.0
"""Time for which every frame must be fit before a problem ends."""

MIN_FRAMES = 2
"""Minimum number of consecutive frames for every change, at any frame rate."""

FREEZE_MS, FREEZE_FRAMES = 500.0, 5
"""An image is frozen after it was static for this time and this number of frames."""

_MOVED = 4
"""Maximum change of a cell of a static image in gray levels, such as by compression."""
_MAX_MOVED = 0.005
_MAX_MEAN = 0.6
"""Maximum mean change of a static image in gray levels.

Live clips change by at least 1.2 within five frames at 30 per second, sensor noise with a standard
deviation of one level by 1.1, and an input that a capture card randomly rounds up or down by 0.5.
"""


@dataclass(frozen=True, slots=True)
class Judgment:
    """The guard's verdict on a frame.

    Attributes:
        reason: Why the model must not see it: `BLACK`, `LIGHT`, `FREEZE`, `OUT_OF_BODY` or
            `BLURRED`; None if it may.
        view: The field of view.
    """

    reason: Reason | None
    view: View

    @property
    def fit(self) -> bool:
        """Whether the model may see the frame."""
        return self.reason is None

    @property
    def kind(self) -> ReasonKind | None:
        """Kind of the reason, None without a reason."""
        return None if self.reason is None else self.reason.kind

    @property
    def field_of_view(self) -> Box:
        """Box of the view in frame pixels."""
        return self.view.box


class FrameGuard:
    """Judges the frames of one source in order, using only their own time stamps.

    A problem is reported only after every frame showed it for some time, and ends only after every
    frame was fit for some time, so that the state does not flicker. Frames inside this debounce
    window still reach the model.

    Args:
        fps: None for a live source; for a clip its frame rate, which determines the time stamps of
            its frames (`moment_ns`).

    Attributes:
        view: Field of view of the last judged frame; None before the first frame.
    """

    def __init__(self, fps: float | None = None) -> None:
        self._fps = fps
        self._views = ViewEstimator()
        self.view: View | None = None
        self._still: Thumbnail | None = None
        self._still_ns = self._still_frames = 0
        self._reason: Reason | None = None
        self._candidate: ReasonKind | None = None
        self._candidate_ns = self._candidate_frames = 0

    def judge(self, frame: Frame) -> Judgment:
        """Judge a frame; takes less than a millisecond at 1080p.

        Args:
            frame: The next frame of the source.

        Raises:
            DataError: Its image is not a BGR image.
        """
        picture = make_thumbnail(frame.image)
        view = self._views.view(picture)
        now = moment_ns(frame, self._fps)
        reason = find_quality_problem(picture, view.mask)
        still_ms = self._static_ms(picture, view, now)
        dark_or_white = reason is not None and reason.kind in (ReasonKind.BLACK, ReasonKind.LIGHT)
        if still_ms and not dark_or_white:
            reason = Reason(ReasonKind.FREEZE, f"the same picture for {still_ms / 1000:.1f} s")
        if reason is None:
            view = self._views.update(picture)
        self._debounce(reason, now)
        self.view = view
        return Judgment(self._reason, view)

    def _static_ms(self, picture: Thumbnail, view: View, now: int) -> float:
        """Return for how many milliseconds the image has been static, 0 if it is not.

        It is compared with the first image of the static period, so that slow movement adds up.
        """
        first = self._still
        if (
            first is not None
            and first.frame_size == picture.frame_size
            and _same(first, picture, view)
        ):
            self._still_frames += 1
            lasted = (now - self._still_ns) / 1e6
            return lasted if lasted >= FREEZE_MS and self._still_frames >= FREEZE_FRAMES else 0.0
        self._still, self._still_ns, self._still_frames = picture, now, 1
        return 0.0

    def _debounce(self, reason: Reason | None, now: int) -> None:
        """Adopt the problem of this frame, or its absence, after it has lasted long enough."""
        kind = None if reason is None else reason.kind
        if kind != self._candidate or self._candidate_frames == 0:
            self._candidate, self._candidate_ns, self._candidate_frames = kind, now, 0
        self._candidate_frames += 1
        wait = LEAVE_MS if kind is None else ENTER_MS[kind]
        if (self._candidate_frames >= MIN_FRAMES and now - self._candidate_ns >= wait * 1e6) or (
            reason is not None and self._reason is not None and reason.kind is self._reason.kind
        ):
            self._reason = reason


def _same(one: Thumbnail, other: Thumbnail, view: View) -> bool:
    """Whether two images differ by less than the noise of a live image, inside the view."""
    change = cv2.absdiff(one.green, other.green)
    if cv2.mean(change, view.mask)[0] > _MAX_MEAN:
        return False
    moved = cv2.bitwise_and(cv2.compare(change, _MOVED, cv2.CMP_GT), view.mask)
    return cv2.countNonZero(moved) <= _MAX_MOVED * cv2.countNonZero(view.mask)
