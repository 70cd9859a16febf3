"""Checkpoints of teachers: their own, a whole model's, damaged or of a different model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
import transformers

from distill.teachers.build import build_teacher
from edge.errors import DataError
from tests.support.tiny_teachers import (
    dinov2,
    dinov2_with_registers,
    dinov3_convnext,
    dinov3_vit,
    mask2former,
    oneformer,
    sam2_vision,
    sam_vision,
)

if TYPE_CHECKING:
    from pathlib import Path

HF = {
    "dinov2": dinov2,
    "dinov2 with registers": dinov2_with_registers,
    "dinov3 vit": dinov3_vit,
    "dinov3 convnext": dinov3_convnext,
    "sam": sam_vision,
    "sam2": sam2_vision,
    "oneformer": oneformer,
    "mask2former": mask2former,
}


@pytest.mark.parametrize("which", HF)
def test_a_checkpoint_folder_gives_the_weights_it_holds(tmp_path: Path, which: str) -> None:
    network = HF[which]()
    network.save_pretrained(tmp_path)
    teacher = build_teacher(f"{which.split()[0]}:{tmp_path}")
    given_weights = network.state_dict()
    loaded = {key.removeprefix("network."): value for key, value in teacher.state_dict().items()}
    prefix = "pixel_level_module." if which in ("oneformer", "mask2former") else ""
    assert loaded
    assert all(torch.equal(given_weights[prefix + key], value) for key, value in loaded.items())


def test_oneformers_task_does_not_change_the_maps_that_are_taken() -> None:
    network = oneformer().eval()
    pixels = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = network.pixel_level_module(pixels).decoder_features[-1]
        for _ in range(2):
            task = torch.randint(0, 100, (1, 7)).float()
            output = network(pixels, task_inputs=task, output_hidden_states=True)
            assert torch.equal(output.pixel_decoder_hidden_states[-1], features)


@pytest.mark.parametrize("cls", [transformers.Sam2Config, transformers.Sam2VideoConfig])
def test_the_checkpoint_of_a_whole_sam2_will_do(tmp_path: Path, cls: Any) -> None:
    config = cls(
        vision_config=sam2_vision().config,
        prompt_encoder_config={"hidden_size": 16, "image_size": 256, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 8,
        },
    )
    model = (
        transformers.Sam2Model if cls is transformers.Sam2Config else transformers.Sam2VideoModel
    )
    network = model(config)
    network.save_pretrained(tmp_path)
    loaded = build_teacher(f"sam2:{tmp_path}").state_dict()
    encoder = {
        key: value
        for key, value in network.state_dict().items()
        if key.startswith("vision_encoder.")
    }
    assert len(encoder) == len(loaded)
    assert all(
        torch.equal(loaded[key.replace("vision_encoder.", "network.", 1)], value)
        for key, value in encoder.items()
    )


def test_the_checkpoint_of_a_whole_sam_will_do(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    vision = sam_vision()
    size = {"image_size": 192, "patch_size": 16}
    network = transformers.SamModel(
        transformers.SamConfig(
            vision_config=vision.config.to_dict(),
            prompt_encoder_config={"hidden_size": 16, "mask_input_channels": 4, **size},
            mask_decoder_config={
                "hidden_size": 16,
                "mlp_dim": 16,
                "num_hidden_layers": 1,
                "num_attention_heads": 2,
                "iou_head_hidden_dim": 8,
            },
        )
    )
    network.save_pretrained(tmp_path)
    capfd.readouterr()
    loaded = build_teacher(f"sam:{tmp_path}").state_dict()
    shown, warned = capfd.readouterr()
    # Where an earlier test of this process has switched the program's log on, its one line.
    assert [line for line in shown.splitlines() if not line.startswith("teacher sam: ")] == []
    assert (shown.count("\n") <= 1, warned) == (True, ""), "no table of keys, no bar"
    encoder = {
        key: value
        for key, value in network.state_dict().items()
        if key.startswith("vision_encoder.")
    }
    assert len(encoder) == len(loaded)
    assert all(torch.equal(loaded[f"network.{key}"], value) for key, value in encoder.items())


def test_a_folder_that_is_no_such_checkpoint_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        build_teacher(f"dinov2:{tmp_path}")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        build_teacher(f"sam:{tmp_path}/nowhere")
    dinov2().save_pretrained(tmp_path)
    with pytest.raises(DataError, match="holds another model"):
        build_teacher(f"sam:{tmp_path}")


def test_an_incomplete_checkpoint_is_no_random_teacher(tmp_path: Path) -> None:
    network = dinov2()
    state = {key: value for key, value in network.state_dict().items() if "layer.1.norm" not in key}
    network.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(DataError, match="incomplete"):
        build_teacher(f"dinov2:{tmp_path}")


class Evil:
    """Unpickled, it makes a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_pickled_folder_runs_nothing(tmp_path: Path) -> None:
    """Weights that are a pickle of anything are an error of the data, and are not unpickled."""
    folder, sign = tmp_path / "teacher", tmp_path / "ran"
    dinov2().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"weights": Evil(str(sign))}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        build_teacher(f"dinov2:{folder}")
    assert not sign.exists()
