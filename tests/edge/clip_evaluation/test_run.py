"""Clips end to end: the device's path with a fake engine, record, page and command line."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edge.bundle import manifest as m
from edge.bundle.reader import Bundle
from edge.clip_evaluation.figures import clip_figures
from edge.clip_evaluation.page import video_page
from edge.clip_evaluation.records import VideoReport
from edge.clip_evaluation.run import (
    ClipTruth,
    Look,
    Watched,
    evaluate_video,
    survey_clip,
    watch_clip,
)
from edge.clip_evaluation.truth import boxes_of
from edge.datasets.phantom.render import clip as phantom_clip
from edge.datasets.phantom.render import write_clip
from edge.errors import DataError, SourceError
from edge.frame import Region, Result
from edge.pipeline.smoothing import Smoothing
from edge.sources.clip import ClipSource
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

SIZE, MAP, FPS = (144, 192), (36, 48), 25.0


class Oracle:
    """An engine that gives the score maps it is handed, frame after frame, the last one forever."""

    input_buffer = None

    name, input_size = "oracle", SIZE

    def __init__(self, maps: Sequence[NDArray[np.uint8]]) -> None:
        self._maps, self.asked = list(maps), 0

    def settings(self) -> dict[str, Any]:
        return {"precision": "none"}

    def infer(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:  # noqa: ARG002 - the oracle's
        self.asked += 1
        return self._maps[min(self.asked, len(self._maps)) - 1]

    def close(self) -> None:
        return


def manifest() -> m.Manifest:
    return m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        name="oracle",
        intended_use=m.RESEARCH_USE,
        license="Apache-2.0",
        input=m.Input(height=SIZE[0], width=SIZE[1]),
        output=m.Output(height=MAP[0], width=MAP[1]),
        engines=[],
        golden=m.GoldenSet(frames=[]),
        parity=[],
        accuracy=[],
        provenance=m.Provenance(
            student="", teachers=[], recipe="", data={}, versions={}, seed=0, created="2025-01-01"
        ),
        files={},
    )


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], fps: float = FPS) -> Path:
    height, width = images[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    for image in images:
        writer.write(image)
    writer.release()
    return path


def score_map(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    small = cv2.resize(mask.astype(np.uint8), (MAP[1], MAP[0]), interpolation=cv2.INTER_AREA)
    scores: NDArray[np.uint8] = (small * 230).astype(np.uint8)
    return scores


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[NDArray[np.bool_]]]:
    """A clip of the phantom, the file of its boxes and its masks."""
    folder = tmp_path_factory.mktemp("phantom")
    write_clip(folder / "clip.mp4", seed=3, frames=100, size=SIZE, fps=FPS)
    masks = [frame.mask for frame in phantom_clip(3, 100, size=SIZE)]
    boxes = {"frames": {str(number): boxes_of(mask) for number, mask in enumerate(masks)}}
    (folder / "clip.json").write_text(json.dumps(boxes))
    return folder / "clip.mp4", folder / "clip.json", masks


def test_a_perfect_engine_finds_the_phantoms_polyp(
    phantom: tuple[Path, Path, list[NDArray[np.bool_]]],
) -> None:
    path, boxes, masks = phantom
    survey = survey_clip(ClipTruth(path, "boxes", boxes))
    engine = Oracle([score_map(mask) for mask in masks])
    watched = watch_clip(survey, engine, manifest())
    figures = clip_figures("clip", [watched.shown_both(Smoothing())])
    assert engine.asked == figures.judged_frames == figures.frames == 100
    assert figures.judged_minutes == pytest.approx(4 / 60)
    assert figures.not_judged == {}
    assert figures.polyps == figures.unsmoothed.polyps_found == figures.smoothed.polyps_found == 1
    assert figures.frames_with_box == sum(bool(boxes_of(mask)) for mask in masks)
    assert figures.unsmoothed.first_s_median is not None
    assert figures.smoothed.first_s_median is not None
    # 130 ms are four frames at 25 a second.
    assert figures.smoothed.first_s_median - figures.unsmoothed.first_s_median == pytest.approx(
        0.16
    )
    assert figures.unsmoothed.share_hit is not None
    # The least region leaves out the polyp while it is far away.
    assert figures.unsmoothed.share_hit > 0.8
    assert figures.unsmoothed.false_events == figures.smoothed.false_events == []


def test_a_box_without_a_mask_counts_as_shown() -> None:
    truth: list[Any] = [((100, 40, 40, 30),)] * 12
    box = Region((104, 40, 36, 30), (), 0.03, 0.8)
    region = Region((0, 0, 20, 20), (), 0.01, 0.9)
    looks = [
        Look(40_000_000 * n, Result(None, (region,), 0.01, None, boxes=(box,)), 0.9)
        for n in range(12)
    ]
    watched = Watched("clip", "boxes", SIZE, truth, looks)
    (frame, *_) = watched.shown(None)
    assert (frame.shown, frame.scores) == ((region.box, box.box), (0.9, 0.8))
    found = clip_figures("clip", [watched.shown_both(Smoothing())])
    for view in (found.unsmoothed, found.smoothed):
        assert view.polyps_found == 1
        assert view.boxes is not None
        assert view.boxes.precision == 0.5
    assert found.unsmoothed.boxes is not None
    assert found.unsmoothed.boxes.recall == 1
    assert found.smoothed.boxes is not None
    assert found.smoothed.boxes.right < found.unsmoothed.boxes.right == 12


def test_the_same_region_on_a_clean_clip_is_one_false_event(
    phantom: tuple[Path, Path, list[NDArray[np.bool_]]],
) -> None:
    path, _, masks = phantom
    survey = survey_clip(ClipTruth(path, "clean", None))
    watched = watch_clip(survey, Oracle([score_map(mask) for mask in masks]), manifest())
    figures = clip_figures("clip", [watched.shown_both(Smoothing())])
    assert (figures.polyps, figures.frames_with_box) == (0, 0)
    (event,), (smoothed,) = figures.unsmoothed.false_events, figures.smoothed.false_events
    assert event.seconds - smoothed.seconds == pytest.approx(0.16)
    assert figures.unsmoothed.event_rates[0].per_minute == pytest.approx(15)


def test_frames_on_which_the_guard_pauses_are_not_judged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lit = [rng.integers(60, 200, (*SIZE, 3)).astype(np.uint8) for _ in range(60)]
    for image in lit:
        image[..., 0] //= 2
        image[..., 1] //= 2
    black = np.zeros((*SIZE, 3), np.uint8)
    path = write_video(tmp_path / "clip.mp4", [*lit[:20], *[black] * 20, *lit[20:]])
    mask = np.zeros(SIZE, bool)
    mask[40:80, 60:120] = True
    engine = Oracle([score_map(mask)])
    watched = watch_clip(survey_clip(ClipTruth(path, "clean", None)), engine, manifest())
    figures = clip_figures("clip", [watched.shown_both(Smoothing())])
    assert figures.not_judged.keys() == {"black"}
    assert 18 <= figures.not_judged["black"] <= 30
    assert engine.asked == figures.judged_frames == 80 - figures.not_judged["black"]
    assert figures.judged_minutes == pytest.approx(figures.judged_frames / 25 / 60)
    assert figures.unsmoothed.share_false == 1
    assert len(figures.unsmoothed.false_events) == 2
    assert all(look.peak is None for look in watched.looks if look.result.reason)


def vary(path: Path, slow: int) -> None:
    """Make the stamps of an MP4 vary: from frame `slow` on they come twice as fast."""
    data = path.read_bytes()
    at = data.index(b"stts")
    size, _, _, entries, count, step = struct.unpack(">I4sIIII", data[at - 4 : at + 20])
    assert entries == 1
    new = struct.pack(">I4sIIIIII", size + 8, b"stts", 0, 2, slow, step, count - slow, step // 2)
    data = data[: at - 4] + new + data[at - 4 + size :]
    for parent in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = data.rindex(parent) - 4
        (size,) = struct.unpack(">I", data[at : at + 4])
        data = data[:at] + struct.pack(">I", size + 8) + data[at + 4 :]
    assert data.index(b"mdat") < data.index(b"moov")  # so that no offset changes
    path.write_bytes(data)


def test_frames_are_dated_by_the_stamps_of_the_clip(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, seed=3, frames=40, size=SIZE, fps=FPS)
    vary(path, 20)
    with ClipSource(path, own_stamps=True) as source:
        stamps = [frame.captured_ns / 1e6 for frame in iter(source.read, None)]
    assert stamps == pytest.approx(
        [40.0 * n for n in range(21)] + [800 + 20.0 * n for n in range(1, 20)]
    )
    mask = np.zeros(SIZE, bool)
    mask[40:80, 60:120] = True
    watched = watch_clip(
        survey_clip(ClipTruth(path, "clean", None)), Oracle([score_map(mask)]), manifest()
    )
    figures = clip_figures("clip", [watched.shown_both(Smoothing())])
    # The last frame lasts the median step, 40 ms.
    assert figures.unsmoothed.false_events[0].seconds == pytest.approx(1.22)
    assert figures.seconds == pytest.approx(1.22)


def test_a_container_without_stamps_is_dated_by_its_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "clip.avi"
    write_clip(path, seed=3, frames=5, size=SIZE, fps=20.0)
    with ClipSource(path, own_stamps=True) as source:
        capture = source._capture

        class Unstamped:
            def __getattr__(self, name: str) -> Any:
                return getattr(capture, name)

            def get(self, key: int) -> float:
                return 0.0 if key == cv2.CAP_PROP_POS_MSEC else float(capture.get(key))

        monkeypatch.setattr(source, "_capture", Unstamped())
        stamps = [frame.captured_ns / 1e6 for frame in iter(source.read, None)]
    assert stamps == pytest.approx([0, 50, 100, 150, 200])


def red_clip(path: Path, draw: Callable[..., NDArray[np.uint8]]) -> Path:
    """A clip for the tiny student: 10 frames without a polyp, 30 with, 10 without."""
    images = [draw(1, height=96, width=128, polyp=10 <= n < 40) for n in range(50)]
    for number, image in enumerate(images):
        # The picture moves, or the guard takes it for frozen.
        image[::2] = np.clip(image[::2].astype(int) + 12 * (number % 2), 0, 255)
    return write_video(path, [image[..., ::-1].copy() for image in images])


def test_what_is_shown_is_what_run_shows(
    tiny_bundle: Path, tiny_scene: Callable[..., NDArray[np.uint8]], tmp_path: Path
) -> None:
    path = red_clip(tmp_path / "clip.mp4", tiny_scene)
    survey = survey_clip(ClipTruth(path, "clean", None))
    _, (watched,) = evaluate_video(Bundle.open(tiny_bundle), [survey], engine="openvino")
    for extra, smoothing in ((["--no-smooth"], None), ([], Smoothing())):
        out = tmp_path / f"{len(extra)}.jsonl"
        with pytest.raises(SystemExit) as ended:
            main(
                [
                    "run",
                    "--source",
                    f"file:{path}",
                    "--bundle",
                    str(tiny_bundle),
                    "--engine",
                    "openvino",
                    "--sink",
                    f"jsonl:{out}",
                    *extra,
                ]
            )
        assert ended.value.code == 0
        lines = [json.loads(line) for line in out.read_text().splitlines()[1:]]
        frames = watched.shown(smoothing)
        assert [[tuple(region["box"]) for region in line["regions"]] for line in lines] == [
            list(frame.shown) for frame in frames
        ]
        assert [line["reason"] or "" for line in lines] == [frame.reason for frame in frames]
        assert any(frame.shown for frame in frames)


def evaluate(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_clips_are_evaluated_from_the_command_line(
    tiny_bundle: Path,
    tiny_scene: Callable[..., NDArray[np.uint8]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = red_clip(tmp_path / "clip.mp4", tiny_scene)
    clean = red_clip(tmp_path / "<clean>.mp4", tiny_scene)
    (tmp_path / "masks").mkdir()
    for number in range(50):
        mask = np.zeros((96, 128), np.uint8)
        mask[20:76, 30:100] = 255 * (10 <= number < 40)
        cv2.imwrite(str(tmp_path / "masks" / f"{number:04d}.png"), mask)
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"frames": {str(n): [[30, 20, 70, 56]] for n in range(10, 40)}}))
    code = evaluate(
        "--bundle", tiny_bundle, "--engine", "openvino",
        "--video", path, "--boxes", boxes,
        "--video", clean, "--clean",
        f"--video={path}", "--masks", tmp_path / "masks",
        "--json", tmp_path / "video.json", "--report", tmp_path / "video.html",
    )  # fmt: skip
    assert code == 0
    report = msgspec.json.decode((tmp_path / "video.json").read_bytes(), type=VideoReport)
    assert [(clip.name, clip.truth, clip.polyps) for clip in report.clips] == [
        ("clip.mp4", "boxes", 1),
        ("<clean>.mp4", "clean", 0),
        ("clip.mp4", "masks", 1),
    ]
    assert report.header is not None
    assert (report.header.bundle, report.header.engine) == (report.bundle, report.engine)
    assert report.header.data == "clip.mp4, <clean>.mp4, clip.mp4"
    assert report.total.frames == 150
    assert report.total.smoothed.polyps_found == report.total.polyps == 2
    assert [rate.events for rate in report.total.smoothed.event_rates] == [1, 1, 1, 0]
    assert report.smoothing["least_ms"] == 130
    assert report.clips[0].smoothed.first_s_median == pytest.approx(0.16)
    output = capsys.readouterr()
    assert "all clips" in output.out
    page = (tmp_path / "video.html").read_text()
    assert page.count("<svg") == 3
    assert "contains no frames" in page
    assert m.RESEARCH_USE in page
    assert "&lt;clean&gt;.mp4" in page
    assert "<clean>" not in page
    assert "<img" not in page


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--video", "a.mp4"], "needs one truth"),
        (["--video", "a.mp4", "--video", "b.mp4", "--clean"], "clip a.mp4 needs one truth"),
        (["--video", "a.mp4", "--clean", "--boxes", "b.json"], "got:      several"),
        (["--boxes", "b.json", "--video", "a.mp4"], "before the clip"),
        (["--boxes", "b.json"], "without the clip"),
        (["--video", "a.mp4", "--clean", "--data", "DIR"], "got:      --data"),
        (["--video", "a.mp4", "--clean", "--clean-frames", "5"], "got:      --clean-frames"),
    ],
)
def test_clips_and_truth_that_do_not_pair_are_one_usage_error(
    arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate("--bundle", "edge-s", *arguments) == 2
    text = capsys.readouterr().err
    assert word in text
    assert "Traceback" not in text


def test_clips_need_a_bundle(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--video", "a.mp4", "--clean") == 2
    assert "no --bundle" in capsys.readouterr().err


def test_no_option_at_all_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate() == 2
    assert "--bundle or --run" in capsys.readouterr().err


def test_a_clean_count_still_takes_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate("--bundle", "edge-s", "--clean-frames", "5") == 2
    assert "--data or --pairs" in capsys.readouterr().err


def test_a_truth_that_does_not_fit_stops_before_writing(
    tiny_bundle: Path, phantom: tuple[Path, Path, list[NDArray[np.bool_]]], tmp_path: Path
) -> None:
    """A truth that does not fit stops before anything is written."""
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"frames": {"100": [[1, 2, 3, 4]]}}')
    report = tmp_path / "video.json"
    assert (
        evaluate("--bundle", tiny_bundle, "--video", phantom[0], "--boxes", boxes, "--json", report)
        == 3
    )
    assert not report.exists()


def test_a_clip_that_is_missing_or_too_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError):
        survey_clip(ClipTruth(tmp_path / "none.mp4", "clean", None))
    one = write_video(tmp_path / "one.mp4", [np.full((*SIZE, 3), 90, np.uint8)])
    with pytest.raises(DataError, match=r"one\.mp4: a clip has no duration"):
        survey_clip(ClipTruth(one, "clean", None))


def test_a_page_shows_a_long_clip_with_pauses(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", [np.zeros((*SIZE, 3), np.uint8)] * 30)
    survey = survey_clip(ClipTruth(path, "clean", None))
    watched = watch_clip(survey, Oracle([score_map(np.zeros(SIZE, bool))]), manifest())
    looks = [
        look._replace(at_ns=n * 40_000_000) for n, look in enumerate(list(watched.looks) * 120)
    ]
    long = watched._replace(looks=looks, truth=[()] * len(looks))
    figures = clip_figures("clip", [long.shown_both(Smoothing())])
    report = VideoReport(
        bundle="b", engine="oracle", settings={}, threshold=0.5,
        smoothing={"seen": 4, "of": 6, "least_ms": 130.0, "gap": 10, "weight": 256, "reach": 2},
        total=figures, clips=[figures],
    )  # fmt: skip
    page = video_page(report, [long])
    assert f"{figures.not_judged['black']} black" in page
    assert len(page) < 400_000
