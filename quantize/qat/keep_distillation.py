"""Keep the terms of a run's recipe while its quantized student is fine-tuned.

Cached teacher maps, the heads that the distillation trained, and the task teacher's logits train
the quantized student as they trained the float one. Nothing of this is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from nncf.torch.function_hook.hook_executor_mode import FunctionHookMode
from nncf.torch.function_hook.wrapper import get_hook_storage

from distill.recipes.objectives import Difom
from distill.run_folder import load_checkpoint
from edge.errors import TrainingError, UsageError
from quantize.qat.equalize import LARGEST_FACTOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from distill.config import DistillConfig
    from distill.recipes.objectives import SpectralHeads
    from distill.run_folder import LoadedRun
    from distill.students.base import Student, StudentMaps


def quantized_maps(quantized: nn.Module, x: Tensor) -> StudentMaps:
    """Compute `Student.maps` of a quantized student with the same quantizers as its `forward`.

    NNCF hooks functions while `forward` runs; here they are hooked while `maps` runs. The logits
    are the same, bit for bit. Layers that only deep supervision uses have no quantizers.

    Args:
        quantized: A student from `quantize_student` or `restore`.
        x: (B, 3, H, W) input.
    """
    student = cast("Student", quantized)
    with FunctionHookMode(model=quantized, hook_storage=get_hook_storage(quantized)) as mode:
        inputs, keywords = mode.process_model_inputs((x,), {})
        maps = student.maps(*inputs, **keywords)
        return maps._replace(logits=mode.process_model_outputs(maps.logits))


def refuse_without_recipe(config: DistillConfig) -> None:
    """Raise UsageError if a run has no term to keep, or boxes, whose loss is none of them."""
    if config.loss.recipe != "difom" or not (config.teachers.specs or config.teachers.task_specs):
        raise UsageError(
            "distill_weight keeps the terms of a recipe on, and this run has none",
            expected="a run of recipe difom with a teacher",
            got=f"recipe {config.loss.recipe}, "
            f"teachers {', '.join(config.teachers.specs) or 'none'}",
            hint="leave distill_weight out: the task loss alone",
        )
    if config.student.detection:
        raise UsageError(
            f"distill_weight does not fit {config.student.network}: its boxes would not be trained",
            expected="the task loss alone for a student with detection=true",
            hint="leave distill_weight out",
        )


def build_kept_objective(
    run: LoadedRun, quantized: nn.Module, channels: Sequence[int], weight: float
) -> Difom:
    """Build the run's objective around its quantized student.

    Its terms are the task loss, `weight` times the distillation from the teachers' maps (bands,
    similarity, focal frequencies, teacher dropping), and `cwd_weight` times the distance to the
    task teacher's logits. All of them are active together, regardless of the run's schedule.

    Args:
        run: The distillation.
        quantized: Its quantized student; the objective trains it without owning it.
        channels: Number of channels of each teacher's map.
        weight: Weight of the spectral distillation, in place of the run's `distill_weight`.
    """
    config = run.config.changed(
        distill_weight=weight, schedule="joint", precision="fp32", background=False
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.run.seed)
        return Difom(cast("Student", _Side(quantized)), config.loss, config.run, channels)


def load_heads(
    objective: Difom, run: LoadedRun, quantized: nn.Module, samples: Sequence[Tensor]
) -> bool:
    """Load the heads that the distillation ended with, fitted to the equalized student.

    Equalization multiplied channels of the student's maps; the heads' weights for them are divided
    by the same factors.

    Args:
        objective: Objective from `build_kept_objective` with fresh heads.
        run: The distillation.
        quantized: Its quantized student before fine-tuning.
        samples: Inputs (B, 3, H, W) from which the factors are measured.

    Returns:
        False if the run has no `checkpoints/last.pt`; the heads then stay fresh.

    Raises:
        TrainingError: The checkpoint is damaged or its heads do not fit.
    """
    path = run.path / "checkpoints" / "last.pt"
    if not path.is_file():
        return False
    state = load_checkpoint(path).get("objective", {})
    heads = {name: value for name, value in state.items() if name.startswith("heads.")}
    try:
        objective.load_state_dict(heads)
    except RuntimeError as unfit:
        raise TrainingError(
            f"the teachers' heads in {path} do not fit the run's teachers",
            expected=f"{len(objective.heads)} heads as the training wrote them",
            got=str(unfit).splitlines()[-1].strip()[:200],
            hint="remove it: the heads then start over",
        ) from None
    low, high = _growth(run.student, cast("Student", quantized), samples)
    with torch.no_grad():
        for head in cast("list[SpectralHeads]", list(objective.heads)):
            head.low.weight.div_(low.view(1, -1, 1, 1))
            head.high.weight.div_(high.view(1, -1, 1, 1))
    return True


def _growth(
    student: Student, quantized: Student, samples: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return the factors by which equalization multiplied each channel of the low and high map."""
    low, high = _Ratio(student.low_channels), _Ratio(student.high_channels)
    with torch.no_grad():
        for sample in samples:
            # `maps` alone runs no quantizer: this is the equalized student in float.
            grown, original = quantized.maps(sample), student.maps(sample)
            low.add(grown.low, original.low)
            high.add(grown.high, original.high)
    return low.factors(), high.factors()


class _Ratio:
    """Least-squares factor from one map to another, per channel."""

    def __init__(self, channels: int) -> None:
        self.products, self.squares = torch.zeros(channels), torch.zeros(channels)

    def add(self, grown: Tensor, original: Tensor) -> None:
        self.products += (grown * original).sum(dim=(0, 2, 3))
        self.squares += original.square().sum(dim=(0, 2, 3))

    def factors(self) -> Tensor:
        """Return (C,) factors; 1 for a channel that is always zero."""
        ratio = torch.where(self.squares > 0, self.products / self.squares.clamp_min(1e-12), 1.0)
        return ratio.clamp(1.0, LARGEST_FACTOR)


class _Side:
    """The interface of a student for an objective, around a quantized one.

    It is not a module, so that the objective owns only its heads.
    """

    def __init__(self, quantized: nn.Module) -> None:
        student = cast("Student", quantized)
        self.low_channels, self.high_channels = student.low_channels, student.high_channels
        self.has_confidence = student.has_confidence
        self._quantized = quantized

    def maps(self, x: Tensor) -> StudentMaps:
        return quantized_maps(self._quantized, x)
