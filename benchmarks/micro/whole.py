"""Cost of a whole frame compared with inference, and of a full-size mask compared with contours."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from benchmarks.micro.device import check_resize, untrained_manifest
from benchmarks.micro.engines import SIZE, THREADS, student_files, timed_ms
from benchmarks.micro.screens import screens, shown
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.bench.measure.stream import phantom_images
from edge.datasets.phantom.render import render
from edge.engines.open import open_engine_files
from edge.errors import ParityError
from edge.frame import Frame, OperatingPoint
from edge.imaging.crop import cut
from edge.imaging.postprocess import native_scores, regions
from edge.imaging.preprocess import to_input
from edge.pipeline.analysis import analyze

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.contracts import Engine
    from edge.frame import Box, FieldOfView, ImageU8, MaskBool, Region

_FRAME = (1080, 1920)
_WARM_ROUNDS = 10
_MIN_IOU = 0.9


class Answering:
    """An engine that runs and then returns given scores.

    The cost of postprocessing depends on the shape of the mask, and an untrained student's mask is
    noise.
    """

    input_buffer = None

    def __init__(self, engine: Engine, scores: ImageU8) -> None:
        self.name, self.input_size = engine.name, engine.input_size
        self._engine, self._scores = engine, scores

    def infer(self, image: ImageU8) -> ImageU8:
        """Run an inference and return the given scores."""
        self._engine.infer(image)
        return self._scores

    def settings(self) -> dict[str, object]:
        """Return the settings of the engine."""
        return self._engine.settings()

    def close(self) -> None:
        """Do nothing: the engine belongs to its owner."""


def whole_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.5) -> Comparison:
    """Compare a whole 1080p frame, up to contours in its coordinates, with inference alone.

    Args:
        rounds: Number of frames.
        size: Height and width of the engine's input.
        bound: Promised extra milliseconds of the whole frame, median over the rounds.
    """
    return _whole(phantom_images(_FRAME), "full-frame", rounds, size, bound)


def screen_cost(rounds: int, *, size: tuple[int, int] = SIZE, bound: float = 1.5) -> Comparison:
    """Run `whole_cost` on a processor's screen; the student gets the field of view."""
    return _whole(screens(_FRAME), "view", rounds, size, bound)


def _whole(
    images: list[ImageU8], rule: FieldOfView, rounds: int, size: tuple[int, int], bound: float
) -> Comparison:
    view, part = shown(images[0], rule)
    mask, view_part = _truth(part), cut(images[0], part)
    resized = check_resize(view_part, size)
    engine = open_engine_files(
        "openvino", student_files("edge-s", size)["openvino", "int8"], THREADS
    )
    try:
        if (precision := engine.settings()["precision"]) != "int8":
            raise ParityError(
                "the engine does not run in INT8", expected="int8", got=f"{precision}"
            )
        prepared = to_input(view_part, size, bgr=True)
        scores = _scores(cut(mask, part), engine.infer(prepared).shape)
        answering, described = (
            Answering(engine, scores),
            untrained_manifest(size, scores.shape, rule=rule),
        )
        found_regions = analyze(Frame(0, images[0], 0), answering, described, view=view).regions
        check = f"{resized}; {_check_contours(found_regions, mask)}; executed as int8"
        frames = itertools.cycle(images)

        def whole() -> float:
            frame = Frame(0, next(frames), 0)
            begin = time.perf_counter_ns()
            analyze(frame, answering, described, view=view)
            return (time.perf_counter_ns() - begin) / 1e6

        interleave(whole, lambda: timed_ms(engine, prepared), rounds=_WARM_ROUNDS)
        took, inference = interleave(whole, lambda: timed_ms(engine, prepared), rounds=rounds)
        more = float(np.median(np.subtract(took, inference)))
        goal = Goal(
            what="ms by which a whole frame takes longer than its inference",
            value=more,
            bound=bound,
        )
        left = Side(what="whole frame to contours", samples=took)
        right = Side(what="inference alone, edge-s INT8", samples=inference)
        about = {"frame": _FRAME, "part": part, "engine": engine.settings()}
        return compare(left, right, check=check, unit="ms", goal=goal, **about)
    finally:
        engine.close()


def mask_cost(rounds: int, *, cells: int = 88) -> Comparison:
    """Compare a mask at the size of the frame with contours in frame coordinates.

    Both come from the same score map, and no frame needs such a mask.

    Args:
        rounds: Number of frames.
        cells: Height and width of the score map.
    """
    scores = _scores(_truth(), (cells, cells))

    def contours() -> tuple[Region, ...]:
        return regions(scores, _FRAME, OperatingPoint(0.5, 0.001))

    def full() -> MaskBool:
        return native_scores(scores, _FRAME) >= 0.5

    check = _check_contours(contours(), full())
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        interleave(lambda: _cpu_ms(full), lambda: _cpu_ms(contours), rounds=_WARM_ROUNDS)
        masks, outlines = interleave(
            lambda: _cpu_ms(full), lambda: _cpu_ms(contours), rounds=rounds
        )
    finally:
        cv2.setNumThreads(before)
    left, right = (
        Side(what="mask of the frame", samples=masks),
        Side(what="contours", samples=outlines),
    )
    return compare(left, right, check=check, unit="ms", frame=_FRAME, scores=(cells, cells))


def _truth(part: Box | None = None) -> MaskBool:
    """Return the mask of a polyp in a frame, or in a part of it."""
    x, y, width, height = part or (0, 0, _FRAME[1], _FRAME[0])
    mask = np.zeros(_FRAME, np.uint8)
    small = render(0, polyp=True).mask.astype(np.uint8)
    mask[y : y + height, x : x + width] = cv2.resize(
        small, (width, height), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(mask > 0)


def _scores(mask: MaskBool, shape: tuple[int, ...]) -> ImageU8:
    """Return a student's scores of a frame with a known mask."""
    scores = cv2.resize(mask.astype(np.uint8) * 255, shape[::-1], interpolation=cv2.INTER_AREA)
    return cast("ImageU8", scores)


def _check_contours(found_regions: tuple[Region, ...], mask: MaskBool) -> str:
    """Check that contours enclose the mask.

    Raises:
        ParityError: The contours enclose something else.
    """
    filled = np.zeros(mask.shape, np.uint8)
    cv2.fillPoly(filled, [np.array(region.contour, np.int32) for region in found_regions], 1)
    union = int((mask | (filled > 0)).sum())
    iou = int((mask & (filled > 0)).sum()) / max(1, union)
    if iou < _MIN_IOU:
        raise ParityError(
            "contours are not the mask's",
            expected=f"IoU of at least {_MIN_IOU}",
            got=f"{iou:.3f}",
        )
    return f"contours enclose the mask with IoU {iou:.3f}"


def _cpu_ms(function: Callable[[], object]) -> float:
    begin = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - begin) / 1e6
