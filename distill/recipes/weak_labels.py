"""Labels of the averaged student for the views of a step that have no mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.losses.auxiliary import resized
from distill.recipes.boxes import label_boxes
from distill.recipes.consistency import pseudo_label
from edge.errors import UsageError

if TYPE_CHECKING:
    from distill.data.batch import Batch
    from distill.data.sampling import EpochOrder
    from distill.students.base import Student


def label_weak(average: Student, batch: Batch, side: int, box_fit: float) -> Batch:
    """A batch as the student sees it: every view at one size, those without masks labeled.

    Args:
        average: The averaged student, which labels.
        batch: The batch as it was read.
        side: Height and width of the views in this step.
        box_fit: As `LossOptions.box_fit`.
    """
    size = (side, side)
    resized_batch = batch._replace(images=resized(batch.images, size), unlabeled=None, boxed=None)
    if batch.unlabeled is not None:
        labels = pseudo_label(average, batch.unlabeled)
        resized_batch = resized_batch._replace(
            pseudo=labels._replace(images=resized(labels.images, size))
        )
    if batch.boxed is not None:
        boxes = label_boxes(average, batch.boxed, box_fit)
        resized_batch = resized_batch._replace(
            box_labels=boxes._replace(images=resized(boxes.images, size))
        )
    return resized_batch


def refuse_uneven(order: EpochOrder, shares: int) -> None:
    """Refuse a step whose views without masks cannot be divided.

    Args:
        order: The views of each step.
        shares: Number of equal parts.

    Raises:
        UsageError: A kind of views cannot be divided.
    """
    for kind, count, key in (
        ("unlabeled frames", order.unlabeled_in_batch, "unlabeled_share"),
        ("frames with boxes", order.boxed_in_batch, "box_share"),
    ):
        if count % shares:
            raise UsageError(
                f"{count} {kind} of a batch cannot be computed in {shares} equal parts",
                expected="processes times accumulate to divide them",
                hint=f"a different {key} or batch_size",
            )
