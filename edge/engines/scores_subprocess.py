"""Compute score maps of many frames in a process: `python -m edge.engines.scores_subprocess`.

This lets one Python environment compare its scores with those of an environment that has different
package versions.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from edge.engines.open import open_engine_files
from edge.errors import EdgeDifomError, UsageError
from edge.util.process_env import configure_worker

if TYPE_CHECKING:
    from collections.abc import Sequence


def score_file(
    runtime: str, model: Path, frames: Path, scores: Path, threads: int
) -> dict[str, Any]:
    """Run an engine on the frames of one file and write its score maps to another file.

    Args:
        runtime: A name in `edge.engines.open.BACKENDS` whose model is a single file.
        model: The model file.
        frames: `.npy` of (N, H, W, 3) uint8 RGB, N at least 1.
        scores: `.npy` to write: (N, h, w) uint8 in 1/256.
        threads: CPU threads.

    Returns:
        The engine's settings.

    Raises:
        UsageError: The size of the frames differs from the model's input size.
        EdgeDifomError: Any error of `open_engine_files`.
    """
    images = np.load(frames, mmap_mode="r", allow_pickle=False)
    engine = open_engine_files(runtime, [model.read_bytes()], threads)
    try:
        size = *engine.input_size, 3
        if images.shape[1:] != size or images.dtype != np.uint8:
            raise UsageError(
                f"{frames.name} does not fit the model",
                expected=f"uint8 {size}",
                got=f"{images.dtype} {images.shape[1:]}",
            )
        np.save(
            scores, np.stack([engine.infer(np.ascontiguousarray(image)).copy() for image in images])
        )
        return engine.settings()
    finally:
        engine.close()


def main(arguments: Sequence[str]) -> int:
    """Call `score_file`; print the settings as one line of JSON, or an error to stderr.

    Args:
        arguments: The arguments of `score_file` as strings.

    Returns:
        The exit code.
    """
    configure_worker()
    runtime, model, frames, scores, threads = arguments
    try:
        settings = score_file(runtime, Path(model), Path(frames), Path(scores), int(threads))
    except EdgeDifomError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    sys.stdout.write(msgspec.json.encode(settings).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
