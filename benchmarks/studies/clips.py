"""Clips with their truth: boxes of the phantom, clean sequences, and boxes burned into a video."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

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

    from edge.frame import Box, ImageU8

_BLUE, _DARK = 150, 110
"""Pixels of a burned outline: at least this blue, and at most this red and green."""
_MIN_OUTLINE = 60
"""Pixels of the smallest outline; fewer are specks of the compression."""
_MIN_FRAMES = 3


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
        writer = _writer(target, fps, (width, height))
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


def read_burned(clip_path: Path, out: Path) -> ClipTruth:
    """Read the boxes that are burned into a video as blue outlines with a label above.

    A student sees the outlines, too, so that its figures on such a clip are no measure of accuracy;
    the order of settings of the smoothing is. Boxes on fewer than three frames in a row are left
    out, because such boxes come from a detector that errs. So are the frames behind the last box,
    where a polyp that is no longer marked may be.

    Args:
        clip_path: The video.
        out: Folder for the clip without those frames, lossless, and its boxes.

    Raises:
        SourceError: The video cannot be read, or no lossless clip can be written here.
        DataError: No frame has a box.
    """
    capture = cv2.VideoCapture(str(clip_path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames: list[ImageU8] = []
    while (read := capture.read())[0]:
        frames.append(np.asarray(read[1], np.uint8))
    capture.release()
    if not frames:
        raise SourceError(f"{clip_path} cannot be read as a video")
    boxes = _lasting([burned_boxes(frame) for frame in frames])
    last = max((number for number, marked in enumerate(boxes) if marked), default=None)
    if last is None:
        raise DataError(f"{clip_path} has no burned boxes", expected="blue outlines")
    target = out / f"{clip_path.stem}.mkv"
    writer = _writer(target, fps, frames[0].shape[1::-1])
    for frame in frames[: last + 1]:
        writer.write(frame)
    writer.release()
    truth = target.with_suffix(".json")
    numbered = {str(number): boxes[number] for number in range(last + 1)}
    truth.write_text(json.dumps({"frames": numbered}))
    return ClipTruth(target, "boxes", truth)


def burned_boxes(frame: ImageU8) -> list[Box]:
    """Boxes (x, y, width, height) of the blue outlines in a frame.

    The label above an outline is filled with the same blue and is left out: the box begins where a
    row has little more than its two sides.

    Args:
        frame: (H, W, 3) uint8 BGR.
    """
    blue, others = frame[..., 0], frame[..., 1:].max(axis=2)
    marked = ((blue >= _BLUE) & (others <= _DARK)).astype(np.uint8)
    joined = cv2.morphologyEx(marked, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(joined)
    boxes = []
    for x, y, width, height, area in stats[1:count].tolist():
        if area < _MIN_OUTLINE:
            continue
        rows = joined[y : y + height, x : x + width].sum(axis=1)
        sides = np.flatnonzero(rows <= 0.3 * rows.max())
        if not len(sides):
            continue
        inside = joined[y + sides[0] : y + sides[-1] + 1, x : x + width]
        columns = np.flatnonzero(inside.mean(axis=0) > 0.5)
        if not len(columns):
            continue
        left, right = int(columns[0]), int(columns[-1])
        boxes.append((x + left, y + int(sides[0]), right - left + 1, int(np.ptp(sides)) + 1))
    return boxes


def _lasting(boxes: list[list[Box]]) -> list[list[Box]]:
    """Leave out boxes on fewer than `_MIN_FRAMES` frames in a row."""
    kept: list[list[Box]] = []
    for boxed, group in groupby(boxes, key=bool):
        run = list(group)
        kept += run if boxed and len(run) >= _MIN_FRAMES else [[] for _ in run]
    return kept


def _writer(target: Path, fps: float, size: tuple[int, ...]) -> cv2.VideoWriter:
    """A lossless video; `size` is width and height."""
    width, height = size
    with quiet():
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"FFV1"), fps, (width, height))
    if not writer.isOpened():
        raise SourceError(f"{target} cannot be written as a video", expected="OpenCV with FFV1")
    return writer
