from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.batches import Batch, open_data
from distill.config import make_config
from distill.runs import describe_run, load_checkpoint, save_checkpoint
from distill.students.base import Student, StudentMaps
from distill.training import Trainer
from edge.backends import open_engine
from edge.errors import ParityError, TrainingError, UsageError
from edge.manifest import EngineEntry, Golden, GoldenSet, Input, Manifest, Output, Provenance
from edge.phantom import write_dataset
from edge.verify import verify_bundle
from quantize.bundling import check_golden, choose_golden, make_bundle
from quantize.canonical import Canonical, canonicalize
from quantize.export import export_engines
from quantize.nncf_qat import quantize_student, restore
from quantize.parity import canonical_scores
from quantize.qat import Finetuning, train_qat
from quantize.runs import QatConfig, exported_engines, load_quantized

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 32


class Plain(Student):
    """A convolution, a BatchNorm, an activation and a head."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6())
        self.head = nn.Conv2d(4, 1, 1)

    def maps(self, x: Tensor) -> StudentMaps:
        hidden = self.body(x)
        return StudentMaps(self.head(hidden), hidden, hidden)


class Bright:
    """Batches of noise in which the bright pixels are the mask."""

    steps = 3

    def __init__(self, spoil: float = 0.0) -> None:
        self.spoil = spoil

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for step in range(start, self.steps):
            generator = torch.Generator().manual_seed(100 * epoch + step)
            images = 2 * torch.rand(2, 3, SIZE, SIZE, generator=generator) - 1
            yield Batch(images + self.spoil, (images.mean(1, keepdim=True) > 0).float(), [])

    def validate(self, model: nn.Module) -> dict[str, float]:
        batch = next(self.batches(50))
        with torch.no_grad():
            right = ((model(batch.images) >= 0) == (batch.masks > 0)).float().mean().item()
        return {"dice_val": right, "iou_val": right}


def plain() -> Plain:
    torch.manual_seed(0)
    return Plain().eval()


def quantized_plain() -> nn.Module:
    return quantize_student(plain(), [batch.images[:1] for batch in Bright().batches(99)])


def tuned(path: Path, model: nn.Module, epochs: int) -> Finetuning:
    return Finetuning(path, QatConfig(epochs=epochs, lr=1e-2), Bright(), model)


def test_resumed_fine_tuning_ends_in_the_same_bits(tmp_path: Path) -> None:
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    whole = tuned(tmp_path / "whole", quantized_plain(), 2)
    whole.train()
    cut = tuned(tmp_path / "cut", quantized_plain(), 2)
    cut.config = msgspec.structs.replace(cut.config, epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        original = Finetuning._train_epoch

        def killed(self: Finetuning, bar: object) -> float:
            if self.epoch == 2:
                raise KeyboardInterrupt
            return original(self, bar)

        patch.setattr(Finetuning, "_train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            cut.train()
    state = load_checkpoint(tmp_path / "cut" / "checkpoints" / "last.pt")
    model = restore(plain(), state["quantized"], torch.zeros(1, 3, SIZE, SIZE))
    again = tuned(tmp_path / "cut", model, 2)
    again.restore(state)
    again.train()
    left, right = whole.model.state_dict(), again.model.state_dict()
    assert left.keys() == right.keys()
    assert all(torch.equal(left[name], right[name]) for name in left)
    first = (tmp_path / "whole" / "metrics.jsonl").read_bytes().splitlines()[0]
    assert msgspec.json.decode(first)["epoch"] == 0, "the calibrated student is epoch 0"


def test_fine_tuning_trains_weights_and_freezes_what_it_says(tmp_path: Path) -> None:
    model = quantized_plain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tuned(tmp_path, model, 2).train()
    after = model.state_dict()
    assert not torch.equal(before["body.0.weight"], after["body.0.weight"])
    for name in ("body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"):
        assert torch.equal(before[name], after[name])
    frame = [name for name in after if "post_hooks.x" in name and name.endswith(("input_low", "input_range"))]
    assert len(frame) == 2
    assert all(torch.equal(before[name], after[name]) for name in frame)


def test_loss_that_is_not_finite_stops_fine_tuning(tmp_path: Path) -> None:
    tuning = Finetuning(tmp_path, QatConfig(epochs=1), Bright(spoil=math.nan), quantized_plain())
    with pytest.raises(TrainingError, match="loss became nan"):
        tuning.train()


@pytest.mark.parametrize("bits", [4, 16])
def test_other_bits_are_refused(tmp_path: Path, bits: int) -> None:
    with pytest.raises(UsageError, match=f"--bits {bits}"):
        train_qat(tmp_path, QatConfig(bits=bits))


def test_a_run_that_was_not_quantized_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not quantized yet"):
        load_quantized(tmp_path)
    with pytest.raises(UsageError, match="nothing to resume"):
        train_qat(tmp_path, resume=True)


class Always:
    """Stands in for a canonical graph that gives every pixel one score."""

    size = (SIZE, SIZE)

    def __init__(self, score: int) -> None:
        self.score = score

    def scores(self, images: Tensor) -> Tensor:
        return torch.full((len(images), SIZE, SIZE), self.score, dtype=torch.uint8)


@pytest.mark.parametrize("score", [0, 255])
def test_agreement_on_nothing_is_no_agreement(score: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.bundling.GOLDEN_SEEDS", 6)
    canonical: Canonical = Always(score)  # type: ignore[assignment]
    with pytest.raises(ParityError, match="only 0 of"):
        choose_golden(canonical)


def golden_manifest(count: int) -> Manifest:
    golden = [Golden(frame=f"{n}.png", scores=f"{n}.s.png") for n in range(count)]
    return Manifest(
        schema_version=1,
        name="plain",
        intended_use="",
        licence="",
        input=Input(height=SIZE, width=SIZE),
        output=Output(height=SIZE, width=SIZE),
        engines=[EngineEntry(runtime="tflite", precision="int8", files=["m"], min_version="1")],
        golden=GoldenSet(frames=golden),
        parity=[],
        accuracy=[],
        provenance=Provenance(student="", teachers=[], recipe="", data={}, versions={}, seed=0, created=""),
        files={},
    )


def test_engine_that_strays_from_the_golden_scores_is_refused() -> None:
    canonical = canonicalize(quantized_plain(), (SIZE, SIZE))
    engines = export_engines(canonical)
    frames = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    scores = canonical_scores(canonical, frames)
    check_golden(golden_manifest(2), engines, frames, scores)
    with pytest.raises(ParityError, match="2 of 2 golden frames"):
        check_golden(golden_manifest(2), engines, frames, np.where(scores > 127, scores - 20, scores + 20))


class Distilled(NamedTuple):
    run: Path
    runs: Path


@pytest.fixture(scope="module")
def distilled(tmp_path_factory: pytest.TempPathFactory) -> Distilled:
    """A run whose student has seen a little of the phantom."""
    root = tmp_path_factory.mktemp("distilled")
    write_dataset(root / "data", train=24, validation=6, negatives=0, seed=3, size=(96, 96))
    run = root / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_DIFOM_RUNS", str(root / "runs"))
        config = make_config(
            {
                "data": [str(root / "data")],
                "size": 64,
                "epochs": 12,
                "batch_size": 8,
                "lr": 2e-3,
                "recipe": "none",
            }
        )
        describe_run(run, config)
        data = open_data(config)
        data.write_splits(run / "splits.json")
        Trainer(run, config, data).train()
    return Distilled(run, root / "runs")


@pytest.mark.slow
def test_from_a_run_to_a_bundle_that_verifies(
    distilled: Distilled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGE_DIFOM_RUNS", str(distilled.runs))
    quantized = train_qat(distilled.run, QatConfig(epochs=1, calibration=8))
    assert {path.name for path in quantized.path.iterdir()} >= {
        "resolved.yaml", "metrics.jsonl", "checkpoints", "engines", "engines-f32", "parity.json", "report.json",
    }  # fmt: skip
    with pytest.raises(UsageError, match="exists already"):
        train_qat(distilled.run, QatConfig(epochs=1))
    engines = exported_engines(distilled.run, "all")
    written = [(quantized.path / path).read_bytes() for path in engines[1].paths]
    assert written == engines[1].contents, "exporting again gives the same bytes"
    bundle = make_bundle(distilled.run, tmp_path / "bundle", with_f32=True)
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
    assert "Research use only" in bundle.read("MODEL_CARD.md").decode()


@pytest.mark.slow
def test_damaged_checkpoints_are_refused(distilled: Distilled, tmp_path: Path) -> None:
    run = tmp_path / "run"
    describe_run(run, make_config({"data": ["x"], "size": 64}))
    state = load_checkpoint(distilled.run / "checkpoints" / "best.pt")
    state["student"]["head.weight"][0] = math.inf
    save_checkpoint(run / "checkpoints" / "best.pt", state)
    with pytest.raises(TrainingError, match="not finite"):
        train_qat(run)
    (run / "checkpoints" / "best.pt").write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="no readable checkpoint"):
        train_qat(run)
