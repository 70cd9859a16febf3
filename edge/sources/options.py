"""The options of each source, as they follow the `?` of its description."""

from __future__ import annotations

from dataclasses import dataclass

from edge.sources.faults import Fault, read_faults
from edge.util.spec import choice, number, option, switch, whole

_SIZE = whole(16, 8192)
_WAIT = whole(10, 60_000)
_RATE = number("frames per second", 1, 1000)
_SECONDS = number("seconds", 0.1, 3600)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOptions:
    """Options of `file:`.

    Attributes:
        realtime: Whether frames are delivered at the clip's own rate, as by a camera.
    """

    realtime: bool = option(switch, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticOptions:
    """Options of `synthetic:`.

    Attributes:
        width: Width of the frames, pixels.
        height: Height of the frames, pixels.
        fps: Frames per second.
        frames: Number of frames; 0 never ends.
        seed: Seed of the scene.
        live: Whether frames are delivered at their own pace.
        fault: Faults and when they begin and end.
        every: Seconds between further faults, one of each kind in turn; 0 for none.
        length: Seconds that each of those further faults lasts.
    """

    width: int = option(whole(32, 8192), 640)
    height: int = option(whole(32, 8192), 480)
    fps: float = option(_RATE, 30.0)
    frames: int = option(whole(0, 10**9), 300)
    seed: int = option(whole(0, 2**32 - 1), 1)
    live: bool = option(switch, True)
    fault: tuple[Fault, ...] = option(read_faults, ())
    every: float = option(_SECONDS, 0.0)
    length: float = option(_SECONDS, 0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveOptions:
    """Options of `rtsp:` and `gst:`, and the ones that cameras share with them.

    Attributes:
        stall_ms: Milliseconds that a frame may be late; None for the default of the source.
        start_ms: Milliseconds that the first frame may take.
        reopen: Whether the source is opened again when it fails.
    """

    stall_ms: int | None = option(_WAIT, None)
    start_ms: int = option(_WAIT, 5000)
    reopen: bool = option(switch, True)


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraOptions(LiveOptions):
    """Options of `v4l2:`.

    Attributes:
        width: Requested width, pixels; the device may choose another one.
        height: Requested height, pixels.
        fps: Requested frames per second.
        backend: Library that reads the camera; None for the best one that is installed.
    """

    width: int | None = option(_SIZE, None)
    height: int | None = option(_SIZE, None)
    fps: float | None = option(_RATE, None)
    backend: str | None = option(choice("gstreamer", "opencv"), None)
