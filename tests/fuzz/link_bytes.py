"""`python -m tests.fuzz.link_bytes`: many bytes in the controller's place, for the host's session.

As the firmware's fuzzer does for the other side: random bytes, whole frames of random bytes, real
messages, and damaged ones of these. Any exception ends it. Whatever came, an overlay is asked for
only while the link is up. Prints a record as JSON.
"""

from __future__ import annotations

import argparse
import random
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.status import State, Status
from firmware_bridge.cart.link.session import Beat, Session
from firmware_bridge.cart.protocol import messages as m
from firmware_bridge.cart.protocol.framing import PAYLOAD_MAX, Deframer, frame
from tests.fuzz.targets import CORPUS

if TYPE_CHECKING:
    from collections.abc import Sequence

RUNNING = Status(State.RUNNING, None, 0)
_CHECK_EVERY = 50
"""Batches between two looks at what the session sends; each look is slow."""


class LinkRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What was received.

    Attributes:
        bytes: Number of bytes.
        batches: Number of pieces.
        greeted: Times that the link came up.
        memory_mb: Growth of the process's memory, MiB.
        seconds: Time that it took.
    """

    bytes: int
    batches: int
    greeted: int
    memory_mb: float
    seconds: int


def _batch(chance: random.Random, known: Sequence[bytes], sequence: int) -> bytes:
    kind = chance.randrange(6)
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 4096))
    if kind == 1:
        return frame(chance.randbytes(chance.randrange(1, PAYLOAD_MAX)))
    envelope = m.decode(chance.choice(known))
    if chance.random() < 0.8:
        envelope = msgspec.structs.replace(envelope, seq=sequence & 0xFFFF)
    sent = bytearray(frame(m.encode(envelope)))
    if kind >= 4:
        sent[chance.randrange(len(sent))] = chance.randrange(256)
    return bytes(sent)


def _greeting(sequence: int) -> bytes:
    """What a controller answers, so that the link comes up now and then."""
    said = (
        m.Greeting(hw_rev=1, reset_cause=0, boot_id=7, clock_ms=5),
        m.Ack(ack_seq=sequence, code=m.DONE),
    )
    return b"".join(frame(m.encode(m.Envelope(m.PROTOCOL, 0, one))) for one in said)


def receive(count: int, seconds: float, seed: int) -> LinkRecord:
    """Receive bytes until there were enough, or the time is over."""
    chance, session = random.Random(seed), Session()
    known = [path.read_bytes() for path in sorted((CORPUS / "message").iterdir())]
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = batches = greeted = now_ms = 0
    session.connect(0)
    was_up, answer = False, b""
    while total < count and time.monotonic() - began < seconds:
        data, answer = answer or _batch(chance, known, batches), b""
        session.receive(data, now_ms)
        greeted += session.up and not was_up
        was_up = session.up
        if batches % _CHECK_EVERY == 0:
            for payload in Deframer().feed(session.poll(Beat(RUNNING, 20.0, True, now_ms), now_ms)):
                sent = m.decode(payload)
                assert session.up or isinstance(sent.msg, m.Hello | m.Ack), sent
                if isinstance(sent.msg, m.Hello):
                    answer = _greeting(sent.seq)
            list(session.pop_reports())
        total, batches, now_ms = total + len(data), batches + 1, now_ms + 40
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return LinkRecord(
        bytes=total,
        batches=batches,
        greeted=greeted,
        memory_mb=round(grown / 1024, 1),
        seconds=round(time.monotonic() - began),
    )


def main() -> None:
    """Receive what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.link_bytes", description=__doc__)
    parser.add_argument("--bytes", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the record; it is printed anyway")
    given = parser.parse_args()
    record = receive(given.bytes, 60 * given.minutes, given.seed)
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    sys.stdout.write(text.decode() + "\n")
    if given.out is not None:
        given.out.write_bytes(text + b"\n")


if __name__ == "__main__":
    main()
