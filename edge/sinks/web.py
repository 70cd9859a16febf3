"""`web[:PORT]`: a page on 127.0.0.1 that shows the newest frame with its overlay, the state and the times.

The frame loop hands over at most one frame in `PERIOD_MS`, and only while somebody looks; drawing, scaling and encoding are
done in a thread from the newest one.
"""

from __future__ import annotations

import base64
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import cv2
import msgspec

from edge.errors import UsageError
from edge.imaging.buffer_pool import PictureMemory
from edge.limits import WEB_PICTURE_MS
from edge.overlay.layer_cache import paint_on
from edge.overlay.paint import without_frame
from edge.sinks.base import BaseSink
from edge.sinks.web_server import Feed, WebServer
from edge.status import State

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, ImageU8, Result
    from edge.sinks.base import SinkOptions
    from edge.status import Status

logger = logging.getLogger(__name__)

PERIOD_MS = 80.0
"""Least time between two pictures."""

MAX_WIDTH = 1280
"""Widest picture that is sent."""

_QUALITY = 80


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What the page gets, as JSON.

    Attributes:
        state: The device's.
        reason: Why; of the frame where it has one.
        sent_ms: CLOCK_MONOTONIC milliseconds; the page sees by it whether it lags.
        frame: Number of the frame; null where none is shown.
        age_ms: Its age when its output began.
        stages_ms: Stage -> milliseconds.
        regions: How many.
        mask_area: Share of what the student was shown.
        fps: Frames per second of the loop.
        jpeg: The picture in base64; null where none may be shown.
    """

    state: str
    reason: str
    sent_ms: float
    frame: int | None = None
    age_ms: float | None = None
    stages_ms: dict[str, float] = {}
    regions: int = 0
    mask_area: float = 0.0
    fps: float = 0.0
    jpeg: str | None = None


class WebSink(BaseSink):
    """Serves the page from entering to leaving.

    Args:
        port: Of 127.0.0.1; 0 takes a free one.
        live: Whether frames come at their own pace, so that an old one must go from view; a clip's stays.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        url: Where the page is, once entered.
    """

    def __init__(
        self, port: int = 0, *, live: bool = True, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        super().__init__()
        self.url = ""
        self._port, self._live, self._clock = port, live, clock
        self._feed = Feed()
        self._server: WebServer | None = None
        self._thread: threading.Thread | None = None
        self._memory = PictureMemory()
        self._given: tuple[View, ImageU8 | None, Result, Status] | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._picture_ns = self._told_ns = self._frame_ns = -(1 << 62)
        self._fps = 0.0
        self._told: Status | None = None

    @classmethod
    def from_text(cls, target: str, options: SinkOptions) -> Self:
        """The sink of a port, or of nothing for a free one.

        Raises:
            UsageError: No port; also an address, because no other than 127.0.0.1 is served.
        """
        if target and (not target.isascii() or not target.isdigit() or not 1 <= int(target) <= 65535):
            raise UsageError(
                f"the web sink takes a port of 127.0.0.1, got {target!r}",
                expected="web or web:PORT, 1 to 65535; pictures leave this machine by no address",
                hint="--view 8080",
            )
        return cls(int(target or 0), live=options.live)

    def __enter__(self) -> Self:
        try:
            self._server = WebServer(self._port, self._feed)
        except OSError as error:
            raise UsageError(
                f"port {self._port} of 127.0.0.1 cannot be used", got=str(error), hint="--view"
            ) from error
        self.url = self._server.url
        logger.info("view: %s", self.url)
        self._thread = threading.Thread(target=self._run, name="web encoder", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._feed.close()
        if self._thread is not None:
            self._thread.join(1.0)
        if self._server is not None:
            self._server.close()
        self._thread = self._server = None

    def write(self, frame: Frame, result: Result) -> None:
        """Hand over a frame, if somebody looks and the last one is long enough ago."""
        now = self._clock()
        since = (now - self._frame_ns) / 1e9
        self._frame_ns = now
        if 0 < since < 1:
            self._fps += 0.1 * (1 / since - self._fps)
        if self._feed.viewers == 0 or now - self._picture_ns < PERIOD_MS * 1e6:
            return
        self._picture_ns = now
        end = max((end for _, end in frame.stamps.values()), default=now)
        view = View(
            state=self.status.state.value,
            reason=self.status.text if result.reason is None else str(result.reason),
            sent_ms=now / 1e6,
            frame=frame.index,
            age_ms=round((end - frame.captured_ns) / 1e6, 1),
            stages_ms={str(stage): round((b - a) / 1e6, 2) for stage, (a, b) in frame.stamps.items()},
            regions=len(result.regions),
            mask_area=round(float(result.mask_area), 4),
            fps=round(self._fps, 1),
        )
        self._give(view, self._memory.copy(frame.image), result)

    def tell(self, status: Status) -> None:
        """Pass on the status where no picture tells it."""
        super().tell(status)
        now = self._clock()
        recent = now - self._frame_ns < WEB_PICTURE_MS * 1e6 and status.state is not State.NO_SIGNAL
        if recent or not self._live or self._feed.viewers == 0:
            return
        if self._told == status and now - self._told_ns < PERIOD_MS * 1e6:
            return
        self._told, self._told_ns = status, now
        view = View(state=status.state.value, reason=status.text, sent_ms=now / 1e6)
        self._give(view, None, without_frame(status))

    def _give(self, view: View, picture: ImageU8 | None, result: Result) -> None:
        with self._wake:
            self._given = view, picture, result, self.status
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._given is not None or self._closing)
                if self._closing:
                    return
                assert self._given is not None
                (view, picture, result, status), self._given = self._given, None
            if picture is not None:
                view = msgspec.structs.replace(view, jpeg=_jpeg(picture, result, status))
            self._feed.put(b"data: " + msgspec.json.encode(view) + b"\n\n")


def _jpeg(picture: ImageU8, result: Result, status: Status) -> str:
    paint_on(picture, result, status)
    height, width = picture.shape[:2]
    if width > MAX_WIDTH:
        size = MAX_WIDTH, round(height * MAX_WIDTH / width)
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    encoded: Any = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    return base64.b64encode(encoded).decode()
