"""Check that an engine's output is a valid score map."""

from __future__ import annotations

from typing import Any

import numpy as np


def damage(scores: Any, shape: tuple[int, int]) -> str | None:
    """Explain why an engine's output is not a score map of `shape`; None if it is."""
    array = np.asarray(scores)
    if array.shape == shape and array.dtype == np.uint8:
        return None
    if np.issubdtype(array.dtype, np.floating) and not np.isfinite(array).all():
        return "the engine gave NaN or Inf"
    return f"the engine gave {array.shape} {array.dtype}, not {shape} uint8"
