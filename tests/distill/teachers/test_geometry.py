"""Teachers: frozen, one geometry, built offline from small random configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from distill.data.augment import random_affine, sample_rng, theta_batch, warp, warp_maps
from distill.students.build import build_student
from distill.teachers import huggingface
from distill.teachers.efficientnet_lite import EfficientNetLite2
from distill.teachers.huggingface import PatchTokens, PixelDecoder
from distill.teachers.segment_anything import SamPth
from distill.teachers.student import StudentMapsTeacher
from distill.teachers.timm_models import TimmFeatures
from tests.support.tiny_teachers import (
    dinov2,
    dinov2_with_registers,
    dinov3_convnext,
    dinov3_vit,
    mask2former,
    oneformer,
    sam2_vision,
    sam_pth,
    sam_vision,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from distill.teachers.build import Teacher


def tiny_timm(name: str, size: int | None = None, **options: Any) -> Teacher:
    return TimmFeatures(timm.create_model(name, **options), name, size)


BUILDERS: dict[str, Callable[[], Teacher]] = {
    "dinov2": lambda: PatchTokens(dinov2(), "dinov2", size=168),
    "dinov2 with registers": lambda: PatchTokens(dinov2_with_registers(), "dinov2", size=112),
    "dinov3 vit": lambda: PatchTokens(dinov3_vit(), "dinov3", size=192),
    "dinov3 convnext": lambda: PatchTokens(dinov3_convnext(), "dinov3", size=256),
    "sam": lambda: huggingface.sam(sam_vision()),
    "sam smaller": lambda: huggingface.sam(sam_vision(), size=256),
    "sam pth": lambda: SamPth(sam_pth()),
    "sam pth larger": lambda: SamPth(sam_pth(), 288),
    "sam2": lambda: huggingface.sam2(sam2_vision()),
    "sam2 larger": lambda: huggingface.sam2(sam2_vision(), size=320),
    "oneformer": lambda: PixelDecoder(oneformer(), "oneformer", 32, size=128),
    "mask2former": lambda: PixelDecoder(mask2former(), "mask2former", 32, size=128),
    "efficientnet_lite2": lambda: EfficientNetLite2(size=128),
    "timm resnet": lambda: tiny_timm("resnet10t", 128, zero_init_last=False),
    "timm convnext": lambda: tiny_timm("convnext_atto", 160),
    "timm vit": lambda: tiny_timm("vit_tiny_patch16_224", 160, depth=2, dynamic_img_size=True),
    "timm swin": lambda: tiny_timm(
        "swin_tiny_patch4_window7_224", embed_dim=16, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)
    ),
    "run": lambda: StudentMapsTeacher(build_student("edge-s").eval(), 256),
}


@pytest.fixture(scope="module", params=BUILDERS)
def teachers(request: pytest.FixtureRequest) -> list[Teacher]:
    """A teacher with several random weights: where its cells look is what they have in common."""
    instances = []
    for seed in range(4):
        torch.manual_seed(seed)
        instances.append(BUILDERS[request.param]())
    return instances


@pytest.fixture
def teacher(teachers: list[Teacher]) -> Teacher:
    return teachers[0]


GRID = (6, 8)


def marked(size: tuple[int, int], cells: list[tuple[int, int]], texture: int) -> Tensor:
    """Textured pictures: an original, and one per cell with a bright marker in its middle half."""
    generator = torch.Generator().manual_seed(texture)
    coarse = torch.rand(1, 3, size[0] // 8, size[1] // 8, generator=generator)
    smooth = nn.functional.interpolate(coarse, size=size, mode="bicubic").clamp(0, 1)
    images = (60 + 100 * smooth).to(torch.uint8).repeat(1 + len(cells), 1, 1, 1)
    for number, (i, j) in enumerate(cells, 1):
        top, bottom = (size[0] * (4 * i + edge) // (4 * GRID[0]) for edge in (1, 3))
        left, right = (size[1] * (4 * j + edge) // (4 * GRID[1]) for edge in (1, 3))
        images[number, :, top:bottom, left:right] = 255
    return images


def energies(maps: Tensor) -> Tensor:
    """(B, h, w) where each map differs from the first, as shares of its whole change."""
    change = (maps[1:] - maps[:1]).square().sum(1)
    return change / change.sum(dim=(1, 2), keepdim=True)


def centers(change: Tensor) -> Tensor:
    """Return (B, 2) the place of (B, h, w) energies in cells, down and right.

    It is the middle of the 3x3 cells with most energy.
    """
    h, w = change.shape[-2:]
    near = (
        nn.functional.avg_pool2d(change[:, None], 3, stride=1, padding=1)[:, 0].flatten(1).argmax(1)
    )
    places = []
    for energy, place in zip(change, near, strict=True):
        i, j = int(place) // w, int(place) % w
        rows, columns = slice(max(i - 1, 0), i + 2), slice(max(j - 1, 0), j + 2)
        window = energy[rows, columns] / energy[rows, columns].sum()
        down = window.sum(1) @ (torch.arange(h)[rows] + 0.5)
        places.append(torch.stack([down, window.sum(0) @ (torch.arange(w)[columns] + 0.5)]))
    return torch.stack(places)


@pytest.mark.parametrize("size", [(96, 128), (64, 200), (150, 70)])
def test_a_marker_lands_in_the_same_cell_for_every_teacher(
    teachers: list[Teacher], size: tuple[int, int]
) -> None:
    """The strongest change lies in the marker's cell, and inside the map so does its center."""
    cells = [(1, 1), (2, 5), (4, 3), (3, 6), (0, 0), (5, 7), (0, 4), (5, 0)]
    maps = [
        teacher.features(marked(size, cells, texture), GRID)
        for texture in range(2)
        for teacher in teachers
    ]
    change = torch.stack([energies(each) for each in maps]).mean(0)
    assert [divmod(int(flat), GRID[1]) for flat in change.flatten(1).argmax(1)] == cells
    assert (centers(change[:4]) - torch.tensor(cells[:4]) - 0.5).abs().max() < 0.5


def test_a_marker_moves_with_the_augmentation_for_every_teacher(teachers: list[Teacher]) -> None:
    """The map of an augmented view has the marker where the replayed map has it."""
    for index in range(4):
        theta = random_affine(sample_rng(5, 0, index), (0.75, 1.25))
        shifted, replayed = [], []
        for number, teacher in enumerate(teachers):
            images = marked((96, 128), [(2, 4)], number)
            views = np.stack([warp(image.permute(1, 2, 0).numpy(), theta) for image in images])
            shifted.append(
                energies(teacher.features(torch.from_numpy(views).permute(0, 3, 1, 2), GRID))
            )
            plain = teacher.features(images, GRID)
            replayed.append(energies(warp_maps(plain, theta_batch([theta] * 2))))
        places = [centers(torch.stack(each).mean(0))[0] for each in (shifted, replayed)]
        assert (places[0] - places[1]).abs().max() < 0.6


def test_efficientnet_is_centered_on_its_cells() -> None:
    """Around a marker in the middle of a cell, the change is even within .2 of a cell."""
    teacher, grid = EfficientNetLite2(size=160), (10, 10)
    cells = [(4, 4), (5, 4), (4, 5), (5, 6)]
    images = torch.full((1 + len(cells), 3, 160, 160), 120, dtype=torch.uint8)
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
    together = teacher.features(images, (4, 4))
    alone = torch.cat([teacher.features(image[None], (4, 4)) for image in images])
    assert torch.allclose(together, alone, atol=1e-4 * float(together.abs().max()))


def test_teachers_stay_frozen_whatever_their_parent_does(teacher: Teacher) -> None:
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    parent = nn.ModuleList([teacher]).train()
    assert not any(module.training for module in teacher.modules())
    before = {key: value.clone() for key, value in teacher.state_dict().items()}
    teacher.features(torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), (2, 2))
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())
    assert parent.training
