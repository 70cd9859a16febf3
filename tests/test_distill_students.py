from __future__ import annotations

import pytest
import torch

from distill.students import STUDENTS, build_student
from edge.errors import UsageError


@pytest.mark.parametrize("name", sorted(STUDENTS))
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_every_student_answers_at_its_stride_with_both_maps(name: str, size: tuple[int, int]) -> None:
    student = build_student(name, pretrained=False).eval()
    with torch.inference_mode():
        maps = student.maps(torch.zeros(1, 3, *size))
    assert maps.logits.shape == (1, 1, size[0] // student.stride, size[1] // student.stride)
    assert maps.low.shape[1] == student.low_channels
    assert maps.high.shape[1] == student.high_channels
    assert maps.high.shape[-1] == 2 * maps.low.shape[-1]


@pytest.mark.parametrize(("name", "millions"), [("edge-s", 2.99), ("unet", 31.04), ("unet-32", 7.76)])
def test_students_have_the_size_that_the_documents_say(name: str, millions: float) -> None:
    count = sum(parameter.numel() for parameter in build_student(name, pretrained=False).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.01)


def test_the_pixel_shuffle_of_the_unet_is_its_transposed_convolution() -> None:
    """ConvTranspose2d(k2, s2) and Conv1x1 + PixelShuffle(2) hold the same numbers in another order."""
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


def test_imagenet_weights_move_the_encoder_and_classify() -> None:
    """The weights are matched by order; a wrong match would not give the network's published behaviour."""
    import timm

    from distill.efficientnet_lite import lite_features

    pretrained = lite_features("lite0", pretrained=True)
    untrained = timm.create_model("tf_efficientnet_lite0", features_only=True)
    assert set(pretrained.state_dict()) == set(untrained.state_dict())
    means = [v for k, v in pretrained.state_dict().items() if k.endswith("running_var")]
    assert all(bool((v > 0).all()) and not bool((v == 1).all()) for v in means)


def test_an_unknown_student_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="edge-s"):
        build_student("resnet")
