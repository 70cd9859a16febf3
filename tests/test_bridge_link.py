"""The runtime's side of the link against the controller's own application, on a cable that a test holds."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from edge.errors import UsageError
from edge.types import CartEvent, CartLink, State, Status
from firmware_bridge.link import session as s
from firmware_bridge.link import transports
from firmware_bridge.link.cart import ThreadedCart, open_cart
from firmware_bridge.protocol import messages as m
from firmware_bridge.protocol.framing import Deframer, frame
from firmware_bridge.simcart.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNNING = Status(State.RUNNING, "", 0)


class Cable:
    """A host and a controller with one clock, and what lies between them.

    Attributes:
        to_controller: Made of what the host sends.
        to_host: Made of what the controller sends.
        beating: The frame loop makes progress.
    """

    def __init__(self) -> None:
        self.session, self.controller = s.Session(), Controller()
        self.to_controller: Callable[[bytes], bytes] = lambda data: data
        self.to_host: Callable[[bytes], bytes] = lambda data: data
        self.beating, self.mask, self.status = True, True, RUNNING
        self.now_ms = 5000
        self.reported: list[CartEvent] = []
        self.controller.start(0x51, now_ms=self.now_ms)
        self.session.connect(self.now_ms)

    def run(self, milliseconds: int) -> list[CartEvent]:
        """Let time pass; returns what the host reported."""
        before = len(self.reported)
        end = self.now_ms + milliseconds
        while self.now_ms < end:
            self.now_ms += 1
            beat = None
            if self.beating and self.now_ms % 16 == 0:
                beat = s.Beat(self.status, 21.7, self.mask, self.now_ms)
            self.controller.receive(self.to_controller(self.session.poll(beat, self.now_ms)))
            self.controller.advance(self.now_ms)
            if data := self.to_host(self.controller.take()):
                self.session.receive(data, self.now_ms)
            self.reported += self.session.take_reported()
        return self.reported[before:]

    def until(self, condition: Callable[[], bool], limit_ms: int) -> int:
        began = self.now_ms
        while not condition():
            self.run(1)
            assert self.now_ms - began <= limit_ms
        return self.now_ms - began


def nothing(data: bytes) -> bytes:
    return b""


def kinds(events: list[CartEvent]) -> list[str]:
    return [event.kind for event in events]


@pytest.fixture
def cable() -> Cable:
    cable = Cable()
    assert kinds(cable.run(100)) == ["link-up"]
    assert cable.controller.contact
    return cable


def test_states_have_a_number_and_a_lamp_each() -> None:
    assert set(s.STATES) == set(s.LAMPS) == set(State)
    assert sorted(s.STATES.values()) == list(range(7))


def test_the_lamp_follows_the_state(cable: Cable) -> None:
    assert cable.controller.lamp == m.GREEN
    cable.status = Status(State.DEGRADED, "frames: corrupt", 0)
    cable.run(20)
    assert cable.controller.lamp == m.AMBER
    assert cable.controller.contact
    cable.status = Status(State.BYPASS, "model: none", 0)
    cable.run(20)
    assert cable.controller.lamp == m.RED
    assert not cable.controller.coil


def test_a_lost_lamp_is_sent_again(cable: Cable) -> None:
    cable.to_controller = nothing
    cable.status = Status(State.DEGRADED, "frames: corrupt", 0)
    cable.run(40)
    cable.to_controller = lambda data: data
    cable.run(300)
    assert cable.controller.lamp == m.AMBER


def test_without_a_mask_the_lease_runs_out(cable: Cable) -> None:
    cable.mask = False
    assert cable.until(lambda: not cable.controller.coil, 200) <= 121
    assert cable.run(1000) == []
    assert not cable.controller.coil
    cable.mask = True
    cable.run(20)
    assert cable.controller.coil


@pytest.mark.row(33, "no heartbeat any more, as after a kill; host build")
def test_a_frame_loop_that_stands_still_opens_the_relay(cable: Cable) -> None:
    cable.beating = False
    cable.until(lambda: not cable.controller.contact, 140)
    assert cable.run(2000) == [CartEvent("refused", "the controller's faults: heartbeat")]
    cable.beating = True
    assert cable.run(50) == []
    assert cable.controller.contact


def test_an_old_heartbeat_is_not_sent() -> None:
    session = s.Session()
    session.connect(0)
    controller = Controller()
    controller.start(1, now_ms=0)
    controller.receive(session.poll(None, 0))
    session.receive(controller.take(), 0)
    assert session.up
    assert session.poll(s.Beat(RUNNING, 1.0, True, 100), 100 + s.STALE_MS) == b""
    assert session.poll(s.Beat(RUNNING, 1.0, True, 100), 99 + s.STALE_MS)


@pytest.mark.parametrize(("age", "sent"), [(None, 65535), (0.4, 0), (21.7, 21), (1e9, 65534), (-3.0, 0)])
def test_frame_ages_fit(cable: Cable, age: float | None, sent: int) -> None:
    data = cable.session.poll(s.Beat(RUNNING, age, False, cable.now_ms), cable.now_ms)
    message = m.decode(next(Deframer().feed(data))).msg
    assert isinstance(message, m.Heartbeat)
    assert message.frame_age_ms == sent


@pytest.mark.row(26, "the line is cut in both ways, or in one, and mended; host build")
@pytest.mark.parametrize("ways", ["both", "to_host", "to_controller"])
def test_a_cut_cable_is_bypass_and_comes_back(cable: Cable, ways: str) -> None:
    if ways != "to_host":
        cable.to_controller = nothing
    if ways != "to_controller":
        cable.to_host = nothing
    if ways != "to_host":
        assert cable.until(lambda: not cable.controller.contact, 500)
    cable.until(lambda: not cable.session.up or cable.controller.faults != 0, 800)
    cable.run(1500)
    cable.to_host = cable.to_controller = lambda data: data
    cable.run(400)
    assert cable.session.up
    assert cable.controller.contact
    if ways != "to_controller":
        assert kinds(cable.reported) == ["link-up", "link-down", "link-up"]


@pytest.mark.row(27, "a flipped bit in 30 % of the pieces both ways; host build")
def test_noise_brings_the_link_down_at_worst(cable: Cable) -> None:
    generator = random.Random(11)

    def noisy(data: bytes) -> bytes:
        if not data or generator.random() > 0.3:
            return data
        flipped = bytearray(data)
        flipped[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        return bytes(flipped)

    cable.to_controller = cable.to_host = noisy
    closed = 0
    for _ in range(200):
        cable.run(100)
        closed += cable.controller.contact
    cable.mask = False
    cable.run(250)
    for _ in range(200):
        cable.run(50)
        assert not cable.controller.coil
    assert closed > 150
    assert cable.controller.drops > 100
    assert cable.session.deframer.drops > 20
    assert cable.controller.refused == cable.session.refused == 0


@pytest.mark.row(28, "64 kB of random bytes both ways; host build")
def test_after_a_flood_of_garbage_both_are_back_within_a_second(cable: Cable) -> None:
    generator = random.Random(5)
    cable.to_controller = cable.to_host = lambda _: generator.randbytes(64)
    cable.run(1000)
    assert not cable.controller.coil
    cable.to_controller = cable.to_host = lambda data: data
    cable.until(lambda: cable.session.up and cable.controller.contact, 1000)


@pytest.mark.row(29, "whole frames of the controller with values that there are not")
def test_the_host_counts_and_ignores_what_breaks_the_schema(cable: Cable) -> None:
    for payload in (b"\x83\x01\x05\x82\x08\x20", b"\xa0", b"\x83\x01\x05\x83\x03\x01\x00"):
        cable.session.receive(frame(payload), cable.now_ms)
    assert cable.session.refused == 3
    assert cable.run(500) == []
    assert cable.controller.contact


@pytest.mark.row(30, "a controller whose every envelope says protocol 2; host build")
def test_a_controller_of_another_version(cable: Cable) -> None:
    deframer, hellos = Deframer(), 0

    def newer(data: bytes) -> bytes:
        return b"".join(frame(payload[:1] + b"\x02" + payload[2:]) for payload in deframer.feed(data))

    def count(data: bytes) -> bytes:
        nonlocal hellos
        hellos += bool(data)
        return newer(data)

    cable.to_host, cable.to_controller = newer, count
    events = cable.run(5000)
    assert not cable.controller.coil
    assert kinds(events) == ["refused", "link-down"]
    assert "protocol 2, this is protocol 1; the picture stays passed through" in events[0].detail
    assert hellos < 30, "it is asked now and then"
    cable.to_host = cable.to_controller = lambda data: data
    assert kinds(cable.run(1500)) == ["link-up"]
    assert cable.controller.contact


@pytest.mark.row(31, "the controller is reset under a running host; host build")
@pytest.mark.parametrize("greeting_lost", [False, True])
def test_a_reset_controller_is_greeted_again(cable: Cable, greeting_lost: bool) -> None:
    cable.controller.start(0x52, cause=3)
    if greeting_lost:
        cable.controller.take()
    assert not cable.controller.coil
    assert cable.until(lambda: not cable.session.up, 50)
    cable.until(lambda: cable.session.up and cable.controller.contact, 100)
    *_, down, up = cable.reported
    assert down.kind == "link-down"
    assert greeting_lost or "watchdog" in down.detail
    assert up == CartEvent("link-up", "controller 00000052, started by watchdog")


def press(cable: Cable, pedal: int = 0) -> None:
    cable.controller.inputs.pedals |= 1 << pedal


@pytest.mark.row(32, "an event's acknowledgements are lost for a second; host build")
def test_a_pedal_whose_acknowledgement_is_lost_is_reported_once(cable: Cable) -> None:
    deframer = Deframer()

    def deaf(data: bytes) -> bytes:
        return b"".join(
            frame(payload) for payload in deframer.feed(data) if not isinstance(m.decode(payload).msg, m.Ack)
        )

    cable.to_controller = deaf
    press(cable, 2)
    cable.run(1000)
    cable.controller.inputs.pedals = 0
    cable.to_controller = lambda data: data
    cable.run(200)
    assert cable.reported[1:] == [
        CartEvent("pedal", "pedal 3 pressed"),
        CartEvent("pedal", "pedal 3 released"),
    ]


@pytest.mark.row(32, "an event is lost on the line, or comes twice; host build")
@pytest.mark.parametrize("fate", [0, 2])
def test_a_pedal_event_that_is_lost_or_doubled(cable: Cable, fate: int) -> None:
    until_ms = cable.now_ms + 150
    cable.to_host = lambda data: data * (fate if cable.now_ms < until_ms else 1)
    press(cable)
    cable.run(300)
    assert cable.reported[1:] == [CartEvent("pedal", "pedal 1 pressed")]


def test_after_a_reset_events_count_from_zero_again(cable: Cable) -> None:
    press(cable)
    cable.run(50)
    cable.controller.inputs.pedals = 0
    cable.run(50)
    cable.controller.start(0x99)
    cable.run(200)
    press(cable)
    cable.run(50)
    assert [event.detail for event in cable.reported if event.kind == "pedal"] == [
        "pedal 1 pressed",
        "pedal 1 released",
        "pedal 1 pressed",
    ]


def test_power_fail_is_reported_once_with_the_holdup(cable: Cable) -> None:
    cable.controller.inputs.supply_mv = 8000
    until_ms = cable.now_ms + 200
    cable.to_controller = lambda data: data if cable.now_ms > until_ms else b""
    events = [event for event in cable.run(500) if event.kind == "power-fail"]
    assert [event.holdup_ms for event in events] == [3000]


def test_faults_of_the_controller_are_named_once(cable: Cable) -> None:
    cable.controller.inputs.temperature_cc = 9000
    details = [event.detail for event in cable.run(3000)]
    assert details.count("the controller's faults: temperature") == 1
    assert len(details) == 2
    assert not cable.controller.contact


@pytest.mark.row(43, "the link is closed while the overlay is on; host build")
def test_the_farewell_opens_the_relay(cable: Cable) -> None:
    cable.controller.receive(cable.session.farewell())
    assert not cable.controller.coil


def wait_for(condition: Callable[[], Any], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.002)


class PairTransport:
    """One end of a socket pair."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        end.setblocking(False)

    def fileno(self) -> int:
        return self._end.fileno()

    def read(self) -> bytes:
        data = self._end.recv(4096)
        if not data:
            raise OSError("hung up")
        return data

    def write(self, data: bytes) -> int:
        try:
            return self._end.send(data)
        except BlockingIOError:
            return 0

    def pending(self) -> int:
        return 0

    def close(self) -> None:
        self._end.close()


class Sockets:
    """A connector whose far ends the test holds.

    Attributes:
        ends: Far ends of the connections so far.
        absent: How many more times the controller is not there.
    """

    def __init__(self, absent: int = 0) -> None:
        self.ends: deque[socket.socket] = deque()
        self.absent, self.tries, self.closed = absent, 0, False

    def open(self) -> PairTransport:
        self.tries += 1
        if self.tries <= self.absent:
            raise OSError("no such device")
        near, far = socket.socketpair()
        far.setblocking(False)
        self.ends.append(far)
        return PairTransport(near)

    def close(self) -> None:
        self.closed = True


class Answering:
    """A far end with the controller's application, served by the test's thread.

    Attributes:
        events: What the link reported meanwhile.
    """

    def __init__(self, end: socket.socket, boot_id: int = 1) -> None:
        self.end, self.controller = end, Controller()
        self.began = time.monotonic()
        self.controller.start(boot_id, now_ms=0)
        self.events: list[CartEvent] = []

    def serve_until(self, condition: Callable[[], bool], cart: CartLink, *, beating: bool = True) -> None:
        def step() -> bool:
            self.serve()
            if beating:
                cart.beat(RUNNING, frame_age_ms=20.0, mask=True)
            self.events += cart.events()
            return condition()

        wait_for(step)

    def serve(self) -> None:
        self.controller.advance(int((time.monotonic() - self.began) * 1000))
        try:
            data = self.end.recv(4096)
        except BlockingIOError:
            data = b""
        self.controller.receive(data)
        if out := self.controller.take():
            self.end.send(out)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    made = Sockets()
    yield made
    for end in made.ends:
        end.close()


def test_the_thread_is_a_cart_link(sockets: Sockets) -> None:
    link: CartLink = ThreadedCart(sockets)
    with link as cart:
        far = Answering(sockets.ends[0])
        far.serve_until(lambda: far.controller.contact, cart)
        far.controller.inputs.pedals = 1
        far.serve_until(lambda: CartEvent("pedal", "pedal 1 pressed") in far.events, cart)
        assert kinds(far.events) == ["link-up", "pedal"]
    far.controller.receive(far.end.recv(4096))
    assert not far.controller.coil, "the farewell came before the end"
    assert sockets.closed


@pytest.mark.row(33, "no call of beat; thread of the link")
def test_without_a_beat_no_heartbeat_leaves(sockets: Sockets) -> None:
    with ThreadedCart(sockets) as cart:
        far = Answering(sockets.ends[0])
        far.serve_until(lambda: bool(far.events), cart, beating=False)
        assert kinds(far.events) == ["link-up"]
        sent = b""
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            time.sleep(0.005)
            with contextlib.suppress(BlockingIOError):
                sent += sockets.ends[0].recv(4096)
        assert not any(isinstance(m.decode(p).msg, m.Heartbeat) for p in Deframer().feed(sent))


@pytest.mark.row(26, "the device hangs up and is gone for a while; thread of the link")
def test_a_lost_device_is_looked_for_with_backoff(sockets: Sockets) -> None:
    sockets.absent = 2
    with ThreadedCart(sockets) as cart:
        assert kinds(list(cart.events())) == ["link-down"]
        wait_for(lambda: sockets.ends)
        first = Answering(sockets.ends[0])
        first.serve_until(lambda: kinds(first.events) == ["link-up"], cart)
        sockets.absent = sockets.tries + 1
        sockets.ends[0].close()
        wait_for(lambda: len(sockets.ends) == 2)
        second = Answering(sockets.ends[1])
        second.serve_until(lambda: kinds(second.events) == ["link-down", "link-up"], cart)


@pytest.mark.row(43, "the line takes nothing when the link is closed; thread of the link")
def test_closing_does_not_wait_for_a_line_that_takes_nothing(
    sockets: Sockets, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PairTransport, "write", lambda *_: 0)
    began = time.monotonic()
    with ThreadedCart(sockets) as cart:
        for _ in range(100):
            cart.beat(RUNNING, frame_age_ms=None, mask=False)
    assert time.monotonic() - began < 5


def test_beat_never_waits_even_where_the_thread_stands(
    monkeypatch: pytest.MonkeyPatch, sockets: Sockets
) -> None:
    go_on, stands = threading.Event(), threading.Event()

    def stand(transport: PairTransport, data: bytes) -> int:
        stands.set()
        go_on.wait(30)
        return 0

    monkeypatch.setattr(PairTransport, "write", stand)
    with ThreadedCart(sockets) as cart:
        assert stands.wait(10)
        for _ in range(70_000):  # more than the pipe holds that wakes the thread
            cart.beat(RUNNING, frame_age_ms=1.0, mask=True)
        assert not go_on.is_set()
        go_on.set()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "usb",
        "serial:",
        "serial:/dev/x,fast",
        "can:",
        "can:can0,1",
        "can:can0,a,b",
        "sim:pedal",
        "sim:1=fly",
    ],
)
def test_a_cart_that_there_is_not(text: str) -> None:
    with pytest.raises(UsageError, match="--cart"):
        open_cart(text)


def test_a_device_that_is_not_there_is_no_error() -> None:
    with open_cart("serial:/dev/does-not-exist") as cart:
        (event,) = cart.events()
    assert event.kind == "link-down"
    assert "/dev/does-not-exist" in event.detail


def test_isotp_binds_its_identifiers(monkeypatch: pytest.MonkeyPatch) -> None:
    bound: list[Any] = []

    class FakeSocket:
        def __init__(self, *kind: int) -> None:
            bound.append(kind)

        def setblocking(self, flag: bool) -> None:
            assert not flag

        def bind(self, address: Any) -> None:
            bound.append(address)

        def recv(self, _: int) -> bytes:
            raise BlockingIOError

        def send(self, data: bytes) -> int:
            return len(data)

        def fileno(self) -> int:
            return 9

        def close(self) -> None:
            bound.append("closed")

    monkeypatch.setattr(socket, "socket", FakeSocket)
    transport = transports.parse("can:vcan0,0x123,0x124").open()
    assert (transport.read(), transport.write(b"abc"), transport.fileno()) == (b"", 3, 9)
    transport.close()
    assert bound == [(socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP), ("vcan0", 0x124, 0x123), "closed"]


def test_an_absent_can_interface_is_looked_for() -> None:
    with open_cart("can:does-not-exist0") as cart:
        assert kinds(list(cart.events())) == ["link-down"]


def test_a_serial_line_on_a_pseudo_terminal() -> None:
    far, near = os.openpty()
    os.set_blocking(far, False)
    transport = transports.SerialTransport(os.ttyname(near))
    try:
        assert transport.write(b"\0\x11\x13\n\0") == 5, "nothing of it is a control character"
        assert os.read(far, 100) == b"\0\x11\x13\n\0"
        os.write(far, b"\r\0\x03")
        assert transport.read() == b"\r\0\x03"
        os.close(near)
        os.close(far)
        with pytest.raises(OSError, match=r"gone|Input/output"):
            transport.read()
    finally:
        transport.close()
