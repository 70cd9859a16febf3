"""The soak: its checks fail when they must, and a short real one leaves a complete record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from benchmarks.soak import checks
from benchmarks.soak.memory import check_leak
from benchmarks.soak.runtime import check_end
from benchmarks.soak.screen import ScreenWatch
from benchmarks.soak.soak import Soak, plan
from edge.shm.reader import Snapshot
from edge.sources.faults import FAULTS
from edge.status import ReasonKind, State
from edge.telemetry.journal import Event

pytestmark = pytest.mark.alone

MS = 1_000_000
SECOND = 1000 * MS


def event(seq: int, kind: str = "state", at: int = 0, **details: Any) -> Event:
    return Event(seq, "run", at, "", kind, details)


def lines(*numbers: int, ended: bool = True) -> list[Event]:
    events = [event(number) for number in numbers]
    return [*events, event(max(numbers) + 1, "stop")] if ended else events


def test_a_whole_journal_passes_over_all_its_files() -> None:
    encode = msgspec.json.Encoder().encode
    start = event(1, "start", pid=77)
    other = Event(1, "another", 0, "", "start", {"pid": 78})
    contents = {
        "j": encode(event(3, "stop")) + b"\n",
        "j.1": encode(other) + b"\n" + encode(start) + b"\n" + encode(event(2)) + b"\n",
    }
    events, torn = checks.read_journal(contents, 77)
    assert [one.seq for one in events] == [1, 2, 3]
    assert checks.check_lines(events, torn, files=2, ended=True).passed


@pytest.mark.parametrize(
    ("events", "torn", "word"),
    [
        (lines(1, 2, 4), 0, "line 3 is lost"),
        (lines(2, 3), 0, "line 1 is lost"),
        (lines(1, 2, 2, 3), 0, "line 2 is there twice"),
        (lines(1, 2), 1, "torn"),
        (lines(1, 2, ended=False), 0, "the last line"),
        ([], 0, "no line"),
    ],
)
def test_a_journal_with_a_lost_or_double_line_fails(
    events: list[Event], torn: int, word: str
) -> None:
    check = checks.check_lines(events, torn, files=1, ended=True)
    assert check.passed is False
    assert any(word in failure for failure in check.failures)


def test_half_a_line_is_torn() -> None:
    assert checks.read_journal({"j": b'{"seq":1,"run":'}, 1) == ([], 1)


def snapshot(number: int, *, index: int | None, captured_ns: int, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "done_ns": captured_ns + 20 * MS,
        "valid_until_ns": captured_ns + 120 * MS,
        "state": State.RUNNING,
        "reason": "",
        "has_mask": True,
        "mask_area": 0.0,
        "boxes": (),
        "view": (0, 0, 8, 8),
        "part": (0, 0, 8, 8),
        "size": (8, 8),
        "scores": None,
        "overlay": np.zeros((0, 0, 4), np.uint8),
        "picture": None,
    }
    return Snapshot(number=number, frame_index=index, captured_ns=captured_ns, **(values | changes))


def watched(*looks: tuple[int, Snapshot]) -> ScreenWatch:
    screen = ScreenWatch(50.0)
    for now, publication in looks:
        screen.observe(now, publication, now - 5 * MS)
    return screen


def test_a_mask_is_in_view_until_it_may_no_longer_be() -> None:
    publication = snapshot(1, index=50, captured_ns=2 * SECOND)
    at = [2 * SECOND + ms * MS for ms in (30, 119, 121)]
    screen = watched(*((now, publication) for now in at))
    assert screen.visibility == [(at[0], True), (at[2], False)]
    assert screen.origin_ns == SECOND
    check = screen.check_masks()
    assert check.passed
    assert check.figures["oldest_shown_ms"] == pytest.approx(119)


def test_a_stale_mask_fails() -> None:
    """A writer that gives a frame a longer life than its capture allows."""
    publication = snapshot(1, index=0, captured_ns=SECOND, valid_until_ns=SECOND + 240 * MS)
    check = watched((SECOND + 130 * MS, publication)).check_masks()
    assert check.passed is False
    assert "130 ms" in check.failures[0]


def test_a_soak_without_a_mask_shows_nothing_about_masks() -> None:
    publication = snapshot(1, index=0, captured_ns=SECOND, has_mask=False)
    assert watched((SECOND + 30 * MS, publication)).check_masks().passed is False


@pytest.mark.parametrize(("second", "passed"), [(4, True), (3, False), (2, False)])
def test_frames_come_once_and_in_their_order(second: int, passed: bool) -> None:
    first = snapshot(1, index=3, captured_ns=SECOND)
    later = snapshot(2, index=second, captured_ns=SECOND + 20 * MS)
    screen = watched(
        (SECOND + 30 * MS, first), (SECOND + 40 * MS, first), (SECOND + 50 * MS, later)
    )
    assert screen.check_order().passed is passed


def running_at(rates: list[int]) -> ScreenWatch:
    """Ten looks a second at a stream of so many publications in each second."""
    looks, number = [], 1
    for second, rate in enumerate(rates, 1):
        for part in range(10):
            captured = second * SECOND + part * 100 * MS
            looks.append(
                (captured, snapshot(number + part * rate // 10, index=None, captured_ns=captured))
            )
        number += rate
    return watched(*looks)


@pytest.mark.parametrize(
    ("rates", "passed"),
    [([50] * 9, True), ([40] * 9, False), ([50] * 6 + [40] * 3, False), ([50], None)],
)
def test_the_rate_must_hold_to_the_end(rates: list[int], passed: bool | None) -> None:
    assert running_at(rates).check_rate(lambda *_: True, least=0.95).passed is passed


def states(*changes: tuple[int, State, str]) -> list[checks.Change]:
    return [
        checks.Change(ms * MS, state.value, ReasonKind(kind) if kind else None)
        for ms, state, kind in changes
    ]


def span(kind: str) -> checks.Span:
    return checks.Span(kind, 1000 * MS, 1700 * MS)


def judged(
    kind: str,
    *changes: tuple[int, State, str],
    visibility: list[tuple[int, bool]] | None = None,
    disturbed: list[tuple[int, int]] | None = None,
) -> checks.Check:
    masks = [(ms * MS, on) for ms, on in visibility or []]
    return checks.check_faults(states(*changes), [span(kind)], disturbed or [], masks)


BLACK, BACK = (1100, State.PAUSED, "black"), (1850, State.RUNNING, "")


def test_a_fault_that_is_answered_in_time_passes() -> None:
    check = judged("black", BLACK, BACK, visibility=[(100, True), (1100, False), (1900, True)])
    assert check.passed
    assert check.figures["black"]["worst_ms"] == pytest.approx(100)
    assert check.figures["black"]["worst_end_ms"] == pytest.approx(150)


@pytest.mark.parametrize(
    ("kind", "changes", "word"),
    [
        ("black", [(1181, State.PAUSED, "black"), BACK], "after 181 ms, at most 180"),
        ("black", [(1100, State.PAUSED, "light"), BACK], "never came"),
        ("black", [BLACK, (1921, State.RUNNING, "")], "its end after 221 ms"),
        ("black", [BLACK], "its end never came"),
        ("stall", [], "no-signal never came"),
        ("unplug", [(1171, State.NO_SIGNAL, "unplugged"), BACK], "at most 170"),
        ("text", [(1300, State.PAUSED, "blurred"), BACK], "paused (blurred)"),
        ("format", [], "never came"),
    ],
)
def test_a_late_answer_fails(kind: str, changes: list[Any], word: str) -> None:
    check = judged(kind, *changes)
    assert check.passed is False
    assert any(word in failure for failure in check.failures)


@pytest.mark.parametrize(("hidden_ms", "passed"), [(1115, True), (1130, False)])
def test_a_mask_that_stays_over_a_stalled_source_fails(hidden_ms: int, passed: bool) -> None:
    change = (1110, State.NO_SIGNAL, "stalled")
    assert (
        judged("stall", change, BACK, visibility=[(100, True), (hidden_ms, False)]).passed is passed
    )


def test_frames_of_another_size_are_an_answer() -> None:
    spans, sizes = [span("format")], [(0, (8, 8)), (1050 * MS, (4, 4)), (1750 * MS, (8, 8))]
    assert checks.check_faults([], spans, [], [], sizes).passed
    assert (
        checks.check_faults([], spans, [], [], [(0, (8, 8)), (1130 * MS, (4, 4))]).passed is False
    )


def test_a_fault_is_answered_while_something_else_is_wrong() -> None:
    """While something else is wrong, a fault is answered all the same."""
    disturbed = [(900 * MS, 3000 * MS)]
    assert judged("black", BLACK, disturbed=disturbed).passed
    assert judged("black", disturbed=disturbed).passed is False
    assert judged("text", (1300, State.DEGRADED, "restarting"), disturbed=disturbed).passed is None


def test_every_fault_has_an_answer() -> None:
    assert set(checks.FAULT_BOUNDS) == set(FAULTS)


@pytest.mark.parametrize(
    ("journal_ms", "mask", "word"),
    [
        (50, 2000, ""),
        (300, 2000, "'memory' in the journal"),
        (None, 2000, "never came"),
        (50, 5100, "next mask"),
        (50, None, "next mask never came"),
    ],
)
def test_a_killed_process_must_come_back_in_time(
    journal_ms: int | None, mask: int | None, word: str
) -> None:
    events = [] if journal_ms is None else [event(1, "memory", (1000 + journal_ms) * MS)]
    visibility = [(0, True), (1100 * MS, False)] + (
        [] if mask is None else [((1000 + mask) * MS, True)]
    )
    check, away = checks.check_worker(events, [checks.Injection("kill", 1000 * MS)], visibility)
    assert check.passed is (word == "")
    assert word in " ".join(check.failures)
    assert away[0][0] == 1000 * MS
    assert away[0][1] > (1000 + (mask or 5000)) * MS


def test_nothing_is_told_that_nobody_did() -> None:
    begin = (100, State.RUNNING, "")
    explained = states((50, State.BOOT, "starting"), begin, BLACK, BACK)
    until = 10 * SECOND
    assert checks.check_calm(explained, [span("black")], [], until).passed
    late = states(begin, (5000, State.DEGRADED, "stale"), (5600, State.RUNNING, ""))
    check = checks.check_calm(late, [], [], until)
    assert check.passed
    assert check.figures["short_of_time"] == 1
    strange = states(begin, (5000, State.PAUSED, "blurred"))
    assert checks.check_calm(strange, [], [], until).passed is False
    assert checks.check_calm(strange, [], [(4900 * MS, 5100 * MS)], until).passed


def memory(
    mb_per_hour: float, *, seconds: int = 1500, swing: float = 3.0
) -> list[tuple[float, float]]:
    """Once a second, with a swing in each round of the faults and noise."""
    noise = np.random.default_rng(1).normal(0, 0.3, seconds)
    return [
        (float(s), 150 + mb_per_hour * s / 3600 + swing * (s % 44 < 10) + float(noise[s]))
        for s in range(seconds)
    ]


@pytest.mark.parametrize(
    ("mb_per_hour", "passed"), [(0.0, True), (4.0, True), (15.0, False), (60.0, False)]
)
def test_a_leak_fails(mb_per_hour: float, passed: bool) -> None:
    check = check_leak("runtime", {7: memory(mb_per_hour)}, block_s=44, warm_s=100)
    assert check.passed is passed
    low, high = check.figures["processes"]["7"]["ci95"]
    assert low - 0.5 <= mb_per_hour <= high + 0.5


def test_a_process_that_was_started_again_is_another_series() -> None:
    short, long = memory(0.0, seconds=60, swing=0), memory(40.0)
    assert check_leak("student", {1: short}, block_s=44, warm_s=5).passed is None
    check = check_leak("student", {1: short, 2: long}, block_s=44, warm_s=5)
    assert check.passed is False
    assert "student 2" in check.failures[0]


def test_what_is_done_from_outside_leaves_the_bundle_in_use() -> None:
    done = [(turn, plan(turn, every_s=4.0, seconds=1800)) for turn in range(1, 450)]
    worker = [turn * 4.0 for turn, kind in done if kind in ("kill", "stop")]
    assert all(third - first > 60 for first, third in zip(worker, worker[2:], strict=False))
    assert max(worker) < 900
    assert len(worker) > 15
    kinds = {kind for _, kind in done}
    assert kinds == {"", "kill", "stop", "journal-moved", "journal-removed", "metrics-removed"}


def ended(**changes: Any) -> checks.Check:
    values: dict[str, Any] = {
        "seconds": 0.4,
        "code": 0,
        "summary": b'{"ended":"stopped","frames":12}',
        "metrics": "edge_difom_frames_total 12.0\n",
        "errors": "",
        "segment_left": False,
    }
    return check_end(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, ""),
        ({"seconds": 3.1}, "3.10 s"),
        ({"code": -9}, "exit code -9"),
        ({"code": None}, "exit code None"),
        ({"summary": b'{"ended":'}, "not complete"),
        ({"summary": b'{"ended":"source","frames":12}'}, "ended by"),
        ({"metrics": "edge_difom_frames_total 11.0\n"}, "metrics"),
        ({"segment_left": True}, "shared memory"),
        ({"errors": "Traceback (most recent call last):"}, "traceback"),
    ],
)
def test_an_end_that_is_not_clean_fails(changes: dict[str, Any], word: str) -> None:
    check = ended(**changes)
    assert check.passed is (word == "")
    assert word in " ".join(check.failures)


@pytest.mark.slow
def test_a_short_soak_of_the_real_device(tiny_bundle: Path, tmp_path: Path) -> None:
    """What depends on time alone may fail on a busy machine; nothing else may."""
    out = tmp_path / "soak.json"
    command = [
        sys.executable,
        "-m",
        "benchmarks.soak",
        "--bundle",
        str(tiny_bundle),
        "--engine",
        "tflite",
    ]
    command += [
        "--minutes",
        "0.3",
        "--width",
        "160",
        "--height",
        "120",
        "--fps",
        "30",
        "--every",
        "2",
    ]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, "--out", str(out)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 7), done.stderr
    assert "Traceback" not in done.stderr
    record = msgspec.json.decode(out.read_bytes(), type=Soak)
    assert record.finished
    assert record.passed is (done.returncode == 0)
    assert record.injected["kill"] == 1
    assert record.injected["metrics-removed"] == 1
    checks_by_name = {check.name: check for check in record.checks}
    for name in ("masks", "frames", "journal"):
        assert checks_by_name[name].passed, checks_by_name[name].failures
    assert checks_by_name["journal"].figures["files"] >= 2
    assert checks_by_name["end"].figures["code"] == 0
    assert checks_by_name["faults"].figures.keys() >= {"black", "overexposed"}
    assert "the shared memory is left" not in checks_by_name["end"].failures
