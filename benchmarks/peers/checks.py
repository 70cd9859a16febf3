"""Checks of a peer: that it computes the same results, and how accurate its masks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.errors import ParityError
from edge.evaluation.evaluator import evaluate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.peers.process import Kind, Worker
    from edge.datasets.pairs import Pair
    from edge.frame import ImageU8

FRAME = (1080, 1920)
"""Height and width of the timed frames."""
_MAX_SCORE_DIFFERENCE = 8.0
_MIN_AGREEMENT = 0.9


def check_peer(kind: Kind, peer_mask: np.ndarray | None, reference: np.ndarray) -> str:
    """Check a peer's output and describe the check.

    Args:
        kind: The peer.
        peer_mask: Output of the peer for the first frame; None if it gave no map.
        reference: Our scores, (h, w) uint8.

    Raises:
        ParityError: The peer computes different results.
    """
    if peer_mask is None:
        raise ParityError(f"{kind.name} gave no result", expected="scores or a mask", got="nothing")
    if kind.worker == "ultralytics":
        if peer_mask.shape != FRAME:
            raise ParityError(
                f"{kind.name} gave no mask", expected=f"{FRAME}", got=f"{peer_mask.shape}"
            )
        return "a mask of the frame, from its own untrained model"
    if peer_mask.shape == reference.shape:
        difference = float(np.abs(peer_mask.astype(float) - reference).mean())
        if not difference <= _MAX_SCORE_DIFFERENCE:
            raise ParityError(
                f"{kind.name} computes something else",
                expected=f"mean score difference of at most {_MAX_SCORE_DIFFERENCE}/256",
                got=f"{difference:.2f}/256",
            )
        return f"mean score difference {difference:.2f}/256"
    mask = cv2.resize(
        (reference >= 128).astype(np.uint8), peer_mask.shape[::-1], interpolation=cv2.INTER_NEAREST
    )
    agreement = float((mask == peer_mask).mean())
    if not agreement >= _MIN_AGREEMENT:
        raise ParityError(
            f"{kind.name} computes something else",
            expected=f"at least {_MIN_AGREEMENT:.0%} of the mask's pixels alike",
            got=f"{agreement:.1%}",
        )
    return f"{agreement:.1%} of the mask's pixels alike; its resize differs"


def dice_of(worker: Worker, pairs: Sequence[Pair]) -> float | None:
    """Compute the mean Dice of a peer's output at native size and threshold 0.5."""
    if not pairs or not worker.kind.finds_polyps:
        return None

    def score(image: ImageU8) -> np.ndarray:
        mask = worker.segment(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        assert mask is not None
        # A mask of the whole picture becomes a map of certain scores.
        return mask.astype(np.float32) if mask.shape == image.shape[:2] else mask

    return evaluate(pairs, score).dice
