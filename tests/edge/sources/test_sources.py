"""One contract for all sources, then what each does beyond it and how it fails."""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import Interruption, SourceError, UsageError
from edge.imaging import buffer_pool as picture_memory
from edge.sources.base import BaseSource, Pacer
from edge.sources.clip import ClipSource
from edge.sources.faults import Timetable
from edge.sources.images import ImagesSource
from edge.sources.open import SOURCES, open_source
from edge.sources.opencv_camera import V4l2Source
from edge.sources.synthetic import SyntheticSource
from tests.support.clock import FakeClock

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edge.frame import Frame, ImageU8

HEIGHT, WIDTH, COUNT = 48, 64, 8


def picture(number: int) -> NDArray[np.uint8]:
    """A soft picture whose gray level tells its number; blue stands out."""
    image = np.full((HEIGHT, WIDTH, 3), 40 + 20 * (number % 8), np.uint8)
    image[..., 0] = 250
    return image


def write_clip(path: Path, count: int = COUNT, *, fps: float = 25.0) -> Path:
    codec = "MJPG" if path.suffix == ".avi" else "mp4v"
    writer = cv2.VideoWriter(
        str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), fps, (WIDTH, HEIGHT)
    )
    for number in range(count):
        writer.write(picture(number))
    writer.release()
    return path


def write_images(folder: Path, names: list[str]) -> Path:
    folder.mkdir()
    for number, name in enumerate(names):
        assert cv2.imwrite(str(folder / name), picture(number))
    return folder


def drain(source: BaseSource) -> list[Frame]:
    frames = []
    while (frame := source.read()) is not None:
        frames.append(frame)
    return frames


class SteadyCamera:
    """A `cv2.VideoCapture` that always delivers."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def read(self) -> tuple[bool, NDArray[np.uint8]]:
        time.sleep(0.002)
        return True, picture(1)

    def get(self, _: int) -> float:
        return 0.0

    def set(self, *_: float) -> bool:
        return False

    def release(self) -> None:
        return


class SourceContract:
    """What holds for every source."""

    live = False
    ends = True

    def make(self, folder: Path) -> BaseSource:
        raise NotImplementedError

    def frames(self, source: BaseSource) -> list[Frame]:
        if self.ends:
            return drain(source)
        return [frame for _ in range(4) if (frame := source.read())]

    def test_frames_are_bgr_numbered_and_stamped(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as source:
            frames = self.frames(source)
            assert frames
            assert source.live is self.live
            assert source.description
        for frame in frames:
            assert frame.image.dtype == np.uint8
            assert frame.image.shape == (HEIGHT, WIDTH, 3)
            assert frame.captured_ns > 0
        assert all(a.index < b.index for a, b in pairwise(frames))
        assert all(a.captured_ns <= b.captured_ns for a, b in pairwise(frames))
        if not self.live:
            assert [frame.index for frame in frames] == list(range(COUNT))

    def test_its_end_stays_the_end(self, tmp_path: Path) -> None:
        if not self.ends:
            pytest.skip("a camera has no end")
        with self.make(tmp_path) as source:
            self.frames(source)
            assert source.read() is None
            assert source.read() is None

    def test_frames_do_not_share_memory(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as source:
            first = source.read()
            assert first is not None
            copy = first.image.copy()
            second = source.read()
            assert second is not None
            second.image[:] = 7
            np.testing.assert_array_equal(first.image, copy)

    def test_closes_once_and_opens_again(self, tmp_path: Path) -> None:
        source = self.make(tmp_path)
        with source:
            first = source.read()
            with source:  # a caller may have opened it already
                assert source.read() is not None
        source.close()
        source.close()
        with pytest.raises(RuntimeError, match="outside its `with` block"):
            source.read()
        with source:
            again = source.read()
        assert first is not None
        assert again is not None
        assert self.live or again.index == first.index == 0


class TestClip(SourceContract):
    def make(self, folder: Path) -> BaseSource:
        path = folder / "clip.mp4"
        return open_source(f"file:{path if path.exists() else write_clip(path)}")


class TestReplayedClip(SourceContract):
    live = True

    def make(self, folder: Path) -> BaseSource:
        path = folder / "clip.mp4"
        clock = FakeClock()
        path = path if path.exists() else write_clip(path)
        return ClipSource(path, realtime=True, clock=clock, sleep=clock.sleep)


class TestImages(SourceContract):
    def make(self, folder: Path) -> BaseSource:
        where = folder / "pictures"
        if not where.exists():
            write_images(where, [f"{n}.png" for n in range(COUNT)])
        return open_source(f"images:{where}")


class TestSynthetic(SourceContract):
    def make(self, folder: Path) -> BaseSource:  # noqa: ARG002
        return open_source(f"synthetic:?width={WIDTH}&height={HEIGHT}&frames={COUNT}&live=0")


class TestPacedSynthetic(SourceContract):
    live = True

    def make(self, folder: Path) -> BaseSource:  # noqa: ARG002
        clock = FakeClock()
        return SyntheticSource(
            width=WIDTH, height=HEIGHT, frames=COUNT, clock=clock, sleep=clock.sleep
        )


class TestCamera(SourceContract):
    live = True
    ends = False

    def make(self, folder: Path) -> BaseSource:
        (folder / "dev").mkdir(exist_ok=True)
        (folder / "dev/video0").touch()
        return V4l2Source("0", root=folder, capture=lambda _: SteadyCamera())


def test_every_scheme_resolves_to_a_source() -> None:
    for scheme in SOURCES:
        target = "videotestsrc" if scheme == "gst" else ""
        assert isinstance(open_source(f"{scheme}:{target}"), BaseSource)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("clip.mp4", "file:..."),
        ("rtmp:x", "unknown source"),
        ("synthetic:?width=0", "a whole number from 32 to 8192"),
        ("synthetic:?wdth=640", "height"),
        ("synthetic:?fps=nan", "frames per second"),
        ("synthetic:?fps=1&fps=2", "twice"),
        ("synthetic:?frames=0&live=0", "without end"),
        ("synthetic:target", "takes no target"),
        ("images:x?fps=3", "no option"),
        ("file:x?realtime=yes", "1 (on) or 0 (off)"),
    ],
)
def test_a_wrong_text_names_the_choices(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_source(text)
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_realtime_is_for_clips() -> None:
    assert open_source("file:x", realtime=True).live
    with pytest.raises(UsageError, match="real time"):
        open_source("synthetic:", realtime=True)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        source = open_source(text)
    except UsageError:
        return
    assert text.startswith(tuple(SOURCES))
    assert source.description


def test_a_question_mark_in_a_file_name_is_kept() -> None:
    source = open_source("file:/a/what?.mp4?realtime=1")
    assert isinstance(source, ClipSource)
    assert (source.path, source.live) == (Path("/a/what?.mp4"), True)


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/nurse")
    assert open_source("file:~/clip.mp4").description == "clip /home/nurse/clip.mp4"
    assert open_source("images:~/frames").description == "images of /home/nurse/frames"


def test_a_wrong_source_never_shows_a_password() -> None:
    for text in ("rtps://user:hunter2/x@host/live", "rtsp://user:hunter2@host?a=1&a=hunter2"):
        with pytest.raises(UsageError) as caught:
            open_source(text)
        assert "hunter2" not in str(caught.value)


def test_a_near_option_is_suggested() -> None:
    with pytest.raises(UsageError, match=r"did you mean 'width'\?"):
        open_source("synthetic:?wdth=640")


def test_a_clip_keeps_colors_and_order(tmp_path: Path) -> None:
    with open_source(f"file:{write_clip(tmp_path / 'clip.mp4')}") as source:
        assert source.fps == 25
        for number in range(COUNT):
            frame = source.read()
            assert frame is not None
            blue, green, red = frame.image.reshape(-1, 3).mean(axis=0)
            assert blue > 220
            assert abs(green - (40 + 20 * number)) < 12
            assert abs(red - (40 + 20 * number)) < 12


def test_a_replayed_clip_skips_what_is_late(tmp_path: Path) -> None:
    clock = FakeClock()
    path = write_clip(tmp_path / "clip.mp4")
    with ClipSource(path, realtime=True, clock=clock, sleep=clock.sleep) as source:
        first = source.read()
        clock.now += 130_000_000  # frames 1 and 2 went by, 3 has just begun
        late = source.read()
        assert first is not None
        assert late is not None
        assert (first.index, late.index) == (0, 3)
        assert late.captured_ns == first.captured_ns + 120_000_000
        assert abs(float(late.image[..., 1].mean()) - 100) < 12
        clock.now += 10_000_000_000
        assert source.read() is None


@pytest.mark.parametrize("content", [None, b"", b"no video" * 500, "folder", "cut"])
def test_a_clip_that_cannot_be_read(
    tmp_path: Path, content: bytes | str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "broken.mp4"
    if content == "folder":
        path.mkdir()
    elif content == "cut":
        data = write_clip(path).read_bytes()
        path.write_bytes(data[: len(data) // 2])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    with pytest.raises(SourceError) as caught, open_source(f"file:{path}"):
        pass
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert capfd.readouterr().err == ""


def test_a_clip_that_breaks_off_is_no_end(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", 40)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with open_source(f"file:{path}") as source:
        with pytest.raises(SourceError, match="breaks off") as caught:
            drain(source)
        assert str(path) in caught.value.what
        assert caught.value.expected.startswith("40 frames")


def test_images_come_in_natural_order_whatever_their_format(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "p", ["10.png", "2.jpg", "1.bmp", "B3.webp", "b20.tiff"])
    (folder / "notes.txt").write_text("not an image")
    with ImagesSource(folder) as source:
        frames = [source.read() for _ in range(5)]
        assert source.read() is None
    levels = [float(frame.image[..., 1].mean()) for frame in frames if frame]
    # picture(2) is 1.bmp, picture(1) is 2.jpg, picture(0) is 10.png.
    assert np.allclose(levels[:3], [80, 60, 40], atol=4)
    first = frames[0]
    assert first is not None
    assert first.image[0, 0].tolist() == [250, 80, 80]


def test_images_that_cannot_be_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, says in ((tmp_path / "none", "not a folder"), (empty, "holds no image")):
        with pytest.raises(SourceError, match=says) as caught, open_source(f"images:{folder}"):
            pass
        assert str(folder) in caught.value.what
    folder = write_images(tmp_path / "p", ["1.png", "2.png"])
    (folder / "2.png").write_bytes(b"\x89PNG but no more")
    with open_source(f"images:{folder}") as source:
        assert source.read() is not None
        assert source.read() is None
        assert source.counters["unreadable"] == 1
    assert str(folder / "2.png") in caplog.text
    (folder / "1.png").write_bytes(b"\x89PNG but no more")
    with (
        open_source(f"images:{folder}") as source,
        pytest.raises(SourceError, match="cut short"),
    ):
        source.read()


def test_synthetic_frames_repeat_by_seed_and_turn_to_bgr() -> None:
    from edge.datasets.phantom.render import clip

    text = f"synthetic:?width={WIDTH}&height={HEIGHT}&frames=3&live=0&seed="
    with open_source(text + "5") as one, open_source(text + "6") as other:
        frame, different = one.read(), other.read()
    assert frame is not None
    assert different is not None
    expected = next(iter(clip(5, 3, size=(HEIGHT, WIDTH)))).image[..., ::-1]
    np.testing.assert_array_equal(frame.image, expected)
    assert (frame.image != different.image).any()


def test_a_paced_phantom_keeps_its_rate_and_size() -> None:
    """A paced phantom keeps its rate and size beyond what it drew."""
    clock = FakeClock()
    with SyntheticSource(
        width=700, height=64, fps=50, frames=0, clock=clock, sleep=clock.sleep
    ) as source:
        frames = [source.read() for _ in range(100)]
    stamps = [frame.captured_ns for frame in frames if frame]
    assert len(stamps) == 100
    assert set(np.diff(stamps).tolist()) == {20_000_000}
    assert frames[99] is not None
    assert frames[99].image.shape == (64, 700, 3)


def test_phantom_pictures_share_memory_only_after_release(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []

    class Counted(picture_memory._Block):
        def __init__(self, size: int) -> None:
            sizes.append(size)
            super().__init__(size)

    monkeypatch.setattr(picture_memory, "_Block", Counted)
    clock = FakeClock()
    source = SyntheticSource(
        width=64,
        height=48,
        fps=50,
        frames=0,
        faults=Timetable(every_s=0.2, length_s=0.1),
        clock=clock,
        sleep=clock.sleep,
    )
    pictures = deque[tuple["ImageU8", "ImageU8"]](maxlen=4)
    with source:
        for _ in range(400):
            with suppress(TimeoutError, Interruption):
                frame = source.read()
                assert frame is not None
                pictures.append((frame.image, frame.image.copy()))
                assert all((image == before).all() for image, before in pictures)
    assert 0 < len(sizes) <= len(pictures) + 2


def test_the_pacer_counts_what_went_by() -> None:
    clock = FakeClock()
    start = clock.now
    pacer = Pacer(100.0, clock, clock.sleep)
    assert pacer.wait() == (0, start)
    assert pacer.wait() == (0, start + 10_000_000)
    clock.now += 35_000_000
    assert pacer.wait() == (2, start + 40_000_000)
    assert pacer.wait() == (0, start + 50_000_000)
    assert clock.now == start + 50_000_000
