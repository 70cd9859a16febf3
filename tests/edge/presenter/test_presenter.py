"""The presenter: what is on show, and that it is taken from view when nothing is heard."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import MissingDependencyError, UsageError
from edge.frame import Frame, Region, Result
from edge.limits import PRESENTER_SILENCE_MS
from edge.overlay.layer_cache import LayerDrawing
from edge.presenter.display_options import BACKGROUNDS, CHROMA, DisplayOptions, compose
from edge.presenter.presenter import Presenter
from edge.presenter.screen import SdlScreen
from edge.presenter.window_sink import Keeper, WindowSink
from edge.shm.reader import SegmentReader
from edge.sinks.base import SinkOptions
from edge.sinks.shm import ShmSink
from edge.status import Reason, ReasonKind, State, Status
from edge.util.spec import parse
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.frame import ImageU8

MS = 1_000_000
SIZE = 240, 320
pytestmark = pytest.mark.timeout(60)  # they wait for processes
BOX = (100, 80, 120, 90)
RUNNING = Status(State.RUNNING, None, 1)
NO_NEWS = Result(None, (), 0.0, Reason(ReasonKind.NO_NEWS))
WRITER = """
import sys, time
from pathlib import Path
import numpy as np
from edge.sinks.base import SinkOptions
from edge.sinks.shm import ShmSink
from edge.frame import Frame, Region, Result
from edge.status import State, Status
x, y, w, h = 100, 80, 120, 90
region = Region((x, y, w, h), ((x, y), (x + w, y), (x + w, y + h), (x, y + h)), 0.1, 0.9)
with ShmSink(Path(sys.argv[1]), SinkOptions(live=True)) as sink:
    print("up", flush=True)
    for index in range(100_000):
        sink.notify(Status(State.RUNNING, None, 1))
        image = np.zeros((240, 320, 3), np.uint8)
        sink.write(Frame(index, image, time.monotonic_ns()), Result(None, (region,), 0.1, None))
        time.sleep(0.01)
"""


class FakeScreen:
    size = SIZE[1], SIZE[0]

    def __init__(self) -> None:
        self.canvas: ImageU8 = np.full((*SIZE, 3), 77, np.uint8)

    def show(self, canvas: ImageU8) -> None:
        self.canvas = canvas.copy()


def region() -> Region:
    x, y, w, h = BOX
    return Region(BOX, ((x, y), (x + w, y), (x + w, y + h), (x, y + h)), 0.1, 0.9)


def frame(index: int, clock: Callable[[], int]) -> Frame:
    return Frame(index, np.full((*SIZE, 3), (10, 20, 200), np.uint8), clock())


def drawn(
    result: Result, status: Status | None = RUNNING, *, size: tuple[int, int] = SIZE
) -> ImageU8:
    """The layer on black, RGB."""
    layer = LayerDrawing().layer(size, result, status)
    return compose(
        np.ascontiguousarray(layer[..., [2, 1, 0, 3]]), None, DisplayOptions(), size[::-1]
    )


def found() -> Result:
    return Result(None, (region(),), 0.1, None)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[tuple[FakeClock, FakeScreen, ShmSink, Presenter]]:
    clock, screen, path = FakeClock(), FakeScreen(), tmp_path / "s"
    reader = SegmentReader(path)
    with ShmSink(path, SinkOptions(), clock=clock) as sink:
        sink.notify(RUNNING)
        yield clock, screen, sink, Presenter(reader, screen, DisplayOptions(), clock)
    reader.close()


def test_the_overlay_follows_the_stream(
    stage: tuple[FakeClock, FakeScreen, ShmSink, Presenter],
) -> None:
    clock, screen, sink, presenter = stage
    sink.write(frame(0, clock), found())
    assert presenter.step()
    assert np.array_equal(screen.canvas, drawn(found()))
    assert not presenter.step(), "nothing new is nothing to do"
    clock.spend(16)
    empty = Result(None, (), 0.0, None)
    sink.write(frame(1, clock), empty)
    assert presenter.step()
    assert np.array_equal(screen.canvas, drawn(empty))


def test_silence_clears_the_overlay_and_says_so(
    stage: tuple[FakeClock, FakeScreen, ShmSink, Presenter],
) -> None:
    clock, screen, sink, presenter = stage
    sink.write(frame(0, clock), found())
    presenter.step()
    clock.spend(PRESENTER_SILENCE_MS - 0.1)
    assert not presenter.step()
    clock.spend(0.1)
    assert presenter.step()
    assert np.array_equal(screen.canvas, drawn(NO_NEWS, None))
    assert not presenter.step()
    sink.write(frame(1, clock), found())
    assert presenter.step()
    assert np.array_equal(screen.canvas, drawn(found())), "it comes back with the news"


def test_a_sign_of_life_keeps_no_old_mask_on_show(
    stage: tuple[FakeClock, FakeScreen, ShmSink, Presenter],
) -> None:
    clock, screen, sink, presenter = stage
    sink.write(frame(0, clock), found())
    presenter.step()
    writer = sink._writer
    assert writer is not None
    for _ in range(11):
        clock.spend(10)
        writer.alive()  # a loop that lives and gives no frame, and a sink that forgot to clear
        assert not presenter.step()
    clock.spend(10)
    writer.alive()
    assert presenter.step()
    assert np.array_equal(screen.canvas, drawn(Result(None, (), 0.0, Reason(ReasonKind.NO_FRAME))))


def test_a_sign_of_life_from_the_future_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, screen = FakeClock(), FakeScreen()
    with ShmSink(tmp_path / "s", SinkOptions(), clock=lambda: clock.now + 3_600_000 * MS) as sink:
        sink.write(frame(0, clock), found())
        reader = SegmentReader(tmp_path / "s")
        presenter = Presenter(reader, screen, DisplayOptions(), clock)
        presenter.step()
        monkeypatch.setattr(reader, "news", lambda: (1, 0))  # nothing is heard from now on
        clock.spend(PRESENTER_SILENCE_MS)
        presenter.step()
        assert np.array_equal(screen.canvas, drawn(NO_NEWS, None))
        reader.close()


def test_before_there_is_a_stream_it_says_so_and_then_finds_it(tmp_path: Path) -> None:
    clock, screen = FakeClock(), FakeScreen()
    reader = SegmentReader(tmp_path / "s")
    presenter = Presenter(reader, screen, DisplayOptions(), clock)
    presenter.step()
    assert np.array_equal(screen.canvas, drawn(NO_NEWS, None))
    with ShmSink(tmp_path / "s", SinkOptions(), clock=clock) as sink:
        sink.notify(RUNNING)
        sink.write(frame(0, clock), found())
        presenter.step()
        assert np.array_equal(screen.canvas, drawn(found()))
    reader.close()


def test_a_look_as_text_is_read_back() -> None:
    for text in ("", "fullscreen,display=1", "picture,size=640x480", "background=key,fullscreen"):
        look = DisplayOptions.from_text(text)
        assert DisplayOptions.from_text(str(look)) == look
    assert DisplayOptions.from_text("fullscreen,display=1,background=chroma") == DisplayOptions(
        fullscreen=True, display=1, background="chroma"
    )
    for wrong in ("full", "display=-1", "size=1x1", "background=blue", "picture=2"):
        with pytest.raises(UsageError, match="option"):
            DisplayOptions.from_text(wrong)


@given(
    st.builds(
        DisplayOptions,
        fullscreen=st.booleans(),
        display=st.integers(0, 9),
        size=st.tuples(st.integers(10, 9999), st.integers(10, 9999)),
        background=st.sampled_from(BACKGROUNDS),
    )
)
def test_any_display_options_are_read_back(options: DisplayOptions) -> None:
    assert DisplayOptions.from_text(str(options)) == options


def test_display_options_have_two_spellings() -> None:
    listed = DisplayOptions.from_spec(parse("window:fullscreen,size=640x480"))
    assert listed == DisplayOptions.from_spec(parse("window:?fullscreen=1&size=640x480"))
    assert listed == DisplayOptions(fullscreen=True, size=(640, 480))


def test_backgrounds_for_keyers() -> None:
    layer = LayerDrawing().layer(SIZE, found(), RUNNING)[..., [2, 1, 0, 3]]
    alpha = layer[..., 3] == 255
    picture = np.full((*SIZE, 3), 99, np.uint8)
    views = {
        look: compose(layer, picture, DisplayOptions(background=look), SIZE[::-1])
        for look in ("black", "chroma", "key")
    }
    assert not views["black"][~alpha].any()
    assert (views["chroma"][~alpha] == CHROMA).all()
    assert (views["black"][alpha] == layer[alpha][:, :3]).all()
    assert (views["chroma"][alpha] == layer[alpha][:, :3]).all()
    assert np.array_equal(
        views["key"], np.repeat(255 * alpha[..., None].astype(np.uint8), 3, axis=2)
    )
    large = compose(layer, None, DisplayOptions(background="chroma"), (800, 480))
    colors = {tuple(color) for color in large.reshape(-1, 3).tolist()}
    assert colors == {tuple(color) for color in views["chroma"].reshape(-1, 3).tolist()}, (
        "none between"
    )
    assert (large[:, :80] == CHROMA).all()


@pytest.fixture
def dummy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")


def pixels() -> ImageU8:
    """What SDL shows, (H, W, 3) RGB."""
    import pygame

    surface = pygame.display.get_surface()
    assert surface is not None
    view: Any = pygame.surfarray.array3d(surface)
    return np.ascontiguousarray(view.transpose(1, 0, 2))


@pytest.mark.usefixtures("dummy")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stopped_runtime_s_overlay_is_cleared_in_time(
    tmp_path: Path, how: signal.Signals
) -> None:
    path = tmp_path / "s"
    outline = drawn(found())
    silent = drawn(NO_NEWS, None)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True
    )
    reader = SegmentReader(path)
    try:
        with SdlScreen(DisplayOptions(size=SIZE[::-1])) as screen:
            presenter = Presenter(reader, screen, DisplayOptions())
            presenter.step()
            assert np.array_equal(pixels(), silent)
            while not np.array_equal(pixels(), outline):
                presenter.step()
            process.send_signal(how)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
            killed = time.monotonic_ns()  # its last sign of life is not later
            while not np.array_equal(pixels(), silent):
                began = time.monotonic_ns()
                presenter.step()
                screen_pixels = pixels()
                assert began - killed < PRESENTER_SILENCE_MS * MS or np.array_equal(
                    screen_pixels, silent
                ), "the first step after 120 ms clears"
            if how is signal.SIGSTOP:
                process.send_signal(signal.SIGCONT)
                while not np.array_equal(pixels(), outline):
                    presenter.step()
    finally:
        process.kill()
        process.communicate()
        reader.close()


@pytest.mark.usefixtures("dummy")
def test_a_display_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(MissingDependencyError, match="display 9 cannot be opened"):
        SdlScreen(DisplayOptions(display=9))


@pytest.mark.usefixtures("dummy")
def test_the_window_process_restarts_and_ends_with_the_sink() -> None:
    with WindowSink(DisplayOptions(size=(320, 240)), SinkOptions(live=True)) as sink:
        keeper = sink.keeper
        assert keeper is not None
        while (first := keeper.process) is None:
            time.sleep(0.001)
        first.kill()
        while keeper.process is first:
            time.sleep(0.001)
        second = keeper.process
        assert second is not None
        sink.write(frame(0, time.monotonic_ns), found())
        assert keeper.restarts == 1
    assert sink.counters["restarts"] == 1
    assert second.poll() is not None
    assert not sink.segment.exists()


def test_a_process_that_ends_by_its_own_wish_is_let_go() -> None:
    keeper = Keeper([sys.executable, "-c", ""], first_pause_s=0)
    keeper._thread.join(30)
    assert keeper.restarts == 0
    keeper.close()
    missing = Keeper(["/no/such/program"], first_pause_s=0.001)
    while missing.restarts < 2:
        time.sleep(0.001)
    missing.close()


class Framebuffer:
    """An X server without a display, whose pixels lie in a file (`Xvfb -fbdir`, in xwd format)."""

    def __init__(self, folder: Path, width: int, height: int) -> None:
        self.file = folder / "Xvfb_screen0"
        out, end = os.pipe()
        command = ["Xvfb", "-displayfd", str(end), "-screen", "0", f"{width}x{height}x24"]
        self.server = subprocess.Popen(
            [*command, "-fbdir", folder, "-nolisten", "tcp"],
            pass_fds=[end],
            stderr=subprocess.DEVNULL,
        )
        os.close(end)
        with os.fdopen(out) as pipe:
            self.display = f":{pipe.readline().strip()}"

    def pixels(self) -> ImageU8:
        """(H, W, 3) RGB."""
        data = self.file.read_bytes()
        head = struct.unpack(">25I", data[:100])
        width, height, row, begin = head[4], head[5], head[12], head[0] + 12 * head[19]
        rows = np.frombuffer(data, np.uint8, row * height, begin).reshape(height, row)
        view: ImageU8 = rows[:, : 4 * width].reshape(height, width, 4)[..., 2::-1]
        return view

    def until(self, holds: Callable[[ImageU8], bool], process: subprocess.Popen[Any]) -> ImageU8:
        end = time.monotonic() + 30
        while not holds(view := self.pixels()):
            assert process.poll() is None, "the presenter ended"
            assert time.monotonic() < end, "it is not shown"
            time.sleep(0.002)
        return view


@pytest.fixture
def framebuffer(tmp_path: Path) -> Iterator[Framebuffer]:
    folder = tmp_path / "x"
    folder.mkdir()
    server = Framebuffer(folder, SIZE[1], SIZE[0])
    yield server
    server.server.terminate()
    server.server.wait()


@pytest.mark.row(
    33,
    "the presenter as a process on an X server, while its writer is killed; pixels of the server",
)
def test_the_presenter_s_process_on_a_whole_display(
    tmp_path: Path, framebuffer: Framebuffer
) -> None:
    path = tmp_path / "s"
    environment = {**os.environ, "DISPLAY": framebuffer.display, "SDL_VIDEODRIVER": "x11"}
    presenter = subprocess.Popen(
        [sys.executable, "-m", "edge.presenter", path, "--look", "fullscreen"], env=environment
    )
    silent, outline = drawn(NO_NEWS, None), drawn(found())
    try:
        framebuffer.until(lambda view: np.array_equal(view, silent), presenter)
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.DEVNULL)
        try:
            framebuffer.until(lambda view: np.array_equal(view, outline), presenter)
        finally:
            writer.kill()
            writer.wait()
        framebuffer.until(lambda view: np.array_equal(view, silent), presenter)
        presenter.send_signal(signal.SIGTERM)
        assert presenter.wait(10) == 0
    finally:
        presenter.kill()
        presenter.wait()


def test_the_presenter_without_a_display_says_what_it_needs(tmp_path: Path) -> None:
    environment = {**os.environ, "DISPLAY": ":9", "SDL_VIDEODRIVER": "x11"}
    done = subprocess.run(
        [sys.executable, "-m", "edge.presenter", tmp_path / "s"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 8
    assert "display 0 cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_left_alone_by_its_parent_it_ends_when_nothing_is_heard(tmp_path: Path) -> None:
    """The parent starts it and dies, as a runtime that is killed does."""
    starter = (
        "import os, subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'edge.presenter', sys.argv[1], "
        "'--parent', str(os.getpid())])\n"
        "print(p.pid)"
    )
    environment = {**os.environ, "SDL_VIDEODRIVER": "dummy"}
    command = [sys.executable, "-c", starter, str(tmp_path / "s")]
    out, end = os.pipe()  # held open by the presenter for as long as it lives
    started = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        pass_fds=[],
        check=True,
        stderr=end,
        text=True,
    )
    os.close(end)
    assert started.stdout.strip().isdigit()
    with os.fdopen(out, "rb") as pipe:
        assert pipe.read() == b""
