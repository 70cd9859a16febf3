"""Live sources through GStreamer: `gst:TEXT`, `rtsp:URL`, and the cameras of `v4l2:`."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import SourceError, UsageError
from edge.sources.base import BaseSource, rate, read_options, whole
from edge.sources.camera_discovery import pick_cameras
from edge.sources.gst_pipeline import NoFormatError, Pipeline, jpeg_tail, raw_tail
from edge.sources.v4l2_ioctl import SignalProbe, device_number, release

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.status import Reason

_RTSP = "rtspsrc name=origin latency=0 drop-on-latency=true ! application/x-rtp,media=video ! decodebin"
_WAITS = {"stall_ms": whole(10, 60_000), "start_ms": whole(10, 60_000)}
_SIZE = whole(16, 8192)


class PipelineSource(BaseSource):
    """Frames of the first of some pipelines whose elements agree on a format.

    A subclass gives `_attempts`.

    Args:
        what: What it is, for logs and errors.
        stall_ms: How long a frame may be late, None for three frame periods.
        start_ms: How long the first frame may take.
        ends: Whether an end of the stream is no error.
        **timing: `clock` and `sleep` of `BaseSource`.
    """

    live = True

    def __init__(
        self,
        what: str,
        *,
        stall_ms: int | None = None,
        start_ms: int = 5000,
        ends: bool = False,
        **timing: Any,
    ) -> None:
        super().__init__(**timing)
        self.description = what
        self._what, self._ends = what, ends
        self._stall_s, self._start_s = stall_ms / 1e3 if stall_ms else None, start_ms / 1e3
        self.pipeline: Pipeline | None = None

    @abstractmethod
    def _attempts(self) -> Sequence[str]:
        """Texts of pipelines, best first."""

    def _settings(self) -> Mapping[str, str]:
        """Properties of the element named `origin`."""
        return {}

    def _trouble(self) -> Reason | None:
        """Why there are no pictures, where the device itself can tell."""
        return None

    def _open(self) -> None:
        self.pipeline = self._start_first()
        self.fps = self.pipeline.format.fps
        stamps = "stamped at the source" if self.pipeline.stamped else "stamped when read"
        self.description = f"{self._what}, {self.pipeline.format}, {stamps}, through GStreamer"

    def _start_first(self) -> Pipeline:
        """The first pipeline whose elements agree on a format, running."""
        refused: NoFormatError | None = None
        for text in self._attempts():
            pipeline = Pipeline(
                text,
                what=self._what,
                clock=self._clock,
                counters=self.counters,
                settings=self._settings(),
                ends=self._ends,
                stall_s=self._stall_s,
                trouble=self._trouble,
            )
            try:
                pipeline.start(self._start_s)
            except NoFormatError as error:
                pipeline.close()
                refused = refused or error
            except BaseException:
                pipeline.close()
                raise
            else:
                return pipeline
        assert refused is not None, "there is always an attempt"
        raise refused

    def _next(self) -> Frame | None:
        assert self.pipeline is not None
        picture = self.pipeline.take()
        if picture is None:
            return None
        return self._frame(picture.image, captured_ns=picture.captured_ns, skipped=picture.skipped)

    def _close(self) -> None:
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None


class TextSource(PipelineSource):
    """`gst:TEXT`: a pipeline in the notation of gst-launch-1.0 whose last element delivers raw video or JPEG.

    Args:
        text: The pipeline.
        **settings: As for `PipelineSource`.

    Raises:
        UsageError: There is no text.
    """

    def __init__(self, text: str, **settings: Any) -> None:
        if not text.strip():
            raise UsageError("gst: needs a pipeline", hint="--source 'gst:videotestsrc is-live=true'")
        super().__init__(f"pipeline {text}", ends=True, **settings)
        self._text = text

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """A pipeline with options `stall_ms` and `start_ms`."""
        return cls(target, **read_options("gst", options, _WAITS))

    def _attempts(self) -> Sequence[str]:
        return [f"{self._text} ! {tail}" for tail in (raw_tail(), jpeg_tail())]


class RtspSource(PipelineSource):
    """`rtsp:URL`: a network camera.

    Args:
        url: Of the stream; `rtsp:` in front may be left out.
        **settings: As for `PipelineSource`.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self._url = url if url.startswith(("rtsp:", "rtsps:")) else f"rtsp:{url}"
        super().__init__(f"stream {_without_password(self._url)}", **settings)

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """A stream with options `stall_ms` and `start_ms`; a `?` at the end keeps the URL's own query.

        Raises:
            UsageError: An option is unknown or does not fit.
        """
        if unknown := [name for name in options if name not in _WAITS]:
            raise UsageError(
                f"unknown option {unknown[0]!r} of rtsp:",
                expected=", ".join(sorted(_WAITS)),
                hint="where it belongs to the URL, end the text with `?`: rtsp://HOST/PATH?channel=1?",
            )
        return cls(target, **read_options("rtsp", options, _WAITS))

    def _settings(self) -> Mapping[str, str]:
        return {"location": self._url}

    def _attempts(self) -> Sequence[str]:
        return [f"{_RTSP} ! {raw_tail()}"]


class GstCameraSource(PipelineSource):
    """A V4L2 camera or capture card with the kernel's stamps, raw formats before JPEG.

    Args:
        device: As `edge.sources.camera_discovery.pick_cameras`.
        width: Pixels to ask for; the device may have others.
        height: Pixels to ask for.
        fps: Frames per second to ask for.
        root: Where `dev` and `sys` are.
        **settings: As for `PipelineSource`.
    """

    def __init__(
        self,
        device: str = "",
        *,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
        root: Path = Path("/"),
        **settings: Any,
    ) -> None:
        super().__init__(f"camera {device or '(first that works)'}", **settings)
        self._device, self._root = device, root
        self._node = ""
        wanted = [f"width={width}" if width else "", f"height={height}" if height else ""]
        wanted.append(f"framerate={_fraction(fps)}" if fps else "")
        self._wanted = "".join(f",{field}" for field in wanted if field)
        self._probe: SignalProbe | None = None
        self._number: int | None = None

    @classmethod
    def from_text(cls, target: str, options: Mapping[str, str]) -> Self:
        """A device with options `width`, `height`, `fps`, `stall_ms`, `start_ms`."""
        known = {"width": _SIZE, "height": _SIZE, "fps": rate, **_WAITS}
        return cls(target, **read_options("v4l2", options, known))

    def _settings(self) -> Mapping[str, str]:
        return {"device": self._node}

    def _attempts(self) -> Sequence[str]:
        kinds = (("video/x-raw", raw_tail()), ("image/jpeg", jpeg_tail()))
        return [f"v4l2src name=origin ! {kind}{self._wanted} ! {tail}" for kind, tail in kinds]

    def _trouble(self) -> Reason | None:
        return None if self._probe is None else self._probe.trouble()

    def _open(self) -> None:
        failures = []
        for camera in pick_cameras(self._device, self._root):
            self._node, self._what = camera.node, f"camera {camera.node}"
            self._number = device_number(camera.node)
            self._probe = SignalProbe(camera.node)
            try:
                super()._open()
            except SourceError as error:
                self._let_go()
                failures.append(f"{camera.node}: {error.got or error.what}")
            else:
                self.lasting = camera.lasting
                return
        raise SourceError(
            f"camera {self._device} gives no picture" if self._device else "no camera gives a picture",
            expected="a V4L2 device that delivers frames",
            got="; ".join(failures),
            hint="check cable and power; `edge-difom doctor` lists the cameras",
        )

    def _close(self) -> None:
        super()._close()
        self._let_go()

    def _let_go(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        release(self._number)
        self._number = None


def _fraction(fps: float) -> str:
    """A rate as GStreamer writes it; 59.94 and the like are the broadcast rates, n * 1000 / 1001."""
    whole_rate = round(fps)
    if abs(fps - whole_rate * 1000 / 1001) < 0.005:
        return f"{whole_rate * 1000}/1001"
    exact = Fraction(fps).limit_denominator(1000)
    return f"{exact.numerator}/{exact.denominator}"


def _without_password(url: str) -> str:
    """The URL for logs: who is logged in with what is nobody's business there."""
    head, slashes, rest = url.partition("//")
    authority, slash, path = rest.partition("/")
    return head + slashes + authority.rpartition("@")[2] + slash + path
