"""`run --record`: consent, what the observer hands over, a killed run, and a disk that is full."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edge.pipeline import record as observing
from edge.pipeline.record import RecordObserver
from edge.recording.folder import sessions_in
from edge.recording.index import read_session
from edge.recording.keeper import RecordEvent
from edge.sinks.event import EventDetector, EventKind
from edge.status import Reason, ReasonKind
from edge_difom.cli.main import main
from tests.support.recordings import NONE, seen
from tests.support.stills import RUNNING, circle, frame

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.recording.index import Session

CLIP = "synthetic:?width=320&height=240&fps=20&frames=60&live=0"


class Tape:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, bool]] = []
        self.events: list[Any] = []
        self.told: list[RecordEvent] = []
        self.failure: Exception | None = None
        self.counters: dict[str, int] = {}
        self.closed = False

    def put(self, given: Any, *_: object, black: bool) -> None:
        self.taken.append((given.index, black))

    def happened(self, event: Any) -> None:
        assert not self.closed
        self.events.append((event.event, event.name))

    def pop_events(self) -> list[RecordEvent]:
        told, self.told = self.told, []
        return told

    def close(self) -> None:
        self.closed = True


class Notes:
    """Telemetry that keeps events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def event(self, kind: str, /, **details: object) -> None:
        self.events.append((kind, details["detail"]))


class Student:
    """A supervisor without a bundle."""

    name, bundle = "", None


def observer(tape: Tape, notes: Notes) -> RecordObserver:
    return RecordObserver(
        tape,  # type: ignore[arg-type] # what the observer uses of it
        notes,  # type: ignore[arg-type] # likewise
        detector=EventDetector(clock=lambda: 0),
        view=lambda: circle((67, 101)),
        supervisor=Student(),  # type: ignore[arg-type] # likewise
    )


def test_frames_from_outside_the_body_are_black() -> None:
    tape = Tape()
    observed = observer(tape, Notes())
    for index, kind in enumerate((None, ReasonKind.OUT_OF_BODY, ReasonKind.BLURRED)):
        result = replace(NONE, reason=None if kind is None else Reason(kind))
        observed.progress(RUNNING, frame(index=index), result)
    observed.progress(RUNNING, None, None)
    assert tape.taken == [(0, False), (1, True), (2, False)]


def test_the_recording_notes_what_else_was_kept() -> None:
    tape = Tape()
    with observer(tape, Notes()) as observed:
        observed.progress(RUNNING, frame(), seen())
        observed.kept(EventKind.MARK, "mark-1", 7)
    assert tape.events == [
        (EventKind.STATE, ""),
        (EventKind.FOUND, ""),
        (EventKind.MARK, "mark-1"),
        (EventKind.LOST, ""),
    ]
    assert tape.closed


def test_a_reason_is_logged_once_until_the_recording_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tape, notes = Tape(), Notes()
    observed = observer(tape, notes)
    paused, resumed = RecordEvent("record-paused", "full"), RecordEvent("record-resumed", "room")
    for events in ([paused], [paused], [resumed, RecordEvent("record-clip", "c")], [paused]):
        tape.told = list(events)
        observed.progress(RUNNING, None, None)
    assert [one.message for one in caplog.records if one.name == observing.__name__] == [
        "record-paused: full",
        "record-resumed: room",
        "record-paused: full",
    ]
    assert len(notes.events) == 5


def run(*more: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--engine", "tflite", "--threads", "1", *map(str, more)])
    return int(str(ended.value.code))


def test_nothing_is_recorded_without_consent(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["--source", CLIP, "--bundle", tiny_bundle]
    assert run(*given) == 0
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "r").exists()
    more = ["--record", tmp_path / "r", "--pseudonym", "study-7", "--log", tmp_path / "log"]
    assert run(*given, *more) == 0
    (path,) = sessions_in(tmp_path / "r")
    session = read_session(path)
    assert sum(part.frames for part in session.segments) == 60
    assert (session.record.pseudonym, session.ended, session.dropped) == ("study-7", True, 0)
    out = capfd.readouterr().out
    assert f"record: {path.name} as study-7" in out
    assert f"next: edge-difom review {tmp_path / 'r'}" in out
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["details"]["detail"] for one in events if one["kind"] == "record-begun"] == [
        f"{path.name} as study-7"
    ]
    assert run(*given, "--record", tmp_path / "r", "--no-guard") == 2
    assert "recordings need the field of view" in capfd.readouterr().err
    assert run(*given, "--record", tmp_path / "s", "--pseudonym", "Jane Doe") == 2
    assert "is no pseudonym" in capfd.readouterr().err
    assert not (tmp_path / "s").exists()


@pytest.mark.row(40, "the free space of the disk is said to be below the reserve")
def test_a_full_disk_ends_the_recording_of_a_clip(
    tiny_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edge.recording.recorder.RESERVE_BYTES", 1 << 62)
    given = ["--source", CLIP, "--bundle", tiny_bundle]
    assert run(*given, "--record", tmp_path / "r") == 11
    assert "the disk is full" in capfd.readouterr().err
    live = CLIP.replace("live=0", "live=1")
    assert run("--source", live, "--bundle", tiny_bundle, "--record", tmp_path / "r") == 0
    out = capfd.readouterr()
    assert "60 frames" in out.out
    assert "record-paused: the disk is full" in out.out + out.err


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.row(60, "SIGKILL of a run in its second segment")
def test_a_run_that_is_killed_leaves_its_segments(tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    command = [
        sys.executable, "-m", "edge_difom", "run", "--source",
        "synthetic:?width=320&height=240&fps=30&frames=0", "--bundle", str(tiny_bundle),
        "--engine", "tflite", "--record", str(folder),
    ]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            until(lambda: bool(list(folder.glob("session-*/segment-0001.mp4"))), 90)
            time.sleep(1)
        finally:
            os.kill(process.pid, signal.SIGKILL)
    (path,) = sessions_in(folder)
    session = opened(path)
    assert len(session.segments) == 1
    assert session.segments[0].end_ms - session.segments[0].begin_ms > 18_000
    assert not session.ended
    assert run("--source", CLIP, "--bundle", tiny_bundle, "--record", folder) == 0
    assert not [left for left in path.iterdir() if left.name.startswith(".")]
    assert opened(path).segments == session.segments
    assert len(sessions_in(folder)) == 2


def opened(path: Path) -> Session:
    """A session whose segments open, with as many pictures as lines."""
    from edge.recording.clips import pictures

    session = read_session(path)
    for part in session.segments:
        assert sum(1 for _ in pictures(path, part.name)) == part.frames
    return session


def until(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
