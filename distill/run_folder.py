"""Run folders: where they are, what they hold, and how checkpoints are written and read.

RUN/{resolved.yaml, env.json, splits.json, metrics.jsonl, train.log, results.html, batch.jpg,
worst.jpg, checkpoints/{best.pt, last.pt}, report.json}; epochs count from 1 in all of them.
"""

from __future__ import annotations

import io
import os
import pickle
import platform
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import torch

from distill.config import DistillConfig, dump_config, make_config, read_config_file
from distill.run_table import runs_root
from distill.students.build import Student, build_student
from distill.weight_files import explain_unreadable
from edge.errors import DataError, TrainingError, UsageError
from edge.record_header import make_header
from edge.util.files import atomic_write, naming, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

VERSIONED = (
    "edge-difom",
    "torch",
    "timm",
    "transformers",
    "nncf",
    "openvino",
    "litert-torch",
    "ai-edge-litert",
    "numpy",
)

SHELL = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "EDGE_DIFOM_RUNS", "TRITON_INTERPRET")
"""Environment variables that decide how a training runs."""


@dataclass(frozen=True)
class LoadedRun:
    """A finished or running distillation.

    Attributes:
        path: Folder of the run.
        config: Configuration of the run.
        student: In evaluation mode with the best weights.
        metrics: Validation figures of those weights.
    """

    path: Path
    config: DistillConfig
    student: Student
    metrics: dict[str, float]


def new_run_path(verb: str, name: str) -> Path:
    """Folder of a new run, named after the time and its content."""
    return runs_root() / verb / f"{time.strftime('%Y%m%d-%H%M%S')}-{name}"


def training_versions() -> dict[str, str]:
    """Versions of the packages that decide results; those that are not installed are omitted."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    return versions | {name: version for name in VERSIONED if (version := _version(name))}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def describe_run(run: Path, config: msgspec.Struct) -> None:
    """Write `resolved.yaml` and `env.json`: command, machine, versions and what the shell sets."""
    atomic_write(run / "resolved.yaml", dump_config(config))
    header = make_header()
    environment = {
        "command": header.command,
        "folder": str(Path.cwd()),
        "date": header.date,
        "machine": header.machine,
        "accelerator": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "version": header.version,
        "commit": header.commit,
        **training_versions(),
        **{name: os.environ[name] for name in SHELL if name in os.environ},
    }
    write_json(run / "env.json", environment)


def read_environment(run: Path) -> dict[str, Any]:
    """Read `env.json`; empty if the run has none.

    Raises:
        DataError: It cannot be read.
    """
    path = run / "env.json"
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read", got=str(error)) from error


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically."""
    buffer = io.BytesIO()
    torch.save(dict(state), buffer)
    atomic_write(path, buffer.getvalue())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint; only tensors and plain values are accepted.

    Raises:
        TrainingError: The file is missing or damaged.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise TrainingError(
            f"no checkpoint {path}",
            expected="a run directory",
            hint="name the run's folder",
        ) from None
    except (RuntimeError, OSError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        problem, hint = explain_unreadable(path, error)
        raise TrainingError(
            f"{path} is not a readable checkpoint",
            expected="the file as it was written",
            got=problem,
            hint=hint,
        ) from None
    if not isinstance(state, dict):
        raise TrainingError(
            f"{path} is not a checkpoint of a run", expected="a mapping", got=type(state).__name__
        )
    return state


def append_metrics(run: Path, row: Mapping[str, Any]) -> None:
    """Add a line to `metrics.jsonl`."""
    path = run / "metrics.jsonl"
    with naming(path), path.open("ab") as file:
        file.write(msgspec.json.encode(dict(row)) + b"\n")


def keep_metrics_before(run: Path, epoch: int) -> None:
    """Drop lines of epochs that a resumed run will write again."""
    path = run / "metrics.jsonl"
    if path.exists():
        rows = [line for line in path.read_bytes().splitlines() if line]
        earlier = [line for line in rows if msgspec.json.decode(line)["epoch"] < epoch]
        atomic_write(path, b"".join(line + b"\n" for line in earlier))


def load_config(run: Path) -> DistillConfig:
    """The configuration of a run.

    Raises:
        UsageError: The folder is not a run directory.
    """
    if not (run / "resolved.yaml").is_file():
        raise UsageError(
            f"{run} is not a run directory",
            expected="a folder with resolved.yaml and checkpoints/",
            hint="choose the folder of a training",
            code="not-a-run",
        )
    return make_config(read_config_file(run / "resolved.yaml"))


def load_start(path: Path, student: Student) -> list[str]:
    """Load the weights that a student starts from.

    Args:
        path: State dict written by `edge-difom bundle weights`, a checkpoint of a run, or a run,
            whose best weights are used.
        student: Changed in place.

    Returns:
        Names of the parameters that the file does not hold.

    Raises:
        TrainingError: The file is missing, damaged, or holds weights of another student.
    """
    state = _weights_of(path)
    own = student.state_dict()
    state = {
        key: value
        for key, value in state.items()
        if key in own or not key.startswith(tuple(student.lacks))
    }
    wrong = [key for key, value in state.items() if key not in own or own[key].shape != value.shape]
    if wrong or not state:
        raise TrainingError(
            f"{path} does not hold weights of this student",
            expected="the state dict of the same student",
            got=f"{wrong[0]} does not fit" if wrong else "no weights",
        )
    student.load_state_dict(state, strict=False)
    return [name for name, _ in student.named_parameters() if name not in state]


def load_original(path: Path, encoder: nn.Module) -> None:
    """Load the encoder's part of the weights of a student.

    Args:
        path: As for `load_start`.
        encoder: Changed in place.

    Raises:
        TrainingError: The file is missing, damaged, or does not hold this encoder.
    """
    begin = "encoder."
    state = {
        key.removeprefix(begin): value
        for key, value in _weights_of(path).items()
        if key.startswith(begin)
    }
    own = encoder.state_dict()
    # Weights that were recovered from a bundle have no counters of BatchNorm.
    needed = {key for key in own if not key.endswith("num_batches_tracked")}
    wrong = [key for key, value in state.items() if key not in own or own[key].shape != value.shape]
    wrong += sorted(needed - state.keys())
    if wrong:
        raise TrainingError(
            f"{path} does not hold the original encoder",
            expected="weights of the student without other early stages",
            got=f"{wrong[0]} is missing or does not fit",
        )
    encoder.load_state_dict(state, strict=False)


def _weights_of(path: Path) -> dict[str, Tensor]:
    """State dict in a file of weights, in a checkpoint, or of a run's best weights."""
    state = load_checkpoint(path / "checkpoints" / "best.pt" if path.is_dir() else path)
    if path.is_dir() or "student" in state:
        state = state.get("student", {})
    return state


def load_run(run: Path) -> LoadedRun:
    """A run's student with its best weights.

    Raises:
        UsageError: The folder is not a run directory.
        TrainingError: The checkpoint is missing, damaged, or holds values that are not finite.
    """
    config = load_config(run)
    path = run / "checkpoints" / "best.pt"
    state = load_checkpoint(path)
    student = build_student(config.student.network, pretrained=False)
    try:
        student.load_state_dict(state["student"])
    except (KeyError, RuntimeError) as error:
        raise TrainingError(
            f"{path} does not hold the weights of {config.student.network}",
            got=str(error).splitlines()[0],
        ) from None
    if not all(torch.isfinite(value).all() for value in student.state_dict().values()):
        raise TrainingError(
            f"{path} holds weights that are not finite", hint="train again with a smaller lr"
        )
    return LoadedRun(run, config, student.eval(), dict(state["metrics"]))
