"""From a configuration to training data: splits, decoded images and the teachers' cached maps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from distill.data.batches import TrainingData
from distill.data.boxed import load_boxed
from distill.data.checks import check_stores
from distill.data.frames import Frames
from distill.data.image_store import ImageStore, Splits, decode_images, load_negatives, load_splits
from distill.data.teacher_maps import HELD_OUT, TRAINING, open_maps
from distill.data.teacher_splits import refuse_seen_validation
from distill.data.unlabeled import load_unlabeled
from distill.run_table import runs_root
from distill.students.build import build_student
from distill.teachers.build import build_task_teacher, build_teacher
from edge.errors import DataError, UsageError
from edge.util.progress import counter, silent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import DistillConfig
    from distill.data.splits import Sample
    from distill.options import DataOptions
    from edge.util.progress import Reporter


UNLABELED, BOXED, IMAGES = "unlabeled", "boxed", "further"
"""Names of the frames that the averaged student labels, with and without boxes, and of those that
only teachers label; in the order of `Splits`."""


def open_data(
    config: DistillConfig,
    *,
    with_teachers: bool = True,
    recorded: Splits | None = None,
    report: Reporter = silent,
) -> TrainingData:
    """Decode the images of a configuration and run its teachers on them; both are cached.

    Args:
        config: Configuration of the run.
        with_teachers: False if no targets are needed.
        recorded: Split of an earlier training; None draws the split of the configuration.
        report: Shows the progress of reading images and of the teachers.

    Raises:
        UsageError: The size does not fit the student, a name is unknown, or options contradict each
            other.
        DataError: The images cannot be used, no training or no validation frame has a polyp, or a
            teacher has learned from a validation frame.
    """
    refuse_size(config, build_student(config.student.network, pretrained=False).divisor)
    splits = recorded or draw_splits(config.data)
    without_masks = config.loss.without_masks
    if not without_masks:
        splits = msgspec.structs.replace(splits, images=[])
    taught = with_teachers and config.loss.has_teachers
    _refuse_unfit(config)
    specs = config.teachers.specs if taught else []
    task_specs = config.teachers.task_specs if taught and config.loss.recipe == "difom" else []
    refuse_seen_validation([*specs, *task_specs], splits)
    teachers = [build_teacher(spec) for spec in specs]
    task_teacher = build_task_teacher(task_specs) if task_specs else None
    stores: dict[str, ImageStore] = {}
    kinds = {
        UNLABELED: splits.unlabeled,
        BOXED: splits.boxed,
        IMAGES: splits.images,
        TRAINING: [*splits.train, *splits.clean_train],
        HELD_OUT: [*splits.validation, *splits.clean_validation],
    }
    for label, samples in kinds.items():
        if not samples:
            continue
        with report(len(samples), f"read {label} images") as bar:
            stores[label] = decode_images(
                samples,
                (config.data.size, config.data.size),
                runs_root() / "cache" / "images",
                counter(bar),
                rule=config.data.field_of_view,
            )
    train, validation = stores.pop(TRAINING), stores.pop(HELD_OUT)
    check_stores(splits, train, validation, list(stores.values()))
    kinds_shown = (TRAINING, IMAGES, HELD_OUT) if without_masks else (TRAINING,)
    frames = {
        kind: Frames(kinds[kind], config.data.field_of_view) for kind in kinds_shown if kinds[kind]
    }
    maps, held_out = open_maps(
        teachers, task_teacher, frames, config.data.size, config.teachers, report
    )
    data = TrainingData(
        config.data,
        config.augmentation,
        config.run,
        splits,
        train,
        validation,
        maps.targets,
        maps.logits,
        unlabeled=stores.get(UNLABELED),
        boxed=stores.get(BOXED),
        images=stores.get(IMAGES),
        held_out=held_out,
        shuffle_teacher=config.teachers.shuffle,
    )
    if splits.boxed and not data.order.boxed_in_batch:
        raise UsageError(
            f"box_share={config.data.box_share:g} leaves no frame with boxes in a batch",
            expected="at least one beside a frame with a mask",
            got=f"batches of {data.batch_size}",
            hint="a larger box_share or batch size",
        )
    return data


def refuse_size(config: DistillConfig, divisor: int) -> None:
    """Refuse an input size that the student cannot take.

    Args:
        config: Names the student and its input size.
        divisor: Number of which the sides of the student's input are multiples.

    Raises:
        UsageError: The size does not fit.
    """
    if config.data.size % divisor:
        raise UsageError(
            f"size {config.data.size} does not fit {config.student.name}",
            expected=f"a multiple of {divisor}",
            hint=f"size={max(1, round(config.data.size / divisor)) * divisor}",
        )


def _refuse_unfit(config: DistillConfig) -> None:
    """Raise UsageError where two options contradict each other."""
    recipe = config.loss.recipe
    for key, share in (
        ("removed_polyps", config.augmentation.removed_polyps),
        ("pasted_polyps", config.augmentation.pasted_polyps),
    ):
        if share and recipe != "none":
            raise UsageError(
                f"{key}={share:g} does not go with recipe {recipe}",
                expected="recipe none: the teachers' maps show the frame as it was",
                hint=f"recipe=none, or {key}=0",
            )
    if config.loss.schedule == "teachers-only" and (
        recipe != "difom" or not (config.teachers.specs or config.teachers.task_specs)
    ):
        raise UsageError(
            "a training without masks has no teacher to learn from",
            expected="recipe difom and at least one teacher",
            got=f"recipe {recipe}, teachers {config.teachers.specs}",
            hint="recipe=difom, or a different schedule",
        )
    weak = [key for key in ("unlabeled", "boxes") if getattr(config.data, key)]
    if recipe == "blocks" and weak:
        raise UsageError(
            f"recipe blocks reads no pseudo-labels, so {' and '.join(weak)} would be left unused",
            expected="frames without masks as images",
            hint=", ".join(f"{key}=[]" for key in weak),
        )
    if config.augmentation.pasted_polyps and not config.data.negatives:
        raise UsageError(
            f"pasted_polyps={config.augmentation.pasted_polyps:g} has no frames to paste into",
            expected="at least one folder of negatives",
            hint="name folders of negatives, or set pasted_polyps=0",
        )
    if config.data.unlabeled and (not config.optimizer.ema or recipe == "paper"):
        raise UsageError(
            "unlabeled frames learn from the average of the weights, and this run has none",
            expected="ema over 0, and recipe difom or none",
            got=f"ema={config.optimizer.ema:g}, recipe {recipe}",
            hint="ema=0.99, or unlabeled=[]",
        )
    if config.data.boxes and (not config.optimizer.ema or recipe == "paper"):
        raise UsageError(
            "boxes are filled by the average of the weights, and this run has none",
            expected="ema over 0, and recipe difom or none",
            got=f"ema={config.optimizer.ema:g}, recipe {recipe}",
            hint="ema=0.99, or no boxes",
        )


def draw_splits(data: DataOptions) -> Splits:
    """The split that a configuration draws from its folders as they are now.

    Args:
        data: Folders, shares and the seed of the draw.

    Raises:
        DataError: A folder cannot be used, or a split is empty.
        UsageError: A folder is given twice.
    """
    splits = load_splits(
        [Path(root) for root in data.folders],
        val_sequences=data.val_sequences,
        val_fraction=data.val_fraction,
        seed=data.split_seed,
    )
    train, validation = load_negatives(
        [Path(root) for root in data.negatives],
        val_fraction=data.val_negatives,
        seed=data.split_seed,
    )
    held_out = [*splits.validation, *validation]
    unlabeled = load_unlabeled([Path(root) for root in data.unlabeled], held_out)
    images = load_unlabeled([Path(root) for root in data.images], held_out, [*splits.train, *train])
    masked = [*splits.train, *splits.validation, *train, *validation]
    boxed = load_boxed([Path(source) for source in data.boxes], masked, rule=data.field_of_view)
    _refuse_twice(unlabeled, boxed)
    return Splits(splits.train, splits.validation, train, validation, unlabeled, boxed, images)


def _refuse_twice(unlabeled: Sequence[Sample], boxed: Sequence[Sample]) -> None:
    """Raise DataError if a frame is unlabeled and has boxes."""
    both = {str(Path(sample.image).resolve()) for sample in unlabeled}
    both &= {sample.image for sample in boxed}
    if both:
        raise DataError(
            f"{min(both)} is unlabeled and has boxes",
            expected="each frame in one of the two",
            got=f"{len(both)} frames in both",
        )
