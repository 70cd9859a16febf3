"""Keeps the newest frame as a still on request: by the cart's pedal or by a signal."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from edge.stills.record import BundleIdentity

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Frame, Result
    from edge.imaging.view import View
    from edge.inference.supervisor import Supervisor
    from edge.status import Condition, Status
    from edge.stills.keeper import StillKeeper
    from edge.telemetry.observer import Telemetry

PATIENCE_NS = 1_000_000_000
"""Longest wait for a frame after a still was requested."""


class StillObserver:
    """Hands the completed frame with its result to a keeper when a still is requested.

    A context manager: what waits is written at its end. Several requests before a frame are one.

    Args:
        keeper: Closed at the end.
        telemetry: The journal.
        asked: Requests a still when set; cleared here.
        view: Returns the field of view of the completed frame.
        supervisor: The student that analyzed the frame.
        clock: CLOCK_MONOTONIC in nanoseconds.

    Attributes:
        counters: `kept` and `refused`.
    """

    def __init__(
        self,
        keeper: StillKeeper,
        telemetry: Telemetry,
        *,
        requested: threading.Event,
        view: Callable[[], View | None],
        supervisor: Supervisor,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._keeper, self._telemetry, self._requested = keeper, telemetry, requested
        self._view, self._supervisor, self._clock = view, supervisor, clock
        self._by, self._until_ns = "", 0
        self.counters: Counter[str] = Counter(kept=0, refused=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._by:
            self._keeper.refuse("the run ended before a frame came")
        try:
            self._keeper.close()
        finally:
            self._notify()

    def conditions(self) -> Iterable[Condition]:
        """Stills never influence the device state."""
        return ()

    def ask(self, by: str) -> None:
        """Ask for a still; called by the frame loop's thread.

        Args:
            by: Who asks, such as `pedal 1`.
        """
        self._by, self._until_ns = by, self._clock() + PATIENCE_NS

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Keep the frame if a still was requested; refuse the request after a long wait."""
        if self._requested.is_set():
            self._requested.clear()
            self.ask("signal")
        if self._by and frame is not None and result is not None:
            bundle = self._supervisor.bundle
            identity = None if bundle is None else BundleIdentity.of(bundle, self._supervisor.name)
            self._keeper.keep(frame, result, self._view(), status, identity, asked_by=self._by)
            self._by = ""
        elif self._by and self._clock() >= self._until_ns:
            self._keeper.refuse(f"no frame: {status.text or status.state.value}")
            self._by = ""
        self._notify()

    def _notify(self) -> None:
        for event in self._keeper.pop_events():
            self.counters["kept" if event.kind == "still" else "refused"] += 1
            self._telemetry.event(
                event.kind, detail=event.detail, frame=event.frame, mask=event.mask
            )
