"""An engine in a separate process, with a time limit for each answer."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from edge.engines.golden_picture import PictureError
from edge.errors import BundleError, EdgeDifomError, InferenceFault
from edge.inference.messages import (
    FRAME_BYTES,
    Answer,
    Begun,
    Damaged,
    Decoded,
    EngineSpec,
    Failed,
    Picture,
    Ready,
    Refused,
    Undecodable,
    decode_answer,
    encode,
)
from edge.inference.shared_buffers import SharedBuffers, open_anonymous_memory
from edge.limits import INFERENCE_TIMEOUT_MS
from edge.status import ReasonKind
from edge.util.python_child import python_command

if TYPE_CHECKING:
    from edge.engines.golden_picture import PictureKind
    from edge.frame import ImageU8
    from edge.sandbox.grants import Sandbox

HANG_MS = 1000.0
"""Waiting time after which a process counts as hung; before, it counts as late.

A machine that is short of CPU time makes answers late without any hang.
"""

START_S = 60.0
"""Maximum time to open an engine, including compilation."""

_Reply = Begun | Ready | Refused | Decoded | Undecodable | bytes
_ERRORS = {kind.exit_code: kind for kind in EdgeDifomError.__subclasses__()}
_MESSAGE_BYTES = 1 << 16
_DYING_S = 0.05
"""Time within which a process with a closed socket must end, or it only closed its socket."""
_PEEK = os.WEXITED | os.WNOHANG | os.WNOWAIT


class ProcessEngine:
    """An `edge.contracts.Engine` in a process that may hang or die.

    The constructor starts the process, which opens the engine; call `wait_ready` before anything
    else. The calling thread must outlive the process, because the kernel ends a child together with
    the thread that started it.

    Args:
        spec: The engine to open.
        timeout_ms: Maximum time for the scores of a frame.
        hang_ms: Time spent waiting for one answer, over several frames, after which the process
            counts as hung.

    Attributes:
        input_buffer: (H, W, 3) uint8 shared memory; an image written here is not copied by `infer`.
        sandbox: What this kernel applied of the process's sandbox; None before it has begun.

    Raises:
        OSError: No process can be started.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        timeout_ms: float = INFERENCE_TIMEOUT_MS,
        hang_ms: float = HANG_MS,
    ) -> None:
        self.name, self.input_size, self.started_s = "", spec.input_size, 0.0
        self.timeout_ms, self.hang_ms = timeout_ms, hang_ms
        self._settings: dict[str, Any] = {}
        self._number, self._waited_ms, self._reply_pending, self._closed = 0, 0.0, False, False
        self._begun, self.sandbox = False, cast("Sandbox | None", None)
        self._scratch = ""
        with ExitStack() as failed, ExitStack() as handed:
            variables = {"OPENBLAS_NUM_THREADS": "1"}
            if spec.scratch:
                self._scratch = variables["TMPDIR"] = tempfile.mkdtemp(prefix="edge-difom-")
                failed.callback(self._remove_scratch)
                grants = spec.grants
                writes = [*grants.writes, self._scratch]
                grants = msgspec.structs.replace(grants, writes=writes)
                spec = msgspec.structs.replace(spec, grants=grants)
            self._channel, worker_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            failed.callback(self._channel.close)
            handed.callback(worker_end.close)
            memory = open_anonymous_memory()
            handed.callback(os.close, memory)
            self._buffers = SharedBuffers(memory, spec.input_size, spec.output_size)
            self.input_buffer = self._buffers.input
            self._channel.send(encode(spec))
            self._began = time.monotonic()
            self._child = subprocess.Popen(
                python_command("edge.inference.worker", str(worker_end.fileno()), str(memory)),
                pass_fds=(worker_end.fileno(), memory),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
                # numpy would start one thread per core for linear algebra that is never used, and
                # threads that run already are outside a sandbox.
                env={**os.environ, **variables},
            )
            failed.pop_all()

    @property
    def pid(self) -> int:
        """Process ID of the child."""
        return self._child.pid

    def wait_ready(self, start_s: float = START_S) -> None:
        """Wait until the engine is open.

        Args:
            start_s: Maximum time, including compilation.

        Raises:
            InferenceFault: The process hung or died; `MACHINE` if it did so before it handled the
                bundle.
            EdgeDifomError: The error that the engine raised while it opened, often a `BundleError`.
        """
        end = time.monotonic() + start_s
        reply: _Reply = Begun()
        while isinstance(reply, Begun):
            if not self._readable(1000 * max(0.0, end - time.monotonic())):
                raise InferenceFault(
                    ReasonKind.HANG if self._begun else ReasonKind.MACHINE,
                    f"the student's process was not ready within {start_s:g} s",
                )
            reply = self._receive()
            self._begun = True
            if isinstance(reply, Begun):
                self.sandbox = reply.sandbox
        self._remove_scratch()
        if isinstance(reply, Refused):
            raise _ERRORS.get(reply.exit_code, BundleError)(reply.detail)
        if not isinstance(reply, Ready):
            raise InferenceFault(ReasonKind.CRASH, f"the student's process began with {reply!r}")
        self.name, self._settings = reply.name, reply.settings
        self.started_s = time.monotonic() - self._began

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call.

        Raises:
            InferenceFault: `late` and `damaged` lose only this frame; after `hang`, `crash` or
                `memory` only `close` is possible.
        """
        left_ms = self._discard_late()
        self._number = (self._number + 1) % (1 << 32)
        if image is not self.input_buffer:
            np.copyto(self.input_buffer, image, casting="no")
        number = self._number.to_bytes(FRAME_BYTES, "little")
        reply = self._request(number, left_ms)
        if reply != number:
            raise self._nonsense(reply)
        return self._buffers.output

    def decode_png(self, data: bytes, size: tuple[int, int], kind: PictureKind) -> ImageU8:
        """Decode a golden picture in the process, as `edge.engines.golden_picture.decode_png`.

        Raises:
            PictureError: It is no such picture, or far larger than it need be.
            InferenceFault: As in `infer`.
        """
        into: ImageU8 = self._buffers.input if kind == "RGB" else self._buffers.output
        if into.shape[:2] != size or len(data) > len(self._buffers.file):
            raise PictureError(f"{len(data)} bytes for {into.shape[1]}x{into.shape[0]} pixels")
        left_ms = self._discard_late()
        self._buffers.file[: len(data)] = np.frombuffer(data, np.uint8)
        reply = self._request(encode(Picture(len(data), kind)), left_ms)
        if isinstance(reply, Undecodable):
            raise PictureError(reply.detail)
        if not isinstance(reply, Decoded):
            raise self._nonsense(reply)
        picture: ImageU8 = into.copy()
        return picture

    def settings(self) -> dict[str, Any]:
        """Effective settings as the runtime reported them."""
        return dict(self._settings)

    def kill(self) -> None:
        """Kill the process and its children; a thread waiting for an answer gets a fault."""
        if not self._closed:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the process and release it without waiting for its end."""
        if self._closed:
            return
        self.kill()
        self._closed = True
        self._channel.close()
        threading.Thread(target=self._reap, name="reaper", daemon=True).start()

    def _reap(self) -> None:
        self._child.wait()
        self._remove_scratch()

    def _remove_scratch(self) -> None:
        if self._scratch:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _discard_late(self) -> float:
        """Wait for the late answer to an older frame; return the time that is left, ms."""
        if not self._reply_pending:
            return self.timeout_ms
        begin = time.monotonic()
        self._answer(self.timeout_ms)
        return max(0.0, self.timeout_ms - 1000 * (time.monotonic() - begin))

    def _request(self, message: bytes, timeout_ms: float) -> _Reply:
        try:
            self._channel.send(message)
        except OSError:
            raise self._death() from None
        self._reply_pending, self._waited_ms = True, 0.0
        return self._answer(timeout_ms)

    def _nonsense(self, reply: _Reply) -> InferenceFault:
        return InferenceFault(ReasonKind.CRASH, f"the student's process answered {reply!r}")

    def _answer(self, timeout_ms: float) -> _Reply:
        """Return the child's next answer, or raise if it is late."""
        if self._readable(timeout_ms):
            return self._receive()
        # Sum the waiting times instead of using the clock: while the whole machine was suspended,
        # the child could not answer.
        self._waited_ms += timeout_ms
        kind = ReasonKind.HANG if self._waited_ms >= self.hang_ms else ReasonKind.LATE
        raise InferenceFault(
            kind, f"no answer of the student's process for {self._waited_ms:.0f} ms"
        )

    def _readable(self, timeout_ms: float) -> bool:
        """Wait until a message can be read; return False after the timeout."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        return bool(poll.poll(timeout_ms))

    def _receive(self) -> _Reply:
        """Receive the message of the child that is ready to be read."""
        self._reply_pending = False
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            raise self._death()
        if len(message) == FRAME_BYTES:
            return message
        try:
            reply: Answer = decode_answer(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise InferenceFault(
                ReasonKind.CRASH, f"the student's process answered {message[:32]!r}"
            ) from None
        if isinstance(reply, Failed):
            raise InferenceFault(reply.kind, reply.detail)
        if isinstance(reply, Damaged):
            raise InferenceFault(ReasonKind.DAMAGED, reply.detail)
        return reply

    def _death(self) -> InferenceFault:
        """Describe how the child ended, without reaping it, so that its PID is not reused.

        A child that ends before it handles the bundle says nothing about the bundle.
        """
        crash = ReasonKind.CRASH if self._begun else ReasonKind.MACHINE
        end = time.monotonic() + _DYING_S
        while (status := os.waitid(os.P_PID, self._child.pid, _PEEK)) is None:
            if time.monotonic() >= end:
                return InferenceFault(crash, "the student's process closed its socket")
            time.sleep(0.001)
        if status.si_code == os.CLD_EXITED:
            return InferenceFault(
                crash, f"the student's process died: exit code {status.si_status}"
            )
        if status.si_status == signal.SIGKILL:
            return InferenceFault(
                ReasonKind.MEMORY,
                "the student's process was killed, as the kernel does out of memory",
            )
        signal_name = signal.Signals(status.si_status).name
        return InferenceFault(crash, f"the student's process died: {signal_name}")
