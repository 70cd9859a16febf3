"""Live sources that GStreamer reads: `gst:PIPELINE`, `rtsp:URL` and the cameras of `v4l2:`."""

from __future__ import annotations

from abc import abstractmethod
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import SourceError, UsageError
from edge.sources.base import BaseSource
from edge.sources.camera_discovery import open_trouble, pick_cameras
from edge.sources.gst_pipeline import NoFormatError, Pipeline, jpeg_tail, raw_tail
from edge.sources.options import CameraOptions, LiveOptions
from edge.sources.v4l2_ioctl import SignalProbe, device_number, release
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Self

    from edge.frame import Frame
    from edge.status import Reason
    from edge.util.spec import Spec

_RTSP = (
    "rtspsrc name=origin latency=0 drop-on-latency=true ! application/x-rtp,media=video ! decodebin"
)


class PipelineSource(BaseSource):
    """Frames of the first of several pipelines whose elements agree on a format.

    A subclass implements `_attempts`.

    Args:
        what: Description for logs and errors, without passwords.
        stall_ms: Milliseconds that a frame may be late, None for three frame periods.
        start_ms: Milliseconds that the first frame may take.
        ends: Whether the stream may end without an error.
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
        """Return the pipelines to try, best first."""

    def _settings(self) -> Mapping[str, str]:
        """Return the properties of the element named `origin`."""
        return {}

    def _signal_problem(self) -> Reason | None:
        """Return why there are no images, or None if the device cannot tell."""
        return None

    def _open(self) -> None:
        self.pipeline = self._start_first()
        self.fps = self.pipeline.format.fps
        stamps = "stamped at the source" if self.pipeline.stamped else "stamped when read"
        self.description = f"{self._what}, {self.pipeline.format}, {stamps}, through GStreamer"

    def _start_first(self) -> Pipeline:
        """Start the first pipeline whose elements agree on a format."""
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
                signal_problem=self._signal_problem,
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
        picture = self.pipeline.read()
        if picture is None:
            return None
        return self._frame(picture.image, captured_ns=picture.captured_ns, skipped=picture.skipped)

    def _close(self) -> None:
        if self.pipeline is not None:
            self.pipeline.close()
            self.pipeline = None


class TextSource(PipelineSource):
    """`gst:PIPELINE`: a pipeline in the notation of gst-launch-1.0.

    Args:
        text: Elements, the last of which delivers raw video or JPEG.
        **settings: Arguments of `PipelineSource`.

    Raises:
        UsageError: The text is empty.
    """

    def __init__(self, text: str, **settings: Any) -> None:
        if not text.strip():
            raise UsageError("gst: needs a pipeline", expected="gst:videotestsrc is-live=true")
        super().__init__(f"pipeline {redact(text)}", ends=True, **settings)
        self._text = text

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `gst:PIPELINE` with the options of `LiveOptions`."""
        options = spec.read(LiveOptions)
        source = cls(spec.target, stall_ms=options.stall_ms, start_ms=options.start_ms)
        source.reopens = options.reopen
        return source

    def _attempts(self) -> Sequence[str]:
        return [f"{self._text} ! {tail}" for tail in (raw_tail(), jpeg_tail())]


class RtspSource(PipelineSource):
    """`rtsp:URL`: a network camera.

    Args:
        url: URL of the stream; the leading `rtsp:` may be left out.
        **settings: Arguments of `PipelineSource`.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self._url = url if url.startswith(("rtsp:", "rtsps:")) else f"rtsp:{url}"
        super().__init__(f"stream {redact(self._url)}", **settings)

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `rtsp:URL` with the options of `LiveOptions`.

        A `?` at the end keeps the URL's own query: `rtsp://HOST/PATH?channel=1?`.

        Raises:
            UsageError: An option is unknown or does not fit.
        """
        try:
            options = spec.read(LiveOptions)
        except UsageError as error:
            raise UsageError(
                error.what,
                expected=error.expected,
                # A password with a `?` in it ends up in an option.
                got="***" if "@" in error.got else error.got,
                hint="the URL's own query is closed with one more `?`: rtsp://HOST/PATH?channel=1?",
            ) from error
        source = cls(spec.target, stall_ms=options.stall_ms, start_ms=options.start_ms)
        source.reopens = options.reopen
        return source

    def _settings(self) -> Mapping[str, str]:
        return {"location": self._url}

    def _attempts(self) -> Sequence[str]:
        return [f"{_RTSP} ! {raw_tail()}"]


class GstCameraSource(PipelineSource):
    """A V4L2 camera or capture card with the kernel's stamps, raw formats before JPEG.

    Args:
        device: Device, as for `edge.sources.camera_discovery.pick_cameras`.
        width: Requested width, pixels; the device may choose a different one.
        height: Requested height, pixels.
        fps: Requested frames per second.
        root: Folder that contains `dev` and `sys`.
        **settings: Arguments of `PipelineSource`.
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
        fields = [f"width={width}" if width else "", f"height={height}" if height else ""]
        fields.append(f"framerate={_fraction(fps)}" if fps else "")
        self._requested = "".join(f",{field}" for field in fields if field)
        self._probe: SignalProbe | None = None
        self._number: int | None = None

    @classmethod
    def from_spec(cls, spec: Spec) -> Self:
        """Build the source of `v4l2:DEVICE` with the options of `CameraOptions`."""
        options = spec.read(CameraOptions)
        source = cls(
            spec.target,
            width=options.width,
            height=options.height,
            fps=options.fps,
            stall_ms=options.stall_ms,
            start_ms=options.start_ms,
        )
        source.reopens = options.reopen
        return source

    def _settings(self) -> Mapping[str, str]:
        return {"device": self._node}

    def _attempts(self) -> Sequence[str]:
        kinds = (("video/x-raw", raw_tail()), ("image/jpeg", jpeg_tail()))
        return [f"v4l2src name=origin ! {kind}{self._requested} ! {tail}" for kind, tail in kinds]

    def _signal_problem(self) -> Reason | None:
        return None if self._probe is None else self._probe.signal_problem()

    def _open(self) -> None:
        failures = []
        for camera in pick_cameras(self._device, self._root):
            self._node, self._what = camera.node, f"camera {camera.node}"
            if trouble := open_trouble(camera.node):
                failures.append(f"{camera.node}: {trouble}")
                continue
            self._number = device_number(camera.node)
            self._probe = SignalProbe(camera.node)
            try:
                super()._open()
            except SourceError as error:
                self._release()
                failures.append(f"{camera.node}: {error.got or error.what}")
            else:
                self.lasting = camera.lasting
                return
        raise SourceError(
            f"camera {self._device} gives no picture"
            if self._device
            else "no camera gives a picture",
            expected="a V4L2 device that delivers frames",
            got="; ".join(failures),
            hint="check cable and power",
            code="camera-failed",
        )

    def _close(self) -> None:
        super()._close()
        self._release()

    def _release(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        release(self._number)
        self._number = None


def _fraction(fps: float) -> str:
    """Format a rate for GStreamer; 59.94 and similar are broadcast rates, n * 1000 / 1001."""
    whole_rate = round(fps)
    if abs(fps - whole_rate * 1000 / 1001) < 0.005:
        return f"{whole_rate * 1000}/1001"
    exact = Fraction(fps).limit_denominator(1000)
    return f"{exact.numerator}/{exact.denominator}"
