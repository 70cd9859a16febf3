"""Timestamp of a frame, reproducible for recorded clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.frame import Frame


def moment_ns(frame: Frame, fps: float | None) -> int:
    """The timestamp of a frame in nanoseconds.

    Args:
        frame: With its capture stamp.
        fps: None for a live source: its capture stamp is used. Frames per second of a clip, which
            is read as fast as possible: its frames are dated by their times in the clip, or by
            their numbers if they have none, so that a clip gives the same results on every machine.
    """
    if fps is None:
        return frame.captured_ns
    return round(frame.index * 1e9 / fps) if frame.clip_ns is None else frame.clip_ns
