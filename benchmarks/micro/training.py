"""Cost of training: a step on cached maps, writing the cache, and a step under quantization.

Everything runs on the phantom with the embedded teacher; the cost does not depend on the content of
the images.
"""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.datasets.phantom.render import write_dataset
from edge.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from distill.data.batch import Batch
    from distill.train.trainer import Trainer
    from quantize.qat.finetuning import Finetuning

_WARM_STEPS = 2
_CACHE_ROUNDS = 9
_MAX_MEAN_DIFFERENCE = 0.05


def step_cost(
    rounds: int, *, size: int = 256, batch: int = 16, bound: float = 1.05, pretrained: bool = True
) -> Comparison:
    """Compare a step of edge-s on cached maps, spectral loss included, with one of the task alone.

    Both steps include data loading.

    Args:
        rounds: Number of steps of each side.
        size: Height and width of the student's input.
        batch: Images in a step.
        bound: Promised ratio.
        pretrained: Start the student from ImageNet weights.
    """
    from distill.config import make_config
    from distill.data.load import open_data
    from distill.train.trainer import Trainer

    with _workplace() as folder:
        write_dataset(
            folder / "data", train=2 * batch, validation=2, negatives=0, seed=0, size=(size, size)
        )
        trainers = {}
        for recipe in ("difom", "none"):
            config = make_config(
                {
                    "data": [str(folder / "data")],
                    "recipe": recipe,
                    "size": size,
                    "batch_size": batch,
                    "epochs": 1000,
                    "pretrained": pretrained,
                }
            )
            trainers[recipe] = Trainer(folder / recipe, config, open_data(config))
            trainers[recipe].prepare_epoch()
        check = _check_targets(next(trainers["difom"].data.batches(0)).targets[0])
        steps = {recipe: _steps(trainer) for recipe, trainer in trainers.items()}
        sides = [partial(next, steps[recipe]) for recipe in ("difom", "none")]
        interleave(*sides, rounds=_WARM_STEPS)
        distilled, plain = interleave(*sides, rounds=rounds)
    left, right = (
        Side(what="distillation step", samples=distilled),
        Side(what="plain step", samples=plain),
    )
    goal = Goal(
        what="distillation step over plain step", value=left.median / right.median, bound=bound
    )
    return compare(left, right, check=check, unit="ms", goal=goal, size=size, batch=batch)


def qat_step_cost(
    rounds: int,
    *,
    student: str = "edge-s",
    size: int = 256,
    batch: int = 8,
    pretrained: bool = True,
) -> Comparison:
    """Compare a step of quantization-aware fine-tuning with a float step on the same batches.

    Args:
        rounds: Number of steps of each side.
        student: Name of the student.
        size: Height and width of its input.
        batch: Images in a step.
        pretrained: Start the student from ImageNet weights.
    """
    from distill.config import make_config
    from distill.data.load import open_data
    from distill.train.trainer import Trainer
    from quantize.qat.finetuning import Finetuning
    from quantize.qat.nncf import quantize_student
    from quantize.runs.folder import QatConfig

    with _workplace() as folder:
        write_dataset(
            folder / "data", train=2 * batch, validation=2, negatives=0, seed=0, size=(size, size)
        )
        config = make_config(
            {
                "data": [str(folder / "data")],
                "student": student,
                "recipe": "none",
                "size": size,
                "batch_size": batch,
                "epochs": 1000,
                "pretrained": pretrained,
            }
        )
        data = open_data(config)
        trainer = Trainer(folder / "float", config, data)
        quantized = quantize_student(trainer.student.eval(), list(data.calibration(8)))
        tuning = Finetuning(
            folder / "qat8", QatConfig(epochs=1000, batch_size=batch), data, quantized
        )
        tuning.epoch = 1
        trainer.prepare_epoch()
        batches = list(data.batches(0))
        check = _check_quantized(trainer, tuning, batches[0].images)

        def timed(step: Callable[[Batch], object]) -> float:
            begin = time.perf_counter_ns()
            for one in batches:
                step(one)
            return (time.perf_counter_ns() - begin) / 1e6 / len(batches)

        sides = [
            partial(timed, lambda one: tuning.train_step(one, 0)),
            partial(timed, trainer.train_step),
        ]
        interleave(*sides, rounds=_WARM_STEPS)
        quantization_aware, plain = interleave(*sides, rounds=rounds)
    left = Side(what="quantization-aware step", samples=quantization_aware)
    right = Side(what="float step", samples=plain)
    return compare(left, right, check=check, unit="ms", student=student, size=size, batch=batch)


def cache_cost(rounds: int, *, size: int = 256, images: int = 32, bound: float = 1.1) -> Comparison:
    """Compare writing a teacher's cache with the teacher's forward passes on the same images.

    Args:
        rounds: Maximum number of caches.
        size: Height and width of the images.
        images: Number of images.
        bound: Promised ratio.
    """
    import torch

    from distill.data.frames import Frames
    from distill.data.splits import load_splits
    from distill.teachers.build import build_teacher
    from distill.teachers.cache.maps import CachePlan

    teacher, group = build_teacher(f"efficientnet_lite2?size={2 * size}"), 8
    with _workplace() as folder:
        write_dataset(
            folder / "data", train=images, validation=2, negatives=0, seed=0, size=(size, size)
        )
        splits = load_splits([folder / "data"], val_sequences=[], val_fraction=0.1, seed=0)
        frames = Frames(splits.train, "full-frame")
        rows = [slice(begin, begin + group) for begin in range(0, len(frames), group)]
        batches = [
            torch.from_numpy(frames.batch(part, teacher.size)).permute(0, 3, 1, 2) for part in rows
        ]
        names = iter(range(1000))

        def write() -> float:
            target = folder / f"cache-{next(names)}"
            begin = time.perf_counter_ns()
            CachePlan(teacher, frames, teacher.grid, target, group).build()
            return (time.perf_counter_ns() - begin) / 1e6

        def bare() -> float:
            begin = time.perf_counter_ns()
            for batch in batches:
                teacher.features(batch)
            return (time.perf_counter_ns() - begin) / 1e6

        write()
        bare()
        written, passes = interleave(write, bare, rounds=max(2, min(rounds, _CACHE_ROUNDS)))
        cache = CachePlan(teacher, frames, teacher.grid, folder / "cache-0").build()
        check = _check_targets(cache.batch(list(range(len(frames)))))
    left, right = (
        Side(what="cache written", samples=written),
        Side(what="bare forward passes", samples=passes),
    )
    goal = Goal(what="cache over bare passes", value=left.median / right.median, bound=bound)
    return compare(left, right, check=check, unit="ms", goal=goal, size=size, images=images)


def _steps(trainer: Trainer) -> Iterator[float]:
    """Yield the milliseconds of one step after the other."""
    epoch = 0
    while True:
        begin = time.perf_counter_ns()
        for batch in trainer.data.batches(epoch):
            trainer.train_step(batch)
            trainer.step += 1
            yield (time.perf_counter_ns() - begin) / 1e6
            begin = time.perf_counter_ns()
        epoch += 1


def _check_quantized(trainer: Trainer, tuning: Finetuning, images: Tensor) -> str:
    """Check that both sides train the same student except for its rounding."""
    import torch

    trainer.student.eval()
    with torch.no_grad():
        difference = (
            (torch.sigmoid(trainer.student(images)) - torch.sigmoid(tuning.model(images)))
            .abs()
            .mean()
            .item()
        )
    trainer.prepare_epoch()
    if not 0 < difference <= _MAX_MEAN_DIFFERENCE:
        raise ParityError(
            "the quantized student differs from the float one",
            expected=f"a mean difference of the scores of at most {_MAX_MEAN_DIFFERENCE}, "
            "and not 0",
            got=f"{difference:.4f}",
        )
    return f"mean difference of the scores by rounding {difference:.4f}"


def _check_targets(target: Tensor) -> str:
    """Check that the targets can teach; otherwise timing is meaningless."""
    from distill.recipes.target_monitor import target_deviation

    deviation = target_deviation(target)
    if not 0.5 <= deviation <= 2:
        raise ParityError(
            "the targets are not standardized", expected="deviation about 1", got=f"{deviation:.3f}"
        )
    return f"targets with a standard deviation of {deviation:.2f}"


@contextmanager
def _workplace() -> Iterator[Path]:
    """Yield a temporary folder that also holds the caches meanwhile."""
    before = os.environ.get("EDGE_DIFOM_RUNS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["EDGE_DIFOM_RUNS"] = f"{folder}/runs"
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["EDGE_DIFOM_RUNS"]
            else:
                os.environ["EDGE_DIFOM_RUNS"] = before
