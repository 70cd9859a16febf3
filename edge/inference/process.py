"""An engine in a process of its own, with a time for each answer."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.inference.messages import (
    FRAME_BYTES,
    Answer,
    Damaged,
    EngineSpec,
    Failed,
    Ready,
    decode_answer,
    encode,
)
from edge.inference.planes import Planes, anonymous
from edge.types import InferenceFault

if TYPE_CHECKING:
    from edge.types import ImageU8

TIMEOUT_MS = 100.0
"""Longest time for the scores of a frame: the oldest mask that is drawn has 120 ms for everything."""

HANG_MS = 1000.0
"""Time without an answer from which a process hangs; a machine that is short of CPU time is only late until then."""

START_S = 60.0
"""Longest time to open an engine, compilation included."""

_MESSAGE_BYTES = 1 << 16


def select_in(channel: socket.socket, timeout_ms: float) -> bool:
    """Wait until something can be read; False where the time ran out."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    return bool(poll.poll(timeout_ms))


class ProcessEngine:
    """An engine behind `edge.types.Engine` whose process may hang or die.

    The calling thread must outlive the process: the kernel ends a child with the thread that made it.

    Args:
        spec: What to open.
        timeout_ms: Longest time for the scores of a frame.
        hang_ms: Time without an answer, over several frames, from which the process hangs.
        start_s: Longest time to open the engine.

    Raises:
        InferenceFault: The engine cannot be opened, or not in time.
    """

    def __init__(
        self,
        spec: EngineSpec,
        *,
        timeout_ms: float = TIMEOUT_MS,
        hang_ms: float = HANG_MS,
        start_s: float = START_S,
    ) -> None:
        self.input_size = spec.input_size
        self.timeout_ms, self.hang_ms = timeout_ms, hang_ms
        self._number, self._asked_ns, self._owed = 0, 0, False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = anonymous()
        self._channel = ours
        try:
            self._planes = Planes(memory, spec.input_size, spec.output_size)
            command = [sys.executable, "-m", "edge.inference.worker", str(theirs.fileno()), str(memory)]
            self._child = subprocess.Popen(
                command, pass_fds=(theirs.fileno(), memory), stdin=subprocess.DEVNULL, start_new_session=True
            )
        finally:
            theirs.close()
            os.close(memory)
        try:
            ours.send(encode(spec))
            if not select_in(ours, 1000 * start_s):
                raise InferenceFault("hang", f"the student's process did not begin within {start_s:g} s")
            answer = self._receive()
            if not isinstance(answer, Ready):
                raise InferenceFault("crash", f"the student's process began with {answer!r}")
        except BaseException:
            self.close()
            raise
        self.name, self._settings, self.started_s = answer.name, answer.settings, answer.started_s

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def infer(self, image: ImageU8) -> ImageU8:
        """Scores of an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, valid until the next call.

        Raises:
            InferenceFault: `late` and `damaged` cost this frame; after `hang`, `crash` or `memory` only `close` makes
                sense.
        """
        if self._owed:
            # The answer to an older frame, which nobody wants any more; until it comes the planes are the child's.
            self._answer()
        self._number = (self._number + 1) % (1 << 32)
        np.copyto(self._planes.input, image, casting="no")
        number = self._number.to_bytes(FRAME_BYTES, "little")
        try:
            self._channel.send(number)
        except OSError:
            raise self._death() from None
        self._owed, self._asked_ns = True, time.monotonic_ns()
        answer = self._answer()
        if answer != number:
            raise InferenceFault("crash", f"the student's process answered {answer!r}")
        return self._planes.output

    def settings(self) -> dict[str, Any]:
        """Effective settings as the runtime reported them."""
        return dict(self._settings)

    def close(self) -> None:
        """Kill the process and everything that it started; never waits for it."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._channel.close()
        threading.Thread(target=self._child.wait, name="reaper", daemon=True).start()

    def _answer(self) -> Ready | bytes:
        """What the child owes, if it comes in time."""
        if not select_in(self._channel, self.timeout_ms):
            waited_ms = (time.monotonic_ns() - self._asked_ns) / 1e6
            kind = "hang" if waited_ms >= self.hang_ms else "late"
            raise InferenceFault(kind, f"no answer of the student's process for {waited_ms:.0f} ms")
        return self._receive()

    def _receive(self) -> Ready | bytes:
        """The next message of the child, which is there."""
        self._owed = False
        try:
            message = self._channel.recv(_MESSAGE_BYTES)
        except OSError:
            message = b""
        if not message:
            raise self._death()
        if len(message) == FRAME_BYTES:
            return message
        answer: Answer = decode_answer(message)
        if isinstance(answer, Failed):
            raise InferenceFault(answer.kind, answer.detail)
        if isinstance(answer, Damaged):
            raise InferenceFault("damaged", answer.detail)
        return answer

    def _death(self) -> InferenceFault:
        """What the end of the child looks like."""
        try:
            code = self._child.wait(0.2)
        except subprocess.TimeoutExpired:
            return InferenceFault("crash", "the student's process closed its socket")
        if code == -signal.SIGKILL:
            return InferenceFault(
                "memory", "the student's process was killed, as the kernel does out of memory"
            )
        named = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return InferenceFault("crash", f"the student's process died: {named}")
