"""`web[:PORT]`: a page on 127.0.0.1 with the newest frame, its overlay, the state and the timing.

Its address contains a token, new in each run, without which other users of the machine do not see
the pictures; `web?token=none` leaves it out.

The frame loop hands over at most one frame per `PERIOD_MS`, and only while somebody is watching. A
thread draws, scales and encodes the newest one. After the end of a clip or folder, its last frame
stays on the page.
"""

from __future__ import annotations

import base64
import logging
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import msgspec

from edge.errors import UsageError
from edge.imaging.buffer_pool import BufferPool
from edge.limits import WEB_PICTURE_MS
from edge.overlay.layer_cache import paint_on
from edge.overlay.paint import without_frame
from edge.sinks.base import BaseSink
from edge.sinks.web_server import Feed, WebServer
from edge.status import State
from edge.util.spec import choice, option

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.contracts import MarkDesk
    from edge.frame import Frame, ImageU8, Result
    from edge.sinks.base import SinkOptions
    from edge.status import Status
    from edge.util.spec import Spec

logger = logging.getLogger(__name__)

PERIOD_MS = 80.0
"""Minimum time between two images, milliseconds."""

DEFAULT_PORT = 8080
"""The port that is taken if none is given and it is free."""

MAX_WIDTH = 1280
"""Maximum width of an image that is sent, pixels."""

_QUALITY = 80
_TOKEN_BYTES = 16


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Message to the page, as JSON.

    Attributes:
        state: State of the device.
        reason: Reason of the frame, or of the state if the frame has none.
        sent_ms: CLOCK_MONOTONIC milliseconds, by which the page detects that it lags.
        frame: Number of the frame; null if none is shown.
        age_ms: Age of the frame when its output began, milliseconds.
        stages_ms: Stage to duration, milliseconds.
        regions: Number of regions; null if nobody judged the frame.
        boxes: Number of boxes of a detection head where there is no region; null likewise.
        mask_area: Share of the model's input that the mask covers, 0 to 1; null likewise.
        fps: Frames per second of the frame loop.
        jpeg: JPEG image in base64; null if none may be shown.
        bundle: Name of the bundle; empty before one is open.
        digest: SHA-256 of its manifest.
        engine: Engine and precision.
        source: Source of the frames.
        marks: Whether frames can be marked.
        marked: What became of the last mark.
        outcomes: Number of marks that something became of.
    """

    state: str
    reason: str
    sent_ms: float
    frame: int | None = None
    age_ms: float | None = None
    stages_ms: dict[str, float] = {}
    regions: int | None = None
    boxes: int | None = None
    mask_area: float | None = None
    fps: float = 0.0
    jpeg: str | None = None
    bundle: str = ""
    digest: str = ""
    engine: str = ""
    source: str = ""
    marks: bool = False
    marked: str = ""
    outcomes: int = 0


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """Options of `web`.

    Attributes:
        token: `new` for an address that cannot be guessed, `none` for one that everybody knows.
    """

    token: str = option(choice("new", "none"), "new")


class WebSink(BaseSink):
    """Serves the page while the context is entered.

    Args:
        port: Port of 127.0.0.1; 0 for any free one, None for `DEFAULT_PORT` or, if it is in use, a
            free one.
        live: Whether frames arrive at their own pace; an old frame is then removed from view, while
            a frame of a clip stays.
        token: First part of the page's path; empty without one. By default it is made up.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        url: Address of the page, valid once entered.
    """

    def __init__(
        self,
        port: int | None = 0,
        *,
        live: bool = True,
        token: str | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__()
        self.url = ""
        self._token = secrets.token_urlsafe(_TOKEN_BYTES) if token is None else token
        self._port, self._live, self._clock = port, live, clock
        self._feed = Feed()
        self._desk: MarkDesk | None = None
        self._server: WebServer | None = None
        self._thread: threading.Thread | None = None
        self._memory = BufferPool()
        self._pending: tuple[View, ImageU8 | None, Result, Status] | None = None
        self._wake = threading.Condition()
        self._closing = False
        self._picture_ns = self._notified_ns = self._frame_ns = -(1 << 62)
        self._fps = 0.0
        self._notified: Status | None = None
        self._last: tuple[Frame, Result] | None = None

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `web:PORT`; without a port it takes `DEFAULT_PORT` or a free one.

        Raises:
            UsageError: The target is not a port. An address is refused too, because pictures are
                served to this machine only.
        """
        target, token = spec.target, spec.read(WebOptions).token
        if target and (
            not target.isascii() or not target.isdigit() or not 1 <= int(target) <= 65535
        ):
            raise UsageError(
                f"the web sink takes a port of 127.0.0.1, got {target!r}",
                expected="web or web:PORT, 1 to 65535; images never leave this machine",
            )
        return cls(
            int(target) if target else None,
            live=options.live,
            token="" if token == "none" else None,
        )

    def __enter__(self) -> Self:
        self._server = self._serve()
        self.url = self._server.url
        logger.info("view: %s", self.url)
        self._thread = threading.Thread(target=self._run, name="web encoder", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._feed.close()
        if self._thread is not None:
            self._thread.join(1.0)
        if self._server is not None:
            self._server.close()
        self._thread = self._server = self._last = None

    def offer_marks(self, desk: MarkDesk) -> None:
        """Let viewers mark frames."""
        self._desk = desk

    def _serve(self) -> WebServer:
        try:
            port = DEFAULT_PORT if self._port is None else self._port
            return WebServer(port, self._feed, self._token, self._desk)
        except OSError as error:
            if self._port is None:
                logger.info("port %d of 127.0.0.1 is in use; a free one is taken", DEFAULT_PORT)
                return WebServer(0, self._feed, self._token, self._desk)
            raise UsageError(
                f"port {self._port} of 127.0.0.1 cannot be used",
                got=str(error),
                hint="web takes a free port",
            ) from error

    def write(self, frame: Frame, result: Result) -> None:
        """Hand over a frame if somebody is watching and the last one is long enough ago."""
        now = self._clock()
        since = (now - self._frame_ns) / 1e9
        self._frame_ns = now
        if 0 < since < 1:
            self._fps += 0.1 * (1 / since - self._fps)
        if not self._live:
            self._last = frame, result
        if self._feed.viewers == 0 or now - self._picture_ns < PERIOD_MS * 1e6:
            return
        self._picture_ns = now
        self._show(frame, result, self.status.text if result.reason is None else str(result.reason))

    def _show(self, frame: Frame, result: Result, reason: str) -> None:
        """Hand over a frame with its result."""
        now = self._clock()
        end = max((end for _, end in frame.stamps.values()), default=now)
        view = View(
            state=self.status.state.value,
            reason=reason,
            sent_ms=now / 1e6,
            frame=frame.index,
            age_ms=round((end - frame.captured_ns) / 1e6, 1),
            stages_ms={
                str(stage): round((b - a) / 1e6, 2) for stage, (a, b) in frame.stamps.items()
            },
            regions=len(result.regions) if result.reason is None else None,
            boxes=len(result.boxes) if result.reason is None else None,
            mask_area=round(float(result.mask_area), 4) if result.reason is None else None,
            fps=round(self._fps, 1),
        )
        self._hand_over(view, self._memory.copy(frame.image), result)

    def notify(self, status: Status) -> None:
        """Send the status if no image carries it."""
        super().notify(status)
        now = self._clock()
        if not self._live and status.state is State.NO_SIGNAL:
            self._repeat(now)
        recent = now - self._frame_ns < WEB_PICTURE_MS * 1e6 and status.state is not State.NO_SIGNAL
        if recent or not self._live or self._feed.viewers == 0:
            return
        if self._notified == status and now - self._notified_ns < PERIOD_MS * 1e6:
            return
        self._notified, self._notified_ns = status, now
        view = View(state=status.state.value, reason=status.text, sent_ms=now / 1e6)
        self._hand_over(view, None, without_frame(status))

    def _repeat(self, now: int) -> None:
        """Show the last frame of a source that has ended, also to those who look only now."""
        if self._feed.viewers and self._last and now - self._picture_ns >= 3 * PERIOD_MS * 1e6:
            self._picture_ns = now
            self._show(*self._last, self.status.text)

    def _hand_over(self, view: View, picture: ImageU8 | None, result: Result) -> None:
        if (header := self.header) is not None:
            view = msgspec.structs.replace(
                view,
                bundle=header.bundle or "",
                digest=header.digest or "",
                engine=" ".join(filter(None, (header.engine, header.precision))),
                source=header.data or "",
            )
        if (desk := self._desk) is not None:
            number, text = desk.last
            view = msgspec.structs.replace(view, marks=True, marked=text, outcomes=number)
        with self._wake:
            self._pending = view, picture, result, self.status
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._pending is not None or self._closing)
                if self._closing:
                    return
                assert self._pending is not None
                (view, picture, result, status), self._pending = self._pending, None
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
