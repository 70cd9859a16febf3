from __future__ import annotations

import pytest

from edge.util.host import processor_name

CORE = "processor\t: 0\ncpu family\t: 26\nmodel\t\t: 2\nmodel name\t: {}\n"


@pytest.mark.parametrize(
    ("info", "name"),
    [
        (CORE.format("AMD EPYC"), "AMD EPYC (family 26, model 2)"),
        (CORE.format("AMD EPYC 9575F 64-Core Processor"), "AMD EPYC 9575F 64-Core Processor"),
        ("model name\t: AMD EPYC\n", "AMD EPYC"),
        ("processor\t: 0\n", None),
    ],
)
def test_a_hidden_product_is_told_by_family_and_model(info: str, name: str | None) -> None:
    assert processor_name(info) == name
