"""A student that no engine can express is refused before its training."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distill.config import make_config
from distill.students.build import build_student
from edge.errors import UsageError
from edge_difom.cli.hints import explain
from quantize.runs.export_trial import try_export


def test_a_shipped_student_passes_and_the_random_numbers_stay() -> None:
    state = torch.get_rng_state()
    assert try_export(make_config({"data": ["x"], "student": "edge-xs", "size": 64}))
    assert torch.equal(state, torch.get_rng_state())


def test_a_student_with_a_confidence_is_for_evaluation_alone() -> None:
    settings = {"data": ["x"], "student": "pranet", "uncertainty": True, "size": 64}
    assert not try_export(make_config(settings))


def test_an_operation_without_an_engine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:

    class Odd(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def for_engines(self) -> Odd:
            return self

        def forward(self, images: Tensor) -> Tensor:
            return torch.erf(self.inner(images))

    monkeypatch.setattr(
        "quantize.runs.export_trial.build_student", lambda *a, **k: Odd(build_student(*a, **k))
    )
    with pytest.raises(UsageError, match="can be trained, but not exported") as caught:
        try_export(make_config({"data": ["x"], "student": "edge-xs", "size": 64}))
    assert "--no-export-trial" in explain(caught.value)
