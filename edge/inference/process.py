"""An engine in a process of its own, with a time for each answer."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
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

START_S = 60.0
"""Longest time to open an engine, compilation included."""

_MESSAGE_BYTES = 1 << 16


class ProcessEngine:
    """An engine behind `edge.types.Engine` whose process may hang or die.

    The calling thread must outlive the process: the kernel ends a child with the thread that made it.

    Args:
        spec: What to open.
        timeout_ms: Longest time for the scores of a frame.
        start_s: Longest time to open the engine.

    Raises:
        InferenceFault: The engine cannot be opened, or not in time.
    """

    def __init__(self, spec: EngineSpec, *, timeout_ms: float = TIMEOUT_MS, start_s: float = START_S) -> None:
        self.input_size = spec.input_size
        self.timeout_ms = timeout_ms
        self._number = 0
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
            answer = self._receive(1000 * start_s)
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
            InferenceFault: `damaged` costs this frame; after `hang`, `crash` or `memory` only `close` makes sense.
        """
        self._number = (self._number + 1) % (1 << 32)
        np.copyto(self._planes.input, image, casting="no")
        number = self._number.to_bytes(FRAME_BYTES, "little")
        try:
            self._channel.send(number)
        except OSError:
            raise self._death() from None
        answer = self._receive(self.timeout_ms)
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

    def _receive(self, timeout_ms: float) -> Ready | bytes:
        """The next answer of the child."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        if not poll.poll(timeout_ms):
            raise InferenceFault("hang", f"no answer of the student's process for {timeout_ms:.0f} ms")
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
