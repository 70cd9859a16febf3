"""Chosen layers of teachers: names, shapes, places, and the usual map as one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch

from distill.students.build import build_student
from distill.teachers import huggingface
from distill.teachers.base import MAX_CELLS
from distill.teachers.build import build_teacher
from distill.teachers.efficientnet_lite import EfficientNetLite2
from distill.teachers.huggingface import PatchTokens, PixelDecoder
from distill.teachers.layers import LayeredTeacher, choose_layers
from distill.teachers.segment_anything import SamPth
from distill.teachers.student import StudentMapsTeacher
from distill.teachers.task import StudentLogits, TaskTeacher
from distill.teachers.timm_models import TimmFeatures
from edge.errors import UsageError
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

TEACHERS: dict[str, tuple[Callable[[], Teacher], str, str | None]] = {
    # builder, all layers, the one that is the usual map
    "dinov2": (lambda: PatchTokens(dinov2(), "dinov2", size=56), "1,2", "2"),
    "registers": (lambda: PatchTokens(dinov2_with_registers(), "dinov2", size=56), "1,2", "2"),
    "dinov3 vit": (lambda: PatchTokens(dinov3_vit(), "dinov3", size=64), "1,2", "2"),
    "convnext": (lambda: PatchTokens(dinov3_convnext(), "dinov3", size=128), "1,2,3,4", None),
    "sam": (lambda: huggingface.sam(sam_vision(), size=128), "1,2,neck", "neck"),
    "sam pth": (lambda: SamPth(sam_pth(), 128), "1,2,3,neck", "neck"),
    "sam2": (lambda: huggingface.sam2(sam2_vision()), "1,2,3", "3"),
    "oneformer": (lambda: PixelDecoder(oneformer(), "oneformer", 32, size=64), "8,16,32", "8"),
    "mask2former": (lambda: PixelDecoder(mask2former(), "mask2former", 32, size=64), "8,16", "8"),
    "lite2": (lambda: EfficientNetLite2(pretrained=False, size=160), "1,2,3,4", None),
    "timm": (lambda: TimmFeatures(timm.create_model("resnet10t"), "resnet10t", 160), "3,4", None),
    "run": (lambda: StudentMapsTeacher(build_student("edge-xs").eval(), 64), "low,high", None),
}


@pytest.mark.parametrize("name", TEACHERS)
def test_layers_are_concatenated_on_the_finest_grid_of_them(name: str) -> None:
    torch.manual_seed(0)
    build, layers, usual = TEACHERS[name]
    teacher = build()
    assert isinstance(teacher, LayeredTeacher)
    names = layers.split(",")
    assert set(names) <= set(teacher.layer_names())
    chosen = choose_layers(teacher, names)
    images = torch.randint(0, 256, (2, 3, 40, 60), dtype=torch.uint8)
    pixels = torch.rand(1, 3, teacher.size, teacher.size) * 255
    with torch.no_grad():
        maps = teacher.layer_maps(pixels, names)
    assert chosen.channels == sum(maps_found.shape[1] for maps_found in maps)
    finest = max(maps_found.shape[-1] for maps_found in maps)
    assert chosen.grid == (min(finest, MAX_CELLS),) * 2
    maps_found = chosen.features(images)
    assert maps_found.shape == (2, chosen.channels, *chosen.grid)
    assert maps_found.isfinite().all()
    assert maps_found.std() > 0
    assert not any(parameter.requires_grad for parameter in chosen.parameters())
    assert chosen.identity != teacher.identity
    if usual is not None:
        alone = choose_layers(teacher, [usual])
        torch.testing.assert_close(alone.features(images), teacher.features(images))


def test_every_layer_of_a_strided_network_looks_at_its_own_place() -> None:
    teacher = choose_layers(EfficientNetLite2(size=160), ["3", "4"])
    images = torch.full((2, 3, 160, 160), 120, dtype=torch.uint8)
    images[1, :, 68:76, 84:92] = 255  # the middle of cell (4, 5) of 10
    maps = teacher.features(images, (10, 10))
    change = (maps[1] - maps[0]).square()
    for part in change.split([48, 120]):
        assert divmod(int(part.sum(0).flatten().argmax()), 10) == (4, 5)


@pytest.mark.parametrize("layers", ["5", "3,3", "low"])
def test_a_layer_that_is_not_there_names_those_that_are(layers: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_teacher(f"efficientnet_lite2?size=64&layers={layers}")
    assert "1, 2, 3, 4" in caught.value.expected


def test_layers_are_written_with_commas_or_in_a_list_with_plus() -> None:
    first, second = (
        build_teacher(f"efficientnet_lite2?size=64&layers={text}") for text in ("3,4", "3+4")
    )
    assert first.identity == second.identity
    assert first.channels == 48 + 120
    with pytest.raises(UsageError, match="does not fit"):
        build_teacher("efficientnet_lite2?layers=3,")


def test_a_teacher_of_logits_has_no_choice() -> None:
    teacher = TaskTeacher([StudentLogits(build_student("edge-xs").eval(), 64)])
    with pytest.raises(UsageError, match="no choice of layers"):
        choose_layers(teacher, ["1"])
