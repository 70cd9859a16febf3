"""Data that a few steps can begin to learn: bright discs on a dark ground, with their masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def write_discs(
    root: Path, parts: Mapping[str, int], *, rows: tuple[int, int] | None = None
) -> None:
    """Write folders of `images/` and `masks/`, 80 x 72 pixels.

    Args:
        root: Folder of the parts.
        parts: Part, such as `discs/train`, and its number of images.
        rows: Range of the discs' centers from above; all at 36 by default.
    """
    rng = np.random.default_rng(0)
    for part, count in parts.items():
        for kind in ("images", "masks"):
            (root / part / kind).mkdir(parents=True)
        for index in range(count):
            mask = np.zeros((72, 80), np.uint8)
            center = (int(rng.integers(20, 60)), int(rng.integers(*rows)) if rows else 36)
            cv2.circle(mask, center, 14, 255, -1)
            image = cv2.merge([mask // 3, mask // 4, mask // 2]) + rng.integers(0, 60, (72, 80, 3))
            cv2.imwrite(str(root / part / "images" / f"{index}.png"), image.astype(np.uint8))
            cv2.imwrite(str(root / part / "masks" / f"{index}.png"), mask)
