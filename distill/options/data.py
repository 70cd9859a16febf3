"""Options of the frames and of the views that training makes of them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from distill.options.base import Folder, Fraction, Options, Scale, Seed, Share, Side
from edge.frame import FieldOfView  # noqa: TC001 - msgspec reads it at run time


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
    ] = field(default_factory=list)
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
    ] = field(default_factory=list)
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
    ] = field(default_factory=list)
    images: Annotated[
        list[Folder],
        Meta(
            description="Folders of frames without masks that the teachers' maps are learned on "
            "before the task, together with the training frames; see `image_epochs`."
        ),
    ] = field(default_factory=list)
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
    ] = field(default_factory=list)
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
