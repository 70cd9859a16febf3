"""Masks of a data set reduced to their boxes, for the comparison `boxes` of systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.datasets.convert.boxes_file import BOXES, BoxedImage, BoxRow
from edge.datasets.pairs import find_pairs, read_mask
from edge.datasets.parts import find_parts
from edge.evaluation.findings import SPECK
from edge.util.files import atomic_dir, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import MaskBool


class BoxData(NamedTuple):
    """What two arms learn from the same frames.

    Attributes:
        boxes: File of their boxes.
        folder: Data folder of their masks, none of which validates.
    """

    boxes: Path
    folder: Path


def write_box_data(source: Path, out: Path) -> BoxData:
    """Write the boxes of the frames to train on, and links to the frames and their masks.

    Args:
        source: Data folder with masks; only its part to train on is used if it is split.
        out: Folder to write; one that is there is kept.

    Raises:
        DataError: The folder or a mask cannot be used.
    """
    data = BoxData(out / BOXES, out)
    if out.is_dir():
        return data
    parts = find_parts(source)
    pairs = find_pairs(source) if parts is None else parts.train
    with atomic_dir(out) as folder:
        homes = [folder / "train" / kind for kind in ("images", "masks")]
        for home in homes:
            home.mkdir(parents=True)
        pictures = []
        for pair in pairs:
            for home, path in zip(homes, (pair.image, pair.mask), strict=True):
                (home / f"{pair.name.replace('/', '_')}{path.suffix}").symlink_to(path.resolve())
            mask = read_mask(pair.mask)
            height, width = mask.shape
            pictures.append(
                BoxedImage(str(pair.image.resolve()), width, height, component_boxes(mask))
            )
        write_json(folder / BOXES, pictures)
    return data


def component_boxes(mask: MaskBool) -> list[BoxRow]:
    """Return the box of each connected piece of a mask (H, W); specks count as no polyp."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [
        BoxRow("polyp", *(float(value) for value in piece[:4]))
        for piece in stats[1:]
        if piece[4] >= SPECK * mask.size
    ]
