"""`python -m tests.fuzz.engines`: open and run mutated engines, each in a sandboxed process.

The process of an engine is forked from one that has imported the runtime, because a start of Python
for each of 100,000 engines would take a day. It enters the same sandbox as the student's process
(`edge.sandbox.enter`), and then opens the engine from its bytes and scores one black image, as the
student's process does. What an engine does to its own process is counted; the parent must live, and
its memory must not grow. Prints a record as JSON; exit code 1 if the parent's memory grew too far.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.bundle.reader import Bundle
from edge.engines.open import open_engine_files
from edge.errors import EdgeDifomError
from edge.inference.score_check import damage
from edge.sandbox.enter import enter
from edge.sandbox.grants import MEMORY_MB, Grants
from tests.fuzz.__main__ import MEMORY_LIMIT_MB
from tests.fuzz.targets import CORPUS

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
MODULES = {"tflite": "ai_edge_litert.interpreter", "openvino": "openvino", "onnx": "onnxruntime"}
LIMIT_S = 60
"""Time after which an engine's process counts as hung; the student's has less."""

RAN, REFUSED, DAMAGED, RAISED = 0, 4, 5, 70
OUTCOMES = {RAN: "ran", REFUSED: "refused", DAMAGED: "damaged scores", RAISED: "raised"}
"""Exit code of an engine's process -> what became of it; any other end was a crash."""

_KINDS = ("flip", "byte", "word", "insert", "delete", "copy", "cut")
_WORDS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the mutated engines of one runtime.

    Attributes:
        cases: Number of engines.
        outcomes: Outcome -> number; `SIG...` for a process that a signal ended.
        parent_mb: Growth of the parent's memory, MiB.
        child_mb: Most memory that an engine's process had, its start included, MiB.
        seconds: Time that it took.
    """

    cases: int
    outcomes: dict[str, int]
    parent_mb: float
    child_mb: float
    seconds: int


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Change one to four places."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(changed)) if changed else 0
        kind = chance.choice(_KINDS)
        if kind == "flip" and changed:
            changed[at] ^= 1 << chance.randrange(8)
        elif kind == "byte" and changed:
            changed[at] = chance.randrange(256)
        elif kind == "word":
            changed[at : at + 4] = chance.choice(_WORDS).to_bytes(4, "little")
        elif kind == "insert":
            changed[at:at] = chance.randbytes(chance.randrange(1, 16))
        elif kind == "delete":
            del changed[at : at + chance.randrange(1, 16)]
        elif kind == "copy":
            other = chance.randrange(len(changed)) if changed else 0
            changed[at : at + 8] = changed[other : other + 8]
        elif chance.random() < 0.2:
            del changed[at:]
    return bytes(changed)


def seed_engines(runtime: str) -> tuple[list[list[bytes]], tuple[int, int], tuple[int, int]]:
    """Return files of whole engines, their input size and the size of their scores."""
    bundle = Bundle.open(ROOT / "edge/bundles/edge-xs")
    shape, maps = bundle.manifest.input, bundle.manifest.output.map_size
    if runtime == "onnx":
        files = [[path.read_bytes()] for path in sorted((CORPUS / "engine-onnx").iterdir())]
        return files, (64, 64), (16, 16)
    return [bundle.engine_files(runtime)], (shape.height, shape.width), maps


def run_engine(
    runtime: str, files: Sequence[bytes], size: tuple[int, int], maps: tuple[int, int]
) -> int:
    """Open and run an engine in this process, in the sandbox; return its exit code."""
    enter(Grants(memory_mb=MEMORY_MB))
    try:
        engine = open_engine_files(runtime, files, 1)
        scores = engine.infer(np.zeros((*size, 3), np.uint8))
        return DAMAGED if damage(scores, maps) else RAN
    except EdgeDifomError:
        return REFUSED
    except Exception:  # noqa: BLE001 - the student's process reports it and ends
        return RAISED


def fuzz(runtime: str, cases: int, seconds: float, seed: int) -> Record:
    """Mutate and run engines until there were enough, or the time is over."""
    importlib.import_module(MODULES[runtime])
    importlib.import_module(f"edge.engines.{runtime if runtime != 'onnx' else 'onnxruntime'}")
    seeds, size, maps = seed_engines(runtime)
    chance, outcomes, most = random.Random(seed), Counter[str](), 0
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = 0
    while done < cases and time.monotonic() - began < seconds:
        files = list(chance.choice(seeds))
        # The description of a network is changed more often than its weights.
        which = 0 if chance.random() < 0.8 else chance.randrange(len(files))
        files[which] = mutate(files[which], chance)
        child = os.fork()
        if child == 0:
            status = RAISED
            try:
                signal.alarm(LIMIT_S)
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, 1)
                os.dup2(null, 2)
                status = run_engine(runtime, files, size, maps)
            finally:
                os._exit(status)
        _, status, used = os.wait4(child, 0)
        done, most = done + 1, max(most, used.ru_maxrss)
        if os.WIFSIGNALED(status):
            number = os.WTERMSIG(status)
            name = "hung" if number == signal.SIGALRM else signal.Signals(number).name
        else:
            code = os.WEXITSTATUS(status)
            name = OUTCOMES.get(code, f"ended with {code}")
        outcomes[name] += 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return Record(
        cases=done,
        outcomes=dict(sorted(outcomes.items())),
        parent_mb=round(grown / 1024, 1),
        child_mb=round(most / 1024, 1),
        seconds=round(time.monotonic() - began),
    )


def main() -> int:
    """Fuzz what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.engines", description=__doc__)
    parser.add_argument("--runtime", choices=sorted(MODULES), required=True)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the record; it is printed anyway")
    given = parser.parse_args()
    record = fuzz(given.runtime, given.cases, 60 * given.minutes, given.seed)
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    sys.stdout.write(text.decode() + "\n")
    if given.out is not None:
        given.out.write_bytes(text + b"\n")
    return 0 if record.parent_mb <= MEMORY_LIMIT_MB else 1


if __name__ == "__main__":
    sys.exit(main())
