"""One contract for all sinks, then what each leaves behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.errors import MissingDependencyError, UsageError
from edge.sinks import SINKS, open_sinks
from edge.sinks.video import CODECS, VideoSink
from edge.types import Frame, Region, Result

if TYPE_CHECKING:
    from pathlib import Path

    from edge.types import Sink

HEIGHT, WIDTH = 96, 128
FOUND = Region(box=(20, 30, 40, 20), contour=((20, 30), (59, 30), (59, 49), (20, 49)), area=0.065, score=0.9)


def frame(index: int, *, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frame:
    image = np.full((*size, 3), 90, np.uint8)
    image[:, : 8 * (index + 1)] = (160, 60, 40)
    begin = 1_000_000_000 + index * 40_000_000
    stamps = {"capture": (begin, begin + 1_500_000), "infer": (begin + 1_500_000, begin + 4_000_000)}
    return Frame(index=index, image=image, captured_ns=begin, stamps=stamps)


def result(*regions: Region, reason: str | None = None) -> Result:
    return Result(scores=None, regions=regions, mask_area=sum(r.area for r in regions), reason=reason)


def decoded(path: Path) -> list[Any]:
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (picture := capture.read())[0]:
        frames.append(picture[1])
    capture.release()
    return frames


class SinkContract:
    """What holds for every sink."""

    target: str | None = None

    def text(self, folder: Path) -> str:
        raise NotImplementedError

    def make(self, folder: Path, *, force: bool = False) -> Sink:
        return open_sinks([self.text(folder)], fps=25, force=force)[0]

    def output(self, folder: Path) -> list[str]:
        return sorted(path.name for path in folder.iterdir())

    def test_takes_frames_and_leaves_only_its_output(self, tmp_path: Path) -> None:
        with self.make(tmp_path) as sink:
            for index in range(3):
                sink.write(frame(index), result(FOUND))
        assert self.output(tmp_path) == ([self.target] if self.target else [])

    def test_an_error_in_the_block_finishes_the_output(self, tmp_path: Path) -> None:
        def fail(sink: Sink) -> None:
            with sink:
                sink.write(frame(0), result())
                raise RuntimeError("elsewhere")

        with pytest.raises(RuntimeError, match="elsewhere"):
            fail(self.make(tmp_path))
        assert self.output(tmp_path) == ([self.target] if self.target else [])

    def test_replaces_only_by_force(self, tmp_path: Path) -> None:
        if self.target is None:
            pytest.skip("writes no file")
        (tmp_path / self.target).write_bytes(b"precious")
        with pytest.raises(UsageError, match="exists already"):
            self.make(tmp_path)
        assert (tmp_path / self.target).read_bytes() == b"precious"
        with self.make(tmp_path, force=True) as sink:
            sink.write(frame(0), result())
        assert (tmp_path / self.target).read_bytes() != b"precious"

    def test_makes_its_folder(self, tmp_path: Path) -> None:
        with self.make(tmp_path / "new" / "folder") as sink:
            sink.write(frame(0), result())
        if self.target:
            assert (tmp_path / "new" / "folder" / self.target).exists()


class TestVideo(SinkContract):
    target = "overlay.mp4"

    def text(self, folder: Path) -> str:
        return f"video:{folder / 'overlay.mp4'}"


class TestJsonl(SinkContract):
    target = "frames.jsonl"

    def text(self, folder: Path) -> str:
        return f"jsonl:{folder / 'frames.jsonl'}"


class TestNull(SinkContract):
    def text(self, folder: Path) -> str:  # noqa: ARG002
        return "null"


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["window"], "video:FILE.mp4 | jsonl"),
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
    assert list(SINKS) == ["video", "jsonl", "null"]


def test_a_line_per_frame_and_each_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "frames.jsonl"
    with open_sinks([f"jsonl:{path}"])[0] as sink:
        sink.write(frame(4), result(FOUND))
        line = json.loads(path.read_text())
        sink.write(frame(6), result(reason="stale: 143 ms old"))
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
    assert (second["frame"], second["regions"], second["reason"]) == (6, [], "stale: 143 ms old")


@pytest.mark.parametrize("target", ["jsonl", "jsonl:-"])
def test_lines_without_a_path_go_to_stdout(target: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with open_sinks([target])[0] as sink:
        sink.write(frame(0), result())
    assert json.loads(capfdbinary.readouterr().out)["frame"] == 0


def test_a_clip_plays_back_with_its_overlay(tmp_path: Path) -> None:
    path = tmp_path / "overlay.mp4"
    with VideoSink(path, fps=12.5) as sink:
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


def test_an_encoder_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CODECS, "h264", "zzzz")
    monkeypatch.setitem(CODECS, "mp4v", "yyyy")
    with pytest.raises(MissingDependencyError, match="h264 or mp4v"), VideoSink(tmp_path / "o.mp4") as sink:
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
