from edge.errors import InferenceFault
from edge.inference.fault_policy import MAX_DAMAGED, MAX_FAULTS, WITHIN_S, FaultHistory, Verdict
from edge.status import ReasonKind

SECOND = 1_000_000_000


def verdicts(history: FaultHistory, *faults: tuple[ReasonKind, float]) -> list[Verdict]:
    return [history.judge(InferenceFault(kind, "x"), round(at * SECOND))[0] for kind, at in faults]


def test_three_crashes_within_a_minute_condemn() -> None:
    crashes = [(ReasonKind.CRASH, number * WITHIN_S / 2) for number in range(MAX_FAULTS)]
    assert verdicts(FaultHistory(), *crashes) == [Verdict.RESTART] * 2 + [Verdict.CONDEMN]
    slower = [(ReasonKind.CRASH, number * WITHIN_S) for number in range(6)]
    assert verdicts(FaultHistory(), *slower) == [Verdict.RESTART] * 6


def test_lack_of_memory_alone_defers() -> None:
    memory = [(ReasonKind.MEMORY, 0), (ReasonKind.MEMORY, 1), (ReasonKind.MEMORY, 2)]
    assert verdicts(FaultHistory(), *memory)[-1] is Verdict.DEFER
    mixed = [(ReasonKind.MEMORY, 0), (ReasonKind.HANG, 1), (ReasonKind.MEMORY, 2)]
    assert verdicts(FaultHistory(), *mixed)[-1] is Verdict.CONDEMN


def test_a_bundle_that_was_given_up_leaves_no_faults() -> None:
    history = FaultHistory()
    verdicts(history, (ReasonKind.CRASH, 0), (ReasonKind.CRASH, 1))
    history.clear()
    assert verdicts(history, (ReasonKind.CRASH, 2)) == [Verdict.RESTART]


def test_only_damaged_answers_in_a_row_are_acted_on() -> None:
    history = FaultHistory()
    assert [history.note_damage() for _ in range(MAX_DAMAGED - 1)] == [False] * (MAX_DAMAGED - 1)
    history.note_scores()
    assert [history.note_damage() for _ in range(MAX_DAMAGED)][-2:] == [False, True]
    verdict, reason = history.judge(InferenceFault(ReasonKind.DAMAGED, "not a number"), 0)
    assert (verdict, "not a number" in reason) == (Verdict.CONDEMN, True)
