"""`train_qat` on a small run of the phantom: what it writes, resumes, refuses and bundles."""

from __future__ import annotations

import math
import shutil
from typing import TYPE_CHECKING, NamedTuple

import cv2
import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from distill.config import make_config
from distill.data.load import open_data
from distill.data.split_record import write_splits
from distill.run_folder import describe_run, load_checkpoint, save_checkpoint
from distill.train.trainer import Trainer
from edge.datasets.phantom.render import write_dataset
from edge.engines.golden_check import verify_bundle
from edge.engines.open import open_engine
from edge.errors import AccuracyError, TrainingError, UsageError
from edge_difom.cli.main import main
from quantize.bundle.make import make_bundle
from quantize.export.engines import export_engines
from quantize.qat.finetuning import Finetuning
from quantize.runs.folder import (
    QatConfig,
    QuantizedRun,
    exported_engines,
    load_qat_checkpoint,
    load_quantized,
)
from quantize.runs.record import QatReport, read_report
from quantize.runs.train import train_qat

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow


class Distilled(NamedTuple):
    run: Path
    runs: Path


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    """A run whose student has seen a little of the phantom."""
    root = tmp_path_factory.mktemp("distilled")
    write_dataset(root / "data", train=24, validation=6, negatives=4, seed=3, size=(96, 96))
    (root / "clean").mkdir()
    for number, path in enumerate(sorted((root / "data" / "negatives" / "images").iterdir())):
        path.rename(root / "clean" / f"s{number % 2}_{number:03d}{path.suffix}")
    shutil.rmtree(root / "data" / "negatives")
    run = root / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(root / "runs"))
        config = make_config(
            {
                "data": [str(root / "data")],
                "negatives": [str(root / "clean")],
                "val_negatives": 0.5,
                "student": "edge-xs",
                "size": 64,
                "epochs": 32,
                "batch_size": 8,
                "lr": 5e-3,
                "teachers": ["efficientnet_lite2"],
            }
        )
        describe_run(run, config)
        data = open_data(config)
        write_splits(run / "splits.json", data.splits)
        Trainer(run, config, data).train()
    return Distilled(run, root / "runs")


CONFIG = QatConfig(epochs=2, lr=1e-4, calibration=8, distill_weight=0.2, max_drop=1.0)


@pytest.fixture(scope="module")
def tuned(distilled: Distilled) -> QuantizedRun:
    """That run's student, quantized and fine-tuned with its distillation kept on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(distilled.runs))
        return train_qat(distilled.run, CONFIG)


def fresh_copy(distilled: Distilled, to: Path) -> Path:
    shutil.copytree(distilled.run, to, ignore=shutil.ignore_patterns("qat*"))
    return to


def test_from_a_run_to_a_bundle_that_verifies(
    distilled: Distilled, tuned: QuantizedRun, tmp_path: Path
) -> None:
    assert {path.name for path in tuned.path.iterdir()} >= {
        "resolved.yaml", "metrics.jsonl", "checkpoints", "engines", "engines-f32", "parity.json",
        "report.json",
        "calibrated.json",
    }  # fmt: skip
    report = read_report(tuned.path)
    assert [row.step for row in report.accuracy[:3]] == ["f32", "ptq", "qat"]
    assert {row.frames for row in report.accuracy} == {8}, "with the clean frames"
    accuracy = {row.step: row for row in report.accuracy}
    assert accuracy["openvino int8"].dice == accuracy["tflite int8"].dice
    assert all(
        row.dice_ci95 is not None and row.dice_ci95[0] <= (row.dice or 0) for row in report.accuracy
    )
    assert len(report.layers) == 10
    assert "0.2 x efficientnet_lite2; heads: run" in report.distillation
    assert report.emulation == ""
    assert report.weights.layers == []
    with pytest.raises(UsageError, match="exists already"):
        train_qat(distilled.run, QatConfig(epochs=1))
    engines = exported_engines(distilled.run, "all")
    written = [(tuned.path / path).read_bytes() for path in engines[1].paths]
    assert written == engines[1].contents, "exporting again gives the same bytes"
    bundle = make_bundle(distilled.run, tmp_path / "bundle", extra=["f32", "onnx"])
    assert verify_bundle(bundle).ok
    assert {(row.engine, row.n) for row in bundle.manifest.accuracy} >= {
        ("openvino int8", 6),
        ("tflite int8", 6),
    }
    steps = [row.left for row in bundle.manifest.parity]
    assert steps[:4] == ["torch f32", "torch int8", "canonical int8", "openvino int8"]
    telling = 0
    for golden in bundle.manifest.golden.frames:
        scores = np.asarray(
            cv2.imdecode(np.frombuffer(bundle.read(golden.scores), np.uint8), cv2.IMREAD_GRAYSCALE)
        )
        telling += 0.005 <= float((scores >= 128).mean()) <= 0.5
    assert 2 * telling >= len(bundle.manifest.golden.frames) >= 4
    engine = open_engine(bundle, "tflite", precision="f32")
    assert engine.input_size == (64, 64)
    engine.close()
    card, data = (bundle.read(name).decode() for name in ("MODEL_CARD.md", "DATA_CARD.md"))
    assert "Research use only" in card
    assert f"calibration images {tuned.config.calibration}" in card
    assert "- The training began: date 20" in card
    for name, digest in bundle.manifest.provenance.data.items():
        assert f"| {name} | " in data
        assert digest in data
    assert str(distilled.run) not in card + data


def test_a_calibrated_bundle_is_verified_at_its_threshold(
    distilled: Distilled, tuned: QuantizedRun, tmp_path: Path
) -> None:
    """A calibrated bundle is made and verified at its own threshold."""
    clean = tmp_path / "more"
    clean.mkdir()
    cv2.imwrite(str(clean / "0.png"), np.full((96, 96, 3), 120, np.uint8))
    with pytest.raises(UsageError, match="for the choice of a threshold"):
        make_bundle(distilled.run, tmp_path / "bundle", negatives=[clean])
    bundle = make_bundle(distilled.run, tmp_path / "bundle", calibrated=True, negatives=[clean])
    output = bundle.manifest.output
    calibration = output.calibration
    assert calibration is not None
    assert (output.threshold, output.min_region) == (
        calibration.chosen.threshold,
        calibration.min_region,
    )
    assert sum(calibration.data.values()) == 6
    assert calibration.negatives == {"clean": 2, "more": 1}
    assert [row.dice for row in bundle.manifest.accuracy] == [
        pytest.approx(calibration.chosen.dice)
    ] * 2
    assert calibration.specificity == 0.95
    assert calibration.reached == 1 - calibration.chosen.flagged
    assert sum(proportion.n for proportion in calibration.flagged_by_sequence.values()) == 3
    assert verify_bundle(bundle).ok
    card = bundle.read("MODEL_CARD.md").decode()
    assert f"| **chosen** | {calibration.chosen.threshold:.4f} |" in card
    assert "1 of more" in card


def test_damaged_checkpoints_are_refused(distilled: Distilled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    describe_run(run, make_config({"data": ["x"], "student": "edge-xs", "size": 64}))
    state = load_checkpoint(distilled.run / "checkpoints" / "best.pt")
    state["student"]["head.weight"][0] = math.inf
    save_checkpoint(run / "checkpoints" / "best.pt", state)
    with pytest.raises(TrainingError, match="not finite"):
        train_qat(run)
    (run / "checkpoints" / "best.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        train_qat(run)


def steps_of(run: Path) -> list[dict[str, Tensor]]:
    """Everything in the last checkpoint, and in the best."""
    states = []
    for name in ("last.pt", "best.pt"):
        state = load_qat_checkpoint(run / "qat8" / "checkpoints" / name, ("quantized",))
        leaves = {**state["quantized"]["model"], **state.get("objective", {})}
        states.append({key: leaf for key, leaf in leaves.items() if isinstance(leaf, Tensor)})
    return states


def test_distilled_run_resumes_to_the_same_bits_and_report(
    distilled: Distilled, tuned: QuantizedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(distilled.runs))
    cut = fresh_copy(distilled, tmp_path / "cut")
    original = Finetuning._train_epoch

    def killed(self: Finetuning, bar: object) -> dict[str, float]:
        if self.epoch == 2:
            raise KeyboardInterrupt
        return original(self, bar)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Finetuning, "_train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            train_qat(cut, CONFIG)
    train_qat(cut, resume=True)
    for left, right in zip(steps_of(distilled.run), steps_of(cut), strict=True):
        assert left.keys() == right.keys()
        assert len(left) > 100
        assert [name for name in left if not torch.equal(left[name], right[name])] == []
    # OpenVINO numbers its operations through a process, so the length of its files is not compared.
    again, uncut = (
        msgspec.structs.replace(read_report(p), engines=[], header=None)
        for p in (cut / "qat8", tuned.path)
    )
    assert again == uncut
    rows = [
        msgspec.json.decode(line)
        for line in (cut / "qat8" / "metrics.jsonl").read_bytes().splitlines()
    ]
    assert [row["epoch"] for row in rows] == [0, 1, 2]
    assert all(row["distill"] > 0 for row in rows[1:])


def test_four_bits_that_cost_too_much_are_written_and_refused(
    distilled: Distilled,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(distilled.runs))
    # Eight frames decide nothing by an interval.
    monkeypatch.setattr(
        "quantize.certify.gate._Loss.fails", property(lambda loss: loss.loss > loss.allowed)
    )
    run = fresh_copy(distilled, tmp_path / "run")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "qat",
                str(run),
                "--bits",
                "4",
                "--epochs",
                "0",
                "--calibration",
                "8",
                "--max-drop",
                "0",
            ]
        )
    assert ended.value.code == AccuracyError.exit_code
    output = capsys.readouterr()
    report = read_report(run / "qat4")
    assert report.gate.breaches
    assert report.layers[0].name in output.out
    assert report.layers[0].name in output.err
    assert "bits=8, or layers without the worst ones (--epochs" in output.err
    assert "--judge-again with a larger --max-drop" in output.err
    assert "in int8 tensors" in output.out
    assert_four_bits(run, report)
    with pytest.raises(UsageError, match="has not been quantized yet"):
        exported_engines(run, "int8", 8)
    judged_by_the_record(run, capsys)


def judged_by_the_record(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def status(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        assert isinstance(ended.value.code, int)
        return ended.value.code

    folder = str(run / "qat4")
    assert status("bundle", "make", folder, "--out", str(run / "b")) == AccuracyError.exit_code
    assert "--accept REASON" in capsys.readouterr().err
    assert not (run / "b").exists()
    again = ("qat", folder, "--judge-again", "--max-drop", "1")
    assert status(*again, "--epochs", "3") == UsageError.exit_code
    assert status(*again, "--max-small-drop", "1") == 0
    assert "accuracy gate: passed" in capsys.readouterr().out
    assert read_report(run / "qat4").gate.max_drop == 1.0


def assert_four_bits(run: Path, report: QatReport) -> None:
    assert len(report.weights.layers) == report.weights.of - 2 > 40
    canonical = load_quantized(run / "qat4").canonical
    weights = [buffer for buffer in canonical.module.buffers() if buffer.dtype == torch.int8]
    coarse = [int(weight.abs().max()) <= 7 for weight in weights]
    assert coarse == [False, *[True] * (len(weights) - 2), False]
    written = (run / "qat4" / "engines" / "tflite" / "model.tflite").read_bytes()
    assert written in [
        content for engine in export_engines(canonical) for content in engine.contents
    ]


def test_damaged_quantizations_are_refused(distilled: Distilled, tmp_path: Path) -> None:
    run = fresh_copy(distilled, tmp_path / "run")
    describe_run(run / "qat8", QatConfig())
    for name in ("best.pt", "last.pt"):
        save_checkpoint(run / "qat8" / "checkpoints" / name, {"student": {}})
    with pytest.raises(TrainingError, match="is not a checkpoint of a quantization"):
        load_quantized(run)
    (run / "qat8" / "checkpoints" / "best.pt").write_bytes(b"cut")
    with pytest.raises(TrainingError, match="not a readable checkpoint"):
        load_quantized(run)
