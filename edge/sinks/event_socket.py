"""`events:PATH`: events as lines of JSON for every program that connects to a UNIX socket.

A reader first gets a line with what the run is of, then the newest state and, while a region is
shown, its finding; then every event as it happens. A reader that is too slow loses the oldest
events, which gaps in `number` tell; one that reads nothing for a while is disconnected. Nobody
waits for it.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from edge.errors import BusyError, UsageError
from edge.sinks.base import SinkOptions
from edge.sinks.event import EventKind
from edge.sinks.event_sink import EventSink
from edge.sinks.jsonl import HeaderLine
from edge.util.files import naming, refuse_existing
from edge.util.spec import choice, option

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

    from edge.record_header import RecordHeader
    from edge.sinks.event import Event
    from edge.util.spec import Spec

MAX_READERS = 8
MAX_WAITING = 256
"""Maximum number of lines that wait for one reader."""

DEAD_S = 10.0
"""Time after which a reader that takes nothing of what waits is disconnected, seconds."""

_MAX_PATH = 107
"""Maximum length of the path of a UNIX socket, bytes (unix(7))."""
_CLOSE_S = 1.0
_POLL_S = 0.5
_DEFAULTS = SinkOptions()
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSocketOptions:
    """Options of `events:`.

    Attributes:
        mode: Who may connect: `600` this user alone, `660` also the group of the folder.
    """

    mode: str = option(choice("600", "660"), "600")


class _Reader:
    """A program that reads; `rest` is the part of a line that the socket did not take yet."""

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.connection = connection
        self.lines: deque[bytes] = deque()
        self.rest = b""
        self.moved_s = now

    def push(self, line: bytes) -> bool:
        """Queue a line; return whether no older one was dropped for it."""
        fits = len(self.lines) < MAX_WAITING
        if not fits:
            self.lines.popleft()
        self.lines.append(line)
        return fits

    def flush(self, now: float) -> bool:
        """Send what the socket takes; return whether the reader is still there."""
        try:
            while self.rest or self.lines:
                if not self.rest:
                    self.rest = self.lines.popleft()
                self.rest = self.rest[self.connection.send(self.rest) :]
                self.moved_s = now
        except BlockingIOError:
            return now - self.moved_s < DEAD_S
        except OSError:
            return False
        self.moved_s = now
        return True


class EventSocketSink(EventSink):
    """Serves events while the context is entered, in a thread of its own.

    Args:
        path: The socket; one that a dead process left is replaced.
        options: Options that all sinks of the run share.
        mode: Permissions of the socket.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: The path is too long, or something else is there.
    """

    def __init__(
        self,
        path: Path,
        options: SinkOptions = _DEFAULTS,
        *,
        mode: int = 0o600,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(options, clock=clock)
        if not path.name or len(os.fsencode(path)) > _MAX_PATH:
            raise UsageError(
                "the events sink needs the path of a socket",
                expected=f"events:PATH with at most {_MAX_PATH} bytes",
                got=repr(str(path)),
            )
        if not path.is_socket():
            refuse_existing(path, force=options.force)
        self.path, self._mode = path, mode
        self._arrived: deque[tuple[EventKind | None, bytes]] = deque(maxlen=MAX_WAITING)
        self._state = self._finding = self._header = b""
        self._readers: list[_Reader] = []
        self._closing = threading.Event()
        self._listener: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None
        self._identity = (0, 0)

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `events:PATH` with the options of `EventSocketOptions`."""
        return cls(spec.path, options, mode=int(spec.read(EventSocketOptions).mode, 8))

    def __enter__(self) -> Self:
        self._closing.clear()
        self._listener = self._listen()
        status = self.path.stat()
        self._identity = status.st_dev, status.st_ino
        self._wake = socket.socketpair()
        for end in self._wake:
            end.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="events", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        self._closing.set()
        self._nudge()
        if self._thread is not None:
            self._thread.join(_CLOSE_S)
        with suppress(OSError):
            status = self.path.stat()
            if (status.st_dev, status.st_ino) == self._identity:
                self.path.unlink()

    def describe(self, header: RecordHeader) -> None:
        """Tell readers what the events are of."""
        super().describe(header)
        self._hand_over(None, _ENCODER.encode(HeaderLine(header)) + b"\n")

    def send(self, event: Event) -> None:
        """Hand an event to the thread of the readers."""
        self._hand_over(event.event, _ENCODER.encode(event) + b"\n")

    def _hand_over(self, kind: EventKind | None, line: bytes) -> None:
        if len(self._arrived) == MAX_WAITING:
            self.counters["dropped"] += 1
        self._arrived.append((kind, line))
        self._nudge()

    def _nudge(self) -> None:
        if self._wake is not None:
            with suppress(OSError):  # full, so that the thread is awake already, or closed
                self._wake[0].send(b"\0")

    def _listen(self) -> socket.socket:
        """Create the socket under a hidden name, so that nobody sees it with other permissions."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        hidden = self.path.with_name(f".{os.getpid():x}")
        try:
            with naming(self.path):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._refuse_living()
                hidden.unlink(missing_ok=True)
                listener.bind(str(hidden))
                hidden.chmod(self._mode)
                listener.listen(MAX_READERS)
                listener.setblocking(False)
                hidden.replace(self.path)
        except BaseException:
            listener.close()
            raise
        return listener

    def _refuse_living(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_POLL_S)
            try:
                probe.connect(str(self.path))
            except (FileNotFoundError, ConnectionRefusedError):
                return
            except OSError:
                pass
        raise BusyError(
            f"{self.path} is served by a different run",
            expected="one run for each socket",
            hint="choose a different path, or end the other run",
        )

    def _serve(self) -> None:
        assert self._listener is not None, "entered"
        assert self._wake is not None, "entered"
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._wake[1], selectors.EVENT_READ)
            while not self._closing.is_set():
                watched = list(self._readers)
                for reader in watched:
                    writing = selectors.EVENT_WRITE if reader.rest else 0
                    selector.register(reader.connection, selectors.EVENT_READ | writing)
                ready = {key.fileobj: mask for key, mask in selector.select(_POLL_S)}
                for reader in watched:
                    selector.unregister(reader.connection)
                    if ready.get(reader.connection, 0) & selectors.EVENT_READ:
                        self._discard_if_gone(reader)
                if self._wake[1] in ready:
                    with suppress(OSError):
                        self._wake[1].recv(4096)
                self._distribute()
                if self._listener in ready:
                    self._accept(self._listener)
            self._distribute()
        for one in (self._listener, *self._wake, *(reader.connection for reader in self._readers)):
            one.close()
        self._readers.clear()

    def _distribute(self) -> None:
        while self._arrived:
            kind, line = self._arrived.popleft()
            if kind is None:
                self._header = line
            elif kind is EventKind.STATE:
                self._state = line
            else:
                self._finding = line if kind is EventKind.FOUND else b""
            for reader in self._readers:
                if not reader.push(line):
                    self.counters["dropped"] += 1
        now = time.monotonic()
        for reader in [reader for reader in self._readers if not reader.flush(now)]:
            self._discard(reader)

    def _discard_if_gone(self, reader: _Reader) -> None:
        """Discard a reader that has closed its end; what it sends is ignored."""
        try:
            gone = not reader.connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self._discard(reader)

    def _discard(self, reader: _Reader) -> None:
        self.counters["disconnected"] += 1
        self._readers.remove(reader)
        reader.connection.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            connection = listener.accept()[0]
            if len(self._readers) >= MAX_READERS:
                self.counters["refused"] += 1
                connection.close()
                return
            connection.setblocking(False)
            reader = _Reader(connection, time.monotonic())
            for line in filter(None, (self._header, self._state, self._finding)):
                reader.push(line)
            self._readers.append(reader)
            if not reader.flush(time.monotonic()):
                self._readers.remove(reader)
                connection.close()
