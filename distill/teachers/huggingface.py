"""DINOv2 and SAM through transformers, from a local checkpoint folder or the Hugging Face hub."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from torch import Tensor

from distill.teachers.base import Teacher, resample
from edge.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

DINOV2_HUB = "facebook/dinov2-base"
SAM_HUB = "facebook/sam-vit-base"
_IMAGENET = "ImageNet mean and deviation"


class DinoV2(Teacher):
    """Patch tokens of DINOv2 (Oquab et al., 2023), one patch per grid cell.

    The frame is stretched to the grid times the patch size, which interpolates the position embeddings; the class
    token and the registers are dropped.

    Args:
        network: `Dinov2Model` or `Dinov2WithRegistersModel`.
    """

    def __init__(self, network: nn.Module) -> None:
        config: Any = network.config
        super().__init__(
            "dinov2", int(config.hidden_size), f"{_IMAGENET}, one patch a cell, last hidden state"
        )
        self.network = network
        self.patch = int(config.patch_size)
        self.extra_tokens = 1 + int(getattr(config, "num_register_tokens", 0))
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, hidden_size, gh, gw) of (B, 3, H, W) uint8 RGB."""
        pixels = _normalised(images, (self.patch * grid[0], self.patch * grid[1]))
        tokens: Tensor = self.network(pixel_values=pixels).last_hidden_state[:, self.extra_tokens :]
        return tokens.transpose(1, 2).reshape(len(images), self.channels, *grid)


class Sam(Teacher):
    """Image embedding of SAM's encoder (Kirillov et al., 2023), the output of its neck.

    SAM's own preprocessing pads a frame to a square; here the frame is stretched to it, as for every teacher.

    Args:
        network: `SamVisionModel`.
    """

    def __init__(self, network: nn.Module) -> None:
        config: Any = network.config
        super().__init__(
            "sam", int(config.output_channels), f"{_IMAGENET}, stretched to a square, neck output"
        )
        self.network = network
        self.side = int(config.image_size)
        self.freeze()

    def native_features(self, images: Tensor, grid: tuple[int, int]) -> Tensor:  # noqa: ARG002 - its own grid
        """(B, output_channels, side / patch, side / patch) of (B, 3, H, W) uint8 RGB."""
        pixels = _normalised(images, (self.side, self.side))
        embedding: Tensor = self.network(pixel_values=pixels).last_hidden_state
        return embedding


def load_dinov2(source: str = DINOV2_HUB) -> Teacher:
    """DINOv2, with or without registers.

    Args:
        source: Checkpoint folder, or name on the hub.

    Raises:
        DataError: The folder is missing or holds something else.
        MissingDependencyError: The hub cannot be reached and holds no local copy.
    """
    return DinoV2(_load(transformers.AutoModel, "dinov2", source, ("dinov2", "dinov2_with_registers")))


def load_sam(source: str = SAM_HUB) -> Teacher:
    """SAM's image encoder, from a checkpoint of the whole SAM or of the encoder.

    Args:
        source: Checkpoint folder, or name on the hub.

    Raises:
        DataError: The folder is missing or holds something else.
        MissingDependencyError: The hub cannot be reached and holds no local copy.
    """
    return Sam(_load(transformers.SamVisionModel, "sam", source, ("sam", "sam_vision_model")))


def _load(cls: Any, name: str, source: str, kinds: tuple[str, ...]) -> nn.Module:
    local = Path(source).expanduser()
    if local.is_dir():
        return _loaded(cls, name, str(local), kinds, local_files_only=True)
    if source.startswith((".", "/", "~")) or source.count("/") > 1:
        raise DataError(
            f"teacher {name}: {source} is not a folder",
            expected="a checkpoint folder with config.json and model.safetensors",
        )
    try:
        # A copy on this machine is used without asking the hub, so that a hospital without a network can train.
        return _loaded(cls, name, source, kinds, local_files_only=True)
    except _AbsentError:
        pass
    try:
        return _loaded(cls, name, source, kinds, local_files_only=False)
    except _AbsentError as error:
        raise MissingDependencyError(
            f"teacher {name}: {source} could not be had from the Hugging Face hub",
            expected="a network, a copy in the hub's local cache, or a local checkpoint folder",
            got=str(error).splitlines()[0],
            mend=f"--teacher {name}:DIR with a folder that holds config.json and model.safetensors",
        ) from error


class _AbsentError(Exception):
    """Neither on this machine nor, if asked, on the hub."""


def _loaded(cls: Any, name: str, source: str, kinds: tuple[str, ...], *, local_files_only: bool) -> nn.Module:
    folder = Path(source).is_dir()
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(source, local_files_only=local_files_only)
        kind = raw.get("model_type")
        if kind is None:
            raise OSError("no config.json that names a model_type")
        if kind not in kinds:
            raise DataError(
                f"teacher {name}: {source} holds another model", expected=" or ".join(kinds), got=repr(kind)
            )
        network, report = cls.from_pretrained(
            source, local_files_only=local_files_only, output_loading_info=True
        )
    except (OSError, ValueError) as error:
        if not folder:
            raise _AbsentError(str(error) or type(error).__name__) from error
        raise DataError(
            f"teacher {name}: {source} is not a readable checkpoint",
            expected="config.json and model.safetensors",
            got=str(error).splitlines()[0],
        ) from error
    if report["missing_keys"]:
        raise DataError(
            f"teacher {name}: the checkpoint {source} is incomplete",
            expected="weights for the whole network",
            got=f"{len(report['missing_keys'])} missing, such as {min(report['missing_keys'])}",
        )
    result: nn.Module = network
    return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the list of weights that are not needed, such as SAM's mask decoder; missing ones are an error."""
    before = transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(before)


def _normalised(images: Tensor, size: tuple[int, int]) -> Tensor:
    mean = torch.tensor((0.485, 0.456, 0.406), device=images.device).view(1, 3, 1, 1)
    deviation = torch.tensor((0.229, 0.224, 0.225), device=images.device).view(1, 3, 1, 1)
    return (resample(images.float() / 255, size) - mean) / deviation
