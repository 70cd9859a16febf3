"""The layer for a hardware keyer: BGRA at a fixed rate, with elements in place of a card."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.errors import BusyError, MissingDependencyError, UsageError
from edge.presenter.display_options import ALPHA, DisplayOptions, compose
from edge.presenter.keyer import KeyerScreen
from edge.sources import gst_bindings
from tests.edge.presenter.test_presenter import WRITER
from tests.support.clock import FakeClock
from tests.support.processes import until

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8

SIZE = (64, 48)


@pytest.fixture(autouse=True)
def _gstreamer() -> None:
    try:
        gst_bindings.load()
    except MissingDependencyError as error:
        pytest.skip(f"GStreamer's bindings: {error.got}")


def card(folder: Path) -> str:
    """Elements in place of a card: a file for each frame."""
    return f"multifilesink location={folder}/%05d.bgra"


def frames_in(folder: Path, size: tuple[int, int]) -> list[ImageU8]:
    shape = (size[1], size[0], 4)
    whole = [path for path in sorted(folder.iterdir()) if path.stat().st_size == np.prod(shape)]
    return [np.frombuffer(path.read_bytes(), np.uint8).reshape(shape) for path in whole]


def sent(folder: Path, count: int, size: tuple[int, int] = SIZE) -> ImageU8:
    """The newest frame, after so many have arrived."""
    until(lambda: len(frames_in(folder, size)) >= count, 20)
    return frames_in(folder, size)[-1]


def test_a_layer_is_sent_with_its_transparency(tmp_path: Path) -> None:
    layer = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    layer[10:20, 5:25] = (200, 100, 50, 255)
    with KeyerScreen(card(tmp_path), size=SIZE) as screen:
        screen.show(layer)
        assert not screen.closed
        frame = sent(tmp_path, 1)
    assert (frame[15, 10] == (50, 100, 200, 255)).all()
    assert (frame[..., 3] > 0).sum() == 200


def test_a_picture_without_a_key_is_opaque(tmp_path: Path) -> None:
    with KeyerScreen(card(tmp_path), size=SIZE) as screen:
        screen.show(np.full((SIZE[1], SIZE[0], 3), (255, 0, 255), np.uint8))
        assert not screen.closed
        frame = sent(tmp_path, 1)
    assert (frame == (255, 0, 255, 255)).all()


def test_frames_come_at_the_rate_also_without_a_change(tmp_path: Path) -> None:
    clock = FakeClock()
    with KeyerScreen(card(tmp_path), size=SIZE, rate=50, clock=clock) as screen:
        for step in range(10):  # 100 ms of polls, 10 ms apart
            assert not screen.closed
            sent(tmp_path, step // 2 + 1)
            clock.spend(10)
        assert len(frames_in(tmp_path, SIZE)) == 5


@pytest.mark.parametrize("text", ["no-such-element", "identity ! !", "decklinkvideosink mode=x"])
def test_what_is_no_pipeline_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="keyer's pipeline cannot be built"):
        KeyerScreen(text, size=SIZE)


def test_a_card_that_fails_is_an_error_and_never_silent() -> None:
    with (
        KeyerScreen("identity error-after=2 ! fakesink", size=SIZE, rate=240) as screen,
        pytest.raises(BusyError, match="keyer's pipeline failed"),
    ):
        until(lambda: screen.closed, 20)


def test_the_layer_keeps_its_size_and_key_on_a_larger_picture() -> None:
    layer = np.zeros((30, 40, 4), np.uint8)
    layer[:, :4] = 255
    options = DisplayOptions(background=ALPHA, size=(80, 80))
    canvas = compose(layer, None, options, (80, 80))
    assert canvas.shape == (80, 80, 4)
    assert set(np.unique(canvas[..., 3])) == {0, 255}
    assert (canvas[..., 3] > 0).sum() == 8 * 60
    assert (canvas[:10] == 0).all()


def test_the_presenter_feeds_a_keyer_and_tells_of_silence(tmp_path: Path) -> None:
    frames, size = tmp_path / "frames", (320, 240)
    frames.mkdir()
    segment = tmp_path / "overlay"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(segment)], stdout=subprocess.PIPE, env=environment
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"up\n"
    shown = subprocess.Popen(
        [
            sys.executable, "-m", "edge.presenter", str(segment), "--look", "size=320x240",
            "--keyer", card(frames), "--rate", "30",
        ],
        env=environment,
    )  # fmt: skip
    try:
        until(lambda: any(frame[80:82, 110:200, 3].any() for frame in frames_in(frames, size)), 30)
        newest = sent(frames, 1, size)
        assert not newest[100:160, 110:210, 3].any(), "inside of the outline nothing is drawn"
        writer.kill()
        writer.wait(10)
        until(lambda: not frames_in(frames, size)[-1][80:82, 110:200, 3].any(), 20)
        assert frames_in(frames, size)[-1][..., 3].any(), "NO NEWS is shown"
    finally:
        for process in (writer, shown):
            process.kill()
            process.wait(10)
        writer.stdout.close()
