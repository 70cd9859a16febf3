"""Run an engine that is not trusted yet: in the student's process, which a crafted file may crash.

Whoever judges a bundle (verification, evaluation, prediction, stills) opens its engines here. A
runtime parses a model in C++ and may crash, hang or take all memory on a damaged or hostile one;
here that ends a child, and becomes one error.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import BundleError, EdgeDifomError, InferenceFault, MachineError
from edge.inference.engine_spec import bundle_spec
from edge.inference.process import ProcessEngine
from edge.status import ReasonKind

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle
    from edge.engines.golden_picture import PictureKind
    from edge.frame import ImageU8
    from edge.inference.messages import EngineSpec

_OPEN_S = 300.0
"""Maximum time to open an engine: slow machines compile large models for minutes."""

_INFER_MS = 60_000.0
"""Maximum time for one inference; nobody waits for a live frame here."""

_LABELS = ("\n  expected: ", "\n  got:      ", "\n  hint:     ")
"""What `EdgeDifomError.message` puts before its parts."""


class IsolatedEngine:
    """An `edge.contracts.Engine` in a process of its own, whose end is an error.

    The thread that opens it must outlive it, as `ProcessEngine` says.

    Args:
        spec: The engine to open.
        what: Names engine and bundle in errors.

    Raises:
        BundleError: The engine is refused, or its process crashed or hung.
        MachineError: This machine cannot start the process, or has no memory for it.
        EdgeDifomError: Any error that the engine raises while it opens.
    """

    def __init__(self, spec: EngineSpec, what: str) -> None:
        self._what = what
        try:
            self._process = ProcessEngine(spec, timeout_ms=_INFER_MS, hang_ms=_INFER_MS)
        except OSError as error:
            raise MachineError(
                f"{what} needs a process that cannot start", got=str(error)
            ) from error
        try:
            self._process.wait_ready(_OPEN_S)
        except InferenceFault as fault:
            self._process.close()
            raise self._error(fault) from fault
        except EdgeDifomError as error:
            self._process.close()
            raise _with_parts(error) from error
        except BaseException:
            self._process.close()
            raise
        self.name, self.input_size = self._process.name, self._process.input_size

    @property
    def input_buffer(self) -> ImageU8:
        """(H, W, 3) uint8 memory that is shared with the process."""
        return self._process.input_buffer

    def infer(self, image: ImageU8) -> ImageU8:
        """Score an RGB image: (H, W, 3) uint8 -> (h, w) uint8 in 1/256, until the next call.

        Raises:
            InferenceFault: The output is not a score map (`DAMAGED`); the next call may succeed.
            BundleError: The process crashed or hung.
            MachineError: The machine has no memory left for it.
        """
        try:
            return self._process.infer(image)
        except InferenceFault as fault:
            if fault.kind == ReasonKind.DAMAGED:
                raise
            raise self._error(fault) from fault

    def decode_png(self, data: bytes, size: tuple[int, int], kind: PictureKind) -> ImageU8:
        """Decode a golden picture in the process, as `edge.engines.golden_picture.decode_png`.

        Raises:
            PictureError: It is no such picture.
            BundleError: The process crashed or hung.
            MachineError: The machine has no memory left for it.
        """
        try:
            return self._process.decode_png(data, size, kind)
        except InferenceFault as fault:
            raise self._error(fault) from fault

    def settings(self) -> dict[str, Any]:
        """Effective settings as the runtime reported them."""
        return self._process.settings()

    def close(self) -> None:
        """End the process."""
        self._process.close()

    def _error(self, fault: InferenceFault) -> EdgeDifomError:
        if fault.kind in (ReasonKind.CRASH, ReasonKind.HANG, ReasonKind.DAMAGED):
            return BundleError(
                f"{self._what} does not run",
                expected="an engine that opens and answers",
                got=fault.detail,
                hint="copy the bundle again from where it was made, or choose a different engine",
            )
        return MachineError(
            f"{self._what} cannot be run now",
            expected="memory for its process",
            got=fault.detail,
            hint="end other programs",
        )


def open_isolated(
    bundle: Bundle, name: str = "auto", *, threads: int | None = None, precision: str = "int8"
) -> IsolatedEngine:
    """Open an engine of a bundle as `edge.engines.open.open_engine` does, in a process of its own.

    The model is compiled, not taken from the cache, because it is what is being judged.

    Args:
        bundle: An open bundle.
        name: As in `open_engine`.
        threads: CPU threads; None for every usable core.
        precision: `int8`, `f32` or `bf16`.

    Raises:
        UsageError: Unknown name, the bundle has no such engine, or the machine no such device.
        MissingDependencyError: The runtime is missing (the error names the extra), or incompatible.
        BundleError: The engine does not fit this machine, does not verify, or ended its process.
        MachineError: The machine cannot run the process.
    """
    spec = bundle_spec(bundle, name, threads=threads, precision=precision, cached=False)
    return IsolatedEngine(spec, f"the {spec.arguments['engine']} engine of {bundle.path}")


def try_out(
    bundle: Bundle, name: str = "auto", *, threads: int | None = None, precision: str = "int8"
) -> None:
    """Open an engine once in a process of its own and let it score a black image.

    For a caller that must run the engine in its own process, such as a latency measurement: a file
    that crashes its runtime does so here.

    Raises the errors of `open_isolated`, and `BundleError` if the output is not a score map.
    """
    with closing(open_isolated(bundle, name, threads=threads, precision=precision)) as engine:
        try:
            engine.infer(np.zeros((*engine.input_size, 3), np.uint8))
        except InferenceFault as fault:
            raise engine._error(fault) from fault


def _with_parts(error: EdgeDifomError) -> EdgeDifomError:
    """Return an error whose parts are apart again; the process sent its message alone."""
    rest, parts = str(error), []
    for label in reversed(_LABELS):
        rest, separator, part = rest.partition(label)
        parts.append(part if separator else "")
    hint, detail, expected = parts
    return type(error)(rest, expected=expected, got=detail, hint=hint)
