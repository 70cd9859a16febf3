"""What the cards of a bundle state beyond its manifest, read from the run that it was made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from distill.run_folder import read_environment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from distill.data.splits import Sample, Splits
    from quantize.runs.folder import QuantizedRun

_SETTINGS = (
    "recipe",
    "task_loss",
    "epochs",
    "batch_size",
    "lr",
    "weight_decay",
    "precision",
    "seed",
    "split_seed",
    "val_fraction",
    "balance",
    "pretrained",
    "decoder",
)
"""Options of the run that a card shows: those that name no path of the machine."""

_ENVIRONMENT = ("date", "machine", "accelerator", "version", "commit", "python", "torch")

KINDS = {
    "train": "trained on, with masks",
    "validation": "validated on, with masks",
    "clean_train": "trained on, known to show no polyp",
    "clean_validation": "validated on, known to show no polyp",
    "boxed": "trained on, with boxes",
    "unlabeled": "trained on, without labels",
    "images": "labeled by teachers alone",
}
"""Field of `Splits` -> its frames in words."""


class SetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Frames of one data set.

    Attributes:
        frames: Field of `Splits` -> number of frames; fields without frames are missing.
        groups: Number of groups that a split never cuts, such as video sequences.
    """

    frames: dict[str, int]
    groups: int


class CardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of a run.

    Attributes:
        sets: Data set -> its frames.
        settings: Options of the training by name.
        quantization: Options of the quantization by name.
        environment: When, where and with which software the training began; empty if the run does
            not record it.
        stages: Names of the trainings that the run consists of; empty for one alone.
    """

    sets: dict[str, SetFacts]
    settings: dict[str, str] = {}
    quantization: dict[str, str] = {}
    environment: dict[str, str] = {}
    stages: list[str] = []


def card_facts(quantized: QuantizedRun, splits: Splits) -> CardFacts:
    """Read the facts of a quantized run.

    Args:
        quantized: The quantized run.
        splits: Its recorded frames.

    Raises:
        DataError: The record of the run's environment is damaged.
    """
    config, environment = quantized.source.config, read_environment(quantized.source.path)
    flat, quantizing = config.flat(), quantized.config
    return CardFacts(
        sets=set_facts(splits),
        settings={name: _text(flat[name]) for name in _SETTINGS if name in flat},
        quantization={
            "bits of the weights": str(quantizing.bits),
            "epochs": str(quantizing.epochs),
            "lr": f"{quantizing.lr:g}",
            "calibration images": str(quantizing.calibration),
            "distill_weight": f"{quantizing.distill_weight:g}",
        },
        environment={
            name: str(environment[name]) for name in _ENVIRONMENT if environment.get(name)
        },
        stages=[stage.name for stage in config.run.stages],
    )


def set_facts(splits: Splits) -> dict[str, SetFacts]:
    """Count the frames and groups of each data set, in the order of their names."""
    by_kind: dict[str, list[Sample]] = {field: getattr(splits, field) for field in KINDS}
    names = sorted({sample.dataset for samples in by_kind.values() for sample in samples})
    return {
        name: SetFacts(
            frames={
                field: count
                for field, samples in by_kind.items()
                if (count := len(_of(samples, name)))
            },
            groups=len(
                {sample.group for samples in by_kind.values() for sample in _of(samples, name)}
            ),
        )
        for name in names
    }


def _of(samples: Iterable[Sample], dataset: str) -> list[Sample]:
    return [sample for sample in samples if sample.dataset == dataset]


def _text(value: object) -> str:
    return "default" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
