"""A GStreamer pipeline that ends in a sink which holds only the newest image."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import cv2
import numpy as np

from edge.errors import Interruption, SourceError, UsageError
from edge.imaging.buffer_pool import BufferPool
from edge.sources.base import MAX_STAMP_AGE_NS
from edge.sources.formats import LAYOUTS, VideoFormat, to_bgr
from edge.sources.gst_bindings import PACKAGES, elements_found, load
from edge.sources.jpeg import jpeg_damage
from edge.sources.stall_detection import DamageWatch, StallWatch
from edge.status import Reason, ReasonKind, State
from edge.util.redact import redact

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping

    from edge.frame import ImageU8
    from edge.sources.base import Clock

_NEWEST = (
    "appsink name=newest max-buffers=1 drop=true sync=false emit-signals=false "
    "enable-last-sample=false wait-on-eos=false qos=false"
)

_SAME_CLOCK_NS = 100_000_000
_SIGNAL_EVERY_NS = 100_000_000
_SLICE_S, _STOP_S = 0.05, 2.0
_MAX_EVENTS = 1000


class NoFormatError(SourceError):
    """The elements of a pipeline do not agree on a format; a different pipeline may work."""


class Picture(NamedTuple):
    """An image that a pipeline delivered.

    Attributes:
        image: (H, W, 3) uint8 BGR.
        captured_ns: Capture time on CLOCK_MONOTONIC, None if the pipeline has no such stamp.
        skipped: Number of images before it that were not delivered.
    """

    image: ImageU8
    captured_ns: int | None
    skipped: int


def raw_tail() -> str:
    """Return the elements from raw video to the newest image.

    Without an installed deinterlacer, interlaced images are refused on arrival.
    """
    deinterlace = (
        "deinterlace mode=auto method=linear fields=top ! "
        if elements_found()["deinterlace"]
        else ""
    )
    layouts = f"video/x-raw,format={{{','.join(LAYOUTS)}}}"
    accepted = f'capsfilter name=accepted caps="{layouts}"'
    return f"{deinterlace}videoconvert n-threads=1 ! {accepted} ! {_NEWEST}"


def jpeg_tail() -> str:
    """Return the elements that keep the newest JPEG image, coded: damage shows only there."""
    return f"image/jpeg ! {_NEWEST}"


class Pipeline:
    """A pipeline that is started, read in one thread, and closed.

    Damaged images are dropped and counted as `corrupt`, lost ones as `gaps`, and changes of the
    format as `format`.

    Args:
        text: Elements that end in `raw_tail()` or `jpeg_tail()`.
        what: Description for errors, without passwords.
        clock: CLOCK_MONOTONIC in nanoseconds.
        counters: Counters to increase.
        settings: Properties of the element named `origin`; if given, the flags and numbers of
            frames are read at the output of that element.
        ends: Whether the stream may end without an error.
        stall_s: Seconds that an image may be late, None for three frame periods.
        signal_problem: Returns why there is no usable signal, or None if nothing is wrong.

    Attributes:
        running: The `Gst.Pipeline`, None while closed.
        format: Format of the newest image; set by `start`.
        stamped: Whether the first image had a stamp of CLOCK_MONOTONIC.
    """

    format: VideoFormat
    stamped = False

    def __init__(
        self,
        text: str,
        *,
        what: str,
        clock: Clock,
        counters: Counter[str],
        settings: Mapping[str, str] | None = None,
        ends: bool = False,
        stall_s: float | None = None,
        signal_problem: Callable[[], Reason | None] | None = None,
    ) -> None:
        self._gst, self._error = load()
        self._text, self._what, self._ends = text, what, ends
        self._ask_signal_problem = signal_problem
        self._settings = settings or {}
        self._clock, self._counters = clock, counters
        self._raw, self._memory = BufferPool(), BufferPool()
        self._stall, self._damage = StallWatch(clock, limit_s=stall_s), DamageWatch(counters)
        self.running: Any = None
        self._sink: Any = None
        self._bus: Any = None
        self._probe: tuple[Any, int] | None = None
        self._live = self._monotonic = False
        self._caps: Any = None
        self._of_caps: VideoFormat
        self._next_sample: Any = None
        self._signal_ns = 0
        self._signal: Reason | None = None
        self._last: tuple[int | None, int | None] = (None, None)
        # Written by the thread of the pipeline, read by the thread that calls `read`.
        self._flow: deque[tuple[str, int]] = deque(maxlen=_MAX_EVENTS)
        self._flow_last: int | None = None
        self._flow_begun = self._flow_damaged = False

    def start(self, timeout_s: float) -> None:
        """Start and wait for the first image; the caller must close it even if this fails.

        Args:
            timeout_s: Seconds to wait.

        Raises:
            NoFormatError: The elements do not agree on a format.
            UsageError: The text is not a pipeline.
            SourceError: No image came, or its format is refused.
        """
        gst = self._gst
        try:
            self.running = gst.parse_launch_full(self._text, None, gst.ParseFlags.FATAL_ERRORS)
        except self._error as error:
            self._raise_built(error)
        self._sink = self.running.get_by_name("newest")
        self._bus = self.running.get_bus()
        clock = gst.SystemClock.obtain()
        self.running.use_clock(clock)
        watched = self._sink.get_static_pad("sink")
        if self._settings:
            origin = self.running.get_by_name("origin")
            for name, value in self._settings.items():
                origin.set_property(name, value)
            watched = origin.get_static_pad("src") or watched
        self._probe = (watched, watched.add_probe(gst.PadProbeType.BUFFER, self._watch_flow))
        # Only the change to PAUSED reveals whether a source is live.
        self._live = self.running.set_state(gst.State.PAUSED) == gst.StateChangeReturn.NO_PREROLL
        # A file would be read as fast as it can be decoded, and most of its images lost.
        self._sink.set_property("sync", not self._live)
        self.running.set_state(gst.State.PLAYING)
        self._monotonic = abs(clock.get_time() - time.monotonic_ns()) < _SAME_CLOCK_NS
        sample = self._first(timeout_s)
        pictures = self._format_of(sample)
        if refused := pictures.refusal():
            raise SourceError(
                f"{self._what}: {refused.kind}",
                expected="progressive video of a supported size and rate",
                got=refused.detail,
                hint=f"set the device to another format, or apt-get install {PACKAGES}",
            )
        self.format, self._next_sample = pictures, sample
        self.stamped = self._stamp(sample) is not None
        self._stall.pace(pictures.fps)
        self._stall.note_frame()

    def read(self) -> Picture | None:
        """Return the newest image, or None at the end.

        Raises:
            TimeoutError: No new image came yet.
            Interruption: There is no usable image at present.
            SourceError: The pipeline failed.
            RuntimeError: The pipeline is closed.
        """
        self._require_open()
        self._listen()
        self._count_flow()
        sample = self._pull(0) or self._next_sample
        self._next_sample = None
        if sample is None:
            sample = self._pull(min(max(self._stall.left_s(), 0.005), _SLICE_S))
        if sample is None:
            self._explain_silence()
            return None
        self._stall.note_frame()
        pictures = self._format_of(sample)
        if not pictures.readable:
            caps = self._gst.Caps.from_string("video/x-raw,format=BGR")
            self.running.get_by_name("accepted").set_property("caps", caps)
            raise TimeoutError("the next picture comes in another layout")
        if reason := pictures.refusal() or self._signal_problem():
            raise Interruption(State.NO_SIGNAL, reason)
        if not pictures.same_pictures(self.format):
            before, self.format, self._next_sample = self.format, pictures, sample
            self._counters["format"] += 1
            self._stall.pace(pictures.fps)
            changed = Reason(ReasonKind.FORMAT, f"{before} became {pictures}")
            raise Interruption(State.NO_SIGNAL, changed)
        return Picture(
            self._decode(sample, pictures), self._stamp(sample), self._skipped(sample, pictures)
        )

    def _require_open(self) -> None:
        if self.running is None:
            raise RuntimeError(f"{self._what} is read while it is closed")

    def close(self) -> None:
        """Stop the pipeline; a thread that hangs in a driver is abandoned after 2 s."""
        running, self.running, self._next_sample, self._caps = self.running, None, None, None
        if running is None:
            return
        probe, self._probe = self._probe, None
        if probe is not None:
            probe[0].remove_probe(probe[1])

        def stop() -> None:
            running.set_state(self._gst.State.NULL)
            running.get_state(self._gst.SECOND)

        stopper = threading.Thread(target=stop, name="pipeline stop", daemon=True)
        stopper.start()
        stopper.join(_STOP_S)
        self._sink = self._bus = None

    def _first(self, timeout_s: float) -> Any:
        """Return the first sample in a layout that can be read."""
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            self._listen()
            sample = self._pull(_SLICE_S)
            if sample is not None:
                if self._format_of(sample).readable or self._format_of(sample).refusal():
                    return sample
                caps = self._gst.Caps.from_string("video/x-raw,format=BGR")
                self.running.get_by_name("accepted").set_property("caps", caps)
            elif self._sink.get_property("eos"):
                break
        self._listen()
        raise SourceError(
            f"{self._what} gives no picture",
            expected=f"a frame within {timeout_s:g} s",
            got=str(self._trouble() or "none, and no error"),
            hint="check cable, power and what the device is set to",
        )

    def _explain_silence(self) -> None:
        """Raise the reason why there is no sample; return only at a regular end of the stream."""
        self._listen()
        if self._sink.get_property("eos"):
            if self._ends:
                return
            raise SourceError(f"{self._what} ended", expected="frames", got="the end of the stream")
        if self._stall.left_s() > 0:
            raise TimeoutError("no picture yet")
        if problem := self._signal_problem():
            raise Interruption(State.NO_SIGNAL, problem)
        raise self._stall.interruption()

    def _pull(self, timeout_s: float) -> Any:
        return self._sink.emit("try-pull-sample", round(timeout_s * 1e9))

    def _listen(self) -> None:
        """Raise the error that an element posted, if there is one."""
        message = self._bus.pop_filtered(self._gst.MessageType.ERROR)
        if message is None:
            return
        error, debug = message.parse_error()
        settings = error.matches(self._gst.ResourceError.quark(), self._gst.ResourceError.SETTINGS)
        kind = NoFormatError if settings or "not-negotiated" in (debug or "") else SourceError
        detail = (debug or "").strip().rpartition("\n")[2].strip()
        raise kind(
            f"{self._what} failed",
            expected="frames",
            got=redact(
                f"{error.message} "
                f"({message.src.get_name() if message.src else 'pipeline'}: {detail})"
            ),
            hint="check cable and power",
            code="camera-failed",
        )

    def _raise_built(self, error: Any) -> None:
        link = error.matches(self._gst.parse_error_quark(), self._gst.ParseError.LINK)
        kind = NoFormatError if link else UsageError
        raise kind(
            f"{self._what} cannot be built",
            expected="elements, the last of which delivers raw video or JPEG",
            got=redact(error.message),
            hint=f"gst-inspect-1.0 lists the installed elements; apt-get install {PACKAGES}",
        ) from error

    def _trouble(self) -> Reason | None:
        return None if self._ask_signal_problem is None else self._ask_signal_problem()

    def _signal_problem(self) -> Reason | None:
        now = self._clock()
        if now - self._signal_ns >= _SIGNAL_EVERY_NS:
            self._signal_ns, self._signal = now, self._trouble()
        return self._signal

    def _format_of(self, sample: Any) -> VideoFormat:
        """Return the format of a sample; equal capabilities are parsed only once."""
        caps = sample.get_caps()
        if self._caps is None or not caps.is_equal(self._caps):
            self._caps, self._of_caps = caps, VideoFormat.from_caps(caps.get_structure(0))
        return self._of_caps

    def _decode(self, sample: Any, pictures: VideoFormat) -> ImageU8:
        """Copy and decode the pixels of a sample.

        Raises:
            TimeoutError: The image is damaged and dropped.
            Interruption: Too many images in a row were damaged.
        """
        buffer = sample.get_buffer()
        mapped, info = buffer.map(self._gst.MapFlags.READ)
        damage = "memory that cannot be read"
        if mapped:
            try:
                image = self._read(info.data, pictures)
            except ValueError as error:
                damage = str(error)
            else:
                self._damage.good()
                return image
            finally:
                buffer.unmap(info)
        self._damage.damaged(damage)
        raise TimeoutError(f"a damaged picture was dropped: {damage}")

    def _read(self, data: memoryview, pictures: VideoFormat) -> ImageU8:
        """Decode the image in a mapped buffer.

        Raises:
            ValueError: The image is damaged.
        """
        if pictures.layout == "JPEG":
            return self._memory.copy(_read_jpeg(bytes(data), pictures))
        # The device's own memory may be slow to read twice.
        return to_bgr(self._raw.copy(np.frombuffer(data, np.uint8)), pictures, self._memory)

    def _stamp(self, sample: Any) -> int | None:
        """Return the capture time if a live source stamped it with our clock, else None."""
        none = self._gst.CLOCK_TIME_NONE
        pts = sample.get_buffer().pts
        if not self._live or not self._monotonic or pts == none:
            return None
        running = sample.get_segment().to_running_time(self._gst.Format.TIME, pts)
        stamp: int = self.running.get_base_time() + running
        believable = running != none and 0 <= self._clock() - stamp <= MAX_STAMP_AGE_NS
        return stamp if believable else None

    def _skipped(self, sample: Any, pictures: VideoFormat) -> int:
        """Return how many images were lost since the last one, by their numbers or by time."""
        buffer = sample.get_buffer()
        number = self._number(buffer)
        pts = None if buffer.pts == self._gst.CLOCK_TIME_NONE else buffer.pts
        (last_number, last_pts), self._last = self._last, (number, pts)
        if number is not None and last_number is not None:
            return max(0, number - last_number - 1)
        if pts is not None and last_pts is not None and pictures.fps:
            periods: float = (pts - last_pts) * pictures.fps / 1e9
            return max(0, round(periods) - 1)
        return 0

    def _number(self, buffer: Any) -> int | None:
        """Return the frame number of a buffer; None if its offset counts bytes."""
        offset: int = buffer.offset
        numbered: bool = offset != self._gst.BUFFER_OFFSET_NONE and buffer.offset_end == offset + 1
        return offset if numbered else None

    def _watch_flow(self, _: Any, info: Any) -> Any:
        """Inspect every buffer, including those never read; runs in the pipeline's thread."""
        buffer, flags = info.get_buffer(), self._gst.BufferFlags
        begun, self._flow_begun = self._flow_begun, True
        number = self._number(buffer)
        if number is not None:
            if self._flow_last is not None and number > self._flow_last + 1:
                self._flow.append(("gaps", number - self._flow_last - 1))
            self._flow_last = number
        elif begun and buffer.has_flags(flags.DISCONT):
            self._flow.append(("gaps", 1))
        if buffer.has_flags(flags.CORRUPTED):
            self._flow.append(("corrupt", 1))
            self._flow_damaged = True
            return self._gst.PadProbeReturn.DROP
        if self._flow_damaged:
            self._flow_damaged = False
            self._flow.append(("good", 1))
        return self._gst.PadProbeReturn.OK

    def _count_flow(self) -> None:
        """Count what the thread of the pipeline has seen.

        Raises:
            Interruption: Too many images in a row were damaged.
        """
        while self._flow:
            kind, count = self._flow.popleft()
            if kind == "gaps":
                self._counters["gaps"] += count
            elif kind == "good":
                self._damage.good()
            else:
                self._stall.note_frame()
                self._damage.damaged("its buffer is flagged")


def _read_jpeg(data: bytes, pictures: VideoFormat) -> ImageU8:
    """Decode a complete JPEG image.

    Raises:
        ValueError: The image is damaged.
    """
    if damage := jpeg_damage(data, (pictures.height, pictures.width)):
        raise ValueError(damage)
    image = cv2.imdecode(
        np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    )
    if image is None:
        raise ValueError("not decodable")
    return cast("ImageU8", image)
