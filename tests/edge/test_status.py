"""Reasons as types, and their text in logs, metrics and shared memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.inference.phase import Phase, required_condition
from edge.status import STARTING, Reason, ReasonKind, State, Status, TextEnum


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason(ReasonKind.STALE, "143 ms old"), "stale: 143 ms old"),
        (Reason(ReasonKind.OUT_OF_BODY, "9 % of the view"), "out-of-body: 9 % of the view"),
        (Reason(ReasonKind.UNPLUGGED, "a: b: c"), "unplugged: a: b: c"),
        (Reason(ReasonKind.NO_NEWS), "no news"),
        (STARTING, "starting"),
    ],
)
def test_the_text_of_a_reason(reason: Reason, text: str) -> None:
    assert str(reason) == f"{reason}" == text
    assert Reason.parse(text) == reason


@given(st.sampled_from(ReasonKind), st.text())
def test_a_text_is_read_back(kind: ReasonKind, detail: str) -> None:
    reason = Reason(kind, detail.strip())
    assert Reason.parse(str(reason)) == reason


def test_an_unknown_kind_keeps_its_text() -> None:
    """A presenter must survive a writer that is newer than itself."""
    assert Reason.parse("dusty: the lens") == Reason(ReasonKind.UNKNOWN, "dusty: the lens")
    assert Reason.parse("") is None


def test_a_status_without_a_reason() -> None:
    status = Status(State.RUNNING, None, 0)
    assert (status.kind, status.text) == (None, "")


def test_every_phase_but_ready_asks_for_a_state() -> None:
    conditions = {phase: required_condition(phase) for phase in Phase}
    assert conditions.pop(Phase.READY) is None
    assert {str(c.reason) for c in conditions.values() if c} == {
        "starting: the student is loaded",
        "selftest: golden frames",
        "restarting: the student's process is started again",
        "exhausted: no bundle of this device runs",
    }


@pytest.mark.parametrize("kinds", [State, ReasonKind, Phase])
def test_members_are_their_texts(kinds: type[TextEnum]) -> None:
    """`str`, `format` and dictionary look-up give the same in Python 3.10 and later."""
    for member in kinds:
        assert str(member) == f"{member}" == f"{member:s}" == member.value
        assert {member: 1}[member.value] == 1
