"""One contract for all sinks, then what each leaves behind."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edge.errors import MissingDependencyError, UsageError
from edge.frame import Frame, Region, Result, Stage
from edge.record_header import make_header
from edge.sinks.base import SinkOptions
from edge.sinks.jsonl import JsonlSink, read_frame_lines
from edge.sinks.open import SINKS, open_sinks
from edge.sinks.video import VideoSink
from edge.status import Reason, ReasonKind, State, Status
from edge.util.clip_writer import CODECS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.contracts import Sink

HEIGHT, WIDTH = 96, 128
RUNNING = Status(State.RUNNING, None, 3)
LIVE = SinkOptions(live=True)
FOUND = Region(
    box=(20, 30, 40, 20), contour=((20, 30), (59, 30), (59, 49), (20, 49)), area=0.065, score=0.9
)


def frame(index: int, *, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frame:
    image = np.full((*size, 3), 90, np.uint8)
    image[:, : 8 * (index + 1)] = (160, 60, 40)
    begin = 1_000_000_000 + index * 40_000_000
    stamps = {
        Stage.CAPTURE: (begin, begin + 1_500_000),
        Stage.INFER: (begin + 1_500_000, begin + 4_000_000),
    }
    return Frame(index=index, image=image, captured_ns=begin, stamps=stamps)


def result(*regions: Region, reason: Reason | None = None) -> Result:
    return Result(
        scores=None, regions=regions, mask_area=sum(r.area for r in regions), reason=reason
    )


def decoded(path: Path) -> list[Any]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (picture := capture.read())[0]:
        frames.append(picture[1])
    capture.release()
    return frames


class SinkContract:
    """What holds for every sink, of a live source and of any other."""

    target: str | None = None
    """File that is left."""
    name: str | None = None
    """File that is taken while the sink is open."""

    def text(self, folder: Path) -> str:
        raise NotImplementedError

    def make(self, folder: Path, *, force: bool = False, live: bool = False) -> Sink:
        return open_sinks([self.text(folder)], fps=25, force=force, live=live)[0]

    def output(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    @pytest.mark.parametrize("live", [False, True])
    def test_takes_frames_and_status_and_leaves_only_its_output(
        self, tmp_path: Path, live: bool
    ) -> None:
        with self.make(tmp_path, live=live) as sink:
            sink.notify(Status(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "gone"), 1))
            for index in range(3):
                sink.notify(RUNNING)
                sink.write(frame(index), result(FOUND))
            sink.notify(Status(State.PAUSED, Reason(ReasonKind.FREEZE), 2))
            sink.write(frame(3), result(reason=Reason(ReasonKind.FREEZE)))
        assert self.output(tmp_path) == ([self.target] if self.target else [])

    @pytest.mark.row(43, "the sinks are left while frames are queued")
    @pytest.mark.parametrize("live", [False, True])
    def test_an_error_in_the_block_finishes_the_output(self, tmp_path: Path, live: bool) -> None:
        def fail(sink: Sink) -> None:
            with sink:
                sink.write(frame(0), result())
                raise RuntimeError("elsewhere")

        with pytest.raises(RuntimeError, match="elsewhere"):
            fail(self.make(tmp_path, live=live))
        assert self.output(tmp_path) == ([self.target] if self.target else [])

    def test_names_the_files_that_it_leaves(self, tmp_path: Path) -> None:
        sink = self.make(tmp_path)
        expected = [tmp_path / self.target] if self.target else []
        assert sink.outputs() == expected

    def test_leaves_the_frame_as_it_was(self, tmp_path: Path) -> None:
        original = frame(2)
        before = original.image.copy()
        with self.make(tmp_path) as sink:
            sink.write(original, result(FOUND))
        assert np.array_equal(original.image, before)

    def test_may_be_left_without_a_frame(self, tmp_path: Path) -> None:
        with self.make(tmp_path):
            pass

    def test_replaces_only_by_force(self, tmp_path: Path) -> None:
        name = self.name or self.target
        if name is None:
            return  # it writes no file
        (tmp_path / name).write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists already"):
            self.make(tmp_path)
        assert (tmp_path / name).read_bytes() == b"precious"
        with self.make(tmp_path, force=True) as sink:
            sink.write(frame(0), result())
        assert not (tmp_path / name).exists() or (tmp_path / name).read_bytes() != b"precious"

    def test_makes_its_folder(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "new" / "folder") as sink:
            sink.write(frame(0), result())
        if self.target:
            assert (tmp_path / "new" / "folder" / self.target).exists()


class TestShm(SinkContract):
    name = "stream"

    def text(self, folder: Path) -> str:
        return f"shm:{folder / 'stream'}?picture=1"


class TestWindow(SinkContract):
    @pytest.fixture(autouse=True)
    def no_display(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")

    def text(self, folder: Path) -> str:  # noqa: ARG002
        return "window:size=320x240"


class TestWeb(SinkContract):
    def text(self, folder: Path) -> str:  # noqa: ARG002
        return "web"


class TestVideo(SinkContract):
    target = "overlay.mp4"

    def text(self, folder: Path) -> str:
        return f"video:{folder / 'overlay.mp4'}"


class TestJsonl(SinkContract):
    target = "frames.jsonl"

    def text(self, folder: Path) -> str:
        return f"jsonl:{folder / 'frames.jsonl'}"


class TestEvents(SinkContract):
    name = "socket"

    def text(self, folder: Path) -> str:
        return f"events:{folder / 'socket'}"


class TestNull(SinkContract):
    def text(self, folder: Path) -> str:  # noqa: ARG002
        return "null"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["screen"], "video:FILE.mp4 | jsonl"),
        (["shm"], "shm:NAME"),
        (["shm:a?color=1"], "picture"),
        (["shm:a?picture=2"], "1 (on) or 0 (off)"),
        (["window:display"], "a whole number from 0 to 9"),
        (["window:fulscreen"], "did you mean 'fullscreen'?"),
        (["jsonl:a?b=1"], "no option"),
        (["window:picture,background=key"], "either picture or background"),
        (["web:0.0.0.0:80"], "never leave this machine"),
        (["web:99999"], "1 to 65535"),
        (["video"], "ending in .mp4"),
        (["video:a.avi"], "ending in .mp4"),
        (["video:a.mp4?codec=av1"], "h264 | mp4v | vp9"),
        (["null:a"], "takes no path"),
        (["jsonl:a", "video:b.mp4", "jsonl:a"], "share a path"),
    ],
)
def test_a_wrong_sink_names_the_choices(texts: list[str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_sinks(texts)
    assert says in str(caught.value)


def test_sinks_that_record_come_last(tmp_path: Path) -> None:
    texts = [f"jsonl:{tmp_path}/a", "null", f"video:{tmp_path}/b.mp4"]
    kinds = [type(sink).__name__ for sink in open_sinks(texts)]
    assert kinds.index("JsonlSink") > kinds.index("VideoSink")
    assert list(SINKS)[-3:] == ["video", "jsonl", "null"]


def test_a_line_per_frame_and_each_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    with open_sinks([f"jsonl:{path}"])[0] as sink:
        sink.write(frame(4), result(FOUND))
        line = json.loads(path.read_text())
        sink.write(frame(6), result(reason=Reason(ReasonKind.STALE, "143 ms old")))
    second = json.loads(path.read_text().splitlines()[1])
    assert line == {
        "frame": 4,
        "captured_ns": 1_160_000_000,
        "stages_ms": {"capture": 1.5, "infer": 2.5},
        "age_ms": 4.0,
        "mask_area": 0.065,
        "regions": [
            {
                "box": [20, 30, 40, 20],
                "contour": [[20, 30], [59, 30], [59, 49], [20, 49]],
                "area": 0.065,
                "score": 0.9,
            }
        ],
        "reason": None,
    }
    assert (second["frame"], second["reason"]) == (6, "stale: 143 ms old")
    assert second["regions"] is second["mask_area"] is None, "nobody judged it"


@pytest.mark.parametrize("live", [True, False])
def test_a_header_comes_before_the_lines_it_is_of(tmp_path: Path, live: bool) -> None:
    path = tmp_path / "frames.jsonl"
    unknown, known_header = (
        make_header(data="camera"),
        make_header(data="rtsp://user:secret@host/live"),
    )
    known_header = msgspec.structs.replace(known_header, bundle="edge-s")
    with JsonlSink(path, SinkOptions(live=live)) as sink:
        for number, header in enumerate((unknown, known_header, known_header)):
            sink.describe(header)
            sink.write(frame(number), result())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [next(iter(line)) for line in lines] == ["header", "frame", "header", "frame", "frame"]
    assert [line["header"]["bundle"] for line in lines if "header" in line] == [None, "edge-s"]
    assert "secret" not in path.read_text()
    assert [line.frame for line in read_frame_lines(path)] == [0, 1, 2]


@pytest.mark.parametrize("target", ["jsonl", "jsonl:-"])
def test_lines_without_a_path_go_to_stdout(
    target: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    with open_sinks([target])[0] as sink:
        sink.write(frame(0), result())
    assert json.loads(capfdbinary.readouterr().out)["frame"] == 0


def test_a_clip_plays_back_with_its_overlay(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with VideoSink(path, SinkOptions(fps=12.5)) as sink:
        sink.notify(RUNNING)
        for index in range(6):
            sink.write(frame(index), result(FOUND))
        assert not path.exists()
    frames = decoded(path)
    assert len(frames) == 6
    assert frames[0].shape == (HEIGHT, WIDTH, 3)
    edge = frames[5][30, 24:56].mean(axis=0)
    assert edge[1] > edge[0] + 40, "the outline is green"
    assert cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FPS) == 12.5
    assert sink.codec in CODECS


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with VideoSink(path) as sink:
        sink.write(frame(0), result())
        sink.write(frame(1, size=(HEIGHT, WIDTH // 2)), result())
    first, second = decoded(path)
    assert second.shape == first.shape
    assert second[:, : WIDTH // 4 - 4].max() < 30, "black beside the narrow frame"
    assert second[HEIGHT // 2, WIDTH // 2].min() > 30


def test_a_run_without_frames_leaves_no_clip(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "overlay.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_encoder_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "h264", "zzzz")
    monkeypatch.setitem(CODECS, "mp4v", "yyyy")
    with (
        pytest.raises(MissingDependencyError, match="h264 or mp4v"),
        VideoSink(tmp_path / "o.mp4") as sink,
    ):
        sink.write(frame(0), result())
    assert list(tmp_path.iterdir()) == []


def test_without_h264_the_clip_is_mpeg4(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "h264", "zzzz")
    with VideoSink(tmp_path / "o.mp4") as sink:
        sink.write(frame(0), result())
    assert sink.codec == "mp4v"
    assert len(decoded(tmp_path / "o.mp4")) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for text in (f"video:{tmp_path}/file/o.mp4", f"jsonl:{tmp_path}/file/o.jsonl"):
        with pytest.raises(OSError, match="file"):
            open_sinks([text])[0].__enter__()


def test_a_live_source_never_waits_for_the_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, begun = threading.Event(), threading.Event()
    encode = VideoSink._encode

    def slow(sink: VideoSink, item: Any) -> None:
        begun.set()
        gate.wait(10)
        encode(sink, item)

    monkeypatch.setattr(VideoSink, "_encode", slow)
    with VideoSink(tmp_path / "o.mp4", LIVE) as sink:
        sink.write(frame(0), result())
        assert begun.wait(10)
        for index in range(1, 10):
            sink.write(frame(index), result())
        assert sink.counters["dropped"] == 9 - 4, "one is in work, four wait"
        gate.set()
    assert len(decoded(tmp_path / "o.mp4")) == 5


def test_of_a_clip_every_frame_is_encoded(tmp_path: Path) -> None:
    with VideoSink(tmp_path / "o.mp4") as sink:
        for index in range(30):
            sink.write(frame(index % 12), result())
    assert len(decoded(tmp_path / "o.mp4")) == 30
    assert not sink.counters["dropped"]


@pytest.mark.row(40, "the free space of the disk is said to be below the reserve")
def test_a_recording_stops_before_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with VideoSink(tmp_path / "o.mp4", LIVE) as sink:
        sink.write(frame(0), result())
        while sink._writer is None or not sink._writer.written:  # the first frame
            time.sleep(0.001)
        monkeypatch.setattr("edge.sinks.video.RESERVE_BYTES", 1 << 62)
        monkeypatch.setattr("edge.sinks.video._CHECK_S", 0)
        for index in range(1, 9):
            sink.write(frame(index), result())
    assert 1 <= len(decoded(tmp_path / "o.mp4")) == 9 - sink.counters["dropped"] <= 2, (
        "the clip is whole"
    )


def test_a_live_run_goes_on_without_its_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A live run goes on without its recording and ends in the error."""
    monkeypatch.setitem(CODECS, "h264", "zzzz")
    monkeypatch.setitem(CODECS, "mp4v", "yyyy")

    def record() -> int:
        with VideoSink(tmp_path / "o.mp4", LIVE) as sink:
            while not sink.counters["dropped"]:
                sink.write(frame(0), result())
            drops.append(sink.counters["dropped"])
        return 0

    drops: list[int] = []
    with pytest.raises(MissingDependencyError, match="h264 or mp4v"):
        record()
    assert drops


def refusing(number: int) -> Callable[[int, bytes], int]:
    def write(handle: int, data: bytes) -> int:
        raise OSError(number, os.strerror(number))

    return write


@pytest.mark.row(40, "a fake write raises ENOSPC")
@pytest.mark.row(42, "a fake write raises EROFS")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_lines_of_a_live_source_drop_the_oldest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "f.jsonl"
    with JsonlSink(path, LIVE) as sink:
        assert sink._file is not None
        with monkeypatch.context() as full:
            full.setattr(sink._file, "_write", refusing(number))
            for index in range(600):
                sink.write(frame(index), result())
            assert sink._queue is not None
            while sink._queue.failed == 0:
                time.sleep(0.001)
        sink.write(frame(600), result())
    frames = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    assert frames == list(range(601 - len(frames), 601)), "the newest, in order, each once"
    assert sink.counters["dropped"] == 601 - len(frames) > 0
    assert sink.counters["failed"] > 0


@pytest.mark.row(40, "a fake write raises ENOSPC")
def test_of_a_clip_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with JsonlSink(tmp_path / "f.jsonl") as sink:
        assert sink._file is not None
        monkeypatch.setattr(sink._file, "_write", refusing(errno.ENOSPC))
        with pytest.raises(OSError, match="No space left"):
            sink.write(frame(0), result())


@pytest.mark.row(42, "the file is renamed and removed by others")
def test_lines_go_on_where_the_file_was_moved(tmp_path: Path) -> None:
    path = tmp_path / "f.jsonl"
    with JsonlSink(path) as sink:
        sink.write(frame(0), result())
        path.rename(tmp_path / "moved")
        sink.write(frame(1), result())
        assert json.loads(path.read_text())["frame"] == 1
        path.unlink()
        sink.write(frame(2), result())
    assert json.loads((tmp_path / "moved").read_text())["frame"] == 0
    assert json.loads(path.read_text())["frame"] == 2
