"""The runtime's side of the link with the controller's own application, on a test's cable."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.contracts import CartEvent, CartReport, PedalEvent
from edge.limits import BEAT_MAX_AGE_MS
from edge.status import Reason, ReasonKind, State, Status
from firmware_bridge.cart.link import session as s
from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame
from firmware_bridge.cart.simcart.controller import Controller

if TYPE_CHECKING:
    from collections.abc import Callable

RUNNING = Status(State.RUNNING, None, 0)


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
        self.reported: list[CartReport] = []
        self.controller.start(0x51, now_ms=self.now_ms)
        self.session.connect(self.now_ms)

    def run(self, milliseconds: int) -> list[CartReport]:
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
            if data := self.to_host(self.controller.read_output()):
                self.session.receive(data, self.now_ms)
            self.reported += self.session.pop_reports()
        return self.reported[before:]

    def until(self, condition: Callable[[], bool], limit_ms: int) -> int:
        began = self.now_ms
        while not condition():
            self.run(1)
            assert self.now_ms - began <= limit_ms
        return self.now_ms - began


class Held(list[bytes]):
    """A line that keeps what it is given."""

    def __call__(self, data: bytes) -> bytes:
        self.append(data)
        return b""


def nothing(data: bytes) -> bytes:
    return b""


def kinds(events: list[CartReport]) -> list[str]:
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
    cable.status = Status(State.DEGRADED, Reason(ReasonKind.CORRUPT, "corrupt"), 0)
    cable.run(20)
    assert cable.controller.lamp == m.AMBER
    assert cable.controller.contact
    cable.status = Status(State.BYPASS, Reason(ReasonKind.EXHAUSTED, "none"), 0)
    cable.run(20)
    assert cable.controller.lamp == m.RED
    assert not cable.controller.coil


def test_a_lost_lamp_is_sent_again(cable: Cable) -> None:
    cable.to_controller = nothing
    cable.status = Status(State.DEGRADED, Reason(ReasonKind.CORRUPT, "corrupt"), 0)
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


@pytest.mark.row(33, "what a dead host sent lies in a buffer and arrives later; host build")
@pytest.mark.parametrize("held_ms", [120, 200, 449, 700, 60_000])
def test_bytes_of_a_dead_host_show_nothing(cable: Cable, held_ms: int) -> None:
    line = Held()
    cable.to_controller = line
    cable.run(100)  # what the host sends before it dies
    died_ms, cable.beating = cable.now_ms, False
    cable.session.disconnect("the host is dead")
    cable.run(held_ms)
    assert not cable.controller.coil
    for piece in line:
        cable.controller.receive(piece)
        assert not cable.controller.coil
    cable.controller.advance(cable.now_ms)
    assert not cable.controller.coil, f"{cable.now_ms - died_ms} ms after the host's death"


@pytest.mark.row(33, "the buffer also holds a hello of the dead host; host build")
@pytest.mark.parametrize("held_ms", [200, 700])
def test_a_late_hello_makes_late_heartbeats_no_younger(cable: Cable, held_ms: int) -> None:
    line = Held()
    cable.to_controller = line
    cable.run(50)
    hello = frame(m.encode(m.Envelope(m.PROTOCOL, 0, m.Hello(role=0, proto=m.PROTOCOL, fw="dead"))))
    cable.beating = False
    cable.run(held_ms)
    for piece in [hello, *line]:
        cable.controller.receive(piece)
        assert not cable.controller.coil


@pytest.mark.parametrize("delay_ms", [1, 40, 90])
def test_on_a_slow_line_an_overlay_ends_as_early(cable: Cable, delay_ms: int) -> None:
    line: list[tuple[int, bytes]] = []

    def slow(data: bytes) -> bytes:
        line.append((cable.now_ms + delay_ms, data))
        due = [piece for at, piece in line if at <= cable.now_ms]
        del line[: len(due)]
        return b"".join(due)

    cable.to_controller = slow
    cable.run(300)
    assert cable.controller.coil
    last_ms = cable.now_ms - cable.now_ms % 16
    cable.beating = False
    cable.until(lambda: not cable.controller.coil, 200)
    assert cable.now_ms - last_ms <= 120


def test_a_line_that_was_held_up_comes_back_by_itself(cable: Cable) -> None:
    line = Held()
    cable.to_controller = line
    cable.run(300)
    for piece in line:
        cable.controller.receive(piece)
    cable.to_controller = lambda data: data
    cable.run(40)
    assert cable.session.up
    assert cable.controller.coil
    details = {event.detail for event in cable.reported if event.kind == "refused"}
    assert "the controller answers: older than a lease" in details


def test_an_old_heartbeat_is_not_sent() -> None:
    session = s.Session()
    session.connect(0)
    controller = Controller()
    controller.start(1, now_ms=0)
    controller.receive(session.poll(None, 0))
    session.receive(controller.read_output(), 0)
    assert session.up
    assert session.poll(s.Beat(RUNNING, 1.0, True, 100), 100 + BEAT_MAX_AGE_MS) == b""
    assert session.poll(s.Beat(RUNNING, 1.0, True, 100), 99 + BEAT_MAX_AGE_MS)


@pytest.mark.parametrize(
    ("age", "sent"), [(None, 65535), (0.4, 0), (21.7, 21), (1e9, 65534), (-3.0, 0)]
)
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
    for payload in (b"\x83\x02\x05\x82\x08\x20", b"\xa0", b"\x83\x02\x05\x83\x03\x01\x00"):
        cable.session.receive(frame(payload), cable.now_ms)
    assert cable.session.refused == 3
    assert cable.run(500) == []
    assert cable.controller.contact


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=90),
            st.binary(min_size=1, max_size=64).map(frame),
            st.tuples(
                st.integers(0, 255),
                st.integers(0, 65535),
                st.lists(st.integers(-1, 70000), max_size=8),
            ).map(lambda parts: frame(cbor2.dumps([parts[0] % 4, parts[1], parts[2]])[:64])),
        ),
        max_size=20,
    )
)
@pytest.mark.row(28, "arbitrary bytes, frames and lists in the controller's place")
def test_nothing_that_comes_breaks_the_host(pieces: list[bytes]) -> None:
    session = s.Session()
    session.connect(0)
    for now_ms, piece in enumerate(pieces):
        session.receive(piece, now_ms)
        beat = s.Beat(RUNNING, 20.0, True, now_ms)
        for payload in Deframer().feed(session.poll(beat, now_ms)):
            sent = m.decode(payload).msg
            assert session.up or isinstance(sent, m.Hello | m.Ack)


@pytest.mark.row(30, "a controller whose every envelope says the next protocol; host build")
def test_a_controller_of_another_version(cable: Cable) -> None:
    deframer, hellos = Deframer(), 0

    def newer(data: bytes) -> bytes:
        return b"".join(
            frame(payload[:1] + bytes([m.PROTOCOL + 1]) + payload[2:])
            for payload in deframer.feed(data)
        )

    def count(data: bytes) -> bytes:
        nonlocal hellos
        hellos += bool(data)
        return newer(data)

    cable.to_host, cable.to_controller = newer, count
    events = cable.run(5000)
    assert not cable.controller.coil
    assert kinds(events) == ["refused", "link-down"]
    assert "protocol 3, this is protocol 2; the picture stays in pass-through" in events[0].detail
    assert hellos < 30, "it is asked now and then"
    cable.to_host = cable.to_controller = lambda data: data
    assert kinds(cable.run(1500)) == ["link-up"]
    assert cable.controller.contact


@pytest.mark.row(31, "the controller is reset under a running host; host build")
@pytest.mark.parametrize("greeting_lost", [False, True])
def test_a_reset_controller_is_greeted_again(cable: Cable, greeting_lost: bool) -> None:
    cable.controller.start(0x52, cause=3)
    if greeting_lost:
        cable.controller.read_output()
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
            frame(payload)
            for payload in deframer.feed(data)
            if not isinstance(m.decode(payload).msg, m.Ack)
        )

    cable.to_controller = deaf
    press(cable, 2)
    cable.run(1000)
    cable.controller.inputs.pedals = 0
    cable.to_controller = lambda data: data
    cable.run(200)
    assert cable.reported[1:] == [
        PedalEvent(3, True),
        PedalEvent(3, False),
    ]


@pytest.mark.row(32, "an event is lost on the line, or comes twice; host build")
@pytest.mark.parametrize("fate", [0, 2])
def test_a_pedal_event_that_is_lost_or_doubled(cable: Cable, fate: int) -> None:
    until_ms = cable.now_ms + 150
    cable.to_host = lambda data: data * (fate if cable.now_ms < until_ms else 1)
    press(cable)
    cable.run(300)
    assert cable.reported[1:] == [PedalEvent(1, True)]


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
    assert [event.holdup_ms for event in events if isinstance(event, CartEvent)] == [3000]


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
