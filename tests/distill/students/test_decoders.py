"""Networks of an encoder and a decoder: names, refusals, shapes and what every decoder must do."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from distill.config import make_config
from distill.students.build import build_student
from distill.students.decoders.build import DECODERS, build_decoder
from distill.students.edge import EdgeXS
from distill.students.encoders import ENCODERS
from edge.errors import UsageError


def test_the_shipped_students_keep_the_names_of_their_weights() -> None:
    for network in ("edge-s", "edge-xs", "edge-l"):
        student = build_student(network, pretrained=False)
        parts = list(dict.fromkeys(name.split(".")[0] for name in student.state_dict()))
        assert parts == ["encoder", "top", "fuse16", "fuse8", "fuse4", "head", "presence"]


def test_a_copied_student_decodes_with_its_own_weights() -> None:
    """The decoder of the shipped students is no module of theirs; a copy must not share it."""
    student = EdgeXS(pretrained=False, width=8).eval()
    twin = copy.deepcopy(student)
    x = torch.randn(1, 3, 64, 64)
    before = student(x)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
        assert torch.equal(twin(x), torch.zeros_like(before))
        assert torch.equal(student(x), before)


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_encoders_give_the_maps_that_they_name(name: str) -> None:
    encoder = ENCODERS[name](False)
    encoder.module.eval()
    with torch.inference_mode():
        maps = encoder.module(torch.zeros(1, 3, 64, 96))
    assert [tuple(one_map.shape) for one_map in maps] == [
        (1, shape.channels, 64 // shape.stride, 96 // shape.stride) for shape in encoder.shapes
    ]
    assert [shape.name for shape in encoder.shapes[-4:]] == ["x4", "x8", "x16", "x32"]


@pytest.mark.parametrize("decoder", sorted(DECODERS))
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_every_decoder_gives_its_maps_at_any_legal_size(
    decoder: str, size: tuple[int, int]
) -> None:
    student = EdgeXS(pretrained=False, width=8, decoder=decoder).eval()
    x = torch.randn(1, 3, *size)
    maps = student.maps(x)
    width = student.low_channels
    for one_map, channels, stride in (
        (maps.logits, 1, student.stride),
        (maps.low, width, 16),
        (maps.high, width, 8),
    ):
        assert one_map.shape == (1, channels, size[0] // stride, size[1] // stride)
    torch.testing.assert_close(student(x), maps.logits)
    gradients = torch.autograd.grad(maps.logits.sum(), [maps.low, maps.high])
    assert all(gradient.abs().sum() > 0 for gradient in gradients), "they lie on the inference path"


@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_a_few_steps_lower_the_loss_and_teach_every_weight(decoder: str) -> None:
    torch.manual_seed(0)
    student = EdgeXS(pretrained=False, width=8, decoder=decoder).train()
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 2e-3)
    images = torch.randn(4, 3, 64, 64)
    mask = (images[:, :1, :: student.stride, :: student.stride] > 0).float()

    def loss() -> Tensor:
        maps = student.maps(images)
        total = nn.functional.binary_cross_entropy_with_logits(maps.logits, mask)
        return total if maps.reconstruction is None else total + 0.01 * maps.reconstruction

    losses = []
    for _ in range(12):
        optimizer.zero_grad()
        step = loss()
        step.backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
        losses.append(step.item())
    assert min(losses[-3:]) < losses[0]


@pytest.mark.parametrize(
    ("network", "error", "text"),
    [
        ("edge-s+resnet", "unknown part 'resnet' of student edge-s", "fpn"),
        ("unet+fpn", "fpn does not fit student unet, which has no decoder", "edge-xs"),
        ("pranet+fpn", "fpn does not fit student pranet", "edge-s"),
        ("edge-s+fpn+fpn", "two parts of a kind", "fpn"),
        ("resnet+fpn", "unknown student 'resnet'", "edge-s"),
    ],
)
def test_a_combination_that_makes_no_sense_is_refused(network: str, error: str, text: str) -> None:
    with pytest.raises(UsageError, match=error) as refused:
        build_student(network, pretrained=False)
    assert text in str(refused.value)


def test_decoders_refuse_what_they_cannot_read() -> None:
    with pytest.raises(UsageError, match="unknown decoder 'none'"):
        build_decoder("none", {}, 8)
    with pytest.raises(UsageError, match="without x4, x8"):
        build_decoder("fpn", {"x16": 8, "x32": 8}, 8)


def test_the_options_of_a_run_name_its_network() -> None:
    plain = make_config({"data": ["x"], "student": "edge-xs"}).student
    assert plain.network == "edge-xs"
    assert plain.decoder == ""
    chosen = make_config({"data": ["x"], "student": "edge-xs", "decoder": "fpn"}).student
    assert chosen.network == "edge-xs+fpn"
