"""What a viewer of the shared-memory stream has seen, without the pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.soak.checks import Check
from edge.limits import MAX_MASK_AGE_MS
from edge.status import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.shm.reader import Snapshot

_MAX_EXAMPLES = 20
_SECOND = 1_000_000_000


class ScreenWatch:
    """Follows the stream by a reader's rules: a mask counts as shown until its `valid_until_ns`.

    Attributes:
        visibility: Times at which a mask appeared (True) or disappeared (False).
        sizes: Times at which the frame size changed, and the new size.
        origin_ns: Capture time of frame 0; None before the first frame.
    """

    def __init__(self, fps: float) -> None:
        self.visibility: list[tuple[int, bool]] = []
        self.sizes: list[tuple[int, tuple[int, int]]] = []
        self.origin_ns: int | None = None
        self._fps = fps
        self._last: Snapshot | None = None
        self._index: int | None = None
        self._looks = self._masks = self._outlined = self._frames = 0
        self._oldest_shown = self._oldest_published = self._silence = 0.0
        self._stale: list[str] = []
        self._disorder: list[str] = []
        self._seconds: dict[int, list[int]] = {}

    def observe(self, now: int, snapshot: Snapshot | None, news_ns: int) -> None:
        """Read the stream once.

        Args:
            now: Time after the snapshot was read.
            snapshot: The newest publication; None without one.
            news_ns: Time of the writer's last sign of life.
        """
        if snapshot is None:
            return
        self._looks += 1
        self._silence = max(self._silence, (now - news_ns) / 1e6)
        if self._last is None or snapshot.number != self._last.number:
            self._publication(now, snapshot)
            self._last = snapshot
        age_ms = (now - snapshot.captured_ns) / 1e6
        on = snapshot.has_mask and now < snapshot.valid_until_ns
        if on:
            self._masks += 1
            self._outlined += bool(snapshot.boxes)
            self._oldest_shown = max(self._oldest_shown, age_ms)
            if age_ms > MAX_MASK_AGE_MS and len(self._stale) < _MAX_EXAMPLES:
                self._stale.append(
                    f"frame {snapshot.frame_index} is shown {age_ms:.0f} ms after its capture"
                )
        if on != (self.visibility[-1][1] if self.visibility else False):
            self.visibility.append((now, on))
        self._count(now, snapshot)

    def check_masks(self) -> Check:
        """Check that no mask is shown too long and that some masks are shown."""
        failures = self._stale or ([] if self._masks else ["no mask was ever shown"])
        return Check(
            name="masks",
            what=f"no mask is shown more than {MAX_MASK_AGE_MS:g} ms after its frame's capture",
            passed=not failures,
            figures={
                "looks": self._looks,
                "looks_with_mask": self._masks,
                "looks_with_outline": self._outlined,
                "oldest_shown_ms": self._oldest_shown,
                "oldest_published_ms": self._oldest_published,
                "longest_silence_ms": self._silence,
            },
            failures=failures,
        )

    def check_order(self) -> Check:
        """Check that frames arrive in order and only once."""
        return Check(
            name="frames",
            what="frame numbers increase",
            passed=not self._disorder if self._frames else None,
            figures={"frames": self._frames},
            failures=self._disorder,
        )

    def check_rate(self, quiet: Callable[[int, int], bool], *, least: float) -> Check:
        """Check that the frame rate holds from the first third of the soak to the last.

        Args:
            quiet: Returns whether there was no fault between two times.
            least: Minimum share of the source's rate.
        """
        rates = [
            (last - first) * 1e9 / (last_ns - first_ns)
            for first, first_ns, last, last_ns, running in self._seconds.values()
            if running and last_ns - first_ns > _SECOND // 2 and quiet(first_ns, last_ns)
        ]
        third = len(rates) // 3
        medians = [
            float(np.median(part)) for part in (rates, rates[:third], rates[-third:]) if part
        ]
        bound = least * self._fps
        failures = [f"{rate:.1f} frames per second" for rate in medians if rate < bound]
        figures = dict(zip(("median", "first_third", "last_third"), medians, strict=False))
        return Check(
            name="rate",
            what=f"at least {bound:g} frames per second in seconds without faults, "
            "in the first and the last third too",
            passed=not failures if third else None,
            figures={**figures, "seconds": len(rates)},
            failures=failures,
        )

    def _publication(self, now: int, snapshot: Snapshot) -> None:
        index = snapshot.frame_index
        if index is None:
            return
        self._frames += 1
        if self.origin_ns is None:
            self.origin_ns = snapshot.captured_ns - round(index * 1e9 / self._fps)
        if self._index is not None and index <= self._index and len(self._disorder) < _MAX_EXAMPLES:
            self._disorder.append(f"frame {index} comes after frame {self._index}")
        self._index = index
        if not self.sizes or snapshot.size != self.sizes[-1][1]:
            self.sizes.append((now, snapshot.size))
        if snapshot.has_mask:
            age_ms = (snapshot.done_ns - snapshot.captured_ns) / 1e6
            self._oldest_published = max(self._oldest_published, age_ms)

    def _count(self, now: int, snapshot: Snapshot) -> None:
        running = snapshot.state is State.RUNNING
        second = self._seconds.setdefault(
            now // _SECOND, [snapshot.number, now, snapshot.number, now, 1]
        )
        second[2:] = [snapshot.number, now, second[4] and int(running)]
