"""`pro-mamba`: the boxes decide what it segments; it teaches, draws masks and is not exported."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from distill.config import make_config
from distill.data.batch import Batch, Step
from distill.run_folder import describe_run, save_checkpoint
from distill.students import pro_mamba
from distill.students.base import StudentMaps
from distill.students.build import build_student
from distill.students.pro_mamba import ProMamba, box_map, jittered, training_prompts
from distill.teachers.build import build_teacher
from distill.train.trainer import build_objective
from edge.errors import UsageError
from edge.evaluation.delimit.base import Proposal
from edge.evaluation.delimit.build import Opening, build_delineator
from quantize.graph.canonical import canonicalize
from quantize.runs.folder import exported_engines

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

SIZE = 64


def two_squares(count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures with two bright squares, the mask of one of them by chance, and its box's map."""
    rng = np.random.default_rng(0)
    x = torch.zeros(count, 3, SIZE, SIZE)
    masks, prompts = (torch.zeros(count, 1, SIZE, SIZE) for _ in range(2))
    for number in range(count):
        chosen = rng.integers(2)
        for square in range(2):
            row, column = rng.integers(2, 44), rng.integers(2, 12) + 32 * square
            place = (number, slice(None), slice(row, row + 18), slice(column, column + 18))
            x[place] = 1.0
            if square == chosen:
                masks[place] = 1.0
                prompts[place] = 1.0
    return x, masks, prompts


def test_a_box_is_a_map_of_pixels_whose_centers_lie_in_it() -> None:
    found = box_map(torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.6, 0.0, 8.0, 0.9]]), (6, 8))
    expected = torch.zeros(6, 8)
    expected[2:4, 1:3] = 1
    expected[0, 6:8] = 1
    assert torch.equal(found, expected)


def test_boxes_of_the_training_lie_around_the_polyps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    masks = torch.zeros(3, 1, 40, 60)
    masks[0, 0, 10:20, 20:40] = 1
    masks[1, 0, 5:10, 5:10] = 1
    masks[1, 0, 30:35, 50:55] = 1
    monkeypatch.setattr(pro_mamba, "WHOLE", 0.0)
    monkeypatch.setattr(pro_mamba, "JITTER", 0.0)
    found = training_prompts(masks)
    assert torch.equal(found[:2], masks[:2]), "rectangular polyps are their own boxes"
    assert found[2].all(), "a picture without a polyp has the whole frame"
    monkeypatch.setattr(pro_mamba, "WHOLE", 1.0)
    assert training_prompts(masks).all()


def test_edges_move_by_a_share_of_their_box() -> None:
    torch.manual_seed(0)
    boxes = torch.tensor([[100.0, 50.0, 40.0, 20.0]]).repeat(500, 1)
    moves = jittered(boxes) - torch.tensor([100.0, 50.0, 140.0, 70.0])
    largest = moves.abs().amax(dim=0)
    bound = torch.tensor([4.0, 2.0, 4.0, 2.0])
    assert (largest <= bound).all()
    assert (largest > 0.9 * bound).all()
    assert (moves.mean(dim=0).abs() < 0.1 * bound).all()


def test_without_boxes_it_looks_into_the_whole_frame() -> None:
    torch.manual_seed(0)
    student = build_student("pro-mamba").eval()
    assert isinstance(student, ProMamba)
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        maps = student.maps(x)
        assert maps.logits.shape == (2, 1, 16, 16)
        assert maps.low.shape == (2, student.low_channels, 4, 4)
        assert maps.high.shape == (2, student.high_channels, 8, 8)
        torch.testing.assert_close(student(x), maps.logits)
        torch.testing.assert_close(student.maps(x, torch.ones(2, 1, SIZE, SIZE)), maps)
        other = student.maps(x, torch.zeros(2, 1, SIZE, SIZE))
    assert (other.logits - maps.logits).abs().max() > 1e-3


@pytest.mark.slow
def test_the_box_says_which_polyp_is_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pro_mamba, "WHOLE", 0.0)
    torch.manual_seed(0)
    config = make_config(
        {"data": ["x"], "student": "pro-mamba", "recipe": "none", "task_loss": "bce"}
    )
    student = ProMamba(channels=32, layers=2)
    objective = build_objective(student, config, []).train()
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    x, masks, _ = two_squares(64)
    for step in range(60):
        part = slice(16 * (step % 4), 16 * (step % 4) + 16)
        loss = objective(Batch(x[part], masks[part], []), Step(0, step)).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, parameter in student.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    student.eval()
    x, masks, prompts = two_squares(16)
    with torch.no_grad():
        told = student.maps(x, prompts).logits > 0
        misled = student.maps(x, (x[:, :1] - prompts).clamp(0, 1)).logits > 0
    wanted = torch.nn.functional.avg_pool2d(masks, 4) > 0.5
    other = torch.nn.functional.avg_pool2d((x[:, :1] - masks).clamp(0, 1), 4) > 0.5
    assert dice(told, wanted) > 0.8
    assert dice(misled, other) > 0.8, "the other box, the other square"


def dice(found: Tensor, true: Tensor) -> float:
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    config = make_config({"data": ["x"], "student": "pro-mamba", "size": SIZE})
    torch.manual_seed(0)
    describe_run(tmp_path, config)
    state = {"student": build_student("pro-mamba").state_dict(), "metrics": {"dice_val": 0.0}}
    save_checkpoint(tmp_path / "checkpoints" / "best.pt", state)
    return tmp_path


def test_it_teaches_and_is_not_exported(run: Path) -> None:
    images = torch.randint(0, 255, (2, 3, SIZE, SIZE), dtype=torch.uint8)
    assert build_teacher(f"run:{run}").features(images).shape == (2, 128, 8, 8)
    for precision in ("int8", "f32"):
        with pytest.raises(UsageError) as refused:
            exported_engines(run, precision)
        message = str(refused.value)
        assert "pro-mamba has selective scans, which no runtime here has" in message
        assert "boxes that something else must find" in message
        assert "teachers=[run:RUN]" in message
    with pytest.raises(UsageError, match="cannot be exported"):
        canonicalize(build_student("pro-mamba").eval(), (SIZE, SIZE))


def test_it_draws_a_mask_for_each_box(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 200, (60, 90, 3)).astype(np.uint8)
    true = np.zeros((60, 90), bool)
    given: list[Any] = []

    def maps(self: ProMamba, x: Tensor, prompts: Tensor | None = None) -> Any:
        """Logits that are the prompt."""
        assert prompts is not None
        given.append(prompts)
        small = torch.nn.functional.avg_pool2d(prompts, 4)
        return StudentMaps(small - 0.5, x, x)

    monkeypatch.setattr(ProMamba, "maps", maps)
    boxes = [Proposal((0, 15, 45, 30), 1.0), Proposal((45, 0, 45, 60), 0.5)]
    with ExitStack() as stack:
        part = build_delineator(f"prompted:{run}", Opening(stack))
        masks = part.delineate(image, boxes, true)
    assert torch.equal(given[0], box_map(torch.tensor([[0.0, 16, 32, 48]]), (64, 64))[None, None])
    for mask, ((x, y, width, height), _) in zip(masks, boxes, strict=True):
        box = np.zeros((60, 90), bool)
        box[y : y + height, x : x + width] = True
        assert 2 * (mask & box).sum() / (mask.sum() + box.sum()) > 0.97


def test_what_makes_no_sense_is_refused(run: Path, tmp_path: Path) -> None:
    student = build_student("pro-mamba")
    config = make_config({"data": ["x"], "student": "pro-mamba", "recipe": "paper"})
    with pytest.raises(UsageError, match="pro-mamba teaches and is not taught"):
        build_objective(student, config, [8])
    with pytest.raises(UsageError, match="pro-mamba teaches and is not taught"):
        build_objective(student, config.changed(recipe="difom"), [8])
    with pytest.raises(UsageError, match="emcad does not fit student pro-mamba"):
        build_student("pro-mamba+emcad")
    plain = tmp_path / "plain"
    describe_run(plain, make_config({"data": ["x"], "student": "edge-xs", "size": SIZE}))
    state = {"student": build_student("edge-xs", pretrained=False).state_dict(), "metrics": {}}
    save_checkpoint(plain / "checkpoints" / "best.pt", state)
    with ExitStack() as stack, pytest.raises(UsageError, match=r"edge-xs in .* is told no boxes"):
        build_delineator(f"prompted:{plain}", Opening(stack))
