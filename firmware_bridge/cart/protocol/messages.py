"""Types of the messages in `cart.cddl`; every value is checked when encoding and decoding.

Both ends accept only deterministic CBOR (RFC 8949, section 4.2), so that a message has one
encoding.
"""

from __future__ import annotations

from typing import Annotated, Any

import cbor2
import msgspec
from msgspec import Meta

PROTOCOL = 2

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]

NO_FRAME_AGE = 0xFFFF
"""`frame_age_ms` if there is no frame."""

# Codes of an acknowledgement.
DONE, SCHEMA, VERSION, GREET_FIRST, NOT_NEWER, UNKNOWN_STATE, REFUSED, TOO_OLD = range(8)

CODES = {
    DONE: "done",
    SCHEMA: "breaks the schema",
    VERSION: "different protocol version",
    GREET_FIRST: "no greeting yet",
    NOT_NEWER: "not newer than the last one",
    UNKNOWN_STATE: "unknown state",
    REFUSED: "overlay refused",
    TOO_OLD: "older than a lease",
}

OFF, GREEN, AMBER, RED, BLUE, WHITE = range(6)

RESET_CAUSES = ("unknown", "power", "pin", "watchdog", "software", "fault")

FAULTS = {
    0x01: "relay",
    0x02: "temperature",
    0x04: "supply",
    0x08: "heartbeat",
    0x10: "version",
    0x20: "events",
}
"""Bits of `Status.faults`, as core/route.h of the firmware defines them."""


class Message(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Base class of the messages that an envelope carries."""


class Hello(Message, frozen=True, tag=0):
    """Host: start the link; the route stays off until heartbeats and a lease arrive.

    Attributes:
        role: 0 for the runtime, 1 for a service tool, which may only observe.
        proto: Protocol version of the host.
        fw: Version of the host, 1 to 24 characters of printable ASCII.
    """

    role: Annotated[int, Meta(ge=0, le=1)]
    proto: U8
    fw: Annotated[str, Meta(pattern=r"^[ -~]{1,24}\Z")]


class Heartbeat(Message, frozen=True, tag=1):
    """Host: the frame loop made progress.

    Attributes:
        boot_id: That of the controller's last greeting.
        clock_ms: Clock of the controller at that progress, as the host estimates it
            (`firmware_bridge.cart.link.controller_clock`), modulo 2^32.
        state: Number of the runtime's state (`firmware_bridge.cart.link.states`).
        frame_age_ms: Age of the last processed frame; `NO_FRAME_AGE` without one.
    """

    boot_id: U32
    clock_ms: U32
    state: U8
    frame_age_ms: U16


class SetLamp(Message, frozen=True, tag=2):
    """Host: set the color of the lamp; `blink_ms` is its period, 0 is steady."""

    color: Annotated[int, Meta(ge=0, le=5)]
    blink_ms: Annotated[int, Meta(ge=0, le=10000)]


class SetRoute(Message, frozen=True, tag=3):
    """Host: select pass-through (0), or the overlay (1) for `lease_ms`.

    A lease counts from the clock of the last heartbeat.
    """

    route: Annotated[int, Meta(ge=0, le=1)]
    lease_ms: Annotated[int, Meta(ge=0, le=500)]


class Ack(Message, frozen=True, tag=4):
    """Both: the message with this sequence number arrived, with this result (`CODES`)."""

    ack_seq: U16
    code: Annotated[int, Meta(ge=0, le=7)]


class Greeting(Message, frozen=True, tag=5):
    """Controller: answer to a hello, also sent once at its start.

    Attributes:
        hw_rev: Revision of the board.
        reset_cause: Index into `RESET_CAUSES`.
        boot_id: A different number at each start.
        clock_ms: Clock of the controller, modulo 2^32.
    """

    hw_rev: U8
    reset_cause: Annotated[int, Meta(ge=0, le=5)]
    boot_id: U32
    clock_ms: U32


class ControllerStatus(Message, frozen=True, tag=6):
    """Controller: status, sent at each change and every 250 ms.

    Attributes:
        bypass: Whether the coil is off.
        relay_feedback: Whether the auxiliary contact reports overlay.
        temp_cc: Temperature in hundredths of a degree Celsius.
        supply_mv: Supply in millivolts.
        faults: Bits of `FAULTS`.
        drops: Number of invalid frames on the controller's link since its start.
        refused: Number of complete frames that held no valid message for it.
        clock_ms: Clock of the controller, modulo 2^32.
    """

    bypass: bool
    relay_feedback: bool
    temp_cc: Annotated[int, Meta(ge=-5500, le=15500)]
    supply_mv: Annotated[int, Meta(ge=0, le=60000)]
    faults: U16
    drops: U32
    refused: U32
    clock_ms: U32


class InputEvent(Message, frozen=True, tag=7):
    """Controller: a pedal event, repeated until it is acknowledged, for at most 5 s.

    Attributes:
        event_id: Counts from 0 at each start.
        source: Number of the pedal.
        edge: 1 for pressed, 0 for released.
        t_ms: Time on the controller's clock.
    """

    event_id: U32
    source: Annotated[int, Meta(ge=0, le=3)]
    edge: Annotated[int, Meta(ge=0, le=1)]
    t_ms: U32


class PowerFail(Message, frozen=True, tag=8):
    """Controller: the supply fails and holds for `holdup_ms`; repeated until it is acknowledged."""

    holdup_ms: U16


AnyMessage = (
    Hello
    | Heartbeat
    | SetLamp
    | SetRoute
    | Ack
    | Greeting
    | ControllerStatus
    | InputEvent
    | PowerFail
)


class Envelope(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A message with its protocol version and sequence number."""

    ver: U8
    seq: U16
    msg: AnyMessage


class SchemaError(ValueError):
    """Bytes or values that are not a message of the schema."""


class VersionError(SchemaError):
    """A message of a different protocol version.

    Args:
        version: Protocol version of the message.
    """

    def __init__(self, version: int) -> None:
        super().__init__(f"protocol {version}, this is protocol {PROTOCOL}")
        self.version = version


def encode(envelope: Envelope) -> bytes:
    """Encode a message as deterministic CBOR.

    Raises:
        SchemaError: A value is out of range or has the wrong type.
    """
    plain = msgspec.to_builtins(envelope)
    _checked(plain)
    return cbor2.dumps(plain)


def decode(payload: bytes) -> Envelope:
    """Decode the message in a payload.

    Raises:
        VersionError: It has a different protocol version; nothing else of it was read.
        SchemaError: It does not match the schema or is not deterministic CBOR.
    """
    try:
        plain = cbor2.loads(payload)
        spelled = cbor2.dumps(plain)
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise SchemaError(f"invalid CBOR: {error}") from error
    if not isinstance(plain, list) or len(plain) < 2 or not _is_number(plain[0]):
        raise SchemaError("no envelope")
    if plain[0] != PROTOCOL and _is_number(plain[1]):
        raise VersionError(plain[0])
    if spelled != payload:
        raise SchemaError("not in the shortest encoding")
    return _checked(plain)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0xFFFF


def _checked(plain: Any) -> Envelope:
    try:
        return msgspec.convert(plain, Envelope)
    except msgspec.ValidationError as error:
        raise SchemaError(str(error)) from error
