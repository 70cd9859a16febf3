"""Messages between the runtime and the student's process, as msgpack over a socket pair.

A frame takes four bytes each way, its number; images, scores and files are in the shared buffers.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from edge.sandbox.grants import Grants, Sandbox
from edge.status import ReasonKind  # noqa: TC001 - msgspec reads it at run time


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """The engine that a student's process runs.

    Attributes:
        factory: `"module:attribute"` of the function that opens the engine.
        arguments: Keyword arguments of that function, plain values.
        input_size: Height and width of the engine's input.
        output_size: Height and width of its score map.
        grants: What the process may use.
        scratch: Whether the engine writes temporary files while it opens; the process then gets an
            empty folder for them.
    """

    factory: str
    arguments: dict[str, Any]
    input_size: tuple[int, int]
    output_size: tuple[int, int]
    grants: Grants = Grants()
    scratch: bool = False


class Begun(msgspec.Struct, frozen=True, tag=True):
    """The process runs in its sandbox; from here on it handles the bundle.

    Attributes:
        sandbox: The parts of the sandbox that this kernel applied.
    """

    sandbox: Sandbox = Sandbox()


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
        exit_code: That of the error's class in `edge.errors`, which tells the classes apart.
        detail: The error message.
    """

    exit_code: int
    detail: str


class Damaged(msgspec.Struct, frozen=True, tag=True):
    """The engine's output for a frame is not a valid score map.

    Attributes:
        frame: Number of the frame.
        detail: What is wrong with the output.
    """

    frame: int
    detail: str


class Picture(msgspec.Struct, frozen=True, tag=True):
    """Asks the process to decode a golden picture: a frame into the input, scores into the output.

    Attributes:
        length: Bytes of the file in the shared buffers.
        kind: Colors of the picture; `RGB` is a frame, `gray` scores.
    """

    length: int
    kind: Literal["gray", "RGB"]


class Decoded(msgspec.Struct, frozen=True, tag=True):
    """Answer to a `Picture`: it is in the shared buffers."""


class Undecodable(msgspec.Struct, frozen=True, tag=True):
    """Answer to a `Picture` that is none.

    Attributes:
        detail: What it is instead.
    """

    detail: str


Answer = Begun | Ready | Refused | Failed | Damaged | Decoded | Undecodable
FRAME_BYTES = 4
"""A message of this length is the number of a frame; every msgpack message is longer."""

encode = msgspec.msgpack.Encoder().encode
decode_spec = msgspec.msgpack.Decoder(EngineSpec).decode
decode_picture = msgspec.msgpack.Decoder(Picture).decode
decode_answer = msgspec.msgpack.Decoder(Answer).decode
