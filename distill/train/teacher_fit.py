"""Fit a light head to a frozen network on the training frames: a teacher that knows polyps.

The network sees each frame once; the head is trained on its cached maps, which augmented views
replay. Validation frames choose the epoch and are never trained on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from distill.config import dump_config, resolve_config
from distill.data.load import open_data
from distill.data.split_record import write_splits
from distill.data.validation import compare_frames
from distill.losses import TASK_LOSSES, segmentation_loss
from distill.run_folder import append_metrics, save_checkpoint, training_versions
from distill.teachers.build import make_teacher
from distill.teachers.fitted import CONFIG, HEAD, TaskHead
from edge.errors import TrainingError
from edge.util.files import atomic_dir, atomic_write, refuse_existing, write_json
from edge.util.progress import silent
from edge.util.spec import Spec, expand, parse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from torch import Tensor

    from distill.config import DistillConfig
    from distill.data.batches import TrainingData
    from edge.util.progress import Reporter

_RISING = 0.2
"""Share of the schedule during which the learning rate rises."""


def fit_config(spec: str, settings: dict[str, Any]) -> DistillConfig:
    """Configuration of a fit, with the path of a local network made absolute.

    Args:
        spec: The network, as `distill.teachers.build.make_teacher` reads it.
        settings: Options by flat key; those of data, views, length and loss count.

    Raises:
        UsageError: An option is unknown or out of range, or there is no data.
    """
    return resolve_config(
        None,
        settings
        | {
            "teachers": [_absolute(spec)],
            "recipe": "difom",
            "schedule": "teachers-only",
            "student": "edge-xs",
        },
    )


def _absolute(spec: str) -> str:
    parsed = parse(spec)
    before, at, path = parsed.target.rpartition("@")
    local = expand(path)
    if not path or not local.exists():
        return spec
    return str(Spec(parsed.scheme, f"{before}{at}{local.resolve()}", parsed.options))


def fit_teacher(
    config: DistillConfig, out: Path, *, force: bool = False, report: Reporter = silent
) -> dict[str, float]:
    """Fit a teacher and write its folder: `fit.yaml`, `head.pt`, `splits.json`, `metrics.jsonl`.

    Args:
        config: Of `fit_config`.
        out: Folder to write.
        force: Replace an existing folder.
        report: Shows the progress.

    Returns:
        Validation figures of the best epoch, at the size of the masks in the student's input.

    Raises:
        UsageError: `out` exists, or the configuration names something unknown.
        DataError: The images cannot be used, the network gives the same map for every frame, or it
            has learned from a validation frame.
        TrainingError: The loss is not finite.
    """
    refuse_existing(out, force=force)
    data = open_data(config, report=report)
    head, rows, best = _fitted(config, data, report)
    (cache,) = data.caches
    standardizer = cache.standardizer
    with atomic_dir(out, force=force) as folder:
        save_checkpoint(
            folder / HEAD,
            {
                "head": head,
                "mean": standardizer.mean,
                "scale": standardizer.scale,
                "rotation": standardizer.rotation,
                "cells": cache.grid[0],
                "network": make_teacher(config.teachers.specs[0]).identity,
                "metrics": best,
            },
        )
        atomic_write(folder / CONFIG, dump_config(config))
        write_json(folder / "env.json", training_versions())
        write_splits(folder / "splits.json", data.splits)
        for row in rows:
            append_metrics(folder, row)
    return best


def _fitted(
    config: DistillConfig, data: TrainingData, report: Reporter
) -> tuple[dict[str, Tensor], list[dict[str, float]], dict[str, float]]:
    """Weights of the best epoch, figures of every epoch, and those of the best one."""
    torch.manual_seed(config.run.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    head = TaskHead(data.caches[0].channels).to(device)
    options, epochs = config.optimizer, config.run.epochs
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=options.lr, weight_decay=options.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=options.lr, total_steps=epochs * data.steps, pct_start=_RISING
    )
    best_weights: dict[str, Tensor] = {}
    rows: list[dict[str, float]] = []
    best: dict[str, float] = {}
    with report(epochs * data.steps, f"fit {config.teachers.specs[0]}") as bar:
        for epoch in range(epochs):
            head.train()
            total = 0.0
            for batch in data.batches(epoch):
                logits = head(batch.targets[0].to(device))
                loss = segmentation_loss(
                    TASK_LOSSES[config.loss.task_loss],
                    logits,
                    batch.masks.to(device),
                    config.loss.clean_weight if config.data.negatives else 0.0,
                )
                if not bool(loss.isfinite()):
                    raise TrainingError(
                        f"the loss became {loss.item()} in epoch {epoch + 1}",
                        expected="a finite loss",
                        hint=f"lr={options.lr / 3:g}",
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                total += loss.item()
                bar.update(1)
            figures = _validated(head, data, device)
            rows.append({"epoch": epoch, "task": total / data.steps, **figures})
            if not best or figures["score"] > best["score"]:
                best = {"epoch": float(epoch), **figures}
                best_weights = {
                    name: value.cpu().clone() for name, value in head.state_dict().items()
                }
            bar.update(0, f"epoch {epoch + 1}, Dice {figures['dice_val']:.4f}")
    return best_weights, rows, best


def _validated(head: TaskHead, data: TrainingData, device: torch.device) -> dict[str, float]:
    head.eval()

    def scored() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in data.held_out_batches():
            yield head(batch.targets[0].to(device)).cpu(), batch.masks

    with torch.inference_mode():
        return compare_frames(scored()).figures()
