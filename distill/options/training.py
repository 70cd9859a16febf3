"""Options of the losses, the optimizer and the run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from distill.options.base import (
    Count,
    Fraction,
    Minutes,
    Options,
    Positive,
    Rate,
    Seed,
    Share,
    Weight,
)


class LossOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training minimizes."""

    recipe: Annotated[
        Literal["difom", "paper", "blocks", "none"],
        Meta(
            description="`difom` adds the spectral distillation to the task loss, `paper` follows "
            "the published notebook, whose target collapses, and `none` is the task loss alone; "
            "`blocks` reads no mask and teaches the stages that `early` puts into the encoder the "
            "outputs of the pretrained ones."
        ),
    ] = "difom"
    task_loss: Annotated[
        Literal["structure", "bce-iou", "bce"],
        Meta(
            description="Loss on the masks: `structure`, `bce-iou` (the same without a weight for "
            "the outline) or `bce` (cross-entropy alone)."
        ),
    ] = "structure"
    clean_weight: Annotated[
        Weight,
        Meta(
            description="Weight of the loss of a view without a polyp in a run with `negatives`; "
            "without them, and at 0, the task loss judges it."
        ),
    ] = 1.0
    presence_weight: Annotated[
        Weight,
        Meta(
            description='Weight of the cross-entropy of "is there a polyp", for students with a '
            "presence logit."
        ),
    ] = 1.0
    background: Annotated[
        bool,
        Meta(
            description="Teach a student without logits of its own for the background such logits, "
            "from its finer decoder map, by a 1x1 convolution that is not exported."
        ),
    ] = False
    background_weight: Annotated[
        Weight,
        Meta(
            description="Weight of the cross-entropy of the background, for students with logits "
            "of the background or with `background`."
        ),
    ] = 0.8
    confidence_budget: Annotated[
        Weight,
        Meta(
            description="Mean negative logarithm of the confidence that hints may cost with "
            "`uncertainty`; a larger one gives more hints."
        ),
    ] = 0.3
    detection_weight: Annotated[
        Weight, Meta(description="Weight of the loss of the boxes beside that of the mask.")
    ] = 1.0
    contrast_weight: Annotated[
        Weight, Meta(description="Weight of the contrast of boxes and background in that loss.")
    ] = 0.3
    hard_frames: Annotated[
        bool, Meta(description="Weigh views in that loss by 1 less the IoU of the boxes found.")
    ] = False
    reconstruction_weight: Annotated[
        Weight,
        Meta(
            description="Weight of the reconstruction error, for students whose decoder rebuilds "
            "its input."
        ),
    ] = 0.01
    consistency_weight: Annotated[
        Weight,
        Meta(description="Weight of the loss of `unlabeled` frames beside that of the others."),
    ] = 1.0
    box_fit: Annotated[
        Share,
        Meta(
            description="IoU of the bounding box of a pseudo-mask with the annotated box from "
            "which the pseudo-mask is learned."
        ),
    ] = 0.7
    box_weight: Annotated[
        Weight,
        Meta(description="Weight of the loss of frames with `boxes` beside that of the others."),
    ] = 1.0
    box_consistency_weight: Annotated[
        Weight,
        Meta(
            description="Weight, within the loss of `boxes`, of the squared difference to the "
            "averaged student where boxes and pseudo-masks leave the pixels open."
        ),
    ] = 1.0
    distill_weight: Annotated[
        Weight,
        Meta(
            description="Weight of the spectral distillation, averaged over the teachers; 0 is a "
            "control that must equal recipe `none`."
        ),
    ] = 0.2
    radius: Annotated[Count, Meta(description="Half-width of the low band in cycles per map.")] = 4
    band: Annotated[Literal["box", "radial"], Meta(description="Shape of the low band.")] = "box"
    similarity_weight: Annotated[
        Weight,
        Meta(description="Weight of the patch similarity that is added to the spectral loss."),
    ] = 0.0
    focal_weight: Annotated[
        Weight,
        Meta(
            description="Weight of the focal frequency loss of both bands that is added to the "
            "spectral loss."
        ),
    ] = 0.0
    cwd_weight: Annotated[
        Weight,
        Meta(description="Weight of the channel-wise distillation of the task teachers' logits."),
    ] = 5.0
    teacher_dropping: Annotated[
        Fraction, Meta(description="Probability of leaving a teacher out of a step.")
    ] = 0.0
    schedule: Annotated[
        Literal["joint", "distil-first", "task-first", "teachers-only"],
        Meta(
            description="`joint` trains with all losses at once; `distil-first` trains half of the "
            "epochs with the teachers alone and the rest with the task alone; `task-first`, the "
            "order of the paper, trains half of the epochs with the task alone and the rest with "
            "all losses; `teachers-only` reads no mask and keeps the weights with the smallest "
            "distillation loss on validation frames."
        ),
    ] = "joint"

    @property
    def has_teachers(self) -> bool:
        """Whether the recipe learns from the maps of teachers."""
        return self.recipe in ("difom", "paper")

    @property
    def without_masks(self) -> bool:
        """Whether no mask is read, so that the task is not learned."""
        return self.schedule == "teachers-only" or self.recipe == "blocks"


class OptimizerOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the weights are updated."""

    lr: Annotated[
        Rate,
        Meta(description="Peak learning rate of the one-cycle schedule (Smith & Topin, 2018)."),
    ] = 1e-3
    encoder_lr: Annotated[
        Rate, Meta(description="Learning rate of the student's encoder as a share of `lr`.")
    ] = 1.0
    weight_decay: Annotated[
        Weight, Meta(description="Decoupled weight decay (Loshchilov & Hutter, ICLR 2019).")
    ] = 1e-2
    ema: Annotated[
        Fraction,
        Meta(
            description="Decay of the exponential moving average of the weights that is validated "
            "and kept; 0 keeps the weights themselves."
        ),
    ] = 0.0


class Stage(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One training of a run that averages several.

    Attributes:
        name: Folder of the training under `stages/`.
        settings: Flat options that differ from those of the run.
        after: Stage whose best weights it starts from; empty for `start`.
        averaged: Whether its best weights take part in the mean.
    """

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]*$")]
    settings: dict[str, Any] = field(default_factory=dict)
    after: str = ""
    averaged: bool = True


class RunOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long a run trains, in which order and precision, and how often it is saved."""

    epochs: Annotated[Positive, Meta(description="Number of passes over the training images.")] = 20
    image_epochs: Annotated[
        Positive,
        Meta(
            description="Number of passes over all frames in the stage without masks that comes "
            "first if `images` are given."
        ),
    ] = 100
    batch_size: Annotated[Positive, Meta(description="Number of images in a step.")] = 16
    precision: Annotated[
        Literal["fp32", "bf16"],
        Meta(description="Precision of the student's forward and backward pass."),
    ] = "fp32"
    accumulate: Annotated[
        Positive,
        Meta(description="Number of parts that a batch is computed in, to save memory."),
    ] = 1
    patience: Annotated[
        Count,
        Meta(
            description="Number of epochs without a better validation score before the run stops; "
            "0 never stops early."
        ),
    ] = 0
    checkpoint_minutes: Annotated[
        Minutes, Meta(description="Longest time between two resumable checkpoints in minutes.")
    ] = 5.0
    seed: Annotated[
        Seed, Meta(description="Random seed (initial weights, sample order, augmentation).")
    ] = 0
    track: Annotated[
        list[Literal["tensorboard", "mlflow", "wandb"]],
        Meta(description="Trackers of experiments that get the figures of every epoch."),
    ] = field(default_factory=list)
    stages: Annotated[
        list[Stage],
        Meta(
            description="Trainings of a run that averages their best weights, each a mapping with "
            "`name`, `settings` that differ, `after` (the stage whose weights it starts from) and "
            "`averaged`; empty for one training, or two with `images`."
        ),
    ] = field(default_factory=list)
