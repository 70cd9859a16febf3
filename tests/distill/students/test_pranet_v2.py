"""PraNet-V2's attention, and what is left of it when there is one class."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distill.config import make_config
from distill.students.build import build_student, student_size
from distill.students.pranet_v2 import DualAttention, PraNetV2
from edge.errors import UsageError


def tiny(attention: str = "sigmoid") -> PraNetV2:
    return PraNetV2(
        pretrained=False,
        attention=attention,  # type: ignore[arg-type]
        base=8,
        blocks=(1, 1, 1, 2),
        width=4,
        reverse=(8, 4, 4),
    )


def test_the_published_softmax_over_one_class_is_one_everywhere() -> None:
    """Whatever the difference is: a stage doubles its logits and its attention learns nothing."""
    torch.manual_seed(0)
    features, polyp, background = (torch.randn(2, n, 6, 6) for n in (5, 1, 1))
    assert torch.equal(torch.softmax(polyp - background, dim=1), torch.ones(2, 1, 6, 6))
    stage = DualAttention(5, 4, 3, 1, "softmax").eval()
    polyp.requires_grad_()
    raised = stage(features, polyp, -background)
    torch.testing.assert_close(raised, 2 * stage.polyp(features))
    (gradient,) = torch.autograd.grad(raised.sum(), polyp)
    assert torch.count_nonzero(gradient) == 0


def test_the_sigmoid_raises_logits_where_the_polyp_leads() -> None:
    """The sigmoid raises logits where the polyp leads the background."""
    torch.manual_seed(1)
    stage = DualAttention(5, 4, 3, 1, "sigmoid").eval()
    features, polyp, background = (torch.randn(2, n, 6, 6) for n in (5, 1, 1))
    polyp.requires_grad_()
    raised = stage(features, polyp, -background)
    own = stage.polyp(features)
    torch.testing.assert_close(raised, own * (1 + 1 / (1 + torch.exp(background - polyp))))
    (gradient,) = torch.autograd.grad(raised.sum(), polyp)
    assert gradient.abs().min() > 0


@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_both_classes_have_four_outputs_and_the_logits_are_a_sum(size: tuple[int, int]) -> None:
    torch.manual_seed(2)
    student = tiny().eval()
    x = torch.randn(1, 3, *size)
    maps = student.maps(x)
    shapes = [(1, 1, size[0] // n, size[1] // n) for n in (8, 32, 16, 8)]
    assert [tuple(output.shape) for output in maps.auxiliary] == shapes
    assert [tuple(output.shape) for output in maps.background] == shapes
    large = [
        nn.functional.interpolate(output, size=shapes[0][2:], mode="nearest")
        for output in maps.auxiliary
    ]
    torch.testing.assert_close(maps.logits, torch.stack(large).sum(dim=0))
    torch.testing.assert_close(student(x), maps.logits)


def test_a_few_steps_lower_the_loss_of_both_classes() -> None:
    torch.manual_seed(3)
    student = tiny().train()
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 2e-3)
    images = torch.randn(4, 3, 64, 64)
    mask = (images.mean(1, keepdim=True) > 0).float()
    losses = []
    for _ in range(10):
        maps = student.maps(images)
        total = torch.zeros(())
        for output, target in (
            *((logits, mask) for logits in maps.auxiliary),
            *((logits, 1 - mask) for logits in maps.background),
        ):
            target_mean = nn.functional.adaptive_avg_pool2d(target, output.shape[-1])
            total = total + nn.functional.binary_cross_entropy_with_logits(output, target_mean)
        optimizer.zero_grad()
        total.backward()
        assert all(p.grad is not None for p in trained)
        optimizer.step()
        losses.append(total.item())
    assert min(losses[-3:]) < losses[0]


def test_its_attention_is_an_option_and_no_other_student_has_one() -> None:
    values = {"data": ["x"], "student": "pranet-v2", "attention": "softmax"}
    assert make_config(values).student.network == "pranet-v2+softmax"
    student = build_student("pranet-v2+softmax", pretrained=False)
    assert isinstance(student, PraNetV2)
    assert student.stage8.attention == "softmax"
    default = build_student("pranet-v2", pretrained=False)
    assert isinstance(default, PraNetV2)
    assert default.stage8.attention == "sigmoid"
    assert student_size(default, 64).parameters > 25e6
    with pytest.raises(UsageError, match="softmax does not fit student pranet"):
        build_student("pranet+softmax")
