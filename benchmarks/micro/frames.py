"""CPU cost of judging a 1080p frame without a student, and of drawing over it, on one core."""

from __future__ import annotations

import itertools
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

import cv2
import numpy as np

from benchmarks.micro.engines import SIZE
from benchmarks.micro.screens import octagon, screens
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.datasets.phantom.render import render
from edge.errors import ParityError
from edge.frame import Frame, OperatingPoint, Result
from edge.imaging.field_of_view import WINDOW, ViewEstimator
from edge.imaging.postprocess import mask_area, regions
from edge.imaging.preprocess import to_input
from edge.imaging.thumbnail import make_thumbnail
from edge.overlay.paint import LayerPainter, layer
from edge.pipeline.frame_guard import FrameGuard
from edge.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from edge.frame import ImageU8

_FRAME = (1080, 1920)
_PERIOD_NS = 16_666_667
_WARM = 2 * WINDOW
_MIN_IOU = 0.95


def guard_cost(rounds: int, *, bound: float = 1.0) -> Comparison:
    """Compare the frame guard, including the field of view, with resizing a frame for a student.

    Args:
        rounds: Number of frames; the goal is for the slowest one.
        bound: Promised CPU milliseconds.
    """
    images = screens(_FRAME)
    check = _check_guard(images)
    guard, numbers = FrameGuard(), itertools.count()

    def judge() -> float:
        number = next(numbers)
        frame = Frame(number, images[number % len(images)], number * _PERIOD_NS)
        return _cpu_ms(lambda: guard.judge(frame))

    with _one_thread():
        for _ in range(_WARM):
            judge()
        took, resizing = interleave(
            judge, lambda: _cpu_ms(lambda: to_input(images[0], SIZE, bgr=True)), rounds=rounds
        )
    goal = Goal(what="CPU ms of a judgment, the worst", value=max(took), bound=bound)
    left = Side(what="frame guard", samples=took)
    right = Side(what=f"resizing for a student, {SIZE[0]}x{SIZE[1]}", samples=resizing)
    return compare(left, right, check=check, unit="ms", goal=goal, frame=_FRAME)


def view_cost(rounds: int, *, bound: float = 1.0) -> Comparison:
    """Compare a re-estimation of the field of view with a frame that needs none.

    Args:
        rounds: Number of re-estimations; the goal is for the slowest one.
        bound: Promised CPU milliseconds.
    """
    images = screens(_FRAME)
    check = _check_view(images)
    views = ViewEstimator()
    with _one_thread():
        views.update(make_thumbnail(images[0]))

        def window() -> tuple[float, float]:
            took = [
                _cpu_ms(lambda image=image: views.update(make_thumbnail(image)))  # type: ignore[misc]
                for image in itertools.islice(itertools.cycle(images), WINDOW)
            ]
            return took[-1], float(np.median(took[:-1]))

        window()
        pairs = [window() for _ in range(rounds)]
    last, others = ([pair[side] for pair in pairs] for side in (0, 1))
    goal = Goal(what="CPU ms of a re-estimation, the worst", value=max(last), bound=bound)
    left = Side(what="frame that ends a window", samples=last)
    right = Side(what="frame inside a window", samples=others)
    return compare(left, right, check=check, unit="ms", goal=goal, frame=_FRAME, window=WINDOW)


def layer_cost(rounds: int, *, bound: float = 0.3) -> Comparison:
    """Compare drawing a region into a reused layer with drawing it into a new one.

    Args:
        rounds: Number of frames.
        bound: Promised CPU milliseconds, median.
    """
    mask = render(0, polyp=True).mask
    maps = [
        np.roll(cv2.resize(mask.astype(np.uint8) * 255, (88, 88)), step, axis=1)
        for step in range(8)
    ]
    regions_of = [
        regions(cast("ImageU8", scores), _FRAME, OperatingPoint(0.5, 0.001)) for scores in maps
    ]
    results = [Result(None, one, mask_area(one), None) for one in regions_of]
    status, painter = Status(State.RUNNING, None, 0), LayerPainter(_FRAME)
    for result in results:
        if not np.array_equal(painter.paint(result, status), layer(_FRAME, result, status)):
            raise ParityError("a reused layer holds different pixels than a new one")
    turn, other = itertools.cycle(results), itertools.cycle(results)
    with _one_thread():
        again, anew = interleave(
            lambda: _cpu_ms(lambda: painter.paint(next(turn), status)),
            lambda: _cpu_ms(lambda: layer(_FRAME, next(other), status)),
            rounds=rounds,
        )
    left = Side(what="reused layer", samples=again)
    goal = Goal(what="CPU ms of a layer", value=left.median, bound=bound)
    right = Side(what="new layer", samples=anew)
    check = f"the same pixels on {len(results)} frames"
    return compare(left, right, check=check, unit="ms", goal=goal, frame=_FRAME)


def _check_guard(images: list[ImageU8]) -> str:
    """Check that the guard distinguishes the faults."""
    expected = {
        "": images,
        "black": [np.zeros_like(images[0])],
        "light": [np.full_like(images[0], 255)],
        "freeze": images[:1],
    }
    for kind, pictures in expected.items():
        guard, reason = FrameGuard(), ""
        for number, image in enumerate(itertools.islice(itertools.cycle(pictures), 40)):
            judged = guard.judge(Frame(number, image, number * _PERIOD_NS))
            reason = str(judged.kind or "")
        if reason != kind:
            raise ParityError("the guard misjudges a frame", expected=repr(kind), got=repr(reason))
    return "tells fit, black, over-exposed and frozen frames apart"


def _check_view(images: list[ImageU8]) -> str:
    views, mask = ViewEstimator(), octagon(_FRAME) > 0
    view = views.update(make_thumbnail(images[0]))
    for image in itertools.islice(itertools.cycle(images), WINDOW):
        view = views.update(make_thumbnail(image))
    view_mask = cv2.resize(view.mask, _FRAME[::-1], interpolation=cv2.INTER_NEAREST) > 0
    iou = float((view_mask & mask).sum() / (view_mask | mask).sum())
    if iou < _MIN_IOU:
        raise ParityError(
            "the view is not found", expected=f"IoU of at least {_MIN_IOU}", got=f"{iou:.3f}"
        )
    return f"an octagon is found with IoU {iou:.3f}"


def _cpu_ms(function: Callable[[], object]) -> float:
    begin = time.thread_time_ns()
    function()
    return (time.thread_time_ns() - begin) / 1e6


@contextmanager
def _one_thread() -> Iterator[None]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)
