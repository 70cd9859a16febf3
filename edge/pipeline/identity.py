"""Tell the outputs of a run which bundle and engine their results are of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.header import of_bundle
from edge.record_header import Described

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.frame import Frame, Result
    from edge.inference.supervisor import Supervisor
    from edge.record_header import RecordHeader
    from edge.status import Condition, Status


class IdentityObserver:
    """An observer of the frame loop that passes on each change of bundle or engine.

    The loop asks for conditions before the outputs get a frame, and between the last scores of one
    engine and the first of the next no frame has scores, so every frame follows its own header.

    Args:
        supervisor: The student.
        header: The header without a bundle.
        outputs: Outputs; those that are `Described` are told.
    """

    def __init__(
        self, supervisor: Supervisor, header: RecordHeader, outputs: Sequence[object]
    ) -> None:
        self._supervisor, self.header = supervisor, header
        self._plain = header
        self._outputs = [output for output in outputs if isinstance(output, Described)]
        self._reported = ("", "")
        self._notify()

    def conditions(self) -> Iterable[Condition]:
        """Tell the outputs what is new; return no conditions."""
        bundle, engine = self._supervisor.bundle, self._supervisor.name
        if bundle is not None and engine and self._reported != (bundle.digest, engine):
            self._reported = (bundle.digest, engine)
            self.header = of_bundle(self._plain, bundle, engine=engine)
            self._notify()
        return ()

    def progress(self, status: Status, frame: Frame | None, result: Result | None) -> None:
        """Nothing."""

    def _notify(self) -> None:
        for output in self._outputs:
            output.describe(self.header)
