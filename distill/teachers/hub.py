"""Checkpoints of transformers: a local folder, the hub's local cache, or the Hugging Face hub."""

from __future__ import annotations

import logging
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

import huggingface_hub
import torch
import transformers

from distill.teachers.base import IMAGENET
from distill.teachers.unreadable import UNREADABLE
from distill.weight_files import text_instead_of_weights
from edge.errors import DataError, MissingDependencyError
from edge.util.spec import expand

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger(__name__)


class Processor(NamedTuple):
    """What a checkpoint says of its pictures.

    Attributes:
        mean: Of red, green and blue in 0 to 1; ImageNet's if the checkpoint says nothing.
        deviation: Of the same.
        short_side: Pixels of the shorter side; None if the checkpoint says nothing.
    """

    mean: tuple[float, ...] = IMAGENET[0]
    deviation: tuple[float, ...] = IMAGENET[1]
    short_side: int | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the progress bars and tables of the libraries of models off the terminal."""
    hf_logging = transformers.utils.logging
    verbosity, bars = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hidden = huggingface_hub.utils.are_progress_bars_disabled()  # type: ignore[attr-defined] # documented
    hf_logging.set_verbosity_error()
    hf_logging.disable_progress_bar()
    huggingface_hub.utils.disable_progress_bars()  # type: ignore[attr-defined] # documented
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if bars:
            hf_logging.enable_progress_bar()
        if not hidden:
            huggingface_hub.utils.enable_progress_bars()  # type: ignore[attr-defined] # documented


def load_processor(source: str) -> Processor:
    """Read the normalization and size in `preprocessor_config.json` of a loaded checkpoint.

    Args:
        source: Folder, or name on the hub whose files `load_network` has fetched.
    """
    local = expand(source)
    settings: dict[str, Any] = {}
    for offline in (True,) if local.is_dir() else (True, False):
        with suppress(*UNREADABLE), quiet():
            settings, _ = transformers.ImageProcessingMixin.get_image_processor_dict(
                str(local) if local.is_dir() else source, local_files_only=offline
            )
            break
    mean, deviation = settings.get("image_mean"), settings.get("image_std")
    size = settings.get("size")
    if isinstance(size, dict):
        size = size.get("shortest_edge") or size.get("height")
    side = size if isinstance(size, int) and size > 0 else None
    if _is_color(mean) and _is_color(deviation):
        return Processor(tuple(mean), tuple(deviation), side)
    return Processor(*IMAGENET, side)


def _is_color(value: Any) -> TypeGuard[list[float]]:
    return isinstance(value, list) and len(value) == 3 and all(isinstance(v, float) for v in value)


def load_network(
    cls: Any,
    name: str,
    source: str,
    kinds: tuple[str, ...],
    *,
    role: str = "teacher",
    **options: Any,
) -> Any:
    """Load the network of a checkpoint folder or of the hub; a local copy needs no network.

    Args:
        cls: Class of transformers with `from_pretrained`.
        name: Its name on the command line, for errors.
        source: Folder, or name on the hub.
        kinds: The `model_type`s that will do.
        role: What the network is used as, for errors.
        **options: For `from_pretrained`.

    Raises:
        DataError: The folder is missing, damaged, holds something else or lacks weights.
        MissingDependencyError: The hub cannot be reached and there is no local copy.
    """
    local = expand(source)
    if local.is_dir():
        return _loaded(cls, name, str(local), kinds, role, local_files_only=True, **options)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(
            f"{role} {name}: {source} is not a folder",
            expected="a checkpoint folder with config.json and model.safetensors",
        )
    try:
        # A copy on this machine is used without asking the hub, so that a hospital without a
        # network can train.
        return _loaded(cls, name, source, kinds, role, local_files_only=True, **options)
    except _AbsentError:
        pass
    logger.info("%s %s: asks the Hugging Face hub for %s", role, name, source)
    try:
        return _loaded(cls, name, source, kinds, role, local_files_only=False, **options)
    except _AbsentError as error:
        raise MissingDependencyError(
            f"{role} {name}: {source} could not be had from the Hugging Face hub",
            expected="a network, a copy in the hub's local cache, or a local checkpoint folder",
            got=str(error).splitlines()[0],
            hint=f"use {name}:DIR, a folder that holds config.json and model.safetensors",
        ) from error


class _AbsentError(Exception):
    """Neither on this machine nor, if asked, on the hub."""


def _loaded(
    cls: Any,
    name: str,
    source: str,
    kinds: tuple[str, ...],
    role: str,
    *,
    local_files_only: bool,
    **options: Any,
) -> Any:
    folder = Path(source).is_dir()
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(
            source, local_files_only=local_files_only
        )
        kind = raw.get("model_type")
        if kind is None:
            raise OSError("no config.json that names a model_type")
        if kind not in kinds:
            raise DataError(
                f"{role} {name}: {source} holds another model",
                expected=" or ".join(kinds),
                got=repr(kind),
            )
        # Pixels are float32, and so is the teacher, whatever precision its file has.
        with quiet():
            network, report = cls.from_pretrained(
                source,
                local_files_only=local_files_only,
                output_loading_info=True,
                dtype=torch.float32,
                **options,
            )
    except UNREADABLE as error:
        if not folder and isinstance(error, OSError | ValueError):
            raise _AbsentError(str(error) or type(error).__name__) from error
        raise DataError(
            f"{role} {name}: {source} is not a readable checkpoint",
            expected="config.json and model.safetensors",
            got=_explain(Path(source), error),
            hint="git lfs pull, or download the checkpoint again",
        ) from error
    if report["missing_keys"]:
        raise DataError(
            f"{role} {name}: the checkpoint {source} is incomplete",
            expected="weights for the whole network",
            got=f"{len(report['missing_keys'])} missing, such as {min(report['missing_keys'])}",
        )
    damaged = [key for key, value in network.state_dict().items() if not _is_finite(value)]
    if damaged:
        raise DataError(
            f"{role} {name}: the checkpoint {source} is damaged",
            expected="finite weights",
            got=f"NaN or infinity in {len(damaged)} tensors, such as {damaged[0]}",
            hint="download the checkpoint again",
        )
    return network


def _is_finite(value: torch.Tensor) -> bool:
    return not value.is_floating_point() or bool(value.isfinite().all())


def _explain(folder: Path, error: Exception) -> str:
    """Say what is wrong with a checkpoint: a file of text, an empty file, or the error."""
    if folder.is_dir():
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")]):
            text = text_instead_of_weights(path)
            if text or path.stat().st_size == 0:
                return text or f"{path.name} is empty"
    return (str(error).strip() or type(error).__name__).splitlines()[0]
