"""The selective scan against its recurrence, and students that scan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from distill.config import make_config
from distill.run_folder import describe_run, save_checkpoint
from distill.students.build import build_student
from distill.students.guided_sam import SamCnn, SamMamba
from distill.students.selective_scan import (
    STATE,
    SelectiveScan,
    recurrent_scan,
    selective_scan,
)
from distill.teachers.build import build_task_teacher, build_teacher
from edge.errors import DataError, UsageError
from quantize.graph.canonical import canonicalize
from quantize.runs.folder import exported_engines
from tests.support.tiny_teachers import sam_whole

if TYPE_CHECKING:
    from pathlib import Path


def arguments(length: int, *, seed: int = 0) -> list[Tensor]:
    """Random arguments of a scan in float64: two sequences, three channels, a state of four."""
    torch.manual_seed(seed)
    values = [
        torch.randn(2, 3, length),
        torch.nn.functional.softplus(torch.randn(2, 3, length)),
        -torch.rand(3, 4) * 2,
        torch.randn(2, 4, length),
        torch.randn(2, 4, length),
        torch.randn(3),
    ]
    return [value.double() for value in values]


@pytest.mark.parametrize("length", [1, 2, 3, 7, 64, 193])
def test_the_scan_is_its_recurrence(length: int) -> None:
    values = arguments(length)
    torch.testing.assert_close(
        selective_scan(*values), recurrent_scan(*values), rtol=1e-10, atol=1e-12
    )


def test_the_gradients_are_those_of_the_recurrence() -> None:
    values, same = ([value.requires_grad_() for value in arguments(21)] for _ in range(2))
    weight = torch.randn(2, 3, 21, dtype=torch.float64)
    (selective_scan(*values) * weight).sum().backward()
    (recurrent_scan(*same) * weight).sum().backward()
    for one, other in zip(values, same, strict=True):
        assert one.grad is not None
        assert one.grad.abs().sum() > 0
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-9, atol=1e-11)


def test_a_cell_sees_those_before_it_alone() -> None:
    values = arguments(16)
    before = selective_scan(*values)
    values[0] = values[0].clone()
    values[0][..., 9] += 1
    after = selective_scan(*values)
    assert torch.equal(before[..., :9], after[..., :9])
    assert (before[..., 9:] != after[..., 9:]).all()


def test_long_sequences_stay_finite() -> None:
    torch.manual_seed(0)
    block = SelectiveScan(8)
    x = torch.randn(1, 8, 40, 41, requires_grad=True)
    output = block(x)
    assert output.shape == x.shape
    assert (output - x).abs().max() < 0.5, "it begins almost as the identity"
    output.square().sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    for name, parameter in block.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    assert block.ahead.log_decay.shape == (64, STATE)


def test_both_ends_reach_every_cell() -> None:
    torch.manual_seed(0)
    block = SelectiveScan(4).eval()
    x = torch.randn(1, 4, 6, 6)
    changed = x.clone()
    changed[0, :, 3, 3] += 5
    difference = (block(x) - block(changed)).abs().amax(dim=1)[0]
    assert difference[0, 0] > 0
    assert difference[5, 5] > 0


def test_a_student_that_scans_teaches_and_is_not_exported(tmp_path: Path) -> None:
    settings = {"student": "edge-xs", "selective_scan": True, "size": 64, "pretrained": False}
    config = make_config({"data": ["x"], **settings})
    assert config.student.network == "edge-xs+selective-scan"
    torch.manual_seed(0)
    student = build_student(config.student.network, pretrained=False)
    describe_run(tmp_path, config)
    state = {"student": student.state_dict(), "metrics": {"dice_val": 0.0}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    images = torch.randint(0, 255, (2, 3, 64, 64), dtype=torch.uint8)
    maps = build_teacher(f"run:{tmp_path}").features(images)
    assert maps.shape == (2, 64, 8, 8)
    assert build_task_teacher([f"run:{tmp_path}"]).features(images).shape == (2, 1, 16, 16)
    for precision in ("int8", "f32"):
        with pytest.raises(UsageError) as refused:
            exported_engines(tmp_path, precision)
        message = str(refused.value)
        assert "has a selective scan, whose state runs over all cells" in message
        assert "task_teachers=[run:RUN]" in message
        assert refused.value.code == "student-teaches"
    with pytest.raises(UsageError, match="the decay of a selective scan"):
        canonicalize(student.eval(), (64, 64))


@pytest.mark.parametrize(("kind", "expected_type"), [("sam-mamba", SamMamba), ("sam-cnn", SamCnn)])
def test_a_guided_sam_is_trained_but_for_sam(
    kind: str, expected_type: type, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    sam_whole().save_pretrained(tmp_path / "sam")
    config = make_config({"data": ["x"], "student": f"{kind}:{tmp_path / 'sam'}", "size": 96})
    student = build_student(config.student.network).train()
    assert isinstance(student, expected_type)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 1e-2)
    x = torch.randn(2, 3, 96, 96)
    maps = student.maps(x)
    assert maps.logits.shape == (2, 1, 24, 24)
    assert (maps.low.shape[1], maps.high.shape[-1]) == (student.low_channels, 12)
    for _ in range(2):  # adapters begin at zero, so that what is behind them learns in step two
        loss = (student.maps(x).logits - 1).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    changed = {n for n, value in student.state_dict().items() if not torch.equal(value, before[n])}
    assert not any(name.startswith("sam.") for name in changed)
    own = "adapters.0.up.weight" if kind == "sam-mamba" else "to_sam.weight"
    assert {own, "head.weight", "branch.stages.3.0.weight"} <= changed
    if kind == "sam-mamba":
        assert {"scan.ahead.log_decay", "spread.2.weight"} <= changed
    run = tmp_path / "run"
    describe_run(run, config)
    state = {"student": student.state_dict(), "metrics": {"dice_val": 0.0}}
    save_checkpoint(run / "checkpoints" / "best.pt", state)
    images = torch.randint(0, 255, (1, 3, 96, 96), dtype=torch.uint8)
    assert build_teacher(f"run:{run}").features(images).shape == (1, 128, 12, 12)
    with pytest.raises(UsageError, match=r"teachers=\[run:RUN\]"):
        exported_engines(run, "f32")


def test_an_adapter_begins_as_plain_sam(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = sam_whole()
    network.save_pretrained(tmp_path)
    student = build_student(f"sam-mamba:{tmp_path}").eval()
    assert isinstance(student, SamMamba)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        _, _, coarse = student.branch(x)
        output = student.guided(x, coarse)
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in student._processor[:2])
        pixels = ((x * 128 + 127) / 255 - mean) / deviation
        plain = network.eval().vision_encoder(pixels).last_hidden_state
    torch.testing.assert_close(output, plain, rtol=1e-4, atol=1e-4)


def test_a_missing_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"student sam: .* is not a folder"):
        build_student(f"sam-mamba:{tmp_path / 'missing'}")
    with pytest.raises(UsageError, match="unknown student 'sam-mamba'"):
        build_student("sam-mamba")
