"""What the runtime and the student's process say to each other, as msgpack over a socket pair.

A frame takes four bytes each way, its number; everything else is in the shared buffers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge.status import ReasonKind  # noqa: TC001 - msgspec reads it at run time


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a student's process is to run.

    Attributes:
        factory: `"module:attribute"` of what opens the engine.
        arguments: Its keyword arguments, plain values.
        input_size: Height and width of the engine's input.
        output_size: Height and width of its score map.
        memory_mb: Address space beyond what the process starts with, MiB; None sets no limit.
    """

    factory: str
    arguments: dict[str, Any]
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    memory_mb: int | None = None


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The engine is open.

    Attributes:
        name: Of the engine.
        settings: Its effective settings.
    """

    name: str
    settings: dict[str, Any]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The engine died while it was opened or in a call; the process ends.

    Attributes:
        kind: `CRASH` or `MEMORY`.
        detail: The error.
    """

    kind: ReasonKind
    detail: str


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The engine must not be opened, because of the bundle or of this machine; the process ends.

    Attributes:
        error: Name of a class of `edge.errors`.
        detail: Its message.
    """

    error: str
    detail: str


class Damaged(msgspec.Struct, frozen=True, tag=True):
    """What the engine gave for a frame cannot be scores.

    Attributes:
        frame: Number of the frame.
        detail: What is wrong with it.
    """

    frame: int
    detail: str


Answer = Ready | Refused | Failed | Damaged
FRAME_BYTES = 4
"""A message of so many bytes is the number of a frame; a message of msgpack is longer."""

encode = msgspec.msgpack.Encoder().encode
decode_spec = msgspec.msgpack.Decoder(EngineSpec).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
