"""The controller's application with an injected clock: its actions, to the millisecond."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import Deframer, frame
from tests.support.cart import Cart

if TYPE_CHECKING:
    from collections.abc import Sequence

PAUSED, DEGRADED = 4, 5
RELAY, HOT, SUPPLY, HEARTBEAT, VERSION, EVENTS = (1 << bit for bit in range(6))


@pytest.fixture(params=[1000, 0xFFFFFF00], ids=["", "clock wraps"])
def cart(request: pytest.FixtureRequest) -> Cart:
    return Cart(now_ms=request.param)


def codes(cart: Cart) -> list[int]:
    return [ack.code for ack in cart.heard_of(m.Ack)]


def test_overlay_needs_a_greeting_a_heartbeat_and_a_lease(cart: Cart) -> None:
    cart.run(20)
    assert not cart.controller.coil
    cart.say(cart.heartbeat())
    cart.run(5)
    assert not cart.controller.coil
    cart.say(m.SetRoute(1, 120))
    assert cart.until("coil", True) == 0
    assert codes(cart) == [m.DONE, m.DONE]


def test_a_lease_without_a_heartbeat_is_refused(cart: Cart) -> None:
    cart.say(m.SetRoute(1, 120))
    assert codes(cart) == [m.REFUSED]
    assert not cart.controller.coil


@pytest.mark.row(33, "heartbeats and leases stop; host build, injected clock")
def test_a_lease_runs_out_after_120_ms(cart: Cart) -> None:
    cart.beat()
    assert cart.controller.coil
    assert cart.until("coil", False) == pytest.approx(120, abs=1)


@pytest.mark.row(26, "no byte reaches the controller any more; host build, injected clock")
@pytest.mark.parametrize("contact_ms", [0, 10, 49])
def test_a_lost_heartbeat_opens_the_relay_by_500_ms(cart: Cart, contact_ms: int) -> None:
    cart.controller.inputs.contact_ms = contact_ms
    cart.beat(lease_ms=500)
    began = cart.now_ms
    cart.until("contact", True)
    cart.until("coil", False)
    assert cart.now_ms - began == pytest.approx(450, abs=1)
    cart.until("contact", False)
    assert cart.now_ms - began == pytest.approx(450 + contact_ms, abs=1)
    assert cart.now_ms - began <= 500
    assert cart.controller.faults == HEARTBEAT
    assert cart.heard_of(m.ControllerStatus)[-1].bypass


def test_leases_alone_do_not_outlive_the_heartbeat(cart: Cart) -> None:
    cart.beat()
    began = cart.now_ms
    while cart.controller.coil:
        cart.say(m.SetRoute(1, 120))
        cart.controller.advance(cart.now_ms + 1)
    assert cart.now_ms - began == pytest.approx(120, abs=1)


@pytest.mark.parametrize(("age_ms", "code"), [(119, m.DONE), (120, m.TOO_OLD), (5000, m.TOO_OLD)])
def test_a_heartbeat_older_than_a_lease_is_refused(cart: Cart, age_ms: int, code: int) -> None:
    cart.say(cart.heartbeat(age_ms=age_ms), m.SetRoute(1, 120))
    assert codes(cart) == [code, m.DONE if code == m.DONE else m.REFUSED]
    assert cart.controller.coil is (code == m.DONE)
    cart.run(1)
    assert not cart.controller.coil, "the lease counts from the heartbeat's own time"


@pytest.mark.parametrize(("ahead_ms", "code"), [(60, m.DONE), (61, m.TOO_OLD)])
def test_a_heartbeat_of_the_future_makes_no_longer_lease(
    cart: Cart, ahead_ms: int, code: int
) -> None:
    cart.say(cart.heartbeat(age_ms=-ahead_ms), m.SetRoute(1, 120))
    assert codes(cart)[0] == code
    if code == m.DONE:
        assert cart.until("coil", False) == pytest.approx(120, abs=1)
    assert not cart.controller.coil


def test_a_heartbeat_from_before_a_reset_is_refused(cart: Cart) -> None:
    """A heartbeat for the controller before its reset is refused."""
    cart.boot_id += 1
    cart.say(cart.heartbeat(), m.SetRoute(1, 120))
    assert codes(cart) == [m.GREET_FIRST, m.REFUSED]
    assert not cart.controller.coil


def test_a_lease_held_up_behind_its_heartbeat_is_refused(cart: Cart) -> None:
    cart.say(cart.heartbeat())
    cart.run(120)
    cart.heard()
    cart.say(m.SetRoute(1, 120))
    assert codes(cart) == [m.REFUSED]
    assert not cart.controller.coil


def test_a_heartbeat_alone_does_not_close_it_again(cart: Cart) -> None:
    cart.beat()
    cart.run(600)
    cart.say(cart.heartbeat())
    cart.run(20)
    assert not cart.controller.coil
    cart.say(m.SetRoute(1, 120))
    assert cart.until("coil", True) == 0


@pytest.mark.parametrize("state", [0, 1, 2, PAUSED, 6, 7, 255])
def test_states_without_a_mask_and_unknown_ones_are_pass_through(cart: Cart, state: int) -> None:
    cart.beat()
    cart.heard()
    cart.beat(state)
    assert not cart.controller.coil
    assert codes(cart) == [m.DONE if state < 7 else m.UNKNOWN_STATE, m.REFUSED]


def test_degraded_may_show_a_mask(cart: Cart) -> None:
    cart.beat(DEGRADED)
    assert cart.controller.coil


def test_pass_through_is_done_at_once(cart: Cart) -> None:
    cart.beat()
    cart.say(m.SetRoute(0, 0))
    assert not cart.controller.coil


@pytest.mark.row(30, "an envelope of the next protocol, and a hello that asks for it; host build")
@pytest.mark.parametrize("in_hello", [False, True])
def test_another_version_is_pass_through_and_says_so(cart: Cart, in_hello: bool) -> None:
    cart.beat()
    cart.heard()
    if in_hello:
        cart.say(m.Hello(role=0, proto=m.PROTOCOL + 1, fw="next"))
    else:
        cart.say(cart.heartbeat(), ver=m.PROTOCOL + 1)
    assert not cart.controller.coil
    assert codes(cart) == [m.VERSION]
    cart.beat()
    assert codes(cart) == [m.GREET_FIRST, m.GREET_FIRST]
    cart.run(5)
    assert not cart.controller.coil
    assert cart.controller.faults == VERSION
    cart.say(m.Hello(role=0, proto=m.PROTOCOL, fw="back"))
    cart.beat()
    assert cart.until("coil", True) == 0
    assert not cart.controller.faults


@pytest.mark.row(30, "an envelope of the next protocol whose message nobody here knows; host build")
def test_a_message_of_the_future_is_answered_by_its_number(cart: Cart) -> None:
    cart.controller.receive(frame(bytes([0x84, m.PROTOCOL + 1, 0x18, 99, 0xA0, 0x61, 0x78])))
    assert [(ack.ack_seq, ack.code) for ack in cart.heard_of(m.Ack)] == [(99, m.VERSION)]


@pytest.mark.row(
    29, "whole frames with values out of range, of other types, of the other direction; host build"
)
@pytest.mark.parametrize(
    "payload",
    [
        bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 2, 0x18, 120]),  # a route that there is not
        bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 1, 0x19, 0x01, 0xF5]),  # a lease of 501 ms
        bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 1, 0xF5]),  # true
        bytes([0x83, m.PROTOCOL, 5, 0x82, 3, 1]),  # too short
        bytes([0x83, m.PROTOCOL, 5, 0x84, 3, 1, 1, 1]),  # too long
        bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 1, 0x18, 1]),  # not the shortest spelling
        bytes([0x83, m.PROTOCOL, 5, 0x82, 8, 1]),  # power_fail, which is the controller's to say
        bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 1, 0x18, 120, 0]),  # something behind it
        bytes([0x83, m.PROTOCOL, 5, 0x84, 0, 0, m.PROTOCOL, 0x61, 0x0A]),  # a hello of a line feed
    ],
)
def test_what_breaks_the_schema_is_answered_counted_and_ignored(cart: Cart, payload: bytes) -> None:
    cart.beat()
    cart.heard()
    cart.sequence = 50
    cart.controller.receive(frame(payload))
    assert [(ack.ack_seq, ack.code) for ack in cart.heard_of(m.Ack)] == [(5, m.SCHEMA)]
    assert cart.controller.refused == 1
    assert cart.controller.coil
    cart.beat()
    assert codes(cart) == [m.DONE, m.DONE]


def test_without_even_a_number_nothing_is_answered(cart: Cart) -> None:
    for payload in (b"\xa0", b"\x83\x01", b"\xff\xff\xff", b"\x83\x1a\x00\x00\x00\x01\x05\xa0"):
        cart.controller.receive(frame(payload))
    assert cart.heard() == []
    assert cart.controller.refused == 4


def test_a_message_that_was_held_up_extends_no_lease(cart: Cart) -> None:
    cart.beat()
    old = cart.sequence - 1
    cart.run(100)
    cart.heard()
    cart.controller.receive(frame(m.encode(m.Envelope(m.PROTOCOL, old, m.SetRoute(1, 120)))))
    assert codes(cart) == [m.NOT_NEWER]
    assert cart.until("coil", False) == pytest.approx(20, abs=1)


def test_sequence_numbers_wrap(cart: Cart) -> None:
    for start in (0x7000, 0xE000, 0x1_4000, 0x1_C000):
        cart.sequence = start
        cart.beat()
    assert codes(cart) == [m.DONE] * 8


@pytest.mark.row(31, "reset of the controller while the overlay is on; host build")
def test_a_reset_opens_the_relay_and_greets_with_another_boot_id(cart: Cart) -> None:
    cart.beat()
    cart.until("contact", True)
    cart.heard()
    cart.start(8, cause=3)
    assert not cart.controller.coil
    (greeting,) = cart.heard_of(m.Greeting)
    assert (greeting.boot_id, greeting.reset_cause) == (8, 3)
    cart.beat()
    assert codes(cart) == [m.GREET_FIRST, m.GREET_FIRST]
    cart.run(100)
    assert not cart.controller.contact


def test_a_hello_ends_what_the_host_before_it_had(cart: Cart) -> None:
    cart.beat()
    cart.say(m.Hello(role=0, proto=m.PROTOCOL, fw="again"))
    assert not cart.controller.coil


def test_a_service_tool_only_looks_on(cart: Cart) -> None:
    cart.say(m.Hello(role=1, proto=m.PROTOCOL, fw="tool"))
    assert cart.heard_of(m.Greeting)
    cart.beat()
    assert codes(cart) == [m.GREET_FIRST, m.GREET_FIRST]
    cart.run(300)
    assert cart.heard_of(m.ControllerStatus)


def test_status_every_250_ms(cart: Cart) -> None:
    cart.run(2500)
    assert len(cart.heard_of(m.ControllerStatus)) == 10


@pytest.mark.parametrize("stuck", [0, 1])
def test_a_relay_that_does_not_follow_is_a_fault(cart: Cart, stuck: int) -> None:
    cart.run(100, beating=True)
    cart.controller.inputs.stuck = stuck
    if stuck:
        cart.say(m.SetRoute(0, 0))
    began = cart.now_ms
    while not cart.controller.faults & RELAY:
        cart.controller.advance(cart.now_ms + 1)
        if not stuck:
            cart.beat()
        assert cart.now_ms - began < 100
    assert cart.now_ms - began == pytest.approx(50, abs=1)
    assert not cart.controller.coil
    cart.controller.inputs.stuck = -1
    cart.run(200, beating=True)
    assert not cart.controller.coil, "it stays open until the next start"


@pytest.mark.row(23, "the controller's own sensor over its limit; host build")
def test_temperature_has_hysteresis(cart: Cart) -> None:
    for temperature, overlay in (
        (8499, True),
        (8500, False),
        (7600, False),
        (7500, True),
        (2**31 - 1, False),
    ):
        cart.controller.inputs.temperature_cc = temperature
        cart.run(40, beating=True)
        assert cart.controller.coil is overlay, temperature
    status = cart.heard_of(m.ControllerStatus)[-1]
    assert (status.temp_cc, status.faults) == (15500, HOT)


def test_power_fail_is_told_also_where_a_message_comes_first(cart: Cart) -> None:
    cart.controller.inputs.supply_mv = 8999
    cart.beat()
    cart.run(1)
    assert len(cart.heard_of(m.PowerFail)) == 1


def test_power_fail_is_told_until_it_is_acknowledged(cart: Cart) -> None:
    cart.run(40, beating=True)
    cart.heard()
    cart.controller.inputs.supply_mv = 8999
    cart.run(1)
    assert not cart.controller.coil
    cart.run(200)
    numbers = []
    for payload in Deframer().feed(cart.controller.read_output()):
        envelope = m.decode(payload)
        if isinstance(envelope.msg, m.PowerFail):
            assert envelope.msg.holdup_ms == 3000
            numbers.append(envelope.seq)
    assert len(numbers) == 5
    assert len(set(numbers)) == 1
    cart.say(m.Ack(numbers[0], 0))
    cart.run(200)
    assert not cart.heard_of(m.PowerFail)
    cart.controller.inputs.supply_mv = 12000
    cart.run(20)
    cart.controller.inputs.supply_mv = 8000
    cart.run(5)
    assert len(cart.heard_of(m.PowerFail)) == 1


def events(cart: Cart, milliseconds: int = 1) -> list[tuple[int, m.InputEvent]]:
    cart.run(milliseconds)
    envelopes = [m.decode(payload) for payload in Deframer().feed(cart.controller.read_output())]
    return [
        (envelope.seq, envelope.msg)
        for envelope in envelopes
        if isinstance(envelope.msg, m.InputEvent)
    ]


def test_a_pedal_is_debounced(cart: Cart) -> None:
    for i in range(31):
        cart.controller.inputs.pedals = i % 2
        assert not events(cart, 5)
    cart.controller.inputs.pedals = 1
    assert not events(cart, 19)
    ((_, event),) = events(cart, 5)
    assert (event.event_id, event.source, event.edge) == (0, 0, 1)


@pytest.mark.row(32, "acknowledgements of a pedal's events are lost, then come; host build")
def test_pedal_events_come_in_order_until_each_is_acknowledged(cart: Cart) -> None:
    cart.controller.inputs.pedals = 2
    cart.run(30)
    cart.controller.inputs.pedals = 0
    events_read = events(cart, 270)
    assert {event.event_id for _, event in events_read} == {0}
    assert len(events_read) == 6
    assert len({sequence for sequence, _ in events_read}) == 1
    cart.say(m.Ack(events_read[0][0], 0))
    events_read = events(cart, 5)
    assert [(event.event_id, event.source, event.edge) for _, event in events_read] == [(1, 1, 0)]
    cart.say(m.Ack(events_read[0][0] + 1, 0))  # of nothing
    cart.say(m.Ack(events_read[0][0], 0))
    assert not events(cart, 200)


def test_no_two_messages_have_one_number(cart: Cart) -> None:
    cart.controller.inputs.pedals = 1
    cart.controller.inputs.supply_mv = 8000
    cart.run(400, beating=True)
    kinds: dict[int, set[str]] = {}
    for payload in Deframer().feed(cart.controller.read_output()):
        envelope = m.decode(payload)
        kinds.setdefault(envelope.seq, set()).add(type(envelope.msg).__name__)
    assert {"InputEvent", "PowerFail", "ControllerStatus"} <= set.union(*kinds.values())
    assert all(len(messages) == 1 for messages in kinds.values())


def test_a_full_queue_keeps_the_newest_and_says_so(cart: Cart) -> None:
    for i in range(20):
        cart.controller.inputs.pedals = i % 2
        cart.run(25)
    assert cart.controller.faults & EVENTS
    assert not cart.controller.faults & ~(EVENTS | HEARTBEAT)
    cart.heard()
    ids = []
    while events_read := events(cart, 51):
        ids.append(events_read[0][1].event_id)
        cart.say(m.Ack(events_read[0][0], 0))
    assert ids == list(range(3, 19))


def test_an_event_that_nobody_takes_for_5_s_is_given_up_and_told(cart: Cart) -> None:
    cart.controller.inputs.pedals = 1
    cart.run(30)
    cart.heard()
    while not cart.controller.faults & EVENTS:
        cart.run(1)
    assert cart.now_ms == pytest.approx(cart.began_ms + 21 + 5000, abs=1)
    cart.heard()
    assert not events(cart, 200)
    cart.controller.inputs.pedals = 0
    ((sequence, event),) = events(cart, 30)
    assert (event.event_id, event.edge) == (1, 0)
    cart.say(m.Ack(sequence, 0))
    assert not cart.controller.faults & EVENTS


def test_a_press_before_the_greeting_is_no_event() -> None:
    cart = Cart(greet=False)
    cart.controller.inputs.pedals = 1
    cart.run(50)
    cart.say(m.Hello(role=0, proto=m.PROTOCOL, fw="late"))
    assert not events(cart, 50)


def test_the_lamp(cart: Cart) -> None:
    def colors(milliseconds: int = 1000) -> set[int]:
        colors_seen = set()
        for i in range(milliseconds):
            if i % 100 == 0 and beating:
                cart.say(cart.heartbeat())
            cart.run(1)
            colors_seen.add(cart.controller.lamp)
        return colors_seen

    beating = False
    assert colors() == {m.AMBER, m.OFF}, "waiting for the host"
    beating = True
    cart.say(cart.heartbeat(), m.SetLamp(m.GREEN, 0))
    assert colors() == {m.GREEN}
    cart.say(m.SetLamp(m.BLUE, 200))
    assert colors() == {m.BLUE, m.OFF}
    beating = False
    cart.run(450)
    assert colors() == {m.RED, m.OFF}, "the host fell silent"


def legal_overlay(history: Sequence[tuple[int, str]], now_ms: int) -> bool:
    """Whether overlay is permitted: greeted, a heartbeat within 450 ms, a lease within 120 ms."""
    greeted = max((at for at, what in history if what == "hello"), default=None)
    return greeted is not None and all(
        any(what == kind and now_ms - limit <= at and at >= greeted for at, what in history)
        for kind, limit in (("beat", 450), ("lease", 120))
    )


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["hello", "beat", "lease", "off", "stop", "noise", "reset", "future", "hot", "cool"]
            ),
            st.integers(0, 200),
        ),
        max_size=40,
    )
)
def test_overlay_only_ever_with_everything_in_order(steps: list[tuple[str, int]]) -> None:
    cart = Cart(greet=False)
    history: list[tuple[int, str]] = []
    for what, wait_ms in steps:
        if what == "hello":
            cart.say(m.Hello(role=0, proto=m.PROTOCOL, fw="x"))
        elif what == "beat":
            cart.say(cart.heartbeat())
        elif what == "lease":
            cart.say(m.SetRoute(1, 120))
        elif what == "off":
            cart.say(m.SetRoute(0, 0))
        elif what == "stop":
            cart.say(cart.heartbeat(6))
        elif what == "noise":
            cart.controller.receive(random.Random(wait_ms).randbytes(50))
        elif what == "reset":
            cart.start(cart.now_ms)
            history.clear()
        elif what == "future":
            cart.say(cart.heartbeat(), ver=9)
            history.clear()
        else:
            cart.controller.inputs.temperature_cc = 9000 if what == "hot" else 2000
        if what in ("off", "stop"):
            assert not cart.controller.coil
            history = [(at, kind) for at, kind in history if kind != "lease"]
        history.append((cart.now_ms, what))
        for _ in range(wait_ms):
            assert not cart.controller.coil or legal_overlay(history, cart.now_ms)
            cart.controller.advance(cart.now_ms + 1)
            assert not cart.controller.coil or cart.controller.inputs.temperature_cc < 8500
        cart.controller.read_output()
