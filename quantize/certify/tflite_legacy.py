"""Run our `.tflite` in tflite-runtime, the package of older systems, in its own environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from edge.errors import BundleError, MissingDependencyError, UsageError
from edge.util.host import usable_cpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import ImageU8

PACKAGE = "tflite-runtime"
VARIABLE = "EDGE_DIFOM_TFLITE_PYTHON"
ABSENT = (
    "tflite-runtime was left out: there is no .venv-tflite beside this environment (`make env` "
    f"makes it with Python 3.10 or 3.11), and {VARIABLE} names no interpreter"
)
"""Explains why `old_runtime_scores` returned None."""

_TIMEOUT = 900.0
_STDERR_LINES = 12


def find_old_python() -> Path | None:
    """Find the interpreter of an environment with tflite-runtime; None if there is none.

    The interpreter is `$EDGE_DIFOM_TFLITE_PYTHON`, or that of `.venv-tflite` beside the current
    environment.

    Raises:
        UsageError: The variable names a file that does not exist.
    """
    setting = os.environ.get(VARIABLE)
    if setting:
        if not Path(setting).is_file():
            raise UsageError(
                f"{VARIABLE} names no interpreter",
                expected="a python with 'edge-difom[tflite-runtime]'",
                got=setting,
                hint=f"unset {VARIABLE}, or make env",
            )
        return Path(setting)
    beside = Path(sys.prefix).parent / ".venv-tflite" / "bin" / "python"
    return beside if beside.is_file() else None


def old_runtime_scores(
    model: bytes, frames: ImageU8, *, threads: int | None = None, timeout: float = _TIMEOUT
) -> NDArray[np.uint8] | None:
    """Compute score maps of a `.tflite` with the device's tflite-runtime engine in a subprocess.

    With the XNNPACK settings of that engine (`edge.engines.tflite_legacy`), all INT8 scores equal
    those of the canonical graph.

    Args:
        model: Content of the `.tflite` file.
        frames: (N, H, W, 3) uint8 RGB at the model's input size, N at least 1.
        threads: CPU threads; None for every core that this process may use.
        timeout: Time limit of the subprocess in seconds.

    Returns:
        (N, h, w) uint8 in 1/256, or None if no environment has the package (`ABSENT` explains it).

    Raises:
        UsageError: The frames have the wrong shape or type, or the variable names no interpreter.
        MissingDependencyError: The environment lacks the package, uses a different one, or has
            numpy 2.
        BundleError: The runtime cannot run the model, dies or takes too long.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or not len(frames) or frames.dtype != np.uint8:
        raise UsageError(
            "invalid frames for tflite-runtime",
            expected="(N, H, W, 3) uint8, N at least 1",
            got=f"{frames.shape} {frames.dtype}",
        )
    python = find_old_python()
    if python is None:
        return None
    with tempfile.TemporaryDirectory(prefix="edge-difom-tflite-") as name:
        folder = Path(name)
        paths = [folder / "model.tflite", folder / "frames.npy", folder / "scores.npy"]
        paths[0].write_bytes(model)
        np.save(paths[1], frames)
        count = str(threads or len(usable_cpus()))
        # -I keeps the training environment's PYTHONPATH and the current folder from shadowing
        # packages of that environment.
        command = [
            str(python),
            "-I",
            "-m",
            "edge.engines.scores_subprocess",
            "tflite",
            *map(str, paths),
            count,
        ]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BundleError(
                f"tflite-runtime took too long on {len(frames)} frames",
                expected=f"at most {timeout:.0f} s",
                hint="fewer frames, or a smaller student",
            ) from error
        if done.returncode:
            raise _failure(python, done)
        package = msgspec.json.decode(done.stdout.splitlines()[-1])["package"]
        if package != PACKAGE:
            raise MissingDependencyError(
                f"{python} would run the model in another package",
                expected=PACKAGE,
                got=package,
                hint="an environment with 'edge-difom[tflite-runtime]' alone: make env",
            )
        scores: NDArray[np.uint8] = np.load(paths[2], allow_pickle=False)
        return scores


def _failure(python: Path, done: subprocess.CompletedProcess[str]) -> Exception:
    lines = [line for line in done.stderr.strip().splitlines() if not line.startswith("INFO:")]
    stderr_text = "\n".join(lines[-_STDERR_LINES:])
    if done.returncode < 0:
        stderr_text = f"{stderr_text}\nended by {signal.Signals(-done.returncode).name}".lstrip()
    lacking = (
        "No module named" in stderr_text or done.returncode == MissingDependencyError.exit_code
    )
    if lacking:
        return MissingDependencyError(
            f"{python} cannot run a TFLite model of this project",
            expected="an environment with 'edge-difom[tflite-runtime]' of this version",
            got=stderr_text,
            hint="make env",
        )
    return BundleError(
        "tflite-runtime cannot run the model", got=stderr_text or f"exit code {done.returncode}"
    )
