"""Frames in order with the boxes of their polyps: a clip and its boxes, sequences of a data folder, the phantom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np

from edge.errors import DataError
from edge.pipeline.smoothing import LINK, overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from edge.contracts import Box, ImageU8


_LEAST_PIECE = 0.001
"""Least share of the frame of a piece of a mask."""


@dataclass(frozen=True, slots=True)
class Clip:
    """Frames in order and the boxes of the polyps on each; `images` may be read more than once."""

    name: str
    fps: float
    frame_size: tuple[int, int]
    truth: list[list[Box]]
    images: Callable[[], Iterator[ImageU8]]


def link(frames: Sequence[Sequence[Box]], *, gap: int, jumps: bool = False) -> list[list[tuple[int, int]]]:
    """Boxes that belong together over time, as runs of (frame, index of the box).

    Args:
        frames: Boxes of each frame.
        gap: Frames without it over which a run goes on.
        jumps: Whether the only box of a frame goes on the only run of the frame before without an overlap, too: data
            sets leave out frames.
    """
    runs: list[list[tuple[int, int]]] = []
    for number, boxes in enumerate(frames):
        late = [run for run in runs if run[-1][0] >= number - gap - 1]
        before = [run for run in late if run[-1][0] == number - 1]
        for index, box in enumerate(boxes):
            shared = [(run[-1][0], overlap(frames[run[-1][0]][run[-1][1]], box), run) for run in late]
            near = [one for one in shared if one[1] >= LINK]
            if near:
                max(near, key=lambda one: one[:2])[2].append((number, index))
            elif jumps and len(before) == len(boxes) == 1:
                before[0].append((number, index))
            else:
                runs.append([(number, index)])
    return runs


def read_clip(path: Path) -> Clip:
    """A video file and its `.boxes.json`.

    Raises:
        DataError: There are no boxes, or not as many as frames.
    """
    from edge.sources.clip import ClipSource

    boxes_path = path.with_suffix(".boxes.json")
    if not boxes_path.is_file():
        raise DataError(f"{path} has no truth", expected=f"{boxes_path}")
    described = msgspec.json.decode(boxes_path.read_bytes())
    truth = [
        [(x, y, right - x, bottom - y) for x, y, right, bottom in (one["bbox"] for one in frame)]
        for frame in described["frames"]
    ]

    def images() -> Iterator[ImageU8]:
        with ClipSource(path) as source:
            while (frame := source.read()) is not None:
                yield frame.image

    with ClipSource(path) as source:
        count, fps = sum(1 for _ in iter(source.read, None)), source.fps or 25.0
    if count != len(truth):
        raise DataError(f"{boxes_path} does not fit", expected=f"{count} frames", got=f"{len(truth)}")
    return Clip(path.name, fps, (described["height"], described["width"]), truth, images)


def read_sequences(folder: Path, fps: float) -> list[Clip]:
    """The sequences of a data folder, each a clip whose truth is the boxes of its masks.

    Raises:
        DataError: There is no `sequences.json`, or images and masks do not fit.
    """
    from edge.datasets.pairs import find_pairs, read_pair

    listing = folder / "sequences.json"
    if not listing.is_file():
        raise DataError(f"{folder} has no sequences", expected=f"{listing}")
    pairs = {int(pair.name): pair for pair in find_pairs(folder)}
    clips = []
    for one in msgspec.json.decode(listing.read_bytes()):
        own = [pairs[n] for n in range(one["first"], one["last"] + 1) if n in pairs]
        masks = [read_pair(pair.image, pair.mask)[1] for pair in own]

        def images(own: Sequence[Any] = own) -> Iterator[ImageU8]:
            for pair in own:
                yield np.ascontiguousarray(read_pair(pair.image, pair.mask)[0][..., ::-1])

        truth = [boxes_of(mask.astype(np.uint8)) for mask in masks]
        size = (masks[0].shape[0], masks[0].shape[1])
        clips.append(Clip(f"{folder.name} {one['sequence']}", fps, size, truth, images))
    return clips


def draw_clip(seed: int, fps: float, *, seconds: float = 20.0, size: tuple[int, int] = (144, 192)) -> Clip:
    """A clip of the phantom, about half of it without a polyp; it moves as fast at any rate."""
    from edge.datasets.phantom.render import clip

    frames = round(seconds * fps)
    truth = [boxes_of(frame.mask.astype(np.uint8)) for frame in clip(seed, frames, size=size)]

    def images() -> Iterator[ImageU8]:
        for frame in clip(seed, frames, size=size):
            yield np.ascontiguousarray(frame.image[..., ::-1])

    return Clip(f"phantom {seed}", fps, size, truth, images)


def boxes_of(mask: ImageU8) -> list[Box]:
    """Boxes of the pieces of a mask."""
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    least = _LEAST_PIECE * mask.size
    return [cv2.boundingRect(outline) for outline in outlines if cv2.contourArea(outline) >= least]
