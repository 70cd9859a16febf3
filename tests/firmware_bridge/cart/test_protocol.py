"""Messages and frames: both codecs agree on what is one, and nothing else passes."""

from __future__ import annotations

import filecmp
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import PAYLOAD_MAX, Deframer, frame
from firmware_bridge.cart.simcart.controller import reencode, reframe

if TYPE_CHECKING:
    import random

ROOT = Path(__file__).parents[3]
CODEC = ROOT / "firmware_bridge" / "cart" / "firmware" / "codec"

U8, U16, U32 = st.integers(0, 0xFF), st.integers(0, 0xFFFF), st.integers(0, 0xFFFFFFFF)
TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=24)

MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(m.Hello, role=st.integers(0, 1), proto=U8, fw=TEXT),
    st.builds(m.Heartbeat, boot_id=U32, clock_ms=U32, state=U8, frame_age_ms=U16),
    st.builds(m.SetLamp, color=st.integers(0, 5), blink_ms=st.integers(0, 10000)),
    st.builds(m.SetRoute, route=st.integers(0, 1), lease_ms=st.integers(0, 500)),
    st.builds(m.Ack, ack_seq=U16, code=st.integers(0, 7)),
    st.builds(m.Greeting, hw_rev=U8, reset_cause=st.integers(0, 5), boot_id=U32, clock_ms=U32),
    st.builds(
        m.ControllerStatus,
        bypass=st.booleans(),
        relay_feedback=st.booleans(),
        temp_cc=st.integers(-5500, 15500),
        supply_mv=st.integers(0, 60000),
        faults=U16,
        drops=U32,
        refused=U32,
        clock_ms=U32,
    ),
    st.builds(
        m.InputEvent, event_id=U32, source=st.integers(0, 3), edge=st.integers(0, 1), t_ms=U32
    ),
    st.builds(m.PowerFail, holdup_ms=U16),
)
ENVELOPES = st.builds(m.Envelope, ver=st.just(m.PROTOCOL), seq=U16, msg=MESSAGES)


@given(ENVELOPES)
@settings(max_examples=200)
def test_c_reads_what_python_writes_and_python_what_c_writes(envelope: m.Envelope) -> None:
    payload = m.encode(envelope)
    assert len(payload) <= PAYLOAD_MAX
    again = reencode(payload)
    assert again == payload
    assert m.decode(again) == envelope


def mutated(payload: bytes, changes: list[tuple[int, int]], cut: int) -> bytes:
    data = bytearray(payload)
    for place, value in changes:
        data[place % len(data)] = value
    return bytes(data[: len(data) - cut] if cut >= 0 else data + bytes(-cut))


@given(
    ENVELOPES,
    st.lists(st.tuples(st.integers(0, 63), st.integers(0, 255)), max_size=3),
    st.integers(-2, 3),
)
@settings(max_examples=300)
@pytest.mark.row(29, "mutated messages; both codecs refuse the same ones")
def test_both_codecs_accept_the_same_bytes(
    envelope: m.Envelope, changes: list[tuple[int, int]], cut: int
) -> None:
    payload = mutated(m.encode(envelope), changes, cut)
    agree(payload)


@given(st.binary(min_size=1, max_size=PAYLOAD_MAX))
@settings(max_examples=300)
@example(bytes([0x83, m.PROTOCOL, 0xC2, 0x41, 5, 0x82, 8, 1]))  # a bignum in the place of a number
@example(bytes([0x83, m.PROTOCOL, 5, 0x83, 3, 1, 0xFB, 0x3F, 0xF0, 0, 0, 0, 0, 0, 0]))  # 1.0
@example(bytes([0x9F, m.PROTOCOL, 5, 0x82, 8, 1, 0xFF]))  # of indefinite length
@example(bytes([0x83, m.PROTOCOL, 5, 0x84, 0, 0, 1, 0x61, 0xC3]))  # no UTF-8
@example(bytes([0xD9, 0xD9, 0xF7, 0x83, m.PROTOCOL, 5, 0x82, 8, 1]))  # tagged as CBOR
@example(b"\x9b" + b"\xff" * 8)
@example(b"\x81" * 60)
def test_arbitrary_bytes_crash_neither_codec(payload: bytes) -> None:
    agree(payload)


def agree(payload: bytes) -> None:
    in_c = reencode(payload)
    try:
        in_python = m.decode(payload)
    except m.VersionError:
        assert payload[1] != m.PROTOCOL
    except m.SchemaError:
        assert in_c is None, payload.hex()
    else:
        assert in_c == payload, payload.hex()
        assert m.encode(in_python) == payload


@pytest.mark.parametrize(
    "message",
    [
        m.SetRoute(2, 0),
        m.SetRoute(1, 501),
        m.SetRoute(-1, 0),
        m.SetRoute(True, 0),
        m.Heartbeat(0, 1 << 32, 0, 0),
        m.Heartbeat(0, 0, 0, 16.5),  # type: ignore[arg-type] # what a caller gets wrong
        m.Hello(0, 1, ""),
        m.Hello(0, 1, "x" * 25),
        m.Hello(0, 1, "\n"),
        m.Ack(0, 8),
        m.ControllerStatus(False, False, -5501, 0, 0, 0, 0, 0),
        m.InputEvent(0, 4, 0, 0),
    ],
)
def test_a_value_out_of_its_range_is_never_sent(message: m.AnyMessage) -> None:
    with pytest.raises(m.SchemaError):
        m.encode(m.Envelope(m.PROTOCOL, 0, message))


@given(st.integers(0, 255).filter(lambda version: version != m.PROTOCOL), st.binary(max_size=20))
def test_another_version_is_named_whatever_its_message_is(version: int, message: bytes) -> None:
    with pytest.raises(m.VersionError) as caught:
        m.decode(cbor2.dumps([version, 5, message, "more"]))
    assert caught.value.version == version


@given(
    st.lists(st.binary(min_size=1, max_size=PAYLOAD_MAX), max_size=8),
    st.randoms(use_true_random=False),
)
def test_frames_come_out_as_they_went_in_whatever_the_pieces(
    payloads: list[bytes], generator: random.Random
) -> None:
    stream = b"".join(map(frame, payloads))
    deframer, at = Deframer(), 0
    payloads_read: list[bytes] = []
    while at < len(stream):
        size = generator.randint(1, 40)
        payloads_read += deframer.feed(stream[at : at + size])
        at += size
    assert payloads_read == payloads
    assert deframer.drops == 0
    assert reframe(stream) == (stream or None)


@given(st.binary(max_size=400), st.binary(min_size=1, max_size=PAYLOAD_MAX))
@pytest.mark.row(28, "arbitrary bytes before a frame, parsers of both sides")
def test_garbage_costs_no_frame_but_itself(garbage: bytes, payload: bytes) -> None:
    payloads_read = list(Deframer().feed(garbage + frame(payload)))
    assert payloads_read[-1:] == [payload]
    again = reframe(garbage + frame(payload))
    assert again is not None
    assert again.endswith(frame(payload))
    assert again == b"".join(map(frame, payloads_read))


@given(st.binary(min_size=1, max_size=PAYLOAD_MAX), st.integers(0, 600), st.integers(1, 255))
@pytest.mark.row(27, "one damaged byte in a frame, parsers of both sides")
def test_a_damaged_frame_is_dropped(payload: bytes, place: int, change: int) -> None:
    data = bytearray(frame(payload))
    data[1 + place % (len(data) - 2)] ^= change
    deframer = Deframer()
    assert list(deframer.feed(bytes(data))) == []
    assert deframer.drops >= 1
    assert reframe(bytes(data)) is None


@pytest.mark.parametrize("size", [0, PAYLOAD_MAX + 1])
def test_a_payload_has_a_length(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 64 bytes"):
        frame(bytes(size))


@pytest.mark.slow
def test_the_committed_codec_is_what_the_generator_writes(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    subprocess.run(
        ["sh", str(ROOT / "tools" / "make-codec.sh"), str(tmp_path)], check=True, env=environment
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == sorted(path.name for path in CODEC.iterdir())
    _, different, unreadable = filecmp.cmpfiles(tmp_path, CODEC, names, shallow=False)
    assert not different
    assert not unreadable
