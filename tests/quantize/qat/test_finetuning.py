from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from distill.config import make_config
from distill.data.batch import Batch
from distill.run_folder import describe_run, save_checkpoint
from distill.students.base import Student, StudentMaps
from distill.students.build import STUDENTS
from distill.train.run_log import RunLog
from distill.train.run_page import RunPage
from edge.bundle.manifest import EngineEntry, Golden, GoldenSet, Input, Manifest, Output, Provenance
from edge.errors import DataError, ParityError, TrainingError, UsageError
from quantize.certify.golden import check_golden_scores, choose_golden
from quantize.certify.parity import canonical_scores
from quantize.export.engines import export_engines
from quantize.graph.canonical import Canonical, canonicalize
from quantize.graph.tracing import quantizers
from quantize.qat.finetuning import Finetuning
from quantize.qat.nncf import quantize_student, restore
from quantize.runs.folder import (
    QatConfig,
    load_qat_checkpoint,
    load_quantized,
    make_qat_config,
    qat_path,
)
from quantize.runs.train import calibration_images, train_qat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIZE = 32


class Plain(Student):
    """A convolution, a BatchNorm, an activation and a head."""

    stride = divisor = 1

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU6()
        )
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
        return {"dice_val": right, "iou_val": right, "score": right}


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
    uncut = tuned(tmp_path / "whole", quantized_plain(), 2)
    uncut.train()
    cut = tuned(tmp_path / "cut", quantized_plain(), 2)
    cut.config = msgspec.structs.replace(cut.config, epochs=2)
    with pytest.MonkeyPatch.context() as patch:
        original = Finetuning._train_epoch

        def killed(self: Finetuning, bar: object) -> dict[str, float]:
            if self.epoch == 2:
                raise KeyboardInterrupt
            return original(self, bar)

        patch.setattr(Finetuning, "_train_epoch", killed)
        with pytest.raises(KeyboardInterrupt):
            cut.train()
    state = load_qat_checkpoint(tmp_path / "cut" / "checkpoints" / "last.pt", ("quantized",))
    model = restore(plain(), state["quantized"], torch.zeros(1, 3, SIZE, SIZE))
    again = tuned(tmp_path / "cut", model, 2)
    again.restore(state)
    again.train()
    left, right = uncut.model.state_dict(), again.model.state_dict()
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
    frame = [
        name
        for name in after
        if "post_hooks.x" in name and name.endswith(("input_low", "input_range"))
    ]
    assert len(frame) == 2
    assert all(torch.equal(before[name], after[name]) for name in frame)


def test_loss_that_is_not_finite_stops_fine_tuning(tmp_path: Path) -> None:
    tuning = Finetuning(tmp_path, QatConfig(epochs=1), Bright(spoil=math.nan), quantized_plain())
    with pytest.raises(TrainingError, match="loss became nan"):
        tuning.train()


def test_ranges_train_in_the_first_half_and_rest_in_the_second(tmp_path: Path) -> None:
    model = quantized_plain()
    snapshots: list[dict[str, Tensor]] = []
    original = Finetuning._train_epoch

    def watched(self: Finetuning, bar: object) -> dict[str, float]:
        snapshots.append(ranges(model))
        losses = original(self, bar)
        snapshots.append(ranges(model))
        return losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quantize.qat.finetuning.align", lambda *_: None)
        patch.setattr(Finetuning, "_train_epoch", watched)
        tuned(tmp_path, model, 4).train()
    moved = [
        any(not torch.equal(a[n], b[n]) for n in a)
        for a, b in zip(snapshots[::2], snapshots[1::2], strict=True)
    ]
    assert moved == [True, True, False, False]


def ranges(model: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{part}": value.clone()
        for name, quantizer in quantizers(model).items()
        for part, value in quantizer.state_dict().items()
        if part in ("scale", "input_low", "input_range")
    }


@pytest.mark.parametrize("bits", [2, 16])
def test_other_bits_are_refused(tmp_path: Path, bits: int) -> None:
    with pytest.raises(UsageError, match=f"{bits} bits are not supported"):
        train_qat(tmp_path, QatConfig(bits=bits))


def test_a_run_that_was_not_quantized_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not been quantized yet"):
        load_quantized(tmp_path)
    with pytest.raises(UsageError, match="nothing to resume"):
        train_qat(tmp_path, resume=True)
    with pytest.raises(UsageError, match="bits=4"):
        train_qat(tmp_path, QatConfig(layers=["head"]))


def test_folder_of_a_quantization_stands_for_its_run(tmp_path: Path) -> None:
    for folder, bits, expected in (
        ("run", None, "run/qat8"),
        ("run", 4, "run/qat4"),
        ("run/qat4", None, "run/qat4"),
        ("run/qat4", 8, "run/qat8"),
        ("run/qat8", 4, "run/qat4"),
    ):
        assert qat_path(tmp_path / folder, bits) == tmp_path / expected
    for bits in (2, 3, 5, 16):
        with pytest.raises(UsageError, match=f"{bits} bits are not supported"):
            qat_path(tmp_path, bits)


class Few:
    """Stands in for the images of a run."""

    def __init__(self, count: int) -> None:
        self.train = list(range(count))

    def calibration(self, count: int) -> Iterator[Tensor]:
        for _ in range(min(count, len(self.train))):
            yield torch.zeros(1, 3, SIZE, SIZE)


def test_too_few_calibration_images_are_told_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    assert len(calibration_images(Few(9), 8)) == 8  # type: ignore[arg-type]
    assert caplog.text == ""
    assert len(calibration_images(Few(5), 8)) == 5  # type: ignore[arg-type]
    assert "calibrating on all 5 images" in caplog.text
    with pytest.raises(DataError, match="3 images are too few"):
        calibration_images(Few(3), 8)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="calibration"):
        make_qat_config({"calibration": 3})


class Unexportable(Plain):
    """Uses an operation that no engine has."""

    def maps(self, x: Tensor) -> StudentMaps:
        maps = super().maps(x)
        return maps._replace(logits=torch.erf(maps.logits))


def test_an_unexportable_student_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexportable student is refused before images are read."""
    monkeypatch.setitem(STUDENTS, "odd", Unexportable)
    describe_run(tmp_path, make_config({"data": ["nowhere"], "size": SIZE, "student": "odd"}))
    state = {"student": Unexportable().state_dict(), "metrics": {"dice_val": 0.5}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    with pytest.raises(UsageError, match=r"erf.* cannot be exported"):
        train_qat(tmp_path)
    describe_run(tmp_path, make_config({"data": ["nowhere"], "student": "odd", "recipe": "none"}))
    with pytest.raises(UsageError, match="this run has none"):
        train_qat(tmp_path, QatConfig(distill_weight=0.1))
    assert not (tmp_path / "qat8").exists()


class Always:
    """Stands in for a canonical graph that gives every pixel one score."""

    size, planes = (SIZE, SIZE), 1

    def __init__(self, score: int) -> None:
        self.score = score

    def scores(self, images: Tensor) -> Tensor:
        return torch.full((len(images), SIZE, SIZE), self.score, dtype=torch.uint8)


@pytest.mark.parametrize("score", [0, 255])
def test_agreement_on_nothing_is_no_agreement(score: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quantize.certify.golden.GOLDEN_SEEDS", 6)
    canonical: Canonical = Always(score)  # type: ignore[assignment]
    with pytest.raises(ParityError, match="only 0 of"):
        choose_golden(canonical)


def golden_manifest(count: int) -> Manifest:
    golden = [Golden(frame=f"{n}.png", scores=f"{n}.s.png") for n in range(count)]
    return Manifest(
        schema_version=1,
        name="plain",
        intended_use="",
        license="",
        input=Input(height=SIZE, width=SIZE),
        output=Output(height=SIZE, width=SIZE),
        engines=[EngineEntry(runtime="tflite", precision="int8", files=["m"], min_version="1")],
        golden=GoldenSet(frames=golden),
        parity=[],
        accuracy=[],
        provenance=Provenance(
            student="", teachers=[], recipe="", data={}, versions={}, seed=0, created=""
        ),
        files={},
    )


def test_engine_that_strays_from_the_golden_scores_is_refused() -> None:
    canonical = canonicalize(quantized_plain(), (SIZE, SIZE))
    engines = export_engines(canonical)
    frames = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3)).astype(np.uint8)
    scores = canonical_scores(canonical, frames)
    check_golden_scores(golden_manifest(2), engines, frames, scores)
    with pytest.raises(ParityError, match="2 of 2 golden frames"):
        check_golden_scores(
            golden_manifest(2), engines, frames, np.where(scores > 127, scores - 20, scores + 20)
        )


def test_a_quantization_has_log_and_page(tmp_path: Path) -> None:
    model = quantized_plain()
    tuning = Finetuning(
        tmp_path, QatConfig(epochs=1), Bright(), model, callbacks=[RunLog(), RunPage()]
    )
    tuning.train()
    page = (tmp_path / "results.html").read_text()
    assert "COMPLETE" in page
    assert "quantization to 8 bits" in page
    assert "epoch 1 of 1" in page
    log = (tmp_path / "train.log").read_text().splitlines()
    assert "begun" in log[0]
    assert "epoch 0 of 1" in log[1]
    assert "complete; best epoch" in log[-1]


def test_a_quantization_that_fails_says_so(tmp_path: Path) -> None:
    tuning = Finetuning(
        tmp_path,
        QatConfig(epochs=1),
        Bright(spoil=math.nan),
        quantized_plain(),
        callbacks=[RunLog(), RunPage()],
    )
    with pytest.raises(TrainingError):
        tuning.train()
    assert "STOPPED" in (tmp_path / "results.html").read_text()
    assert "stopped: the loss became nan" in (tmp_path / "train.log").read_text()
