from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import timm
import torch
from torch import Tensor, nn

from distill.students.build import Student, build_student, student_size
from distill.students.edge import EdgeXS
from distill.students.pranet import PraNet
from distill.students.res2net import Res2Net
from distill.students.unetpp import UNetPP
from edge.errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable


def tiny_pranet() -> PraNet:
    return PraNet(pretrained=False, base=8, blocks=(1, 1, 1, 2), width=4, reverse=(8, 4, 4))


TINY: dict[str, Callable[[], Student]] = {
    "edge-xs": lambda: EdgeXS(pretrained=False, width=8),
    "unetpp": lambda: UNetPP(width=4),
    "pranet": tiny_pranet,
}


@pytest.mark.parametrize(
    ("layer", "parameters", "macs"),
    [
        # Output cells x kernel x input channels of a group x output channels.
        (nn.Conv2d(3, 8, 3, padding=1), 3 * 9 * 8 + 8, 16 * 16 * 9 * 3 * 8),
        (nn.Conv2d(3, 3, 5, stride=2, padding=2, groups=3, bias=False), 3 * 25, 8 * 8 * 25 * 3),
        (nn.Conv2d(3, 4, 3, dilation=2), 3 * 9 * 4 + 4, 12 * 12 * 9 * 3 * 4),
        (nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), 768 * 5 + 5, 768 * 5),
        (nn.BatchNorm2d(3), 6, 0),
    ],
)
def test_size_is_what_one_counts_by_hand(layer: nn.Module, parameters: int, macs: int) -> None:
    assert student_size(layer, 16) == (parameters, macs)


@pytest.mark.parametrize(
    ("name", "size", "millions", "giga"),
    [
        (
            "unetpp",
            352,
            9.16,
            65.2,
        ),  # the released notebook's network: 9.163 M with biases, 65.2 GMAC
        ("unetpp-16", 352, 2.29, 16.3),
        (
            "pranet",
            352,
            30.48,
            12.4,
        ),  # the paper's counts 2.05 M of the ImageNet classifier and a deeper stem
        ("edge-s", 256, 3.014, 0.499),
        ("edge-xs", 192, 0.955, 0.202),
    ],
)
def test_students_cost_what_their_papers_say(
    name: str, size: int, millions: float, giga: float
) -> None:
    cost = student_size(build_student(name, pretrained=False), size)
    assert cost.parameters / 1e6 == pytest.approx(millions, abs=0.005)
    assert cost.macs / 1e9 == pytest.approx(giga, rel=0.005)
    assert "GMAC" in str(cost)


def test_counting_leaves_the_student_as_it_was() -> None:
    student = TINY["unetpp"]().train()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    student_size(student, 32)
    assert student.training
    assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())


@pytest.mark.parametrize("name", sorted(TINY))
def test_a_few_steps_lower_the_loss(name: str) -> None:
    torch.manual_seed(0)
    student = TINY[name]().train()
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 1e-3)
    images = torch.randn(2, 3, 64, 64)
    mask = (images.mean(1, keepdim=True) > 0).float()

    def loss() -> Tensor:
        maps = student.maps(images)
        total = torch.zeros(())
        for logits in (maps.logits, *maps.auxiliary):
            target = nn.functional.adaptive_avg_pool2d(mask, logits.shape[-1])
            total = total + nn.functional.binary_cross_entropy_with_logits(logits, target)
        return total

    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        step = loss()
        step.backward()
        assert all(p.grad is not None for p in student.parameters() if p.requires_grad)
        optimizer.step()
        losses.append(step.item())
    assert min(losses[1:]) < losses[0]


@pytest.mark.parametrize(
    ("name", "sizes"), [("unetpp", [64, 64, 64]), ("pranet", [8, 2, 4]), ("edge-xs", [])]
)
def test_auxiliary_logits_and_distilled_maps(name: str, sizes: list[int]) -> None:
    torch.manual_seed(0)
    student = TINY[name]().eval()
    x = torch.randn(1, 3, 64, 64)
    maps = student.maps(x)
    assert [tuple(logits.shape) for logits in maps.auxiliary] == [(1, 1, n, n) for n in sizes]
    assert torch.equal(student(x), maps.logits)
    gradients = torch.autograd.grad(maps.logits.sum(), [maps.low, maps.high])
    assert all(gradient.abs().sum() > 0 for gradient in gradients), "they lie on the inference path"


def test_auxiliary_heads_of_unetpp_are_not_exported() -> None:
    """Auxiliary heads of a U-Net++ are not exported."""
    student = TINY["unetpp"]().eval()
    called: list[nn.Module] = []
    assert isinstance(student, UNetPP)
    for head in student.auxiliary_heads:
        head.register_forward_hook(lambda module, _inputs, _output: called.append(module))
    student(torch.zeros(1, 3, 32, 32))
    assert not called


def test_res2net_is_the_network_of_the_published_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    published = timm.create_model("res2net50_26w_4s", pretrained=False).eval()
    own = Res2Net(pretrained=False).eval()
    state = published.state_dict()
    own.load_state_dict(
        {name: value for name, value in state.items() if not name.startswith("fc.")}
    )
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(own(x)[2], published.forward_features(x))

    monkeypatch.setattr(timm, "create_model", lambda *_args, **_kwargs: published)
    loaded = Res2Net(pretrained=True).eval()
    rgb = torch.randint(0, 256, (1, 3, 64, 64)).float()
    mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = own.bn1(own.conv1((rgb / 255 - mean) / std))
        actual = loaded.bn1(loaded.conv1((rgb - 127) / 128))
    torch.testing.assert_close(
        actual[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4
    )


def test_missing_weights_say_where_they_belong(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_kwargs: object) -> None:
        raise FileNotFoundError("not in the cache, and no network")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(MissingDependencyError, match="res2net50_26w_4s"):
        build_student("pranet", pretrained=True)
