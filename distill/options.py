"""The options of a distillation run, in the parts that the modules of `distill` are given.

Every option has one home: its field below, with its type, its default and one sentence of help.
Users write options flat (`lr: 0.001` in a YAML file, `lr=0.001` elsewhere), under the name of the
field or the one that `msgspec.field(name=...)` gives it; `distill.config` translates between both
spellings and lists all of them for a help text.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, field

from edge.frame import FieldOfView  # noqa: TC001 - msgspec reads it at run time

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Side = Annotated[int, Meta(ge=1, le=8192)]
Folder = Annotated[str, Meta(min_length=1)]
Fraction = Annotated[float, Meta(ge=0.0, lt=1.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(ge=0.0, le=1e6)]
Rate = Annotated[float, Meta(gt=0.0, le=1e3)]
Minutes = Annotated[float, Meta(gt=0.0, le=1e6)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Scale = Annotated[float, Meta(gt=0.0, le=2.0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts."""


class DataOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which frames a run trains and validates on, and what it reads of them."""

    folders: Annotated[
        list[Folder],
        Meta(
            description="Folders with images/ and masks/, or with train/ and validation/ that hold "
            "both."
        ),
    ] = field(name="data")
    val_sequences: Annotated[
        list[int],
        Meta(description="Video sequences kept for validation, in folders with a sequences.json."),
    ] = []
    val_fraction: Annotated[
        Fraction,
        Meta(
            description="Share of the groups of frames kept for validation, in folders without a "
            "split of their own."
        ),
    ] = 0.1
    split_seed: Annotated[
        Seed,
        Meta(
            description="Random seed of the draw of validation frames, apart from `seed`, so that "
            "runs of several seeds validate on the same frames."
        ),
    ] = 0
    negatives: Annotated[
        list[Folder],
        Meta(
            description="Folders of frames that are known to show no polyp; frames whose names "
            "differ only in a trailing number are one sequence."
        ),
    ] = []
    negative_share: Annotated[
        Fraction,
        Meta(description="Share of each batch that is drawn from `negatives`, if there are any."),
    ] = 0.25
    val_negatives: Annotated[
        Fraction,
        Meta(
            description="Share of the frames of `negatives` kept for validation, "
            "in whole sequences."
        ),
    ] = 0.25
    balance: Annotated[
        Share,
        Meta(
            description="Weight of the data sets in an epoch, whose length stays the same: 0 draws "
            "every labeled frame once, 1 draws every data set equally often."
        ),
    ] = 0.0
    unlabeled: Annotated[
        list[Folder],
        Meta(
            description="Folders of frames without masks, which learn from the averaged student's "
            "own predictions; needs `ema` over 0."
        ),
    ] = []
    images: Annotated[
        list[Folder],
        Meta(
            description="Folders of frames without masks that the teachers' maps are learned on "
            "before the task, together with the training frames; see `image_epochs`."
        ),
    ] = []
    unlabeled_share: Annotated[
        Fraction,
        Meta(description="Share of each batch that is drawn from `unlabeled`, if there are any."),
    ] = 0.25
    boxes: Annotated[
        list[Folder],
        Meta(
            description="Files or folders of annotations with boxes (COCO, YOLO, Pascal VOC, CSV, "
            "Kvasir-SEG's JSON and others that `data convert` reads), the pictures beside them; "
            "pictures with a mask keep it, and `ema` must be over 0."
        ),
    ] = []
    box_share: Annotated[
        Fraction,
        Meta(description="Share of each batch that is drawn from `boxes`, if there are any."),
    ] = 0.25
    size: Annotated[
        Side, Meta(description="Height and width of the student's input in pixels.")
    ] = 256
    field_of_view: Annotated[
        FieldOfView,
        Meta(
            description="Part of a frame that the student sees in training and on the device: "
            "`view`, the field of view with a margin, or `full-frame`."
        ),
    ] = "view"


class StudentOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which network is trained, what it starts from and which of its parts stay as they are."""

    name: Annotated[
        str, Meta(description="Name of the student in `distill.students.build.STUDENTS`.")
    ] = field(name="student", default="edge-s")
    decoder: Annotated[
        str,
        Meta(
            description="Decoder in place of the student's own, a name in "
            "`distill.students.decoders.build.DECODERS`, for edge students and ssformer-b0."
        ),
    ] = ""
    dynamic_head: Annotated[
        bool, Meta(description="Make the kernel of the head from the picture, for such students.")
    ] = False
    attention: Annotated[
        Literal["sigmoid", "softmax"],
        Meta(
            description="Attention of pranet-v2; the published `softmax` is 1 everywhere for one "
            "class."
        ),
    ] = "sigmoid"
    pooled_attention: Annotated[
        bool,
        Meta(
            description="Let each map that the decoder reads attend to 35 pooled tokens of its own "
            "(LDNet), for edge students and ssformer-b0; such a student is not quantized."
        ),
    ] = False
    uncertainty: Annotated[
        bool,
        Meta(
            description="Learn by hints how sure the student is of its mask, for edge students and "
            "ssformer-b0 in training and evaluation; such a student is not quantized."
        ),
    ] = False
    detection: Annotated[
        bool, Meta(description="Give boxes beside the mask, for edge students and ssformer-b0.")
    ] = False
    selective_scan: Annotated[
        bool,
        Meta(description="Scan the deepest map (Mamba), for such a student that only teaches."),
    ] = False
    pretrained: Annotated[
        bool, Meta(description="Start the student's encoder from ImageNet weights.")
    ] = True
    start: Annotated[
        str,
        Meta(
            description="Weights that the whole student starts from: a file of weights recovered "
            "from a bundle, or a run; parts that it lacks start as they would without it."
        ),
    ] = ""
    frozen_stages: Annotated[
        Count,
        Meta(
            description="Number of stages of the pretrained encoder, counted from the input, that "
            "keep their weights and BatchNorm statistics."
        ),
    ] = 0
    drop_path: Annotated[
        Fraction,
        Meta(
            description="Probability of skipping the last residual block of an EfficientNet-Lite "
            "encoder for an image in training; earlier blocks are skipped less often."
        ),
    ] = 0.0
    freeze_batchnorm: Annotated[
        bool,
        Meta(
            description="Use the running statistics of BatchNorm in training and do not update "
            "them."
        ),
    ] = False

    @property
    def network(self) -> str:
        """Name of the whole network, as `distill.students.build.build_student` takes it."""
        dynamic = "dynamic-head" if self.dynamic_head else ""
        attention = self.attention if self.attention != "sigmoid" else ""
        unsure = "uncertainty" if self.uncertainty else ""
        pooled = "pooled-attention" if self.pooled_attention else ""
        boxes = "detection" if self.detection else ""
        scan = "selective-scan" if self.selective_scan else ""
        parts = (self.name, self.decoder, dynamic, attention, pooled, scan, unsure, boxes)
        return "+".join(filter(None, parts))


class TeacherOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which networks teach the student."""

    specs: Annotated[
        list[str],
        Meta(
            description="Specifications of the teachers whose feature maps are distilled, as "
            "`distill.teachers.build.build_teacher` reads them, with `?size=PIXELS` for a size "
            "other than that of the checkpoint and `?layers=NAME,NAME` for other layers."
        ),
    ] = field(name="teachers", default_factory=lambda: ["efficientnet_lite2"])
    task_specs: Annotated[
        list[str],
        Meta(
            description="Networks that segment, each `run:RUN` or `fitted:DIR`, whose averaged "
            "logits are distilled; an empty list disables this."
        ),
    ] = field(name="task_teachers", default_factory=list)
    standardize: Annotated[
        Literal["channel", "phi-s"],
        Meta(description="Standardization that makes the teachers' maps comparable."),
    ] = "channel"
    shuffle: Annotated[
        bool,
        Meta(
            description="Give every image the maps of another image, a control under which no "
            "teacher can help."
        ),
    ] = field(name="shuffle_teacher", default=False)


class LossOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What training minimizes."""

    recipe: Annotated[
        Literal["difom", "paper", "none"],
        Meta(
            description="`difom` adds the spectral distillation to the task loss, `paper` follows "
            "the published notebook, whose target collapses, and `none` is the task loss alone."
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


class AugmentationOptions(Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How training views are made of the frames."""

    scales: Annotated[
        list[Scale],
        Meta(
            min_length=1,
            description="Factors of the input size, one of which is drawn for each step "
            "(multi-scale training as in PraNet); the masks keep their size.",
        ),
    ] = field(default_factory=lambda: [1.0])
    shifted_views: Annotated[
        Share,
        Meta(
            description="Share of the training views that are changed to look like frames of other "
            "hospitals and zoom further in and out."
        ),
    ] = 0.0
    polyp_free_views: Annotated[
        Fraction,
        Meta(
            description="Share of the training views that are cut from a frame so that no polyp is "
            "in them."
        ),
    ] = 0.0
    removed_polyps: Annotated[
        Fraction,
        Meta(
            description="Share of the training views of a frame whose polyp is covered with mucosa "
            "of the same frame; needs recipe `none`, because teachers have seen the polyp."
        ),
    ] = 0.0
    pasted_polyps: Annotated[
        Share,
        Meta(
            description="Share of the views of `negatives` into which a polyp of a labeled frame "
            "is pasted, with its mask; needs recipe `none`, because teachers have not seen the "
            "polyp."
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
    settings: dict[str, Any] = {}
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
    ] = []
    stages: Annotated[
        list[Stage],
        Meta(
            description="Trainings of a run that averages their best weights, each a mapping with "
            "`name`, `settings` that differ, `after` (the stage whose weights it starts from) and "
            "`averaged`; empty for one training, or two with `images`."
        ),
    ] = []
