"""The order of an epoch: which frames each step shows, a function of (seed, epoch) alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from distill.data.augment import sample_rng

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

ORDER = 0xFFFFFFFF
"""Stands in for a sample's index in the random numbers that order an epoch."""
CLEAN = 0xFFFFFFFB
"""Stands in for a sample's index in the random numbers that order the frames without a polyp."""
UNLABELED = 0xFFFFFFFA
"""Stands in for a sample's index in the random numbers that order the frames without a mask."""
BOXED = 0xFFFFFFF8
"""Stands in for a sample's index in the random numbers that order the frames with boxes."""
BALANCE = 0xFFFFFFF9
"""Stands in for a sample's index in the random numbers that choose a balanced epoch's frames."""


@dataclass(frozen=True, slots=True)
class View:
    """One view of one frame.

    Attributes:
        index: Row of the frame in its store.
        again: Tells this view apart from others of the frame in the epoch; empty for the first.
    """

    index: int
    again: tuple[int, ...] = ()


class StepViews(NamedTuple):
    """The views of one step.

    Attributes:
        known: Labeled frames, then clean ones, rows of the training store.
        unlabeled: Frames without a mask, rows of their own store.
        boxed: Frames with boxes, rows of their own store.
    """

    known: list[View]
    unlabeled: list[View]
    boxed: list[View]


class EpochOrder:
    """Draws the frames of every step.

    Args:
        datasets: Data set of each labeled frame, in the order of the store.
        clean: Number of clean frames, which follow the labeled ones in the store.
        unlabeled: Number of frames without a mask.
        batch_size: Number of frames in a step; at most the number of labeled frames.
        clean_share: Share of a step that is clean, if there are clean frames.
        unlabeled_share: Share of a step without masks, if there are such frames.
        balance: 0 shows every labeled frame once in an epoch; 1 shows every data set equally often.
        seed: Seed of the run.
        boxed: Number of frames with boxes.
        box_share: Share of a step with boxes, if there are such frames.

    Attributes:
        batch_size: Number of frames in a step.
        clean_in_batch: Number of clean frames in a step.
        unlabeled_in_batch: Number of frames without a mask in a step.
        boxed_in_batch: Number of frames with boxes in a step.
        steps: Number of steps in an epoch.
    """

    def __init__(
        self,
        datasets: Sequence[str],
        *,
        clean: int,
        unlabeled: int,
        batch_size: int,
        clean_share: float,
        unlabeled_share: float,
        balance: float,
        seed: int,
        boxed: int = 0,
        box_share: float = 0.0,
    ) -> None:
        self._datasets = np.asarray(datasets)
        self._clean, self._unlabeled, self._boxed = clean, unlabeled, boxed
        self._balance, self._seed = balance, seed
        labeled = len(datasets)
        self.batch_size = min(batch_size, labeled)
        self.unlabeled_in_batch = round(unlabeled_share * self.batch_size) if unlabeled else 0
        clean_wanted = round(clean_share * self.batch_size) if clean else 0
        # At least one labeled frame stays in every step.
        self.unlabeled_in_batch = min(self.unlabeled_in_batch, self.batch_size - 1)
        left = self.batch_size - 1 - self.unlabeled_in_batch
        self.boxed_in_batch = min(round(box_share * self.batch_size), left) if boxed else 0
        left -= self.boxed_in_batch
        self.clean_in_batch = min(clean_wanted, left)
        self._labeled_in_batch = 1 + left - self.clean_in_batch
        self.steps = labeled // self._labeled_in_batch

    def epoch(self, number: int) -> list[StepViews]:
        """The views of every step of an epoch."""
        known = [[View(int(row)) for row in rows] for rows in self._labeled_rows(number)]
        if self._balance:
            known = _number_repeats(known)
        if self.clean_in_batch:
            first = len(self._datasets)
            rows = self._rounds(number, CLEAN, self._clean, self.clean_in_batch)
            for step, views in enumerate(known):
                # A clean frame may come several times in an epoch, each time as another view.
                views += [View(first + int(row), (step,)) for row in rows[step]]
        unlabeled = self._further(number, UNLABELED, self._unlabeled, self.unlabeled_in_batch)
        boxed = self._further(number, BOXED, self._boxed, self.boxed_in_batch)
        return [StepViews(*views) for views in zip(known, unlabeled, boxed, strict=True)]

    def _further(self, epoch: int, stream: int, total: int, in_batch: int) -> list[list[View]]:
        """Views of each step of frames of a kind, which may come several times in an epoch."""
        if not in_batch:
            return [[] for _ in range(self.steps)]
        rows = self._rounds(epoch, stream, total, in_batch)
        return [[View(int(row), (step,)) for row in rows[step]] for step in range(self.steps)]

    def _labeled_rows(self, epoch: int) -> list[Rows]:
        labeled = len(self._datasets)
        order = sample_rng(self._seed, epoch, ORDER).permutation(labeled)
        if self._balance:
            order = self._balanced(epoch)[order]
        count = self._labeled_in_batch
        return [order[step * count :][:count] for step in range(self.steps)]

    def _balanced(self, epoch: int) -> Rows:
        """Rows of an epoch in which each data set has its weight; their number stays the same.

        No frame of a data set comes again before all of them have come.
        """
        rng = sample_rng(self._seed, epoch, BALANCE)
        names, sizes = np.unique(self._datasets, return_counts=True)
        shares = (1 - self._balance) * sizes / sizes.sum() + self._balance / len(names)
        chosen = []
        for name, target in zip(names, apportion(shares, int(sizes.sum())), strict=True):
            own = np.flatnonzero(self._datasets == name)
            rounds = -(-target // len(own))
            chosen += [own[rng.permutation(len(own))] for _ in range(rounds)]
            if rounds:
                chosen[-1] = chosen[-1][: target - (rounds - 1) * len(own)]
        return np.concatenate(chosen)

    def _rounds(self, epoch: int, stream: int, total: int, in_batch: int) -> Rows:
        """(steps, in_batch) rows out of `total`, all of them before any comes again."""
        rng = sample_rng(self._seed, epoch, stream)
        target = self.steps * in_batch
        rounds = [rng.permutation(total) for _ in range(-(-target // total))]
        return np.concatenate(rounds)[:target].reshape(self.steps, in_batch)


def apportion(shares: NDArray[np.float64], total: int) -> list[int]:
    """Whole numbers in the proportion of `shares` that add up to `total` (largest remainders)."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact + 1e-9).astype(int)
    missing = total - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:missing]] += 1
    return [int(count) for count in counts]


def _number_repeats(steps: list[list[View]]) -> list[list[View]]:
    """The same views; the second and further ones of a frame carry their number."""
    counts: dict[int, int] = {}
    distinct = []
    for views in steps:
        numbered = []
        for view in views:
            count = counts.get(view.index, 0)
            counts[view.index] = count + 1
            numbered.append(View(view.index, (count,) if count else ()))
        distinct.append(numbered)
    return distinct
