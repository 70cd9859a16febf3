"""Clean frames of a quantization: the run's, or those that replace them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

pytest.importorskip("nncf")

from distill.config import make_config
from distill.data.split_record import write_splits
from distill.data.splits import Splits, load_negatives
from quantize.runs import train
from quantize.runs.folder import QatConfig
from quantize.runs.splits import SPLITS, recorded_splits

if TYPE_CHECKING:
    from pathlib import Path

    from distill.config import DistillConfig


class _Opened(Exception):  # noqa: N818 - a signal
    """The data would be opened with this configuration."""

    def __init__(self, config: DistillConfig) -> None:
        super().__init__()
        self.config = config


@pytest.mark.parametrize(("negatives", "used"), [([], ["/of/run"]), (["/a", "/b"], ["/a", "/b"])])
def test_negatives_of_a_quantization_replace_those_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, negatives: list[str], used: list[str]
) -> None:
    config = make_config({"data": ["/data"], "negatives": ["/of/run"]})

    def opened(config: DistillConfig, **_: Any) -> None:
        raise _Opened(config)

    monkeypatch.setattr(
        train, "load_for_engines", lambda _: SimpleNamespace(config=config, student=None)
    )
    monkeypatch.setattr(train, "canonicalize", lambda *_: None)
    monkeypatch.setattr(train, "export_engines", lambda *_: [])
    monkeypatch.setattr(train, "recorded_splits", lambda *_, **__: None)
    monkeypatch.setattr(train, "open_data", opened)
    with pytest.raises(_Opened) as raised:
        train.train_qat(tmp_path / "run", QatConfig(negatives=negatives))
    assert raised.value.config.data.negatives == used


def test_no_clean_frame_that_was_trained_on_validates(tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    clean.mkdir()
    for number in range(8):
        cv2.imwrite(str(clean / f"s{number}_1.png"), np.full((8, 8, 3), number, np.uint8))
    config = make_config({"data": ["x"], "val_negatives": 0.4})
    clean_splits = load_negatives([clean], val_fraction=0.4)
    learned = clean_splits[1][0]
    run = tmp_path / "run"
    write_splits(run / SPLITS, Splits([], [], [learned], []))
    config_of_run = QatConfig(negatives=[str(clean)])
    splits = recorded_splits(run / "qat8", config_of_run, config, resume=False)
    assert learned in splits.clean_train
    assert splits.clean_validation == clean_splits[1][1:]
    assert recorded_splits(run / "qat8", QatConfig(), config, resume=False).clean_train == [learned]
