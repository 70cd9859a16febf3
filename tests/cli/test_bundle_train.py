"""From images to a bundle by one command, which goes on where it was stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edge.bundle.reader import Bundle
from edge.datasets.phantom.render import write_dataset
from edge.engines.golden_check import verify_bundle
from edge_difom.cli.main import main
from quantize.bundle import train as chain

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

CONFIG = """
student: edge-xs
recipe: none
size: 64
epochs: 12
batch_size: 8
lr: 0.01
"""


def call(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_one_command_from_images_to_a_bundle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(tmp_path / "runs"))
    write_dataset(tmp_path / "data", train=24, validation=6, negatives=0, seed=3, size=(96, 96))
    write_dataset(tmp_path / "clean", train=1, validation=1, negatives=4, seed=4, size=(96, 96))
    for kind in ("images", "masks"):  # four sequences of one frame, of which one validates
        for number, path in enumerate(sorted((tmp_path / "clean" / "negatives" / kind).iterdir())):
            path.rename(path.with_name(f"s{number}_0000{path.suffix}"))
    (tmp_path / "mine.yaml").write_text(CONFIG)
    out, run = tmp_path / "bundle", tmp_path / "bundle-run"
    command = ["bundle", "train", tmp_path / "mine.yaml", "--data", tmp_path / "data", "--out", out]
    command += ["--max-drop", 1, "--negatives", tmp_path / "clean" / "negatives"]

    with monkeypatch.context() as patch:
        patch.setattr(chain, "train_qat", _interrupted)
        assert call(*command) == 130
    assert not out.exists()
    trained = (run / "metrics.jsonl").read_bytes()
    assert len(trained.splitlines()) == 12

    assert call(*command, "--set", "lr=0.001") == 2
    assert "different configuration" in capsys.readouterr().err
    assert call(*command, "--name", "ward-3") == 0
    text = capsys.readouterr().out
    assert "chosen, " in text
    assert "flagged of 1" in text
    assert (run / "metrics.jsonl").read_bytes() == trained, "what was trained is not trained again"
    bundle = Bundle.open(out)
    assert bundle.manifest.name == "ward-3"
    assert bundle.manifest.output.calibration is not None
    assert verify_bundle(bundle).ok

    assert call(*command, "--force", "--qat-epochs", 1) == 2
    assert "qat8 was made with a different configuration" in capsys.readouterr().err
    assert call(*command) == 2
    assert "exists already" in capsys.readouterr().err


def test_no_images_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("bundle", "train", "edge-s", "--out", tmp_path / "b") == 2
    assert "--data DIR" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt
