"""Faulty engines for a student's process in tests; a picture's first pixel selects the fault."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

import numpy as np

from edge.errors import BundleError, InferenceFault
from edge.status import ReasonKind

HANG, CRASH, MEMORY, NAN, SHAPE, RAISE, SLOW, NONSENSE, NOTICED, FILL = range(201, 211)


class FakeEngine:
    """Scores that are the picture's mean, unless its first pixel is one of the orders above.

    Args:
        size: Side of the picture, and of the score map.
        fault: Goes wrong when it is opened: `raise`, `hang`, `crash` or `errno-NUMBER`, an error of
            the machine; or `chatter`: prints.
    """

    input_buffer = None

    name = "fake"

    def __init__(self, size: int, fault: str = "") -> None:
        if fault == "raise":
            raise BundleError("the engine cannot be opened")
        if fault == "hang":
            time.sleep(60)
        if fault == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if fault.startswith("errno-"):
            number = int(fault.partition("-")[2])
            raise BundleError("a file cannot be read") from OSError(number, os.strerror(number))
        if fault == "chatter":
            sys.stdout.write("a library's greeting\n")
            sys.stdout.flush()
        self.size = size

    def settings(self) -> dict[str, Any]:
        return {"precision": "int8"}

    def infer(self, image: Any) -> Any:
        order = int(image[0, 0, 0])
        if order == HANG:
            time.sleep(60)
        if order == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        if order == MEMORY:
            return [bytearray(1 << 28) for _ in range(64)]
        if order == FILL:
            return [b"\1" * (1 << 26) for _ in range(64)]
        if order == RAISE:
            raise RuntimeError("an operation failed")
        if order == NONSENSE:
            os.write(int(sys.argv[1]), b"\xc1nonsense")
            time.sleep(60)
        if order == SLOW:
            time.sleep(0.25)
        if order == NOTICED:
            raise InferenceFault(ReasonKind.DAMAGED, "Inf in a layer")
        if order == NAN:
            return np.full((self.size, self.size), np.nan, np.float32)
        side = self.size + (order == SHAPE)
        return np.full((side, side), image.mean(), np.uint8)

    def close(self) -> None:
        return
