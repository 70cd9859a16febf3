"""The link's thread and its transports: nothing blocks, and a lost connection loses nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from edge.contracts import CartLink, CartReport, PedalEvent
from edge.errors import UsageError
from edge.status import State, Status
from firmware_bridge.cart import connectors
from firmware_bridge.cart.connectors import open_cart
from firmware_bridge.cart.link import transports
from firmware_bridge.cart.link.cart import ThreadedCart
from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer
from firmware_bridge.cart.simcart.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RUNNING = Status(State.RUNNING, None, 0)


def kinds(events: list[CartReport]) -> list[str]:
    return [event.kind for event in events]


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
        self.events: list[CartReport] = []

    def serve_until(
        self, condition: Callable[[], bool], cart: CartLink, *, beating: bool = True
    ) -> None:
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
        if out := self.controller.read_output():
            self.end.send(out)


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    pair = Sockets()
    yield pair
    for end in pair.ends:
        end.close()


def test_the_thread_is_a_cart_link(sockets: Sockets) -> None:
    link = ThreadedCart(sockets)
    cart: CartLink = link
    with cart:
        far = Answering(sockets.ends[0])
        far.serve_until(lambda: far.controller.contact, cart)
        far.controller.inputs.pedals = 1
        far.serve_until(lambda: PedalEvent(1, True) in far.events, cart)
        assert kinds(far.events) == ["link-up", "pedal"]
        far.end.send(b"\0noise\0")
        far.serve_until(lambda: link.counters["drops"] == 1 and link.controller is not None, cart)
        assert link.controller is not None
        assert (link.controller.temp_cc, link.counters["controller_drops"]) == (2500, 0)
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
        "serial:/dev/x?bud=1",
        "can:can0?send=1",
        "sim:?a=1",
        "sim:pedal",
        "sim:1=fly",
    ],
)
def test_a_cart_that_there_is_not(text: str) -> None:
    with pytest.raises(UsageError):
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
    connectors.parse("can:vcan0?send=0x123&receive=292").open()
    assert bound.pop(1) == ("vcan0", 0x124, 0x123)
    bound.clear()
    transport = connectors.parse("can:vcan0,0x123,0x124").open()
    assert (transport.read(), transport.write(b"abc"), transport.fileno()) == (b"", 3, 9)
    transport.close()
    assert bound == [
        (socket.AF_CAN, socket.SOCK_DGRAM, socket.CAN_ISOTP),
        ("vcan0", 0x124, 0x123),
        "closed",
    ]


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
