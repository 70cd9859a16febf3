"""A student's process under its supervisor: restarts, bundles condemned or marked good."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from edge.bundle.reader import Bundle
from edge.errors import InferenceFault
from edge.inference.fault_policy import MAX_FAULTS
from edge.inference.supervisor import SingleBundle, Supervisor
from tests.support.processes import alive, until
from tests.support.supervised import CRASH, HANG, NAN, SHAPE, TwoSlots, Watched, fake, picture


def test_a_crash_is_followed_by_another_process(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash is followed by another process of the same bundle."""
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert watched.suffers(CRASH).kind == "crash"
        with pytest.raises(InferenceFault) as caught:
            supervisor.infer(picture(1))
        assert caught.value.kind == "restarting", "the loop never waits for a restart"
        assert supervisor.wait(20)
        assert (supervisor.infer(picture(1)) == 1).all()
        assert supervisor.counters == {"crash": 1, "restarts": 1}
        assert not slots.bad
        kinds = [event.kind for event in supervisor.pop_events()]
    assert kinds == ["ready", "crash", "ready"]
    assert supervisor.pop_events() == []


@pytest.mark.row(20, "three crashes within a minute by an injected clock")
@pytest.mark.row(39, "both slots crash: exhausted")
def test_a_crash_loop_leads_to_the_previous_slot_then_none(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash loop leads to the previous slot and then to none."""
    first, second = slots.paths
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
            watched.now += 10_000_000_000
        assert supervisor.wait(20)
        assert [path for path, _ in slots.bad] == [first]
        assert "3 faults within 60 s" in slots.bad[0][1]
        for _ in range(MAX_FAULTS):
            watched.suffers(CRASH)
        until(lambda: supervisor.phase == "exhausted")
        assert [path for path, _ in slots.bad] == [first, second]
        with pytest.raises(InferenceFault) as caught:
            supervisor.infer(picture(1))
        assert caught.value.kind == "exhausted"


def test_crashes_far_apart_condemn_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for _ in range(MAX_FAULTS + 1):
            watched.suffers(CRASH)
            watched.now += 31_000_000_000
        assert supervisor.wait(20)
        assert not slots.bad


@pytest.mark.row(17, "three damaged answers in a row")
def test_damaged_answers_in_a_row_lead_to_the_previous_slot(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = slots.paths[0]
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        for order in (NAN, SHAPE):
            assert watched.suffers(order).kind == "damaged"
        supervisor.infer(picture(1))
        for order in (NAN, NAN):
            watched.suffers(order)
        assert not slots.bad, "a good answer in between begins anew"
        watched.suffers(SHAPE)
        assert supervisor.wait(20)
        until(lambda: bool(slots.bad))
        assert slots.bad[0][0] == first


@pytest.mark.row(19, "a child that sleeps, under the supervisor")
def test_a_hang_is_followed_by_another_process(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert watched.suffers(HANG).kind == "hang"
        assert supervisor.wait(20)
        assert (supervisor.infer(picture(5)) == 5).all()


def test_a_clean_while_marks_the_bundle_good_once(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, clean_s=60.0)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        watched.now += 59_000_000_000
        supervisor.infer(picture(1))
        assert not slots.good
        watched.now += 2_000_000_000
        supervisor.infer(picture(1))
        until(lambda: bool(slots.good))
        supervisor.infer(picture(1))
    assert slots.good == [slots.paths[0]]


def test_damaged_answers_put_off_the_good_mark(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, clean_s=60.0)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        watched.now += 59_000_000_000
        assert watched.suffers(NAN).kind == "damaged"
        watched.now += 59_000_000_000
        supervisor.infer(picture(1))
        assert not supervisor._clean
        watched.now += 1_000_000_000
        supervisor.infer(picture(1))
        until(lambda: bool(slots.good))


@pytest.mark.row(53, "both slots condemned, a shipped bundle that runs")
def test_the_last_resort_runs_and_is_shown(
    slots: TwoSlots, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots.shipped = Path(shutil.copytree(slots.paths[0], tmp_path / "shipped"))
    for path in slots.paths:
        (path / "manifest.json").write_text("{}")
    watched = Watched(slots, monkeypatch)
    with watched.supervisor as supervisor:
        assert supervisor.wait(20)
        assert supervisor.bundle is not None
        assert supervisor.bundle.path == slots.shipped
        assert supervisor.condition is not None
        assert supervisor.condition.state == "degraded"
        assert "fallback: the shipped bundle runs: " in str(supervisor.condition.reason)
        assert "manifest.json" in str(supervisor.condition.reason)
    assert [path.name for path, _ in slots.bad] == ["a", "b"]


@pytest.mark.row(52, "the runtime is ended, and runs without frames")
def test_a_clean_end_and_an_idle_while_are_refunded(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = slots.paths[0]
    with Watched(slots, monkeypatch).supervisor as supervisor:
        assert supervisor.wait(20)
        assert not slots.refunded
    assert slots.refunded == [first]
    with Watched(slots, monkeypatch, clean_s=0.05).supervisor as supervisor:
        assert supervisor.wait(20)
        until(lambda: len(slots.refunded) > 1)
    assert set(slots.refunded) == {first}
    assert not slots.good


def test_a_bundle_that_was_exchanged_after_its_check_is_not_run(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = slots.paths
    slots.signed = {first: "0" * 64, second: Bundle.open(second).digest}
    with Watched(slots, monkeypatch).supervisor as supervisor:
        assert supervisor.wait(20)
        assert slots.paths == [second]
    assert "was changed after it was verified" in slots.bad[0][1]


@pytest.mark.row(43, "the end comes while an engine opens")
def test_an_end_while_an_engine_opens_waits_for_nothing(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor = Supervisor(slots, spec=lambda _: fake(fault="hang"))
    with supervisor:
        until(lambda: supervisor._opening is not None)
        opening = supervisor._opening
        assert opening is not None
    assert not supervisor._thread.is_alive()
    until(lambda: not alive(opening.pid))
    assert not slots.bad
    assert not supervisor.counters


def test_a_patient_caller_waits_for_the_next_process(
    slots: TwoSlots, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(slots, monkeypatch, patient=True)
    with watched.supervisor as supervisor:
        watched.suffers(CRASH)
        assert (supervisor.infer(picture(9)) == 9).all()


@pytest.mark.row(41, "a bundle whose model cannot be read to its end")
@pytest.mark.parametrize("harm", ["cut", "gone", "manifest"])
def test_a_bundle_that_cannot_be_read_is_a_bad_slot(slots: TwoSlots, harm: str) -> None:
    first, second = slots.paths
    harmed = first / ("manifest.json" if harm == "manifest" else "engines/openvino/model.bin")
    if harm == "gone":
        harmed.unlink()
    else:
        harmed.write_bytes(harmed.read_bytes()[:-1])
    with Supervisor(slots, engine="openvino", threads=1) as supervisor:
        assert supervisor.wait(60)
        assert slots.paths == [second]
        assert slots.bad[0][0] == first
        assert supervisor.name == "openvino"
        assert supervisor.counters == {"condemned": 1}, "at once"


def test_golden_frames_that_differ_condemn_the_bundle(
    slots: TwoSlots, tiny_parts: Any, tmp_path: Path
) -> None:
    from edge.bundle.reader import write_bundle

    manifest, files = tiny_parts
    swapped = {**files, "golden/0.scores.png": files["golden/2.scores.png"]}
    write_bundle(slots.paths[0], manifest, swapped, force=True)
    with Supervisor(slots, engine="tflite", threads=1) as supervisor:
        assert supervisor.wait(60)
        assert "golden frames differ" in slots.bad[0][1]
        assert supervisor.manifest == Bundle.open(slots.paths[0]).manifest


def test_a_single_bundle_has_nothing_to_fall_back_to(tmp_path: Path) -> None:
    store = SingleBundle(tmp_path)
    assert (store.current(), store.previous()) == (tmp_path, None)
    store.mark_good(tmp_path)
    store.mark_bad(tmp_path, "because")
    assert store.current() is None
    with Supervisor(store) as supervisor:
        assert not supervisor.wait(5)
        assert supervisor.phase == "exhausted"
        assert supervisor.input_size == (0, 0)
