"""The cost of the sandbox: both sides are what they say, and score alike."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from benchmarks.micro import sandbox
from edge.bundle.reader import Bundle
from edge.errors import ParityError
from edge.sandbox.enter import support
from edge.sandbox.grants import Sandbox

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(bool(support().missing), reason="this kernel has no whole sandbox")
def test_both_sides_run_and_only_one_is_in_the_sandbox() -> None:
    for measure in (sandbox.latency_cost, sandbox.start_cost):
        comparison = measure(2, size=(64, 64), bound=1e6)
        assert "scores are equal" in comparison.check
        assert len(comparison.left.samples) == len(comparison.right.samples) == 2
        assert comparison.goal is not None
        assert comparison.goal.value == pytest.approx(comparison.ratio)


def test_without_a_sandbox_nothing_is_measured(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    with closing(sandbox._opened(bundle, 1)) as free, closing(sandbox._opened(bundle, 1)) as other:
        free.sandbox = Sandbox(missing=["files are not withheld"])
        with pytest.raises(ParityError, match="no whole sandbox"):
            sandbox._same(free, other, None)  # type: ignore[arg-type]
