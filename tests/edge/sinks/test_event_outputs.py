"""Events for other programs: over a socket and by MQTT, with readers that are slow or dead."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge.errors import BusyError, MissingDependencyError, UsageError
from edge.record_header import make_header
from edge.sinks import event_socket
from edge.sinks.base import SinkOptions
from edge.sinks.event_socket import MAX_READERS, MAX_WAITING, EventSocketSink
from edge.sinks.open import open_sinks
from edge.status import Reason, ReasonKind, State, Status
from edge_difom.cli.main import main
from tests.support.mqtt_broker import Broker
from tests.support.recordings import NONE, seen
from tests.support.stills import RUNNING, frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LIVE = SinkOptions(live=True)
PAUSED = Status(State.PAUSED, Reason(ReasonKind.BLACK), 5)


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Reader:
    """A program at the socket."""

    def __init__(self, path: Path) -> None:
        self.connection = socket.socket(socket.AF_UNIX)
        self.connection.settimeout(20)
        self.connection.connect(str(path))
        self._file = self.connection.makefile("rb")

    def line(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._file.readline())
        return found

    def rest(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._file]

    def close(self) -> None:
        self._file.close()
        self.connection.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[EventSocketSink]:
    with EventSocketSink(tmp_path / "socket", LIVE) as opened:
        yield opened


def show(sink: Any, status: Status = RUNNING, found: bool = False, index: int = 7) -> None:
    sink.notify(status)
    taken = replace(frame(index=index), captured_ns=time.monotonic_ns())
    sink.write(taken, seen() if found else NONE)


def test_a_reader_gets_every_event_as_a_line(tmp_path: Path) -> None:
    with EventSocketSink(tmp_path / "socket", LIVE) as sink:
        reader = Reader(sink.path)
        until(lambda: sink._readers)
        show(sink)
        show(sink, found=True)
        sink.notify(PAUSED)
        state, found, paused = reader.line(), reader.line(), reader.line()
    assert (state["event"], state["state"], state["number"]) == ("state", "running", 1)
    assert (found["event"], found["frame"], found["regions"][0]["box"]) == (
        "found",
        7,
        [40, 20, 16, 16],
    )
    assert (paused["state"], paused["reason"]) == ("paused", "black")
    (lost,) = reader.rest()
    assert (lost["event"], lost["reason"], lost["number"]) == ("lost", "the run has ended", 4)
    assert not sink.path.exists()
    reader.close()


def test_a_new_reader_learns_what_holds_now(sink: EventSocketSink) -> None:
    sink.describe(make_header(data="camera"))
    for status, found in ((RUNNING, False), (PAUSED, False), (RUNNING, True)):
        show(sink, status, found)
    until(lambda: not sink._arrived)
    reader = Reader(sink.path)
    header, state, found_now = reader.line(), reader.line(), reader.line()
    assert header["header"]["data"] == "camera"
    assert (state["event"], state["state"]) == ("state", "running")
    assert (found_now["event"], found_now["number"]) == ("found", 4)
    sink.notify(PAUSED)
    assert reader.line()["number"] == 5, "nothing twice"
    reader.close()


@pytest.mark.row(61, "a reader of the socket that reads nothing")
def test_a_reader_that_does_not_read_delays_nobody(
    sink: EventSocketSink,
) -> None:
    slow, quick = Reader(sink.path), Reader(sink.path)
    until(lambda: len(sink._readers) == 2)
    slow.connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    numbers, total = [], 20 * MAX_WAITING
    for index in range(total):
        sink.notify((RUNNING, PAUSED)[index % 2])
        numbers.append(quick.line()["number"])
    assert numbers == list(range(1, total + 1))
    until(lambda: sink.counters["dropped"])
    got = [slow.line()["number"] for _ in range(MAX_WAITING)]
    assert got == sorted(got)
    assert len(sink._readers) == 2, "a slow reader stays"
    slow.close()
    quick.close()
    sink.notify(Status(State.BYPASS, Reason(ReasonKind.HOT), 1))
    until(lambda: not sink._readers)
    assert sink.counters["disconnected"] == 2


@pytest.mark.row(61, "a reader that takes nothing for a while")
def test_a_dead_reader_is_disconnected(
    sink: EventSocketSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_socket, "DEAD_S", 0.2)
    monkeypatch.setattr(event_socket, "_POLL_S", 0.05)
    reader = Reader(sink.path)
    until(lambda: sink._readers)
    end = time.monotonic() + 20
    index = 0
    while sink._readers:
        assert time.monotonic() < end
        index += 1
        sink.notify((RUNNING, PAUSED)[index % 2])
    assert sink.counters["disconnected"] == 1
    reader.close()


def test_there_are_few_readers(sink: EventSocketSink) -> None:
    readers = [Reader(sink.path) for _ in range(MAX_READERS)]
    until(lambda: len(sink._readers) == MAX_READERS)
    one_more = Reader(sink.path)
    assert one_more.rest() == []
    assert sink.counters["refused"] == 1
    for reader in (*readers, one_more):
        reader.close()


def test_readers_that_leave_make_room_without_any_event(sink: EventSocketSink) -> None:
    def left(count: int) -> Callable[[], bool]:
        return lambda: sink.counters["disconnected"] == count

    for count in range(1, 3 * MAX_READERS):
        reader = Reader(sink.path)
        reader.connection.sendall(b"ignored")
        reader.close()
        until(left(count))
    assert not sink.counters["refused"]
    assert not sink._readers


def test_the_socket_is_its_owners_and_a_dead_one_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "socket"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    with EventSocketSink(path) as first:
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(BusyError, match="served by a different run"):
            EventSocketSink(path).__enter__()
        until(lambda: not first._readers)
        Reader(path).close()
    (shared,) = open_sinks([f"events:{path}?mode=660"])
    with shared:
        assert path.stat().st_mode & 0o777 == 0o660
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match="path of a socket"):
        open_sinks([f"events:{tmp_path / ('x' * 108)}"])
    with pytest.raises(UsageError, match="path of a socket"):
        open_sinks(["events:"])


def test_events_of_a_run_go_to_a_program_that_listens(tiny_bundle: Path, tmp_path: Path) -> None:
    import threading

    path, got = tmp_path / "events", []

    def listen() -> None:
        until(path.exists)
        reader = Reader(path)
        got.extend(reader.rest())
        reader.close()

    listener = threading.Thread(target=listen)
    listener.start()
    with pytest.raises(SystemExit) as ended:
        main(
            ["run", "--source", "synthetic:?width=320&height=240&fps=30&frames=300", "--engine",
             "tflite", "--bundle", str(tiny_bundle), "--sink", f"events:{path}"]
        )  # fmt: skip
    listener.join()
    assert ended.value.code == 0
    assert "header" in got[0]
    assert got[-1].get("bundle") is None
    states = [line["state"] for line in got if line.get("event") == "state"]
    assert "running" in states
    numbers = [line["number"] for line in got if "event" in line]
    assert numbers == sorted(set(numbers))


# ---- MQTT ----


@pytest.fixture
def broker() -> Iterator[Broker]:
    pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")
    opened = Broker()
    yield opened
    opened.close()


def test_a_broker_gets_events_and_keeps_the_state(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("sesame\n")
    options = f"topic=room3/difom&user=cart&password_file={tmp_path}/password"
    text = f"mqtt:127.0.0.1:{broker.port}?{options}"
    (opened,) = open_sinks([text], live=True)
    sink: Any = opened
    with sink:
        until(lambda: sink.counters["connected"])
        show(sink)
        show(sink, found=True)
        until(lambda: len(broker.messages) == 3)
    (connect,) = broker.connects
    assert b"cart" in connect
    assert b"sesame" in connect
    assert b"room3/difom/state" in connect, "the last will"
    assert b'{"state":"offline"}' in connect
    until(lambda: len(broker.messages) == 5)
    topics = [(topic, json.loads(payload), kept) for topic, payload, kept in broker.messages]
    assert [(topic.rpartition("/")[2], kept) for topic, _, kept in topics] == [
        ("event", False),
        ("state", True),
        ("event", False),
        ("event", False),
        ("state", True),
    ]
    assert [one.get("event") for _, one, _ in topics] == ["state", "state", "found", "lost", None]
    assert topics[-1][1] == {"state": "offline"}


@pytest.mark.row(61, "a broker that is away, comes and goes")
def test_a_broker_that_is_away_delays_nobody_and_is_told_once(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    port = broker.port
    broker.close()
    (opened,) = open_sinks([f"mqtt:127.0.0.1:{port}"], live=True)
    sink: Any = opened
    with sink:
        for index in range(2000):
            sink.notify((RUNNING, PAUSED)[index % 2])  # returns although nobody is there
        until(lambda: caplog.records)
        again = Broker(port)
        until(lambda: sink.counters["connected"])
        until(lambda: len(again.messages) > 10)
        first = json.loads(again.messages[0][1])["number"]
        assert first > 2000 - 400, "the oldest were dropped"
        assert sink.counters["dropped"] > 1000
        again.close()  # the broker is lost, and keeps the last will
        until(lambda: "is gone" in caplog.records[-1].message)
        third = Broker(port)
        until(lambda: any(kept for _, _, kept in third.messages))
        topic, payload, _ = next(one for one in third.messages if one[2])
        assert topic == "edge-difom/state", "the state is told again"
        assert json.loads(payload)["state"] in ("paused", "running")
    third.close()
    assert [record.message.partition(":")[0] for record in caplog.records[:2]] == ["mqtt", "mqtt"]
    assert "cannot be reached" in caplog.records[0].message
    assert "is back" in caplog.records[1].message


@pytest.mark.parametrize(
    "text",
    ["mqtt:", "mqtt:a b", "mqtt:host:0", "mqtt:host:70000", "mqtt:user:pw@host", "mqtt://host"],
)
def test_what_is_no_broker_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs a broker") as told:
        open_sinks([text])
    assert "pw" not in str(told.value)


@pytest.mark.parametrize("topic", ["a/#", "+", "", "a//b"])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    with pytest.raises(UsageError, match="topic"):
        open_sinks([f"mqtt:host?topic={topic}"])


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "paho" else find(name)
    )
    with pytest.raises(MissingDependencyError, match=r"\[mqtt\]"):
        open_sinks(["mqtt:host"])


def test_a_password_that_cannot_be_read_is_told(broker: Broker, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"password in .* cannot be read"):
        open_sinks([f"mqtt:127.0.0.1:{broker.port}?user=a&password_file={tmp_path}/none"])
