"""Marks of a running loop: which frame one means, what is kept, and that nothing is without one."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.contracts import MarkKind
from edge.inference.supervisor import SingleBundle
from edge.pipeline.device import DeviceOptions, open_device
from edge.pipeline.marks import EXPIRE_NS, PATIENCE_NS, REACTION_NS, MarkObserver
from edge.sinks.web import WebSink
from edge.sources.open import open_source
from edge.stills import keeper as keeping
from edge.stills.files import read_still, write_still
from edge.stills.folder import MARK
from edge.stills.keeper import StillKeeper
from edge_difom.cli.main import main
from firmware_bridge.cart.connectors import open_cart
from tests.support.stills import RUNNING, circle, frame, full, result

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edge.frame import Result
    from edge.stills.still import Still

MS = 1_000_000
EMPTY = replace(result(), regions=(), mask_area=0.0)


class Notes:
    """Telemetry that keeps events."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def event(self, kind: str, /, **details: object) -> None:
        self.events.append((kind, details["detail"]))


class Student:
    """A supervisor with a bundle."""

    name = "tflite"

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle


class Rig:
    """An observer with its keeper and a clock."""

    def __init__(self, folder: Path, bundle: Path, **limits: Any) -> None:
        self.folder, self.now = folder, 10_000 * MS
        self.notes, self.asked = Notes(), threading.Event()
        values: dict[str, Any] = {"word": MARK, "reserve_bytes": 0} | limits
        self.keeper = StillKeeper(folder, **values)
        self.observer = MarkObserver(
            self.keeper,
            self.notes,  # type: ignore[arg-type] # the journal's part of it
            requested=self.asked,
            source="rtsp://host/live",
            view=lambda: circle((67, 101)),
            supervisor=Student(Bundle.open(bundle)),  # type: ignore[arg-type] # likewise
            clock=lambda: self.now,
        )

    def come_round(self, index: int | None, judged: Result | None = None, ms: float = 40) -> None:
        """One frame, or none."""
        self.now += round(ms * MS)
        if index is None:
            self.observer.progress(RUNNING, None, None)
        else:
            newest = replace(frame(index=index), captured_ns=self.now - 30 * MS)
            self.observer.progress(RUNNING, newest, judged or result())

    def kept(self) -> list[Still]:
        self.observer.__exit__(None, None, None)
        return [read_still(path) for path in sorted(self.folder.iterdir(), key=_number)]


def _number(path: Path) -> int:
    return int(path.name.rpartition("-")[2])


@pytest.fixture
def rig(tmp_path: Path, tiny_bundle: Path) -> Iterator[Rig]:
    assembled = Rig(tmp_path / "marks", tiny_bundle)
    yield assembled
    assembled.keeper.close()


def test_a_false_alarm_that_is_over_is_the_frame_that_showed_it(rig: Rig) -> None:
    rig.come_round(1)
    for index in range(2, 10):
        rig.come_round(index, EMPTY)
    rig.observer.ask(None, "pedal 2")
    rig.come_round(10, EMPTY)
    (one,) = rig.kept()
    assert one.record.mark is not None
    assert (one.record.frame, one.record.mark.kind) == (1, MarkKind.FALSE_ALARM)
    assert one.record.mark.delay_ms == 9 * 40 + 30
    assert one.mask is not None
    assert one.mask.any()
    view = full(circle((67, 101))) > 0
    np.testing.assert_array_equal(one.image[view], frame(index=1).image[view])
    assert one.image[~view].max() == 0


def test_without_a_region_of_late_a_mark_means_missed(rig: Rig) -> None:
    rig.come_round(1)
    rig.come_round(2, EMPTY, ms=REACTION_NS / MS + 40)
    rig.observer.ask(None, "signal")
    rig.come_round(3, EMPTY)
    (one,) = rig.kept()
    assert one.record.mark is not None
    assert (one.record.frame, one.record.mark.kind) == (3, MarkKind.MISSED)
    assert one.record.asked_by == "signal"
    assert one.mask is not None
    assert not one.mask.any()


@pytest.mark.parametrize(("kind", "frames"), [(MarkKind.MISSED, [2]), (MarkKind.FALSE_ALARM, [1])])
def test_a_kind_that_is_given_chooses_the_frame(
    rig: Rig, kind: MarkKind, frames: list[int]
) -> None:
    rig.come_round(1)
    rig.observer.ask(kind, "page")
    rig.come_round(2, EMPTY)
    rig.come_round(3, EMPTY)
    marks = rig.kept()
    assert [one.record.frame for one in marks] == frames
    assert marks[0].record.mark is not None
    assert marks[0].record.mark.kind is kind


def test_a_frame_that_is_marked_twice_is_kept_once(rig: Rig) -> None:
    rig.come_round(1)
    for index in (2, 3):
        rig.observer.ask(None, "pedal 2")
        rig.come_round(index, EMPTY)
    assert rig.observer.last.text == "frame 1 is kept already"
    assert [one.record.frame for one in rig.kept()] == [1]
    assert rig.observer.counters["repeated"] == 1


def test_a_mark_says_what_it_is_of_and_what_was_held_back(rig: Rig, tiny_bundle: Path) -> None:
    rig.observer.ask(MarkKind.MISSED, "page")
    result_of_frame = result((67, 101), (8, 6), (8, 11))
    rig.come_round(4, replace(result_of_frame, regions=result_of_frame.regions[:1]))
    (one,) = rig.kept()
    mark = one.record.mark
    assert mark is not None
    assert mark.bundle is not None
    assert mark.bundle.digest == Bundle.open(tiny_bundle).digest
    assert (mark.bundle.engine, mark.source) == ("tflite", "rtsp://host/live")
    assert [region.box for region in one.record.regions] == [result_of_frame.regions[0].box]
    assert [region.box for region in mark.held_back] == [result_of_frame.regions[1].box]
    (folder,) = rig.folder.iterdir()
    assert folder.name.startswith("mark-")
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_frame_is_waited_for_and_not_for_ever(rig: Rig) -> None:
    rig.observer.ask(None, "signal")
    rig.come_round(None)
    rig.come_round(1, EMPTY)
    rig.asked.set()
    rig.come_round(None)
    rig.come_round(None, ms=PATIENCE_NS / MS)
    rig.come_round(2, EMPTY)
    assert rig.observer.last == (1, "not kept: no frame: running")
    assert [one.record.frame for one in rig.kept()] == [1]
    assert rig.observer.counters == {
        "kept": 1,
        "refused": 1,
        "expired": 0,
        "overdue": 0,
        "repeated": 0,
    }


def test_nothing_that_fails_stops_the_loop_and_it_is_told_once(
    tmp_path: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig(tmp_path / "m", tiny_bundle)
    real = write_still
    refused: list[OSError] = [OSError(28, "No space left on device"), OSError(30, "read-only")]

    def failing(still_made: Still, path: Path) -> None:
        if refused:
            raise refused.pop(0)
        real(still_made, path)

    monkeypatch.setattr(keeping, "write_still", failing)
    for index, done in enumerate((1, 2, 3)):
        rig.observer.ask(MarkKind.MISSED, "page")
        rig.come_round(index, EMPTY)
        while sum(rig.observer.counters.values()) < done:
            rig.come_round(None, ms=0)
    assert [one.record.frame for one in rig.kept()] == [2]
    assert [kind for kind, _ in rig.notes.events] == ["mark-refused", "mark-refused", "mark"]
    warnings = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert warnings == ["a mark was not kept: the disk: No space left on device"]


def test_marks_older_than_agreed_are_removed_with_decisions(
    tmp_path: Path, tiny_bundle: Path
) -> None:
    """Marks older than agreed are removed with what was decided."""
    date = [datetime(2031, 5, 1, 12, tzinfo=timezone.utc)]
    rig = Rig(tmp_path / "m", tiny_bundle, max_days=2, date=lambda: date[0])
    rig.observer.ask(MarkKind.MISSED, "page")
    rig.come_round(1, EMPTY)
    while not rig.observer.counters["kept"]:
        rig.come_round(None, ms=0)
    (old,) = rig.folder.iterdir()
    (old / "decision.json").write_text("{}")
    for other in ("still-20200101T000000Z-0-1", "notes", "mark-without-a-date"):
        (rig.folder / other).mkdir()
    date[0] += timedelta(days=2)
    rig.come_round(None, ms=EXPIRE_NS / MS)
    rig.keeper.close()
    assert old.exists(), "two days and not more"
    date[0] += timedelta(seconds=1)
    rig = Rig(tmp_path / "m", tiny_bundle, max_days=2, date=lambda: date[0])
    rig.keeper.close()
    rig.come_round(None)
    assert sorted(path.name for path in rig.folder.iterdir()) == [
        "mark-without-a-date", "notes", "still-20200101T000000Z-0-1",
    ]  # fmt: skip
    assert rig.notes.events == [("mark-expired", old.name)]


def test_a_mark_that_cannot_be_removed_is_told_once(
    tmp_path: Path,
    tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A mark that cannot be removed is told once and others are kept."""

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    folder = tmp_path / "m"
    (folder / "mark-20010101T000000Z-0-1").mkdir(parents=True)
    folder.chmod(0o700)
    monkeypatch.setattr("pathlib.Path.rename", busy)
    rig = Rig(folder, tiny_bundle, max_days=1)
    while not rig.observer.counters["overdue"]:
        rig.come_round(None, ms=0)
    rig.keeper.expire()
    while rig.observer.counters["overdue"] < 2:
        rig.come_round(None, ms=0)
    rig.keeper.close()
    assert rig.observer.last.text == ""
    warnings = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert warnings == ["an old mark cannot be removed: Device or resource busy"]


def test_marks_are_bounded_in_number(tmp_path: Path, tiny_bundle: Path) -> None:
    rig = Rig(tmp_path / "m", tiny_bundle, max_stills=1)
    for index in range(2):
        rig.observer.ask(MarkKind.MISSED, "page")
        rig.come_round(index, EMPTY)
        while sum(rig.observer.counters.values()) <= index:
            rig.come_round(None, ms=0)
    assert rig.observer.last.text == "not kept: full: 1 marks, at most 1 are kept"
    assert [one.record.frame for one in rig.kept()] == [0]


def _device(bundle: Path, **changes: Any) -> tuple[SingleBundle, DeviceOptions]:
    return SingleBundle(bundle), replace(DeviceOptions(engine="tflite", threads=1), **changes)


@pytest.mark.parametrize("with_consent", [True, False])
def test_the_second_pedal_marks_only_with_consent(
    tiny_bundle: Path, tmp_path: Path, with_consent: bool
) -> None:
    marks, stills = tmp_path / "marks", tmp_path / "stills"
    store, chosen = _device(tiny_bundle, marks=marks if with_consent else None, stills=stills)
    cart = open_cart("sim:" + ",".join(f"{at}=pedal 2" for at in range(1, 30)))
    stop = threading.Event()
    expected, other = (marks, stills) if with_consent else (stills, marks)

    def follow(*_: object) -> None:
        if expected.exists() and any(not path.name.startswith(".") for path in expected.iterdir()):
            stop.set()

    source = open_source("synthetic:?width=321&height=241&fps=30&frames=1500")
    with open_device(source, [], store, chosen, cart=cart, stop=stop, on_frame=follow) as loop:
        assert loop.run().ended == "stopped"
    assert not other.exists() or not list(other.iterdir())
    first = read_still(next(iter(expected.iterdir())))
    assert first.record.asked_by == "pedal 2"
    assert (first.record.mark is not None) is with_consent


def test_the_page_marks_what_it_shows(tiny_bundle: Path, tmp_path: Path) -> None:
    marks, stop, sink = tmp_path / "marks", threading.Event(), WebSink()
    store, chosen = _device(tiny_bundle, marks=marks)
    statuses: list[int] = []

    def follow(*_: object) -> None:
        if not statuses:
            url = urlsplit(sink.url)
            connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=10)
            body, headers = b'{"kind":"missed"}', {"Content-Type": "application/json"}
            connection.request("POST", f"{url.path}mark", body=body, headers=headers)
            statuses.append(connection.getresponse().status)
            connection.close()
        if any(not path.name.startswith(".") for path in marks.iterdir()):
            stop.set()

    source = open_source("synthetic:?width=321&height=241&fps=30&frames=1500")
    with open_device(source, [sink], store, chosen, stop=stop, on_frame=follow) as loop:
        assert loop.run().ended == "stopped"
    assert statuses == [202]
    record = read_still(next(iter(marks.iterdir()))).record
    assert record.mark is not None
    assert (record.asked_by, record.mark.kind) == ("page", MarkKind.MISSED)


def run(*more: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--engine", "tflite", "--threads", "1", *more])
    return int(str(ended.value.code))


def test_a_signal_marks_a_frame_of_a_clip(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marks = tmp_path / "marks"
    arguments = ["--source", "synthetic:?width=96&height=64&frames=4&live=0"]
    arguments += ["--bundle", str(tiny_bundle)]
    before = signal.getsignal(signal.SIGUSR2)
    assert run(*arguments) == 0
    assert not marks.exists()
    sender = threading.Thread(target=lambda: _send_when(marks.exists))
    sender.start()
    assert run(*arguments, "--marks", str(marks), "--log", str(tmp_path / "log")) == 0
    sender.join()
    assert signal.getsignal(signal.SIGUSR2) == before
    (folder,) = marks.iterdir()
    record = read_still(folder).record
    assert record.mark is not None
    assert record.asked_by == "signal"
    assert record.mark.clip_ms is None or record.mark.clip_ms >= 0
    assert f"next: edge-difom review {marks}" in capfd.readouterr().out
    events = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [one["details"]["detail"] for one in events if one["kind"] == "mark"] == [folder.name]
    assert run(*arguments, "--marks", str(marks), "--no-guard") == 2
    assert "marks need the field of view" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_before_the_run(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    arguments = ["--source", "synthetic:?frames=4&live=0", "--bundle", str(tiny_bundle)]
    assert run(*arguments, "--marks", str(tmp_path / "file")) == 2
    assert "no marks can be kept" in capfd.readouterr().err
    assert run(*arguments, "--marks", str(tmp_path / "m"), "--stills", str(tmp_path / "m")) == 11
    assert "a run keeps pictures there already" in capfd.readouterr().err


def _send_when(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR2)
