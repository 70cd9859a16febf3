"""Recipe `blocks`: new stages of an encoder learn the outputs of the stages that they replace.

Each new block is given what the pretrained encoder gives to the stages in its place, and learns
their output: no mask, no head and no later stage takes part, and a block does not depend on those
before it (Li et al., "Block-wisely supervised neural architecture search with knowledge
distillation", CVPR 2020). Everything else of the student keeps its weights, so that what follows is
a training on the task that starts near the pretrained student.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.recipes.objectives import Losses, Objective
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.data.batch import Batch, Step
    from distill.options import LossOptions, RunOptions
    from distill.students.build import Student
    from distill.students.encoders import Encoder


class Blocks(Objective):
    """The unexplained variance of the outputs of replaced stages, averaged over the new blocks.

    Args:
        student: Its new stages are trained in place; the rest is frozen.
        loss: What is minimized.
        run: Length, precision and seed of the training.
        original: The pretrained encoder.

    Raises:
        UsageError: The student has no new stages.
    """

    def __init__(
        self, student: Student, loss: LossOptions, run: RunOptions, original: Encoder
    ) -> None:
        super().__init__(student, loss, run)
        self.original = original.module.eval().requires_grad_(False)
        self._original_stages = original.stages
        student.requires_grad_(False)
        for stage in self._new_stages():
            stage.requires_grad_(True)

    def train(self, mode: bool = True) -> Blocks:
        """Enter training mode with the new stages alone."""
        super().train(mode)
        self.original.eval()
        self.student.eval()
        for stage in self._new_stages():
            stage.train(mode)
        return self

    def forward(self, batch: Batch, clock: Step) -> Losses:
        """Losses of a batch, whose masks are not read."""
        del clock
        distances = self.distances(batch.images, self.student)
        return Losses(torch.stack(distances).mean(), distances[0].new_zeros(()), distances, [])

    def distances(self, images: Tensor, student: Student) -> list[Tensor]:
        """Share of the variance of each replaced block's output that the new one leaves open.

        Args:
            images: (B, 3, H, W) float32, normalized.
            student: The student, or a copy with other weights.

        Returns:
            A scalar for each block: the mean squared difference over the variance of the target.
        """
        original, own = self._original_stages(self.original), student.stages()
        inputs, done, distances = images, 0, []
        kind = images.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=self.run.precision == "bf16"):
            for first, end, _ in student.replaced:
                with torch.no_grad():
                    inputs = _through(original[done:first], inputs)
                    target = _through(original[first:end], inputs).float()
                answer = _through(own[first:end], inputs).float()
                distances.append(F.mse_loss(answer, target) / target.var())
                inputs, done = target, end
        return distances

    def held_out_loss(self, batch: Batch, student: Student) -> Tensor:
        """What is minimized, of unchanged images and other weights."""
        with torch.no_grad():
            return torch.stack(self.distances(batch.images, student)).mean()

    def _new_stages(self) -> list[nn.Module]:
        stages = self.student.stages()
        return [stage for first, end, _ in self.student.replaced for stage in stages[first:end]]


def refuse_no_blocks(student: Student, *, name: str, has_weights: bool) -> None:
    """Refuse recipe `blocks` where there is nothing to learn, or nothing to learn from.

    Args:
        student: The student.
        name: Its name.
        has_weights: Whether the encoder that it is to imitate has trained weights.

    Raises:
        UsageError: The student has no new stages, or its encoder no weights.
    """
    if not student.replaced:
        raise UsageError(
            f"recipe blocks has nothing to teach: every stage of {name} is the original",
            expected="a student with other early stages",
            hint="early=fused",
        )
    if not has_weights:
        raise UsageError(
            "recipe blocks has no weights to learn from",
            expected="an encoder with ImageNet weights, or weights to start from",
            hint="pretrained=true, or start=WEIGHTS",
        )


def _through(stages: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Apply stages, of which a list of modules is one whose modules follow one another."""
    for stage in stages:
        for part in stage if isinstance(stage, nn.ModuleList) else [stage]:
            x = part(x)
    return x
