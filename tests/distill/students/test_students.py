from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.data.tensors import to_tensor
from distill.students.build import STUDENTS, build_student
from distill.students.edge import EdgeXS
from distill.students.efficientnet_lite import drop_paths, lite_features
from edge.datasets.phantom.render import render
from edge.errors import UsageError


@pytest.mark.parametrize("name", sorted(STUDENTS))
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_every_student_answers_at_its_stride_with_both_maps(
    name: str, size: tuple[int, int]
) -> None:
    student = build_student(name, pretrained=False).eval()
    with torch.inference_mode():
        maps = student.maps(torch.zeros(1, 3, *size))
    assert maps.logits.shape == (1, 1, size[0] // student.stride, size[1] // student.stride)
    assert maps.low.shape[1] == student.low_channels
    assert maps.high.shape[1] == student.high_channels
    assert maps.high.shape[-1] == 2 * maps.low.shape[-1]


@pytest.mark.parametrize(
    ("name", "millions"), [("edge-s", 3.014), ("unet", 31.04), ("unet-32", 7.76)]
)
def test_students_have_the_size_that_the_documents_say(name: str, millions: float) -> None:
    count = sum(
        parameter.numel() for parameter in build_student(name, pretrained=False).parameters()
    )
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_the_unets_pixel_shuffle_is_its_transposed_convolution() -> None:
    """ConvTranspose2d(k2, s2) and Conv1x1 + PixelShuffle(2) hold the same numbers, reordered."""
    transposed = torch.nn.ConvTranspose2d(6, 3, 2, stride=2)
    shuffled = torch.nn.Sequential(torch.nn.Conv2d(6, 12, 1), torch.nn.PixelShuffle(2))
    convolution = shuffled[0]
    assert isinstance(convolution, torch.nn.Conv2d)
    assert convolution.bias is not None
    assert transposed.bias is not None
    with torch.no_grad():
        convolution.weight.copy_(transposed.weight.permute(1, 2, 3, 0).reshape(12, 6, 1, 1))
        convolution.bias.copy_(transposed.bias.repeat_interleave(4))
    x = torch.randn(1, 6, 5, 7)
    torch.testing.assert_close(shuffled(x), transposed(x))


def test_the_distilled_maps_lie_on_the_inference_path() -> None:
    student = build_student("edge-s", pretrained=False).eval()
    maps = student.maps(torch.randn(1, 3, 64, 64))
    gradients = torch.autograd.grad(maps.logits.sum(), [maps.low, maps.high])
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


def test_imagenet_weights_stand_where_they_were_trained() -> None:
    """Weights are matched by order; a wrong match would contradict BatchNorm's statistics."""
    network = lite_features("lite0", pretrained=True).eval()
    pairs: list[torch.Tensor] = []

    def compare(module: torch.nn.BatchNorm2d, inputs: tuple[torch.Tensor]) -> None:
        assert module.running_var is not None
        variance = inputs[0].var(dim=(0, 2, 3))
        pairs.append(torch.stack([variance, module.running_var]).clamp_min(1e-8).log())

    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_pre_hook(compare)
    pictures = np.stack([render(seed, size=(96, 96)).image for seed in range(3)])
    with torch.inference_mode():
        network(to_tensor(pictures))
    correlations = [torch.corrcoef(pair)[0, 1].item() for pair in pairs]
    assert np.mean(correlations) > 0.6


def test_turned_kernels_give_features_of_a_turned_picture() -> None:
    """Symmetric padding, which is free in every runtime, would otherwise lose most of ImageNet."""
    same, symmetric = (
        lite_features("lite0", padding=padding).eval() for padding in ("same", "symmetric")
    )
    pictures = to_tensor(np.stack([render(seed, size=(96, 160)).image for seed in range(2)]))
    with torch.inference_mode():
        plain_maps, turned_maps = same(pictures), symmetric(pictures.flip(2, 3))
    for turned, original in zip(turned_maps, plain_maps, strict=True):
        torch.testing.assert_close(turned.flip(2, 3), original, rtol=1e-3, atol=1e-3)


def test_edge_xs_ends_with_the_first_block_at_stride_32() -> None:
    """Its maps are those that ImageNet taught, down to the last."""
    uncut, cut = lite_features("lite0", padding="symmetric").eval(), EdgeXS().eval()
    pictures = to_tensor(np.stack([render(0, size=(64, 96)).image]))
    blocks = uncut.blocks
    assert isinstance(blocks, torch.nn.Sequential)
    deep = blocks[5]
    assert isinstance(deep, torch.nn.Sequential)
    with torch.inference_mode():
        f2, f4, f8, f16, f32 = cut.encoder(pictures)
        expected = uncut(pictures)[:4]
        assert all(torch.equal(a, b) for a, b in zip((f2, f4, f8, f16), expected, strict=True))
        assert torch.equal(f32, deep[0](f16))
    assert len(cut.stages()) == 7


def test_dropped_paths_are_dropped_in_training_alone() -> None:
    torch.manual_seed(0)
    network = lite_features("lite0", padding="symmetric").eval()
    pictures = to_tensor(np.stack([render(0, size=(64, 64)).image] * 2))
    with torch.inference_mode():
        before = network(pictures)[-1]
        assert drop_paths(network, 0.9) == 9
        assert torch.equal(network(pictures)[-1], before)
        for module in network.modules():
            module.training = type(module).__name__ == "DropPath"
        first, second = network(pictures)[-1]
    assert not torch.equal(first, second), "pictures lose blocks of their own"
    assert drop_paths(torch.nn.Sequential(torch.nn.ReLU()), 0.9) == 0


def test_an_unknown_student_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="edge-s"):
        build_student("resnet")


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(TypeError, match="no part 'bells'"):
        EdgeXS(pretrained=False, bells=True)  # type: ignore[call-arg]
