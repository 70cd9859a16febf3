"""The state machine: the gravest condition holds, and a state does not flicker."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.pipeline.state_machine import GRAVITY, RECOVERY_MS, StateMachine
from edge.status import Condition, Reason, ReasonKind, State
from tests.support.clock import FakeClock

BECAUSE = {state: Reason(kind) for state, kind in zip(State, ReasonKind, strict=False)}


def test_it_begins_in_boot_and_runs_where_nothing_is_wrong() -> None:
    machine = StateMachine(FakeClock())
    assert machine.status.state is State.BOOT
    assert machine.resolve([]).state is State.RUNNING
    assert machine.status.reason is None


def test_every_state_has_its_gravity() -> None:
    assert set(GRAVITY) == set(State)


@given(st.lists(st.sampled_from(GRAVITY), min_size=1))
def test_the_gravest_condition_holds(states: list[State]) -> None:
    status = StateMachine(FakeClock()).resolve(
        [Condition(state, BECAUSE[state]) for state in states]
    )
    assert status.state is max(states, key=GRAVITY.index)
    assert status.reason == BECAUSE[status.state]


def test_since_changes_with_state_or_kind_and_not_with_detail() -> None:
    """Since tells when state or kind changed and not the detail."""
    clock = FakeClock()
    machine = StateMachine(clock)
    first = machine.resolve(
        [Condition(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "tried 1 time"))]
    )
    clock.spend(100)
    assert (
        machine.resolve([Condition(State.NO_SIGNAL, Reason(ReasonKind.UNPLUGGED, "tried 2 times"))])
        is first
    )
    clock.spend(100)
    stalled = machine.resolve(
        [Condition(State.NO_SIGNAL, Reason(ReasonKind.STALLED, "no frame for 50 ms"))]
    )
    assert stalled.since_ns == clock.now


def test_degraded_ends_only_after_a_clean_while() -> None:
    clock = FakeClock()
    machine = StateMachine(clock)
    machine.resolve([Condition(State.DEGRADED, Reason(ReasonKind.HANG, "100 ms"))])
    for _ in range(int(RECOVERY_MS // 100) - 1):
        clock.spend(100)
        assert machine.resolve([]).state is State.DEGRADED
    clock.spend(100)
    assert machine.resolve([]).state is State.RUNNING


@pytest.mark.parametrize("graver", [State.NO_SIGNAL, State.PAUSED, State.BYPASS])
def test_a_graver_state_does_not_wait(graver: State) -> None:
    machine = StateMachine(FakeClock())
    machine.resolve([Condition(State.DEGRADED, Reason(ReasonKind.HANG, "100 ms"))])
    assert machine.resolve([Condition(graver, Reason(ReasonKind.HOT))]).state is graver
    assert machine.resolve([]).state is State.RUNNING


def test_faults_on_every_other_frame_are_one_state() -> None:
    clock = FakeClock()
    machine = StateMachine(clock)
    statuses = []
    for number in range(40):
        clock.spend(16.7)
        statuses.append(
            machine.resolve(
                [Condition(State.DEGRADED, Reason(ReasonKind.STALE, "130 ms old"))]
                if number % 2 == 0
                else []
            ).state
        )
    assert sum(a is not b for a, b in pairwise(statuses)) == 0
