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
            is read as fast as possible: its frames are dated by their numbers, so that a clip gives
            the same results on every machine.
    """
    return frame.captured_ns if fps is None else round(frame.index * 1e9 / fps)
