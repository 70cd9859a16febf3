"""The walk that all exporters share."""

from __future__ import annotations

import pytest

from quantize.export.graph_writer import OPERATORS, GraphWriter


def test_a_writer_that_lacks_an_operator_is_refused() -> None:
    """A writer that lacks an operator is refused when it is defined."""
    written = {f"_{name}": lambda *_: None for name in OPERATORS}
    type("Whole", (GraphWriter,), written)
    del written["_conv2d"]
    with pytest.raises(TypeError, match="does not write conv2d"):
        type("Partial", (GraphWriter,), written)
