"""The unrolled decomposition against its equations, and its cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.students.build import build_student, student_size
from distill.students.decoders.rpca import ROUNDS, WIDTH, Rebuild, Round, RpcaDecoder, local_mean

CHANNELS = {"x4": 3, "x8": 5, "x16": 4, "x32": 6}


def test_local_mean_is_the_mean_of_17_by_17_cells() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 2, 20, 23)
    kernel = torch.full((2, 1, 17, 17), 1 / 289)
    expected = nn.functional.conv2d(x, kernel, padding=8, groups=2)
    torch.testing.assert_close(local_mean(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("first", [True, False])
def test_a_round_is_the_paper_s_with_the_object_s_sign_turned(first: bool) -> None:
    """B = R + P with R = D - T; X = D - B; T' = X - shrink(...), all with T itself."""
    torch.manual_seed(1)
    step = Round(6).eval()
    picture = torch.randn(2, 6, 20, 20)
    there = torch.zeros_like(picture) if first else torch.randn(2, 6, 20, 20)
    with torch.no_grad():
        rest = picture - there
        background = rest + step.prox(rest)
        removed = picture - background
        weights = step.gate(torch.cat([-removed, local_mean(-removed)], dim=1))
        objects = removed - step.shrink(-removed * weights)
        got_background, got_negative = step(picture, None if first else -there)
    torch.testing.assert_close(got_background, background, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(got_negative, -objects, rtol=1e-4, atol=1e-4)


def test_background_and_object_make_up_the_picture() -> None:
    """D = B + T holds until the object is shrunk."""
    torch.manual_seed(2)
    step = Round(6).eval()
    norm = step.shrink[1]
    assert isinstance(norm, nn.BatchNorm2d)
    nn.init.zeros_(norm.weight)
    picture, negative = torch.randn(1, 6, 18, 18), torch.randn(1, 6, 18, 18)
    with torch.no_grad():
        background, turned = step(picture, negative)
    torch.testing.assert_close(background - turned, picture, rtol=1e-4, atol=1e-5)


def test_the_last_picture_is_rebuilt_for_training_alone() -> None:
    torch.manual_seed(3)
    decoder = RpcaDecoder(CHANNELS).eval()
    maps = {
        name: torch.rand(1, count, 64 // int(name[1:]), 64 // int(name[1:]))
        for name, count in CHANNELS.items()
    }
    called: list[nn.Module] = []
    for part in decoder.rebuild:
        part.register_forward_hook(lambda module, _inputs, _output: called.append(module))
    plain, trained = decoder(maps), decoder(maps, training=True)
    assert len(called) == 2 * ROUNDS - 1
    assert plain.reconstruction is None
    assert trained.reconstruction is not None
    assert trained.reconstruction.item() > 0
    torch.testing.assert_close(plain.last, trained.last)
    trained.reconstruction.backward()
    last = decoder.rebuild[-1]
    assert all(p.grad is not None for p in last.parameters())


def test_a_picture_is_rebuilt_from_one_convolution_of_both() -> None:
    """Two sums of a 3x3 convolution are one over background and object side by side."""
    torch.manual_seed(4)
    rebuild = Rebuild(6).eval()
    background, negative = torch.randn(2, 1, 6, 9, 9)
    with torch.no_grad():
        kernels: list[torch.Tensor] = [
            part.get_parameter("0.weight") for part in (rebuild.background, rebuild.object)
        ]
        both = torch.cat([background, negative], dim=1)
        product = nn.functional.conv2d(both, torch.cat(kernels, dim=1), padding=1)
        scale = (1 + 1e-5) ** -0.5
        expected = rebuild.join((product * scale).clamp(0, 6))
        torch.testing.assert_close(rebuild(background, negative), expected, rtol=1e-4, atol=1e-5)


def test_it_stays_below_its_budget() -> None:
    """At 256 pixels the maps at stride 4 have 64x64 cells; the head of one channel counts too."""
    student = build_student("edge-s+rpca", pretrained=False)
    encoder = student_size(student.encoder, 256)  # type: ignore[arg-type]
    size = student_size(student, 256)
    assert 16 <= WIDTH <= 24
    assert size.macs - encoder.macs < 0.3e9
    rounds = sum(p.numel() for p in student.get_submodule("decoder.rounds").parameters())
    assert rounds < 25_000
