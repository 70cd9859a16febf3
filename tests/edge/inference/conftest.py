"""The fake engines for a student's process, and two slots with a copy of the tiny bundle each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edge.util import python_child
from tests.support.supervised import TwoSlots


@pytest.fixture(autouse=True)
def _fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`fake_engines` is found by the student's process."""
    support = str(Path(__file__).parents[2] / "support")
    monkeypatch.setattr(python_child, "ROOTS", (*python_child.ROOTS, support))


@pytest.fixture
def slots(tiny_bundle: Path, tmp_path: Path) -> TwoSlots:
    return TwoSlots(*(Path(shutil.copytree(tiny_bundle, tmp_path / name)) for name in ("a", "b")))
