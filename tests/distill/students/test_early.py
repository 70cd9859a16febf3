"""Other early stages and the decoder that ends at stride 8: names, shapes, gradients, weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args, get_type_hints

import pytest
import torch
from torch import nn

from distill.config import make_config
from distill.options import StudentOptions
from distill.run_folder import load_original, load_start
from distill.students.build import build_student
from distill.students.early import Early
from distill.students.encoders import ENCODERS, with_early
from edge.errors import TrainingError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

NAMES = [name for name in get_args(Early) if name != "lite"]


def test_the_options_name_every_early_stage() -> None:
    assert get_args(get_type_hints(StudentOptions)["early"]) == get_args(Early)
    config = make_config({"data": ["DIR"], "early": "fused", "decoder": "fpn8"})
    assert config.student.network == "edge-s+fused+fpn8"
    assert make_config({"data": ["DIR"]}).student.network == "edge-s"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "stages"), [("lite0", 8), ("lite0-cut", 7), ("lite2", 8)])
def test_new_early_stages_give_the_maps_of_the_original(
    kind: str, stages: int, name: Early
) -> None:
    plain = ENCODERS[kind](False)
    encoder = with_early(ENCODERS[kind](False), name)
    assert encoder.shapes[0].name == "stem"
    assert encoder.shapes[1:] == plain.shapes[1:]
    with torch.inference_mode():
        maps = encoder.module.eval()(torch.randn(1, 3, 64, 96))
    assert [tuple(one.shape) for one in maps] == [
        (1, shape.channels, 64 // shape.stride, 96 // shape.stride) for shape in encoder.shapes
    ]
    assert len(encoder.stages(encoder.module)) == len(plain.stages(plain.module)) == stages
    assert [(one.first, one.end) for one in encoder.replaced] == [(0, 3), (3, 4)][
        : 2 if name == "fused-x8" else 1
    ]


@pytest.mark.parametrize("name", NAMES)
def test_new_early_stages_are_dense(name: Early) -> None:
    encoder = with_early(ENCODERS["lite0"](False), name)
    stages = encoder.stages(encoder.module)[: encoder.replaced[-1].end]
    layers = [one for stage in stages for one in stage.modules() if isinstance(one, nn.Conv2d)]
    assert all(layer.groups == 1 for layer in layers)


@pytest.mark.parametrize("parts", [*NAMES, "fpn8", "fused+fpn8+dynamic-head"])
@pytest.mark.parametrize("base", ["edge-s", "edge-xs"])
def test_every_variant_learns_in_all_its_parts(base: str, parts: str) -> None:
    student = build_student(f"{base}+{parts}", pretrained=False).train()
    maps = student.maps(torch.randn(2, 3, 64, 64))
    assert student.stride == (8 if "fpn8" in parts else 4)
    assert maps.logits.shape == (2, 1, 64 // student.stride, 64 // student.stride)
    sum(one.square().sum() for one in (maps.logits, *maps.auxiliary)).backward()  # type: ignore[union-attr]
    still = [
        name
        for name, value in student.named_parameters()
        if value.requires_grad and value.grad is None
    ]
    assert not still


def test_a_detection_head_needs_a_map_at_stride_4() -> None:
    with pytest.raises(UsageError, match="fpn8"):
        build_student("edge-s+fpn8+detection", pretrained=False)
    with pytest.raises(UsageError, match="does not fit student ssformer-b0"):
        build_student("ssformer-b0+fused", pretrained=False)


@pytest.mark.parametrize("base", ["edge-s", "edge-xs"])
def test_weights_of_the_plain_student_start_all_that_stays(base: str, tmp_path: Path) -> None:
    plain = build_student(base, pretrained=False)
    path = tmp_path / "weights.pt"
    torch.save(plain.state_dict(), path)
    student = build_student(f"{base}+fused-x8+fpn8", pretrained=False)
    new = load_start(path, student)
    assert new
    assert all(name.startswith(student.lacks) for name in new)
    originals = plain.state_dict()
    for name, value in student.state_dict().items():
        if not name.startswith(student.lacks):
            assert torch.equal(value, originals[name]), name
    torch.save(student.state_dict(), path)
    twin = build_student(f"{base}+fused-x8+fpn8", pretrained=False)
    assert load_start(path, twin) == []
    with pytest.raises(TrainingError, match="does not hold weights of this student"):
        load_start(path, plain)


def test_the_original_encoder_is_that_of_the_plain_student(tmp_path: Path) -> None:
    plain = build_student("edge-xs", pretrained=False)
    student = build_student("edge-xs+patch", pretrained=False)
    path = tmp_path / "weights.pt"
    recovered = {
        name: value
        for name, value in plain.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(recovered, path)
    original = student.original_encoder(pretrained=False)
    load_original(path, original.module)
    for name, value in original.module.state_dict().items():
        assert torch.equal(value, plain.state_dict()[f"encoder.{name}"]), name
    torch.save(student.state_dict(), path)
    with pytest.raises(TrainingError, match="original encoder"):
        load_original(path, original.module)
