"""Options of the student and of its teachers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from distill.options.base import Count, Fraction, Options


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
    early: Annotated[
        Literal["lite", "fused", "fused-x8", "plain", "patch"],
        Meta(
            description="Early stages of the edge students' encoder in place of its own, `lite`: "
            "`fused`, `plain` and `patch` are dense up to stride 4, `fused-x8` up to stride 8; all "
            "start from random weights, which recipe `blocks` teaches."
        ),
    ] = "lite"
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
        early = self.early if self.early != "lite" else ""
        dynamic = "dynamic-head" if self.dynamic_head else ""
        attention = self.attention if self.attention != "sigmoid" else ""
        unsure = "uncertainty" if self.uncertainty else ""
        pooled = "pooled-attention" if self.pooled_attention else ""
        boxes = "detection" if self.detection else ""
        scan = "selective-scan" if self.selective_scan else ""
        parts = (self.name, early, self.decoder, dynamic, attention, pooled, scan, unsure, boxes)
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
