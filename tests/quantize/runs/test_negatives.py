"""Clean frames of a quantization: the run's, or those that replace them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("nncf")

from distill.config import make_config
from quantize.runs import train
from quantize.runs.folder import QatConfig

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig


class _Opened(Exception):  # noqa: N818 - a signal
    """The data would be opened with this configuration."""

    def __init__(self, config: DistillConfig) -> None:
        super().__init__()
        self.config = config


@pytest.mark.parametrize(("given", "used"), [([], ["/of/run"]), (["/a", "/b"], ["/a", "/b"])])
def test_negatives_of_a_quantization_replace_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], used: list[str]
) -> None:
    config = make_config({"data": ["/data"], "negatives": ["/of/run"]})

    def opened(config: DistillConfig, **_: Any) -> None:
        raise _Opened(config)

    monkeypatch.setattr(train, "load_run", lambda _: SimpleNamespace(config=config, student=None))
    monkeypatch.setattr(train, "canonicalize", lambda *_: None)
    monkeypatch.setattr(train, "export_engines", lambda *_: [])
    monkeypatch.setattr(train, "open_data", opened)
    with pytest.raises(_Opened) as raised:
        train.train_qat(tmp_path / "run", QatConfig(negatives=given))
    assert raised.value.config.data.negatives == used
