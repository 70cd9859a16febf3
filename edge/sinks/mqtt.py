"""`mqtt:HOST[:PORT]`: events for an MQTT 3.1.1 broker; the only module that uses paho-mqtt.

`TOPIC/event` gets every event, `TOPIC/state` keeps the newest state (retained), and the broker
itself writes `{"state":"offline"}` there when the run dies (last will). A thread hands the events
to the library, which has a thread of its own for the network: the frame loop waits for neither.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edge.errors import UsageError
from edge.sinks.base import SinkOptions
from edge.sinks.event import EventKind
from edge.sinks.event_sink import EventSink
from edge.util.background import Background
from edge.util.extras import require
from edge.util.spec import option, switch

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from typing_extensions import Self

    from edge.sinks.event import Event
    from edge.util.spec import Spec

PORT, TLS_PORT = 1883, 8883
TOPIC = "edge-difom"
OFFLINE = b'{"state":"offline"}'

_TARGET = re.compile(r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?P<port>\d{1,5}))?")
_TOPIC = re.compile(r"[^+#\0/]+(/[^+#\0/]+)*")
_CAPACITY = 256
_CLOSE_S = 1.0
_CONNECT_S = 2.0
_DEFAULTS = SinkOptions()
_log = logging.getLogger(__name__)


def _topic(text: str) -> str:
    if not _TOPIC.fullmatch(text):
        raise ValueError("a topic without wildcards, such as room3/edge-difom")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttOptions:
    """Options of `mqtt:`.

    Attributes:
        topic: First part of the topics.
        user: User name at the broker; None without one.
        password_file: File whose first line is the password, so that no command line shows it.
        tls: Whether to encrypt, with the certificates that the system trusts.
    """

    topic: str = option(_topic, TOPIC)
    user: str | None = option(str, None)
    password_file: str | None = option(str, None)
    tls: bool = option(switch, False)


class MqttSink(EventSink):
    """Publishes events at a broker, and connects again whenever it is away.

    Args:
        host: Name or address of the broker.
        port: Its port; None for 1883, or 8883 with TLS.
        options: Options that all sinks of the run share.
        mqtt: Options of the connection.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Raises:
        UsageError: The password cannot be read.
        MissingDependencyError: paho-mqtt is not installed.
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        options: SinkOptions = _DEFAULTS,
        *,
        mqtt: MqttOptions | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(options, clock=clock)
        self._options = mqtt or MqttOptions()
        self.host, self.port = host, port or (TLS_PORT if self._options.tls else PORT)
        self._client = self._make_client()
        self._queue: Background[Event] | None = None
        self._state, self._warned = b"", False

    @classmethod
    def from_spec(cls, spec: Spec, options: SinkOptions) -> Self:
        """Build the sink of `mqtt:HOST[:PORT]` with the options of `MqttOptions`.

        Raises:
            UsageError: The target names no broker.
        """
        target = _TARGET.fullmatch(spec.target)
        port = int(target["port"]) if target and target["port"] else None
        if target is None or (port is not None and not 1 <= port <= 65535):
            raise UsageError(
                "the mqtt sink needs a broker",
                expected="mqtt:HOST or mqtt:HOST:PORT; user and password_file are options",
                got=repr(spec.target.rpartition("@")[2]),
            )
        return cls(target["host"].strip("[]"), port, options, mqtt=spec.read(MqttOptions))

    def __enter__(self) -> Self:
        self._client.connect_async(self.host, self.port)
        self._client.loop_start()
        self._queue = Background(self._publish, capacity=_CAPACITY, when_full="oldest", name="mqtt")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        queue, self._queue = self._queue, None
        if queue is not None:
            queue.close(_CLOSE_S)
            self.counters["dropped"] = queue.dropped
        # The library waits without limit for a network that hangs.
        leaving = threading.Thread(target=self._leave, name="mqtt end", daemon=True)
        leaving.start()
        leaving.join(_CLOSE_S)

    def send(self, event: Event) -> None:
        """Queue an event; while the broker is away, the oldest are dropped."""
        if self._queue is not None:
            self._queue.put(event)
            self.counters["dropped"] = self._queue.dropped

    def _publish(self, event: Event) -> None:
        """Publish an event.

        Raises:
            ConnectionError: The broker is away; the event is tried again.
        """
        line = msgspec.json.encode(event)
        topic = f"{self._options.topic}/event"
        if not self._client.is_connected() or self._client.publish(topic, line, qos=1).rc:
            raise ConnectionError(f"{self.host} takes nothing")
        if event.event is EventKind.STATE:
            self._state = line
            self._publish_state()

    def _publish_state(self) -> None:
        if self._state:
            self._client.publish(f"{self._options.topic}/state", self._state, qos=1, retain=True)

    def _leave(self) -> None:
        if self._client.is_connected():
            self._state = OFFLINE
            with suppress(ValueError, RuntimeError):  # the broker has gone meanwhile
                self._client.publish(
                    f"{self._options.topic}/state", OFFLINE, qos=1, retain=True
                ).wait_for_publish(_CLOSE_S)
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> Any:
        require("paho")
        from paho.mqtt import client

        connection = client.Client(client.CallbackAPIVersion.VERSION2, protocol=client.MQTTv311)
        connection.connect_timeout = _CONNECT_S
        connection.max_queued_messages_set(_CAPACITY)
        connection.reconnect_delay_set(1, 30)
        connection.will_set(f"{self._options.topic}/state", OFFLINE, qos=1, retain=True)
        if self._options.user is not None:
            connection.username_pw_set(self._options.user, self._password())
        if self._options.tls:
            connection.tls_set()
        connection.on_connect = self._on_connect
        connection.on_connect_fail = lambda *_: self._warn("cannot be reached")
        connection.on_disconnect = self._on_disconnect
        return connection

    def _password(self) -> str | None:
        if self._options.password_file is None:
            return None
        path = Path(self._options.password_file).expanduser()
        try:
            return path.read_text().splitlines()[0]
        except (OSError, UnicodeDecodeError, IndexError) as error:
            raise UsageError(
                f"the password in {path} cannot be read",
                expected="a file whose first line is the password",
                got=getattr(error, "strerror", None) or str(error),
            ) from error

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            self._warn(f"refuses: {code}")
            return
        self.counters["connected"] += 1
        self._publish_state()  # the broker may hold the last will
        if self._warned:
            self._warned = False
            _log.warning("mqtt: %s is back", self.host)

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        if code.is_failure:
            self._warn(f"is gone: {code}")

    def _warn(self, what: str) -> None:
        """Log once that the broker is away, until it is back."""
        if not self._warned:
            self._warned = True
            _log.warning("mqtt: %s %s; events wait, and the oldest are dropped", self.host, what)
