"""Opens a bundle and its process for the supervisor, and tests the process on golden frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.bundle.reader import Bundle
from edge.errors import BundleError, MachineError, ParityError
from edge.inference.process import ProcessEngine

if TYPE_CHECKING:
    from pathlib import Path

    from edge.inference.messages import EngineSpec

TEST_TIMEOUT_MS = 5000.0
"""Maximum time for a golden frame: the first inferences are slow."""


def open_verified(path: Path, signed: str | None) -> Bundle:
    """Open a bundle.

    Args:
        path: The bundle.
        signed: SHA-256 that its manifest must have; None if any will do.

    Raises:
        BundleError: The bundle cannot be read, or its manifest has a different hash.
    """
    bundle = Bundle.open(path)
    if signed is not None and bundle.digest != signed:
        raise BundleError(
            f"{path} was changed after it was verified",
            expected=f"a manifest with SHA-256 {signed}",
            got=bundle.digest,
        )
    return bundle


def start_process(spec: EngineSpec) -> ProcessEngine:
    """Start an engine's process, with the time limits of the self-test.

    Raises:
        MachineError: No process can be started.
    """
    try:
        return ProcessEngine(spec, timeout_ms=TEST_TIMEOUT_MS, hang_ms=TEST_TIMEOUT_MS)
    except OSError as error:
        raise MachineError("no process can be started", got=str(error)) from error


def check_process(bundle: Bundle, engine: ProcessEngine) -> None:
    """Check the golden frames in the process that is going to run; without any, one black image.

    Raises:
        InferenceFault: The process hung or died.
        ParityError: The engine disagrees with the golden scores.
        BundleError: The golden frames cannot be read.
    """
    from edge.engines.golden_check import check_golden

    # Run the slow first inference here, before the first frame.
    engine.infer(np.zeros((*engine.input_size, 3), np.uint8))
    checks = [check_golden(bundle, engine, golden) for golden in bundle.manifest.golden.frames]
    bad = [check.frame for check in checks if not check.ok]
    if bad:
        raise ParityError(
            f"{len(bad)} of {len(checks)} golden frames differ in {engine.name}: {', '.join(bad)}"
        )
