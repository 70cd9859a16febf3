"""The peers of `python -m benchmarks.peers`: their kinds, environments and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import ParityError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

_PAUSE_S = 0.02
"""Pause before a frame, because the threads of the previous peer spin for a while."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """Description of a peer.

    Attributes:
        name: Name of the row.
        worker: Name of the peer in `benchmarks.peers.worker`.
        what: Work that is timed.
        environment: Folder of its environment among those of `tools/make-env-peers.sh`; empty for
            the current one.
    """

    name: str
    worker: str
    what: str
    environment: str = ""

    @property
    def finds_polyps(self) -> bool:
        """Whether it segments any picture with the shared student, so that it has a Dice."""
        return self.worker.startswith(("ours", "model-api"))


KINDS = (
    Kind(
        name="edge-difom, INT8",
        worker="ours:openvino:int8",
        what="whole frame to contours, OpenVINO",
    ),
    Kind(
        name="edge-difom, f32", worker="ours:openvino:f32", what="whole frame to contours, OpenVINO"
    ),
    Kind(
        name="edge-difom in LiteRT, INT8",
        worker="ours:tflite:int8",
        what="whole frame to contours, LiteRT",
    ),
    Kind(name="OpenVINO, INT8", worker="alone:openvino:int8", what="inference alone"),
    Kind(name="OpenVINO, f32", worker="alone:openvino:f32", what="inference alone"),
    Kind(name="onnxruntime, INT8", worker="alone:onnx:int8", what="inference alone"),
    Kind(name="onnxruntime, f32", worker="alone:onnx:f32", what="inference alone"),
    Kind(name="LiteRT, INT8", worker="alone:tflite:int8", what="inference alone"),
    Kind(name="LiteRT, f32", worker="alone:tflite:f32", what="inference alone"),
    Kind(
        name="openvino-model-api, INT8",
        worker="model-api:openvino:int8",
        what="whole frame to mask",
        environment="model-api",
    ),
    Kind(
        name="openvino-model-api, f32",
        worker="model-api:openvino:f32",
        what="whole frame to mask",
        environment="model-api",
    ),
    Kind(
        name="ultralytics, f32",
        worker="ultralytics",
        what="whole frame, its own model and pipeline",
        environment="ultralytics",
    ),
)
"""Kinds of peers; all others are compared with the first."""


class Worker:
    """Process of a peer; a context manager.

    Args:
        kind: Kind of the peer.
        python: Interpreter of its environment.
        folder: Folder with frames and models.
        threads: Threads of its engine.

    Raises:
        ParityError: It did not become ready; the error holds the end of its output.
    """

    def __init__(self, kind: Kind, python: Path | str, folder: Path, threads: int) -> None:
        self.kind, self.folder = kind, folder
        self.cpu_ms: list[float] = []
        root = Path(__file__).parents[2]
        self._errors = (folder / f"{kind.worker.replace(':', '-')}.err").open("w+b")
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.peers.worker", kind.worker, str(folder), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={**os.environ, "PYTHONPATH": str(root), "CUDA_VISIBLE_DEVICES": ""},
        )
        try:
            self.facts: dict[str, str] = self._answer(dict[str, str])
        except ParityError:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def frame(self) -> float:
        """Process one frame; returns its wall milliseconds and keeps its CPU milliseconds."""
        assert self._process.stdin is not None
        time.sleep(_PAUSE_S)
        self._process.stdin.write(b"frame\n")
        self._process.stdin.flush()
        reply: dict[str, float] = self._answer(dict[str, float])
        self.cpu_ms.append(reply["cpu_ms"])
        return reply["wall_ms"]

    def segment(self, frame: np.ndarray) -> np.ndarray | None:
        """Return the output for a picture, (H, W, 3) uint8 BGR, in the form of `last_output`."""
        assert self._process.stdin is not None
        np.save(self.folder / "look.npy", frame)
        self._process.stdin.write(b"look\n")
        self._process.stdin.flush()
        self._answer(dict[str, str])
        return self.last_output()

    def last_output(self) -> np.ndarray | None:
        """Return the last output, at first that of the first frame: uint8 scores or a mask."""
        path = self.folder / f"{self.kind.worker.replace(':', '-')}.npy"
        return np.load(path) if path.is_file() else None

    def _answer(self, kind: type) -> dict:  # type: ignore[type-arg]
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            last_lines = [
                text
                for text in self._errors.read().decode(errors="replace").splitlines()
                if text.strip()
            ]
            raise ParityError(f"{self.kind.name} did not answer", got=" / ".join(last_lines[-2:]))
        return msgspec.json.decode(line, type=kind)


def interpreter(environments: Path, kind: Kind) -> Path | str | None:
    """Return the Python of a peer's environment; None if it is missing or incomplete."""
    if not kind.environment:
        return sys.executable
    folder = environments / kind.environment
    return folder / "bin" / "python" if (folder / ".complete").is_file() else None


def environments_folder() -> Path:
    """Return the folder of the peers' environments, the default of `tools/make-env-peers.sh`."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return Path(os.environ.get("EDGE_DIFOM_PEERS", cache / "edge-difom" / "peers"))
