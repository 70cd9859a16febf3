"""Messages between the runtime and the student's process, as msgpack over a socket pair.

A frame takes four bytes each way, its number; the image and the scores are in the shared buffers.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edge.status import ReasonKind  # noqa: TC001 - msgspec reads it at run time


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that a student's process runs.

    Attributes:
        factory: `"module:attribute"` of the function that opens the engine.
        arguments: Keyword arguments of that function, plain values.
        input_size: Height and width of the engine's input.
        output_size: Height and width of its score map.
        memory_mb: Address space in MiB that the process may add after its start; None sets no
            limit.
    """

    factory: str
    arguments: dict[str, Any]
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    memory_mb: int | None = None


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The process runs and has imported all it needs; from here on it handles the bundle."""


class Ready(msgspec.Struct, frozen=True, tag=True):
    """The engine is open.

    Attributes:
        name: Name of the engine.
        settings: Its effective settings.
    """

    name: str
    settings: dict[str, Any]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The engine died while it was opened or in a call; the process ends.

    Attributes:
        kind: `CRASH`, `MEMORY` or `MACHINE`.
        detail: The error.
    """

    kind: ReasonKind
    detail: str


class Refused(msgspec.Struct, frozen=True, tag=True):
    """The bundle or this machine does not allow the engine to open; the process ends.

    Attributes:
        error: Name of a class in `edge.errors`.
        detail: The error message.
    """

    error: str
    detail: str


class Damaged(msgspec.Struct, frozen=True, tag=True):
    """The engine's output for a frame is not a valid score map.

    Attributes:
        frame: Number of the frame.
        detail: What is wrong with the output.
    """

    frame: int
    detail: str


Answer = Begun | Ready | Refused | Failed | Damaged
FRAME_BYTES = 4
"""A message of this length is the number of a frame; every msgpack message is longer."""

encode = msgspec.msgpack.Encoder().encode
decode_spec = msgspec.msgpack.Decoder(EngineSpec).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
