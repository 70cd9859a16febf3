"""Frames with boxes instead of masks, from annotations of any tool (`edge.datasets.convert`)."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from distill.data.splits import Sample
from edge.datasets.convert.drawing import Box, extent, read_annotated
from edge.datasets.convert.read import read_annotations
from edge.datasets.image_files import read_bytes
from edge.errors import DataError
from edge.imaging.crop import seen_part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.datasets.convert.drawing import Drawing
    from edge.frame import FieldOfView

    Edges = tuple[float, float, float, float]

logger = logging.getLogger(__name__)

TRAINED_PARTS = ("", "train")
"""Parts of an annotated set that are trained on; boxes validate nothing."""


def load_boxed(
    sources: Sequence[Path], known: Sequence[Sample], *, rule: FieldOfView
) -> list[Sample]:
    """Read the boxes of pictures that have no mask.

    A picture that a data folder has too is left out, because its mask says more. A picture without
    a box shows no polyp. Outlines count as the boxes around them, which a warning says.

    Args:
        sources: Files or folders of annotations; the pictures lie beside them.
        known: Samples with a mask, or known to show no polyp.
        rule: Part of each frame that the student sees.

    Raises:
        DataError: Annotations cannot be read, a picture is missing, not as annotated, annotated
            twice or without a usable box, or none is left to train on.
    """
    masked = {str(Path(sample.image).resolve()) for sample in known}
    sources_of: dict[str, Path] = {}
    samples: list[Sample] = []
    for source in sources:
        chosen = []
        for item in _trained(source):
            place = str(item.image.resolve())
            if place in sources_of:
                raise DataError(
                    f"{item.image} is annotated twice",
                    expected="the boxes of a picture in one place",
                    got=f"{sources_of[place]} and {item.source}",
                )
            sources_of[place] = item.source
            if place not in masked:
                chosen.append(item)
        _warn_outlines(source, chosen)
        name = source.name if source.is_dir() else source.parent.name
        with ThreadPoolExecutor() as pool:
            samples += pool.map(lambda item, name=name: _sample(item, name, rule), chosen)
    with_masks = len(sources_of) - len(samples)
    if sources and not samples:
        raise DataError(
            "no picture with boxes is left to train on",
            expected="pictures that no data folder has with a mask",
            got=f"{with_masks} pictures, all of them with masks",
        )
    if with_masks:
        logger.info("%d of %d pictures with boxes also have masks", with_masks, len(sources_of))
    return samples


def _trained(source: Path) -> Iterator[Drawing]:
    _, drawings = read_annotations(source)
    unused = 0
    for item in drawings:
        if item.part in TRAINED_PARTS:
            yield item
        else:
            unused += 1
    if unused:
        logger.warning(
            "%s: %d pictures of a validation or test part are not trained on", source, unused
        )


def _warn_outlines(source: Path, drawings: Sequence[Drawing]) -> None:
    outlined = sum(any(not isinstance(s, Box) for s in item.shapes) for item in drawings)
    if outlined:
        logger.warning(
            "%s outlines the polyps of %d pictures, of which only the boxes are used; convert it "
            "to a data folder to use the outlines as masks",
            source,
            outlined,
        )


def _sample(item: Drawing, dataset: str, rule: FieldOfView) -> Sample:
    """One picture with its boxes in shares of the part that the student sees."""
    image = read_annotated(item, read_bytes(item.image))
    height, width = image.shape[:2]
    boxes = [extent_box for shape in item.shapes if (extent_box := extent(shape)) is not None]
    for extent_box in boxes:
        edges = (
            extent_box.x,
            extent_box.y,
            extent_box.x + extent_box.width,
            extent_box.y + extent_box.height,
        )
        if _clipped(edges, (0, 0, width, height)) is None:
            raise DataError(
                f"{item.source}: a box on {item.image.name} lies outside of the picture",
                expected=f"x and y in pixels of {width}x{height}",
                got=f"x {edges[0]:g} to {edges[2]:g}, y {edges[1]:g} to {edges[3]:g}",
            )
    part = seen_part(image, rule) or (0, 0, width, height)
    shares = (
        _clipped((box.x, box.y, box.x + box.width, box.y + box.height), part) for box in boxes
    )
    return Sample(
        str(item.image.resolve()),
        "",
        dataset,
        f"{dataset}/{item.image.stem}",
        tuple(edges for edges in shares if edges is not None),
    )


def _clipped(edges: Edges, part: tuple[int, int, int, int]) -> Edges | None:
    """Edges in shares of a part (x, y, width, height); None for a box that it does not show."""
    x, y, width, height = part
    left, right = ((min(max(edge - x, 0), width)) / width for edge in edges[::2])
    upper, lower = ((min(max(edge - y, 0), height)) / height for edge in edges[1::2])
    return (left, upper, right, lower) if right > left and lower > upper else None
