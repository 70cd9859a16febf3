"""The student's process, started by `edge.inference.process` with the arguments SOCKET MEMORY.

Both arguments are inherited file descriptors. The process ends with its parent, is the first that
the kernel kills when memory runs out, and only holds an engine, one image and one score map. It
enters its sandbox before it reads the bundle.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.engines.golden_picture import PictureError, decode_png
from edge.errors import EdgeDifomError, InferenceFault
from edge.inference.messages import (
    FRAME_BYTES,
    Begun,
    Damaged,
    Decoded,
    Failed,
    Picture,
    Ready,
    Refused,
    Undecodable,
    decode_picture,
    decode_spec,
    encode,
)
from edge.inference.score_check import damage
from edge.inference.shared_buffers import SharedBuffers
from edge.sandbox.enter import enter
from edge.status import ReasonKind
from edge.util.extras import resolve
from edge.util.machine_fault import machine_fault
from edge.util.process_env import configure_worker

if TYPE_CHECKING:
    from edge.contracts import Engine

_PR_SET_PDEATHSIG = 1
_MESSAGE_BYTES = 1 << 16


def main(arguments: list[str]) -> int:
    """Open the engine that the first message names, then score images until the socket closes.

    Args:
        arguments: File descriptors of the socket and of the memory, as strings.

    Returns:
        The exit code.
    """
    configure_worker()
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, fileno=int(arguments[0]))
    memory = int(arguments[1])
    with channel:
        spec = decode_spec(channel.recv(_MESSAGE_BYTES))
        _prepare_process()
        buffers = SharedBuffers(memory, spec.input_size, spec.output_size)
        try:
            factory = resolve(spec.factory)
            channel.send(encode(Begun(enter(spec.grants))))
            engine: Engine = factory(**spec.arguments)
            channel.send(encode(Ready(engine.name, engine.settings())))
            _serve(channel, engine, buffers, spec.output_size)
        except MemoryError:
            _report(channel, Failed(ReasonKind.MEMORY, "out of memory"))
            return 1
        # An engine may raise anything: report it, and the runtime starts a new process.
        except Exception as error:  # noqa: BLE001
            _report(channel, _describe(error))
            return error.exit_code if isinstance(error, EdgeDifomError) else 1
    return 0


def _describe(error: Exception) -> Failed | Refused:
    fault = machine_fault(error)
    if fault is not None:
        return Failed(ReasonKind.MACHINE, fault.text)
    if isinstance(error, EdgeDifomError):
        return Refused(error.exit_code, str(error))
    return Failed(ReasonKind.CRASH, f"{type(error).__name__}: {error}")


def _serve(
    channel: socket.socket, engine: Engine, buffers: SharedBuffers, output_size: tuple[int, int]
) -> None:
    while number := channel.recv(_MESSAGE_BYTES):
        if len(number) != FRAME_BYTES:
            channel.send(encode(_decode(decode_picture(number), buffers)))
            continue
        try:
            scores = engine.infer(buffers.input)
        except InferenceFault as fault:
            problem: str | None = fault.detail
        else:
            problem = damage(scores, output_size)
            if problem is None:
                np.copyto(buffers.output, scores)
        if problem is None:
            channel.send(number)
        else:
            channel.send(encode(Damaged(int.from_bytes(number, "little"), problem)))


def _decode(request: Picture, buffers: SharedBuffers) -> Decoded | Undecodable:
    into = buffers.input if request.kind == "RGB" else buffers.output
    height, width = into.shape[:2]
    try:
        picture = decode_png(
            buffers.file[: request.length].tobytes(), (height, width), request.kind
        )
    except PictureError as error:
        return Undecodable(str(error))
    np.copyto(into, picture)
    return Decoded()


def _prepare_process() -> None:
    """End with the parent, be the first to be killed, leave signals and stdout to the parent."""
    # A service manager signals every process of a service to end, but this process must live until
    # its parent kills it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # The parent's stdout may carry records, so keep the output of libraries away from it.
    if sys.stdout is not None and sys.stderr is not None:  # None: closed when Python started
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _report(channel: socket.socket, failed: Failed | Refused) -> None:
    with suppress(OSError):
        channel.send(encode(failed))


if __name__ == "__main__":
    status = main(sys.argv[1:])
    # Skip the interpreter's shutdown: an engine's destructor may hang.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)
