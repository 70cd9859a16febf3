"""The guard in the frame loop: paused frames are not inferred, and regions are confirmed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from edge.datasets.phantom.render import clip
from edge.pipeline.frame_guard import FrameGuard
from edge.pipeline.loop import FrameLoop
from edge.pipeline.smoothing import Smoother, Smoothing
from edge.sources.base import BaseSource
from edge.status import ReasonKind, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.bundle.manifest import Manifest
    from edge.frame import Frame, ImageU8, Result
    from edge.status import Status

PERIOD_NS = 33_333_333


class PacedSource(BaseSource):
    """Pictures at 30 a second of an injected clock."""

    def __init__(self, pictures: list[ImageU8], now: list[int]) -> None:
        super().__init__(clock=lambda: now[0])
        self.pictures, self.now = pictures, now

    def _open(self) -> None:
        self.left: Iterator[ImageU8] = iter(self.pictures)

    def _next(self) -> Frame | None:
        self.now[0] += PERIOD_NS
        picture = next(self.left, None)
        return None if picture is None else self._frame(picture)

    def _close(self) -> None:
        """Nothing is held."""


class CountingEngine:
    """Finds the same square on every frame, and counts how often it is asked."""

    input_buffer = None

    name = "counting"
    input_size = (64, 64)

    def __init__(self) -> None:
        self.calls = 0

    def infer(self, image: ImageU8) -> ImageU8:
        assert image.shape == (64, 64, 3)
        self.calls += 1
        scores = np.zeros((16, 16), np.uint8)
        scores[6:10, 6:10] = 255
        return scores

    def settings(self) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        """Nothing is held."""


class Kept:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.results: list[Result] = []
        self.statuses: list[Status] = []

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""

    def outputs(self) -> list[Path]:
        return []

    def notify(self, status: Status) -> None:
        self.statuses.append(status)

    def write(self, frame: Frame, result: Result) -> None:
        assert frame.stamps
        self.results.append(result)


@pytest.fixture(scope="module")
def bowel() -> list[ImageU8]:
    return [np.ascontiguousarray(frame.image[..., ::-1]) for frame in clip(4, 20, size=(135, 240))]


@pytest.fixture
def play(
    tiny_parts: tuple[Manifest, dict[str, bytes]],
) -> Callable[..., tuple[CountingEngine, Kept]]:
    def run(
        pictures: list[ImageU8], manifest: Manifest = tiny_parts[0], **parts: Any
    ) -> tuple[CountingEngine, Kept]:
        now, engine, sink = [10**9], CountingEngine(), Kept()
        source = PacedSource(pictures, now)
        loop = FrameLoop(
            source=source,
            engine=engine,
            manifest=lambda: manifest,
            sinks=[sink],
            clock=lambda: now[0],
            **parts,
        )
        loop.run()
        return engine, sink

    return run


def gray(value: int) -> ImageU8:
    return np.full((135, 240, 3), value, np.uint8)


def test_the_student_is_shown_the_view_that_the_guard_holds(
    bowel: list[ImageU8],
    play: Callable[..., tuple[CountingEngine, Kept]],
    tiny_parts: tuple[Manifest, dict[str, bytes]],
) -> None:
    manifest = tiny_parts[0]
    input_spec = msgspec.structs.replace(manifest.input, field_of_view="view")
    screens = [np.zeros((270, 480, 3), np.uint8) for _ in bowel]
    for screen, picture in zip(screens, bowel, strict=True):
        screen[60:195, 200:440] = np.maximum(picture, 40)
    _, sink = play(
        screens, manifest=msgspec.structs.replace(manifest, input=input_spec), guard=FrameGuard()
    )
    for result in sink.results:
        assert result.part is not None
        assert np.abs(np.subtract(result.part, (200, 60, 240, 135))).max() <= 20
        (region,) = result.regions
        x, y, width, height = region.box
        assert abs(x + width / 2 - 320) <= 12
        assert abs(y + height / 2 - 127) <= 12
    _, alone = play(screens, manifest=msgspec.structs.replace(manifest, input=input_spec))
    assert all(result.part is not None for result in alone.results), "each by its own view"
    _, sink = play(screens, guard=FrameGuard())
    assert {result.part for result in sink.results} == {None}


@pytest.mark.row(8, "black frames through the frame loop")
@pytest.mark.row(9, "white frames through the frame loop")
@pytest.mark.parametrize(("value", "kind"), [(0, "black"), (255, "light")])
def test_unfit_frames_pause_the_device_and_are_not_inferred(
    bowel: list[ImageU8], play: Callable[..., tuple[CountingEngine, Kept]], value: int, kind: str
) -> None:
    engine, sink = play(bowel + [gray(value)] * 30 + bowel, guard=FrameGuard())
    paused = [result for result in sink.results if result.reason is not None]
    assert len(paused) >= 25
    assert engine.calls == len(sink.results) - len(paused)
    assert {result.reason.kind for result in paused if result.reason} == {kind}
    assert not any(result.regions for result in paused)
    states = [status.state for status in sink.statuses]
    assert states[45] is State.PAUSED
    assert states[-1] is State.RUNNING


@pytest.mark.row(10, "a picture that stands still under live stamps, through the frame loop")
def test_a_frozen_picture_pauses_the_device_without_a_fault(
    bowel: list[ImageU8], play: Callable[..., tuple[CountingEngine, Kept]]
) -> None:
    engine, sink = play(bowel + [bowel[-1]] * 40 + bowel, guard=FrameGuard())
    assert {status.state for status in sink.statuses} == {State.RUNNING, State.PAUSED}
    assert any(status.kind is ReasonKind.FREEZE for status in sink.statuses)
    assert engine.calls < len(sink.results) - 20
    assert sink.statuses[-1].state is State.RUNNING


def test_the_first_outline_comes_after_the_stated_delay(
    bowel: list[ImageU8], play: Callable[..., tuple[CountingEngine, Kept]]
) -> None:
    _, sink = play(bowel, smoother=Smoother())
    first = next(number for number, result in enumerate(sink.results) if result.regions)
    assert first * 1000 / 30 == pytest.approx(Smoothing().delay_ms(30.0), abs=0.1)
    assert all(result.regions and result.mask_area > 0 for result in sink.results[first:])
    assert all(result.mask_area == 0 for result in sink.results[:first])
