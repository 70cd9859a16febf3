"""Which frames an epoch shows: every one once, or every data set as often as its weight says."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from distill.data.sampling import EpochOrder, StepViews, View, apportion

SIZES = {"large": 60, "medium": 24, "small": 6}
DATASETS = [name for name, size in SIZES.items() for _ in range(size)]


def order(**changes: float) -> EpochOrder:
    options = {
        "clean": 0,
        "unlabeled": 0,
        "batch_size": 10,
        "clean_share": 0.25,
        "unlabeled_share": 0.25,
    }
    options |= {"balance": 0.0, "seed": 3} | changes
    return EpochOrder(DATASETS, **options)  # type: ignore[arg-type]


def known(steps: list[StepViews]) -> list[View]:
    return [view for step in steps for view in step.known]


def test_without_balance_every_frame_comes_once() -> None:
    views = known(order().epoch(2))
    assert sorted(view.index for view in views) == list(range(90))
    assert all(view.again == () for view in views)


@pytest.mark.parametrize(
    ("balance", "expected"),
    [
        (1.0, {"large": 30, "medium": 30, "small": 30}),
        (0.5, {"large": 45, "medium": 27, "small": 18}),
    ],
)
def test_balance_weighs_data_sets_and_keeps_the_length(
    balance: float, expected: dict[str, int]
) -> None:
    plain, balanced = order(), order(balance=balance)
    assert balanced.steps == plain.steps
    for epoch in range(3):
        views = known(balanced.epoch(epoch))
        assert Counter(DATASETS[view.index] for view in views) == expected
        rows = Counter(view.index for view in views if DATASETS[view.index] == "small")
        assert max(rows.values()) - min(rows.values()) <= 1, "no frame again before all have come"


def test_a_frame_that_comes_again_is_another_view() -> None:
    views = known(order(balance=1.0).epoch(0))
    assert len(set(views)) == len(views)
    assert max(len(view.again) for view in views) == 1


def test_an_epoch_depends_on_seed_and_number_alone() -> None:
    options = {"balance": 0.7, "clean": 12, "unlabeled": 40}
    assert order(**options).epoch(4) == order(**options).epoch(4)
    assert order(**options).epoch(4) != order(**options).epoch(5)
    assert order(**options).epoch(4) != order(seed=4, **options).epoch(4)


def test_every_step_holds_its_shares() -> None:
    epochs = order(clean=12, unlabeled=40, clean_share=0.2, unlabeled_share=0.3)
    assert (epochs.clean_in_batch, epochs.unlabeled_in_batch, epochs.steps) == (2, 3, 18)
    for step, (views, unlabeled, boxed) in enumerate(epochs.epoch(1)):
        assert len(views) == 7
        assert all(view.index < 90 for view in views[:5])
        assert all(90 <= view.index < 102 and view.again == (step,) for view in views[5:])
        assert len(unlabeled) == 3
        assert boxed == []
        assert all(view.index < 40 for view in unlabeled)


def test_frames_with_boxes_have_their_share_and_all_come() -> None:
    """Frames with boxes have their share and all come before one comes again."""
    epochs = order(clean=12, boxed=44, clean_share=0.2, box_share=0.4)
    assert (epochs.boxed_in_batch, epochs.clean_in_batch, epochs.steps) == (4, 2, 22)
    rows = [view.index for step in epochs.epoch(1) for view in step.boxed]
    assert sorted(rows[:44]) == sorted(rows[44:]) == list(range(44))
    assert all(len(step.known) == 6 for step in epochs.epoch(0))


def test_at_least_one_labeled_frame_stays_in_a_step() -> None:
    epochs = order(clean=5, unlabeled=5, batch_size=2, clean_share=0.9, unlabeled_share=0.9)
    assert all(any(view.index < 90 for view in step.known) for step in epochs.epoch(0))


def test_apportioned_numbers_add_up() -> None:
    assert apportion(np.array([1 / 3, 1 / 3, 1 / 3]), 10) == [4, 3, 3]
    assert apportion(np.array([0.5, 0.5]), 8) == [4, 4]
