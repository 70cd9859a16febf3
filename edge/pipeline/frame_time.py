"""When a frame was, for what is judged over time."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.frame import Frame


def moment_ns(frame: Frame, fps: float | None) -> int:
    """The moment of a frame in nanoseconds.

    Args:
        frame: With its capture stamp.
        fps: None for a live source, whose stamps tell. Else the rate of a clip, which is read as fast as it goes: its
            frames are dated by their numbers, so that the same clip gives the same results on any machine.
    """
    return frame.captured_ns if fps is None else round(frame.index * 1e9 / fps)
