"""What happens on the frames of a clip: polyps that appear, false events, flicker, gaps.

All time comes from the stamps of the frames, so that clips of any and of varying frame rate can be
compared. A step of more than `GAP_MS` between two stamps is a gap, and nothing spans it. A frame
with a reason was not judged: it shows nothing and ends whatever was shown.
"""

from __future__ import annotations

from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.frame import Box

FLICKER_MS = 500.0
"""A region has flickered if it reappears in the same place within this time."""

GAP_MS = 500.0
"""A longer step between two stamps is a gap in the clip."""


class ShownFrame(NamedTuple):
    """One frame of a clip: its truth and what was shown on it.

    Attributes:
        at_ns: Stamp in the clip, nanoseconds; later than that of the frame before.
        truth: True boxes.
        shown: Boxes of the regions that were shown, and the boxes of a detection head.
        reason: Kind of the reason why nothing was judged; empty if the frame was judged.
        scores: Score of each of `shown`, 0 to 1; empty if all count alike.
    """

    at_ns: int
    truth: tuple[Box, ...]
    shown: tuple[Box, ...]
    reason: str = ""
    scores: tuple[float, ...] = ()

    @property
    def false(self) -> bool:
        """Whether a shown region overlaps no true box."""
        return any(not any(shared(box, true) for true in self.truth) for box in self.shown)


def shared(one: Box, other: Box) -> int:
    """Return the area that two boxes share, in pixels."""
    width = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    height = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    return max(0, width) * max(0, height)


def box_iou(one: Box, other: Box) -> float:
    """Return the intersection over union of two boxes, 0 to 1."""
    both = shared(one, other)
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def durations_ns(stamps: Sequence[int]) -> list[int]:
    """Return how long each frame lasts, in nanoseconds.

    Args:
        stamps: Stamps of the frames of a clip, rising.

    Raises:
        DataError: There are fewer than two frames, stamps do not rise, or most steps are gaps.
    """
    if len(stamps) < 2:
        raise DataError(
            "a clip has no duration", expected="two frames or more", got=f"{len(stamps)}"
        )
    steps = [after - before for before, after in pairwise(stamps)]
    if min(steps) <= 0:
        raise DataError(
            "the stamps of a clip do not rise", got=f"a step of {min(steps) / 1e6:g} ms"
        )
    usual = median(steps)
    if usual > GAP_MS * 1e6:
        raise DataError(
            "the frames of a clip are too far apart to count events",
            expected=f"a frame at least every {GAP_MS:g} ms",
            got=f"one every {usual / 1e6:.0f} ms",
        )
    return [step if step <= GAP_MS * 1e6 else round(usual) for step in steps] + [round(usual)]


def after_gap(frames: Sequence[ShownFrame], number: int) -> bool:
    """Return whether a gap of the clip precedes a frame."""
    return number > 0 and frames[number].at_ns - frames[number - 1].at_ns > GAP_MS * 1e6


def polyp_tracks(frames: Sequence[ShownFrame]) -> list[list[tuple[int, Box]]]:
    """Return the appearances of polyps, each as (frame number, true box).

    A box continues the appearance that ended on the frame before with the box that it shares most
    with; each appearance has one box a frame. A box that continues none begins a new one.
    """
    tracks: list[list[tuple[int, Box]]] = []
    before: list[list[tuple[int, Box]]] = []
    for number, frame in enumerate(frames):
        if after_gap(frames, number):
            before = []
        # The pairs that share most come first.
        pairs = sorted(
            (
                (-area, index, which)
                for index, box in enumerate(frame.truth)
                for which, track in enumerate(before)
                if (area := shared(track[-1][1], box))
            )
        )
        owners: dict[int, int] = {}
        for _, index, which in pairs:
            if index not in owners and which not in owners.values():
                owners[index] = which
        now = []
        for index, box in enumerate(frame.truth):
            track = before[owners[index]] if index in owners else []
            if not track:
                tracks.append(track)
            track.append((number, box))
            now.append(track)
        before = now
    return tracks


def false_runs(frames: Sequence[ShownFrame]) -> Iterator[tuple[int, int]]:
    """Yield the first and the last frame of each run of frames with a false region."""
    first: int | None = None
    for number, frame in enumerate(frames):
        if first is not None and (not frame.false or after_gap(frames, number)):
            yield first, number - 1
            first = None
        if first is None and frame.false:
            first = number
    if first is not None:
        yield first, len(frames) - 1


def count_flickers(frames: Sequence[ShownFrame]) -> int:
    """Return how often a shown region was gone for less than `FLICKER_MS` and came back.

    A region is gone from the first frame on which no shown box overlaps its last one. It is back if
    a box that overlaps its last one, and none of the frame before, is shown. A frame that was not
    judged and a gap in the clip end the search: the device says there that it does not look.
    """
    flickers = 0
    before: tuple[Box, ...] = ()
    vanished: list[tuple[int, Box]] = []
    for number, frame in enumerate(frames):
        if frame.reason or after_gap(frames, number):
            before, vanished = (), []
        vanished = [
            (since, box) for since, box in vanished if frame.at_ns - since < FLICKER_MS * 1e6
        ]
        for box in frame.shown:
            if any(shared(box, other) for other in before):
                continue
            back = [one for one in vanished if shared(box, one[1])]
            flickers += bool(back)
            vanished = [one for one in vanished if one not in back]
        vanished += [
            (frame.at_ns, box)
            for box in before
            if not any(shared(box, other) for other in frame.shown)
        ]
        before = frame.shown
    return flickers
