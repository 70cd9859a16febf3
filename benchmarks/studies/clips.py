"""Clips with their truth: boxes of the phantom, and sequences of clean pictures."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import cv2

from edge.clip_evaluation.run import ClipTruth
from edge.clip_evaluation.truth import boxes_of
from edge.datasets.negatives import find_negatives, sequence_of
from edge.datasets.pairs import read_image
from edge.datasets.phantom.render import clip
from edge.errors import DataError, SourceError
from edge.util.ffmpeg import quiet

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import Box


class PhantomClip(NamedTuple):
    """True boxes of a clip of the phantom.

    Attributes:
        name: Name of the clip.
        fps: Frames per second.
        size: Height and width of the frames.
        truth: True boxes of each frame.
    """

    name: str
    fps: float
    size: tuple[int, int]
    truth: Sequence[tuple[Box, ...]]


def draw_clip(
    seed: int, fps: float, *, seconds: float = 20.0, size: tuple[int, int] = (144, 192)
) -> PhantomClip:
    """Return the truth of a clip of the phantom, about half of it without a polyp.

    The phantom moves at the same speed for any frame rate.
    """
    frames = clip(seed, round(seconds * fps), size=size)
    return PhantomClip(f"phantom {seed}", fps, size, [boxes_of(frame.mask) for frame in frames])


def write_sequences(folder: Path, fps: float, out: Path) -> list[ClipTruth]:
    """Write each sequence of a folder of clean pictures as a lossless clip.

    A video has an even width and height: the last column or row of an odd picture is left out.

    Args:
        folder: Clean pictures named `SEQUENCE_FRAME`.
        fps: Assumed frames per second.
        out: Folder for the clips.

    Returns:
        The clips of all sequences with at least two pictures.

    Raises:
        DataError: A picture cannot be read, shows a polyp or differs in size from its sequence, or
            no sequence has two pictures.
        SourceError: OpenCV cannot write a lossless clip here.
    """
    clips = []
    for name, group in groupby(find_negatives(folder), key=lambda path: sequence_of(path.stem)):
        paths = list(group)
        if len(paths) < 2:
            continue
        images = [read_image(path) for path in paths]
        height, width = (side // 2 * 2 for side in images[0].shape[:2])
        target = out / f"{name or folder.name}.mkv"
        with quiet():
            writer = cv2.VideoWriter(
                str(target), cv2.VideoWriter.fourcc(*"FFV1"), fps, (width, height)
            )
        if not writer.isOpened():
            raise SourceError(f"{target} cannot be written as a video", expected="OpenCV with FFV1")
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise DataError(
                    f"{path} differs in size from its sequence",
                    expected=f"{images[0].shape[1]}x{images[0].shape[0]}",
                    got=f"{image.shape[1]}x{image.shape[0]}",
                )
            writer.write(cv2.cvtColor(image[:height, :width], cv2.COLOR_RGB2BGR))
        writer.release()
        clips.append(ClipTruth(target, "clean", None))
    if not clips:
        raise DataError(f"{folder} holds no sequence", expected="pictures named SEQUENCE_FRAME")
    return clips
