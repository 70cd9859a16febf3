"""Teachers: frozen, one geometry, built offline from small random configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
import transformers
from torch import Tensor, nn

from distill.teachers import TEACHERS, Teacher, build_teacher
from distill.teachers.efficientnet_lite import EfficientNetLite2
from distill.teachers.huggingface import DinoV2, Sam
from edge.errors import DataError, MissingDependencyError, UsageError
from edge.lookup import resolve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def dinov2() -> nn.Module:
    config = transformers.Dinov2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14
    )
    network: nn.Module = transformers.Dinov2Model(config)
    return network


def dinov2_with_registers() -> nn.Module:
    config = transformers.Dinov2WithRegistersConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        num_register_tokens=4,
    )
    network: nn.Module = transformers.Dinov2WithRegistersModel(config)
    return network


def sam_vision() -> nn.Module:
    config = transformers.SamVisionConfig(
        hidden_size=32,
        output_channels=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=192,
        patch_size=16,
        mlp_dim=32,
        window_size=4,
        global_attn_indexes=[],
        initializer_range=0.05,
    )
    network: nn.Module = transformers.SamVisionModel(config)
    return network


BUILDERS: dict[str, Callable[[], Teacher]] = {
    "dinov2": lambda: DinoV2(dinov2()),
    "dinov2_with_registers": lambda: DinoV2(dinov2_with_registers()),
    "sam": lambda: Sam(sam_vision()),
    "efficientnet_lite2": EfficientNetLite2,
}


@pytest.fixture(scope="module", params=BUILDERS)
def teacher(request: pytest.FixtureRequest) -> Teacher:
    torch.manual_seed(0)
    return BUILDERS[request.param]()


def blank(size: tuple[int, int], count: int = 1) -> Tensor:
    return torch.full((count, 3, *size), 120, dtype=torch.uint8)


@pytest.mark.parametrize("size", [(96, 96), (64, 160), (150, 70)])
def test_a_marker_lands_in_the_same_cell_for_every_teacher(teacher: Teacher, size: tuple[int, int]) -> None:
    """The strongest change, and the middle of all change around it, lie in the cell of the marker."""
    grid = (4, 6)
    cells = [(0, 0), (1, 2), (2, 3), (3, 5), (3, 0)]
    images = blank(size, len(cells) + 1)
    for number, (i, j) in enumerate(cells, 1):
        top, bottom = size[0] * (4 * i + 1) // (4 * grid[0]), size[0] * (4 * i + 3) // (4 * grid[0])
        left, right = size[1] * (4 * j + 1) // (4 * grid[1]), size[1] * (4 * j + 3) // (4 * grid[1])
        images[number, :, top:bottom, left:right] = 255
    maps = teacher.features(images, grid)
    change = (maps[1:] - maps[:1]).pow(2).sum(1)
    found = [(int(flat) // grid[1], int(flat) % grid[1]) for flat in change.flatten(1).argmax(1)]
    assert found == cells


def test_efficientnet_is_centred_on_its_cells() -> None:
    """Around a marker in the middle of a cell, the change is even: within .2 of a cell on average."""
    teacher, grid = EfficientNetLite2(), (10, 10)
    cells = [(4, 4), (5, 4), (4, 5), (5, 6)]
    images = blank((160, 160), len(cells) + 1)
    for number, (i, j) in enumerate(cells, 1):
        images[number, :, 16 * i + 4 : 16 * i + 12, 16 * j + 4 : 16 * j + 12] = 255
    maps = teacher.features(images, grid)
    change = (maps[1:] - maps[:1]).pow(2).sum(1)
    offsets = []
    for number, (i, j) in enumerate(cells):
        window = change[number, i - 2 : i + 3, j - 2 : j + 3]
        window = window / window.sum()
        steps = torch.arange(-2.0, 3.0)
        offsets.append(((window.sum(1) * steps).sum(), (window.sum(0) * steps).sum()))
    assert torch.tensor(offsets).mean(0).abs().max() < 0.2


@pytest.mark.parametrize("grid", [(3, 5), (8, 4), (16, 16)])
def test_maps_have_the_grid_and_are_plain_float32(teacher: Teacher, grid: tuple[int, int]) -> None:
    images = torch.randint(0, 256, (2, 3, 50, 60), dtype=torch.uint8)
    maps = teacher.features(images, grid)
    assert maps.shape == (2, teacher.channels, *grid)
    assert maps.dtype == torch.float32
    assert not maps.requires_grad
    assert not maps.is_inference()  # a loss may save it for its backward pass
    assert maps.isfinite().all()
    assert maps.std() > 0


def test_a_batch_gives_what_its_images_give_alone(teacher: Teacher) -> None:
    images = torch.randint(0, 256, (3, 3, 48, 48), dtype=torch.uint8)
    whole = teacher.features(images, (4, 4))
    alone = torch.cat([teacher.features(image[None], (4, 4)) for image in images])
    assert torch.allclose(whole, alone, atol=1e-4 * float(whole.abs().max()))


def test_teachers_stay_frozen_whatever_their_parent_does(teacher: Teacher) -> None:
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    parent = nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    teacher.features(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), (2, 2))
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert parent.training


def test_identity_follows_the_weights() -> None:
    torch.manual_seed(1)
    first, second = DinoV2(dinov2()), DinoV2(dinov2())
    same = DinoV2(dinov2())
    same.load_state_dict(first.state_dict())
    assert first.identity == same.identity != second.identity
    assert first.identity.startswith("dinov2 ")


def test_wrong_images_are_refused() -> None:
    teacher = DinoV2(dinov2())
    for images in (torch.zeros(1, 3, 8, 8), torch.zeros(3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match="uint8 RGB"):
            teacher.features(images, (2, 2))


def test_every_row_of_the_table_resolves() -> None:
    assert all(callable(resolve(reference)) for reference in TEACHERS.values())
    assert build_teacher("efficientnet_lite2").channels == 120


@pytest.mark.parametrize("spec", ["dino", "", "sam:", "efficientnet_lite2:folder", ":x"])
def test_an_unknown_teacher_names_the_legal_ones(spec: str) -> None:
    with pytest.raises(UsageError, match="unknown teacher") as caught:
        build_teacher(spec)
    assert all(name in caught.value.expected for name in TEACHERS)


@pytest.mark.parametrize(
    ("name", "make"), [("dinov2", dinov2), ("dinov2", dinov2_with_registers), ("sam", sam_vision)]
)
def test_a_checkpoint_folder_gives_the_weights_it_holds(
    tmp_path: Path, name: str, make: Callable[[], nn.Module]
) -> None:
    network = make()
    network.save_pretrained(tmp_path)  # type: ignore[operator]
    teacher = build_teacher(f"{name}:{tmp_path}")
    loaded = teacher.state_dict()
    assert all(torch.equal(loaded[f"network.{key}"], value) for key, value in network.state_dict().items())


def test_the_checkpoint_of_a_whole_sam_will_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vision = sam_vision()
    size = {"image_size": 192, "patch_size": 16}
    whole = transformers.SamModel(
        transformers.SamConfig(
            vision_config=vision.config.to_dict(),  # type: ignore[operator, union-attr]
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
    whole.save_pretrained(tmp_path)
    capfd.readouterr()
    loaded = build_teacher(f"sam:{tmp_path}").state_dict()
    assert "mask_decoder" not in capfd.readouterr().err
    kept = {key: value for key, value in whole.state_dict().items() if key.startswith("vision_encoder.")}
    assert len(kept) == len(loaded)
    assert all(torch.equal(loaded[f"network.{key}"], value) for key, value in kept.items())


def test_a_folder_that_is_no_such_checkpoint_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a readable checkpoint"):
        build_teacher(f"dinov2:{tmp_path}")
    with pytest.raises(DataError, match="nowhere is not a folder"):
        build_teacher(f"sam:{tmp_path}/nowhere")
    dinov2().save_pretrained(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match="holds another model"):
        build_teacher(f"sam:{tmp_path}")


def test_an_incomplete_checkpoint_is_no_random_teacher(tmp_path: Path) -> None:
    network = dinov2()
    state = {key: value for key, value in network.state_dict().items() if "layer.1.norm" not in key}
    network.save_pretrained(tmp_path, state_dict=state)  # type: ignore[operator]
    with pytest.raises(DataError, match="incomplete"):
        build_teacher(f"dinov2:{tmp_path}")


def test_an_unreachable_hub_points_to_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def offline(_: str, *, local_files_only: bool) -> None:
        asked.append(local_files_only)
        raise OSError("We couldn't connect to the hub\nmore")

    monkeypatch.setattr(transformers.PretrainedConfig, "get_config_dict", offline)
    with pytest.raises(MissingDependencyError, match="could not be had") as caught:
        build_teacher("dinov2:somebody/something")
    assert asked == [True, False]  # the local copy first
    assert "--teacher dinov2:DIR" in caught.value.mend
    assert caught.value.got == "We couldn't connect to the hub"
