"""Whether a frame is fit for the student, judged on a small picture of it, and steady in time."""

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
"""Kind -> how long every frame must show it before it holds; of a freeze `FREEZE_MS` has passed by then."""

LEAVE_MS = 100.0
"""How long every frame must be fit before a kind ends."""

MIN_FRAMES = 2
"""Frames in a row behind every change, however far apart they come."""

FREEZE_MS, FREEZE_FRAMES = 500.0, 5
"""A picture is frozen when it has stood still for so long and on so many frames."""

_MOVED = 4
"""Grey levels by which a cell of a still picture changes at most, for instance where it was compressed."""
_MAX_MOVED = 0.005
_MAX_MEAN = 0.6
"""Mean change, grey levels: live clips show at least 1.2 within five frames at 30 a second, sensor noise with a
standard deviation of one level 1.1, an input that a capture card rounds up or down at random 0.5.
"""


@dataclass(frozen=True, slots=True)
class Judgment:
    """What can be told of a frame without a student.

    Attributes:
        reason: Why the model must not see it: `BLACK`, `LIGHT`, `FREEZE`, `OUT_OF_BODY` or
            `BLURRED`; None if it may.
        view: Where the endoscope's picture lies.
    """

    reason: Reason | None
    view: View

    @property
    def fit(self) -> bool:
        """Whether the model may see the frame."""
        return self.reason is None

    @property
    def kind(self) -> ReasonKind | None:
        """The kind of the reason, None without one."""
        return None if self.reason is None else self.reason.kind

    @property
    def field_of_view(self) -> Box:
        """Box of the view, frame pixels."""
        return self.view.box


class FrameGuard:
    """Judges the frames of one source in their order, by their own stamps and no other clock.

    A kind holds only after every frame showed it for a while, and ends only after every frame was
    fit for a while, so that a state does not flicker; in between the student looks at frames that
    it would better not see.

    Args:
        fps: None for a live source; of a clip its rate, by which its frames are dated
            (`moment_ns`).

    Attributes:
        view: Of the frame that was judged last; None before the first.
    """

    def __init__(self, fps: float | None = None) -> None:
        self._fps = fps
        self._views = ViewEstimator()
        self.view: View | None = None
        self._still: Thumbnail | None = None
        self._still_ns = self._still_frames = 0
        self._reason: Reason | None = None
        self._seen: ReasonKind | None = None
        self._seen_ns = self._seen_frames = 0

    def judge(self, frame: Frame) -> Judgment:
        """Judge a frame; under a millisecond at 1080p.

        Args:
            frame: The next one of the source.

        Raises:
            DataError: Its image is no BGR picture.
        """
        picture = make_thumbnail(frame.image)
        view = self._views.view(picture)
        now = moment_ns(frame, self._fps)
        reason = find_quality_problem(picture, view.mask)
        still_ms = self._stood_still(picture, view, now)
        dark_or_white = reason is not None and reason.kind in (ReasonKind.BLACK, ReasonKind.LIGHT)
        if still_ms and not dark_or_white:
            reason = Reason(ReasonKind.FREEZE, f"the same picture for {still_ms / 1000:.1f} s")
        if reason is None:
            view = self._views.update(picture)
        self._debounce(reason, now)
        self.view = view
        return Judgment(self._reason, view)

    def _stood_still(self, picture: Thumbnail, view: View, now: int) -> float:
        """For how many milliseconds the picture has been frozen, 0 where it is not.

        It is compared with the first one of the standstill, so that slow movement adds up.
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
        """Adopt what this frame shows once it has lasted."""
        kind = None if reason is None else reason.kind
        if kind != self._seen or self._seen_frames == 0:
            self._seen, self._seen_ns, self._seen_frames = kind, now, 0
        self._seen_frames += 1
        wait = LEAVE_MS if kind is None else ENTER_MS[kind]
        if (self._seen_frames >= MIN_FRAMES and now - self._seen_ns >= wait * 1e6) or (
            reason is not None and self._reason is not None and reason.kind is self._reason.kind
        ):
            self._reason = reason


def _same(one: Thumbnail, other: Thumbnail, view: View) -> bool:
    """Whether two pictures differ by less than the noise of a live one, inside the view."""
    change = cv2.absdiff(one.green, other.green)
    if cv2.mean(change, view.mask)[0] > _MAX_MEAN:
        return False
    moved = cv2.bitwise_and(cv2.compare(change, _MOVED, cv2.CMP_GT), view.mask)
    return cv2.countNonZero(moved) <= _MAX_MOVED * cv2.countNonZero(view.mask)
