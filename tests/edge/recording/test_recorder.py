"""Recordings: what is in them, what is not, and what full, slow and dying disks leave of them."""

from __future__ import annotations

import gzip
import json
import os
import threading
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.errors import BusyError, MissingDependencyError, UsageError
from edge.recording import clips
from edge.recording.clips import pictures
from edge.recording.folder import Retention, sessions_in
from edge.recording.index import Index, read_index, read_lines, read_session
from edge.recording.part import MAX_WIDTH, PartWriter
from edge.recording.record import Clip, Happened, Removed, Segment
from edge.sinks.event import Event, EventDetector, EventKind
from edge.sinks.jsonl import read_frame_lines
from edge.stills.keeper import KeptRun
from edge.util import clip_writer
from edge.util.clip_writer import CODECS
from edge.util.container import is_whole_mp4
from tests.support.recordings import (
    DATE,
    FPS,
    NONE,
    SIZE,
    check,
    picture,
    put,
    record,
    recorder,
    seen,
)
from tests.support.stills import RUNNING, WHO, circle, full

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.recording.recorder import Recorder


def live(folder: Path, **changes: Any) -> tuple[Recorder, EventDetector]:
    """A recorder of a camera, on a clock that the frames carry."""
    return recorder(folder, live=True, clock=lambda: 0, **changes), EventDetector()


def give(tape: Recorder, detector: EventDetector, numbers: range, **changes: Any) -> None:
    """Hand over frames as slowly as the encoder takes them."""
    for index in numbers:
        while not tape._queue.has_room:
            time.sleep(0.001)
        put(tape, detector, index, NONE, **changes)


def until(condition: Any) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_a_session_is_segments_with_lines_and_an_index(tmp_path: Path) -> None:
    session = check(record(tmp_path / "r", 25, range(8, 12)))
    assert [(one.begin_ms, one.frames) for one in session.segments] == [
        (0, 10),
        (500, 10),
        (1000, 5),
    ]
    assert session.ended
    assert (session.record.pseudonym, session.record.study_uid) == ("study-7", "2.25.1")
    kinds = [one.event.event for one in session.events]
    assert kinds == [EventKind.STATE, EventKind.FOUND, EventKind.LOST]
    lines = [line for part in session.segments for line, _ in read_lines(session.folder, part.name)]
    assert [line.frame for line in lines] == list(range(25))
    assert [len(line.regions or ()) for line in lines] == [
        int(i in range(8, 12)) for i in range(25)
    ]
    assert lines[9].regions is not None
    assert lines[9].regions[0].contour == seen().regions[0].contour
    assert {bundle for _, bundle in read_lines(session.folder, "segment-0001")} == {WHO}


def test_everything_is_its_owners_alone(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 12, range(3))
    assert {path.stat().st_mode & 0o777 for path in (session, session.parent)} == {0o700}
    files = list(session.iterdir())
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 8
    (tmp_path / "r").chmod(0o750)
    with pytest.raises(UsageError, match="others may enter"):
        recorder(tmp_path / "r", "bbbbbbbb")


def test_a_session_names_no_source_and_no_machine(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 3)
    text = (session / "session.json").read_text() + (session / "index.jsonl").read_text()
    assert os.uname().nodename not in text
    assert str(tmp_path) not in text
    assert not {"source", "command", "data"} & set(
        json.loads((session / "session.json").read_text())
    )


def test_pictures_have_no_overlay_and_are_black_outside_the_view(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 2, range(2))
    inside = full(circle(SIZE)) > 0
    for number, shown in enumerate(pictures(session, "segment-0001")):
        assert shown[inside].min() > 20 + 24 * number, "no contour, no label"
        assert np.median(shown[~inside]) < 8
        assert shown[:8, :8].max() < 8


@pytest.mark.parametrize("changes", [{"black": True}, {"view": None}])
def test_what_must_not_be_seen_is_black_and_says_so(tmp_path: Path, changes: Any) -> None:
    tape, detector = recorder(tmp_path / "r"), EventDetector(FPS)
    put(tape, detector, 7, seen(), **changes)
    tape.close()
    (only,) = pictures(tape.session, "segment-0001")
    assert only.max() < 8
    ((line, _),) = read_lines(tape.session, "segment-0001")
    assert (line.black, line.frame) == (True, 7)


def test_lines_are_those_of_the_sink(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 3, range(3))
    plain = tmp_path / "lines.jsonl"
    plain.write_bytes(gzip.decompress((session / "segment-0001.jsonl.gz").read_bytes()))
    assert [line.frame for line in read_frame_lines(plain)] == [0, 1, 2]


def test_wide_frames_are_scaled_and_sizes_begin_segments(tmp_path: Path) -> None:
    tape = recorder(tmp_path / "r")
    for index, size in enumerate(((32, 2 * MAX_WIDTH), (32, 2 * MAX_WIDTH), SIZE)):
        frame = picture(index, size)
        tape.put(frame, NONE, circle(size), RUNNING, None)
    tape.close()
    first, second = read_session(tape.session).segments
    assert (first.size, first.frame_size) == ((MAX_WIDTH, 16), (2 * MAX_WIDTH, 32))
    assert (second.size, second.frame_size, second.frames) == ((96, 64), (96, 64), 1)
    assert next(pictures(tape.session, first.name)).shape == (16, MAX_WIDTH, 3)


def test_a_clip_shows_what_is_around_its_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "BEFORE_MS", 300.0)
    monkeypatch.setattr(clips, "AFTER_MS", 200.0)
    session = check(record(tmp_path / "r", 60, range(15, 18)))
    (clip,) = session.clips
    assert (clip.name, clip.event) == ("clip-0002", 2)
    # Found at 750 ms, lost a second after 850 ms.
    assert (clip.begin_ms, clip.end_ms, clip.frames) == (450, 2050, 33)
    lines = read_lines(session.folder, clip.name)
    assert [line.frame for line, _ in lines if line.regions] == [15, 16, 17]
    assert lines[0][1] == WHO


def events(*given: tuple[str, float]) -> list[Happened]:
    return [
        Happened(
            at_ms=at,
            event=Event(event=EventKind(kind), number=number, time_ns=0, state="running"),
        )
        for number, (kind, at) in enumerate(given, 1)
    ]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([("state", 1)], []),
        ([("mark", 2_000)], [(1, 0, 7_000)]),
        ([("found", 20_000), ("lost", 22_000)], [(1, 15_000, 27_000)]),
        ([("found", 20_000)], [(1, 15_000, 85_000)]),
        ([("found", 20_000), ("lost", 300_000)], [(1, 15_000, 85_000)]),
        ([("mark", 20_000), ("mark", 24_000)], [(1, 15_000, 29_000)]),
        ([("mark", 20_000), ("mark", 25_001)], [(1, 15_000, 25_000), (2, 20_001, 30_001)]),
        ([("found", 20_000), ("mark", 21_000), ("lost", 23_000)], [(1, 15_000, 28_000)]),
        ([("mark", 20_000), ("found", 21_000), ("lost", 30_000)], [(1, 15_000, 35_000)]),
        ([("lost", 3_000), ("still", 4_000)], []),
    ],
)
def test_windows_of_clips(given: list[Any], expected: list[Any]) -> None:
    assert [tuple(window) for window in clips.windows(events(*given))] == expected


def test_clips_of_a_run_that_was_cut_short_are_cut_by_the_next(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 30, range(5, 8))
    before = check(session)
    for ending in (".mp4", ".jsonl.gz"):
        (session / f"{before.clips[0].name}{ending}").unlink()
    kept = [
        line
        for line in (session / "index.jsonl").read_bytes().splitlines()
        if b'"clip"' not in line
    ]
    (session / "index.jsonl").write_bytes(b"\n".join(kept) + b'\n{"kind":"segm')
    assert not read_session(session).clips
    record(tmp_path / "r", 3, token="bbbbbbbb")
    assert check(session).clips == before.clips


def test_a_segment_without_a_line_in_the_index_is_found(tmp_path: Path) -> None:
    session = record(tmp_path / "r", 12)
    before = check(session)
    (session / "index.jsonl").unlink()
    assert check(session).segments == before.segments
    assert not check(session).ended


def test_what_is_too_old_is_removed_with_the_next_segment(tmp_path: Path) -> None:
    old = record(tmp_path / "r", 12, range(3))
    tape = recorder(tmp_path / "r", "bbbbbbbb", date=lambda: DATE + timedelta(days=8))
    until(lambda: not old.exists())
    tape.close()
    assert sessions_in(tmp_path / "r") == [tape.session]
    told = {event.kind for event in tape.pop_events()}
    assert "record-removed" in told


def test_an_unreadable_session_is_removed_when_it_is_too_old(tmp_path: Path) -> None:
    old = record(tmp_path / "r", 3)
    (old / "session.json").write_text("{")
    record(tmp_path / "r", 3, token="bbbbbbbb", date=lambda: DATE + timedelta(days=6))
    assert old.exists()
    record(tmp_path / "r", 3, token="cccccccc", date=lambda: DATE + timedelta(days=8))
    assert not old.exists()


def test_the_oldest_segments_go_first_and_clips_last(
    tmp_path: Path,
) -> None:
    first = record(tmp_path / "r", 40, range(5, 8))
    size = {p.name: p.stat().st_size for p in first.iterdir() if p.suffix in (".mp4", ".gz")}
    room = sum(size.values()) - size["segment-0001.mp4"] // 2
    record(
        tmp_path / "r", 1, token="bbbbbbbb", retention=Retention(7, room),
        date=lambda: DATE + timedelta(hours=1),
    )  # fmt: skip
    left = check(first)
    assert [one.name for one in left.clips] == ["clip-0002"]
    assert [one.name for one in left.segments][-1] == "segment-0004"
    assert "segment-0001" not in [one.name for one in left.segments]
    gone = [entry for entry in read_index(first) if isinstance(entry, Removed)]
    assert {entry.why for entry in gone} == {"size"}
    assert not (first / "segment-0001.jsonl.gz").exists()
    newest = record(
        tmp_path / "r", 25, token="cccccccc", retention=Retention(7, 1),
        date=lambda: DATE + timedelta(hours=2),
    )  # fmt: skip
    assert [one.name for one in check(newest).segments] == ["segment-0003"]


@pytest.mark.row(40, "the free space of the disk is said to be below the reserve")
def test_a_live_recording_pauses_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.recording.recorder._CHECK_S", 0)
    tape, detector = live(tmp_path / "r")
    give(tape, detector, range(4))
    until(lambda: tape._part is not None and tape._part.frames == 4)
    statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    give(tape, detector, range(4, 8))
    until(lambda: tape.counters["dropped"] == 4)
    monkeypatch.setattr(os, "statvfs", statvfs)
    give(tape, detector, range(8, 12))
    tape.close()
    session = check(tape.session)
    assert [one.frames for one in session.segments] == [4, 4]
    assert [gap.why for gap in session.gaps] == ["disk full"]
    assert session.dropped == 4
    told = [event.kind for event in tape.pop_events()]
    assert told == ["record-begun", "record-paused", "record-resumed"]


@pytest.mark.row(40, "the free space of the disk is said to be below the reserve")
def test_on_a_full_disk_the_recording_of_a_clip_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tape, detector = recorder(tmp_path / "r"), EventDetector(FPS)
    put(tape, detector, 0, NONE)
    until(lambda: tape._part is not None and tape._part.frames == 1)
    monkeypatch.setattr("edge.recording.recorder._CHECK_S", 0)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    put(tape, detector, 1, NONE)
    until(lambda: tape.failure is not None)
    with pytest.raises(BusyError, match="the disk is full"):
        put(tape, detector, 2, NONE)
    with pytest.raises(BusyError, match="the disk is full"):
        tape.close()
    assert check(tape.session).segments[0].frames == 1


@pytest.mark.parametrize("is_live", [True, False])
def test_a_segment_that_is_not_whole_is_lost_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_live: bool
) -> None:
    whole = is_whole_mp4
    monkeypatch.setattr(
        clip_writer, "is_whole_mp4", lambda path: "segment-0002" not in path.name and whole(path)
    )
    tape, detector = (
        live(tmp_path / "r") if is_live else (recorder(tmp_path / "r"), EventDetector(FPS))
    )
    if is_live:
        give(tape, detector, range(25))
        tape.close()
    else:
        for index in range(15):
            put(tape, detector, index, NONE)
        with pytest.raises(BusyError, match="the disk is full"):
            tape.close()
    session = check(tape.session)
    assert "segment-0002" not in [one.name for one in session.segments]
    assert any("segment-0002" in gap.why for gap in session.gaps)
    assert tape.counters["lost"] == 1
    assert not [path for path in tape.session.iterdir() if path.name.startswith(".")]
    if is_live:
        assert [one.frames for one in session.segments] == [10, 5]


def test_a_file_that_cannot_be_created_is_tried_again_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.recording.recorder.RETRY_S", 0)
    create = PartWriter.__init__
    failed: list[int] = []

    def fail(self: PartWriter, *given: Any, **named: Any) -> None:
        if len(failed) < 2:
            failed.append(1)
            raise OSError(28, "No space left on device")
        create(self, *given, **named)

    monkeypatch.setattr(PartWriter, "__init__", fail)
    tape, detector = live(tmp_path / "r")
    give(tape, detector, range(5))
    tape.close()
    assert [one.frames for one in check(tape.session).segments] == [3]
    assert tape.counters["dropped"] == 2
    told = [event.detail for event in tape.pop_events() if event.kind == "record-lost"]
    assert told[0] == "segment-0001: No space left on device"


def test_a_slow_encoder_drops_frames_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, write = threading.Event(), PartWriter.put

    def slow(self: PartWriter, *given: Any, **named: Any) -> None:
        assert going.wait(20)
        write(self, *given, **named)

    monkeypatch.setattr(PartWriter, "put", slow)
    tape, detector = live(tmp_path / "r")
    for index in range(30):
        put(tape, detector, index, NONE)  # returns although nothing is encoded
    assert tape.counters["dropped"] >= 30 - 9 - 1
    going.set()
    tape.close()
    session = check(tape.session)
    assert sum(one.frames for one in session.segments) == 30 - tape.counters["dropped"]
    assert session.dropped == tape.counters["dropped"]


def test_without_an_encoder_a_live_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CODECS, "h264", "zzzz")
    monkeypatch.setitem(CODECS, "mp4v", "yyyy")
    tape, detector = live(tmp_path / "r")
    put(tape, detector, 0, NONE)
    until(lambda: tape.failure is not None)
    put(tape, detector, 1, NONE)
    with pytest.raises(MissingDependencyError, match="encoder"):
        tape.close()
    assert read_session(tape.session).ended
    assert not [path for path in tape.session.iterdir() if path.name.startswith(".")]
    recorder(tmp_path / "r", "bbbbbbbb").close()


def test_lines_of_the_index_wait_for_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Index(tmp_path)
    write = index._file._write

    def full_disk(_: int, __: bytes) -> int:
        raise OSError(28, "No space left on device")

    index._file._write = full_disk
    one, two = (Removed(name=f"segment-000{n}", why="age") for n in (1, 2))
    assert not index.append(one)
    index._file._write = write
    assert index.append(two)
    index.close()
    assert read_index(tmp_path) == [one, two]


def test_damaged_lines_of_an_index_are_skipped(tmp_path: Path) -> None:
    good = b'{"kind":"removed","name":"segment-0001","why":"age"}\n'
    bad = b'{"kind":"removed","name":"../../x","why":"age"}\n{"kind":"removed","na\n\xff\xfe\n[[[\n'
    (tmp_path / "index.jsonl").write_bytes(bad + good + good[:20])
    assert read_index(tmp_path) == [Removed(name="segment-0001", why="age")]


def test_two_runs_do_not_record_into_one_folder(tmp_path: Path) -> None:
    tape = recorder(tmp_path / "r")
    with pytest.raises(UsageError, match="a run keeps pictures there already"):
        recorder(tmp_path / "r", "bbbbbbbb")
    tape.close()
    recorder(tmp_path / "r", "bbbbbbbb").close()


def test_files_reach_the_disk_before_names_and_the_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    sync, flush, rename = os.fsync, os.fdatasync, Path.replace

    def name(handle: int) -> str:
        return Path(f"/proc/self/fd/{handle}").readlink().name

    def noting(call: Callable[[int], None]) -> Callable[[int], None]:
        def noted(handle: int) -> None:
            told.append(f"sync {name(handle)}")
            call(handle)

        return noted

    monkeypatch.setattr(os, "fsync", noting(sync))
    monkeypatch.setattr(os, "fdatasync", noting(flush))

    def replace(self: Path, target: Any) -> Path:
        told.append(f"name {Path(target).name}")
        return rename(self, target)

    tape, detector = recorder(tmp_path / "r"), EventDetector(FPS)
    put(tape, detector, 0, NONE)
    until(lambda: tape._part is not None and tape._part.frames == 1)
    time.sleep(0.05)
    told.clear()
    monkeypatch.setattr(Path, "replace", replace)
    tape.close()
    assert told[:6] == [
        "sync .segment-0001.jsonl.gz",
        "sync .segment-0001.mp4",
        "name segment-0001.jsonl.gz",
        "name segment-0001.mp4",
        f"sync {tape.session.name}",
        "sync index.jsonl",
    ]


@pytest.mark.parametrize("text", ["Jane Doe", "Doe", "", "-a", "a" * 33, "a/b", "study_7", "ä"])
def test_a_pseudonym_is_no_name(text: str) -> None:
    if text:
        with pytest.raises(UsageError, match="is no pseudonym"):
            KeptRun.new(text)
    else:
        assert KeptRun.new(text).pseudonym.startswith("exam-")


def test_runs_of_one_pseudonym_share_a_study() -> None:
    one, two, other = (KeptRun.new(text) for text in ("study-7", "study-7", "study-8"))
    assert one.study_uid == two.study_uid != other.study_uid
    assert one.token != two.token
    assert len(one.study_uid) <= 64
    assert KeptRun.new().study_uid != KeptRun.new().study_uid


def test_parts_know_what_they_are() -> None:
    assert not issubclass(Clip, Segment)
