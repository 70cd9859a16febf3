"""Configuration of a distillation run: typed, strict, written beside the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml

from edge.errors import UsageError
from edge.frame import FieldOfView  # noqa: TC001 - msgspec reads it at run time

Positive = Annotated[int, msgspec.Meta(ge=1)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, lt=1.0)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, msgspec.Meta(ge=0.0)]


class DistillConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides the outcome of `edge-difom distill`.

    Attributes:
        data: Folders with images/ and masks/, or train/ and validation/ each so.
        val_sequences: Video sequences kept for validation, for folders with a sequences.json.
        val_fraction: Share of the groups kept for validation where a folder does not say.
        negatives: Folders of frames that are known to show no polyp; frames whose names differ in a trailing number alone
            are one sequence.
        negative_share: Share of each batch that is drawn from `negatives`, where there are any.
        val_negatives: Share of the frames of `negatives` kept for validation, in whole sequences.
        student: Name in `distill.students.build.STUDENTS`.
        teachers: Specifications for `distill.teachers.build.build_teacher`.
        recipe: `difom` (task loss and spectral distillation), `paper` (the published notebook's, whose target
            collapses) or `none` (task loss alone).
        pretrained: Start the student's encoder from ImageNet weights.
        start: Weights to start the whole student from instead: a file of `edge-difom bundle weights`, or a run. Parts that
            it does not hold start as they would without it.
        size: Height and width of the student's input, pixels.
        field_of_view: What of a picture the student is shown, in training and on the device: `view`, its field of view with
            a margin, or `full-frame`.
        scales: Factors of the input's size, one of which is drawn for each training step (multi-scale training, as in
            PraNet's and SINet's published code); the masks keep their size.
        epochs: Passes over the training images.
        batch_size: Images in a step.
        lr: Peak learning rate of the one-cycle schedule (Smith & Topin, 2018).
        encoder_lr: Learning rate of the student's encoder, as a share of `lr`.
        weight_decay: Decoupled weight decay (Loshchilov & Hutter, ICLR 2019).
        task_loss: On the masks, name in `distill.losses.task.TASK_LOSSES`: `structure`, `bce-iou` (the same without a weight of
            the outline) or `bce` (cross-entropy alone).
        clean_weight: Weight of the loss of a view without a polyp (`distill.losses.task.clean_loss`).
        presence_weight: Weight of the cross-entropy of "is there a polyp", for students with a presence logit.
        distill_weight: Weight of the distillation, averaged over the teachers; 0 is a control that must equal
            `none`.
        standardize: How the teachers' maps are made comparable: `channel` or `phi-s`.
        radius: Half-width of the low band, cycles per map.
        band: Shape of the low band.
        similarity_weight: Weight of the patch similarity beside the spectral loss.
        focal_weight: Weight of the focal frequency loss of both bands beside the spectral loss.
        task_teachers: `run:RUN` of students trained here, the mean of whose answers is learnt too; none where it is empty.
        cwd_weight: Weight of the channel-wise distillation of those answers' logits.
        teacher_dropping: Probability with which a teacher is left out of a step.
        schedule: `joint`, or `distil-first`: half of the epochs the teachers alone, then the task alone.
        shuffle_teacher: Give every image another image's maps: a control under which no teacher can help.
        shifted_views: Share of the training views that are made to look like other hospitals' pictures and zoom further in
            and out; the others keep to the camera's colours and optics, varied a little.
        polyp_free_views: Share of the training views that are cut from a frame so that no polyp is in them.
        removed_polyps: Share of the training views of a frame whose polyp has been covered with mucosa of the same picture;
            not with teachers, who have seen the polyp.
        precision: `fp32`, or `bf16` for the student's forward and backward pass.
        accumulate: Parts that a batch is computed in, for less memory.
        ema: Decay of the average of the weights that is validated and kept; 0 keeps the weights themselves.
        frozen_stages: Parts of the pretrained encoder, counted from the picture, that keep their weights and BatchNorm
            statistics; the first are the largest in pixels and the most general, so a step costs much less.
        drop_path: Probability with which the last residual block of an EfficientNet-Lite encoder is left out for a picture
            in training; less for those before it.
        freeze_batchnorm: Use BatchNorm's running statistics in training and leave them as they are.
        patience: Epochs without a better validation Dice before the run stops; 0 never stops early.
        checkpoint_minutes: Longest time between two resumable checkpoints.
        seed: Of the initial weights, the order and the augmentation.
    """

    data: list[str]
    val_sequences: list[int] = []
    val_fraction: Fraction = 0.1
    negatives: list[str] = []
    negative_share: Fraction = 0.25
    val_negatives: Fraction = 0.25
    student: str = "edge-s"
    teachers: list[str] = msgspec.field(default_factory=lambda: ["efficientnet_lite2"])
    recipe: Literal["difom", "paper", "none"] = "difom"
    pretrained: bool = True
    start: str = ""
    size: Positive = 256
    field_of_view: FieldOfView = "view"
    scales: list[Annotated[float, msgspec.Meta(gt=0.0, le=2.0)]] = msgspec.field(
        default_factory=lambda: [1.0]
    )
    epochs: Positive = 20
    batch_size: Positive = 16
    lr: Annotated[float, msgspec.Meta(gt=0.0)] = 1e-3
    encoder_lr: Annotated[float, msgspec.Meta(gt=0.0)] = 1.0
    weight_decay: Weight = 1e-2
    task_loss: Literal["structure", "bce-iou", "bce"] = "structure"
    clean_weight: Weight = 1.0
    presence_weight: Weight = 1.0
    distill_weight: Weight = 0.2
    standardize: Literal["channel", "phi-s"] = "channel"
    radius: Annotated[int, msgspec.Meta(ge=0)] = 4
    band: Literal["box", "radial"] = "box"
    similarity_weight: Weight = 0.0
    focal_weight: Weight = 0.0
    task_teachers: list[str] = []
    cwd_weight: Weight = 5.0
    teacher_dropping: Fraction = 0.0
    schedule: Literal["joint", "distil-first"] = "joint"
    shuffle_teacher: bool = False
    shifted_views: Share = 0.0
    polyp_free_views: Fraction = 0.0
    removed_polyps: Fraction = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    accumulate: Positive = 1
    ema: Fraction = 0.0
    frozen_stages: Annotated[int, msgspec.Meta(ge=0)] = 0
    drop_path: Fraction = 0.0
    freeze_batchnorm: bool = False
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    checkpoint_minutes: Annotated[float, msgspec.Meta(gt=0.0)] = 5.0
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0


def make_config(values: dict[str, Any]) -> DistillConfig:
    """A checked configuration.

    Raises:
        UsageError: An unknown key or a value out of its range.
    """
    try:
        return msgspec.convert(values, DistillConfig, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"configuration: {error}",
            expected=", ".join(field.name for field in msgspec.structs.fields(DistillConfig)),
            hint="correct the option, the --set or the configuration file",
        ) from None


def find_config(given: Path) -> Path:
    """The configuration file that a user names.

    Args:
        given: A path, or the name of a configuration that comes along. What exists under that name comes first.

    Raises:
        UsageError: There is neither.
    """
    shipped = {path.stem: path for path in (Path(__file__).parent / "configs").glob("*.yaml")}
    found = given if given.exists() else shipped.get(str(given))
    if found is None:
        raise UsageError(
            f"there is no configuration {given}", expected=f"a YAML file, or {', '.join(sorted(shipped))}"
        )
    return found


def resolve_config(given: Path | None, settings: dict[str, Any]) -> DistillConfig:
    """The configuration of a run: what a file or a name says, and over it the settings; its folders as absolute paths.

    Args:
        given: For `find_config`; None for the defaults.
        settings: By name; some must name the data where the file does not.

    Raises:
        UsageError: The file cannot be read, a setting is unknown or out of its range, or there is no data.
    """
    values = (read_config_file(find_config(given)) if given else {}) | settings
    if not values.get("data"):
        raise UsageError("no images are named", expected="at least one folder", hint="--data DIR")
    for key in ("data", "negatives"):
        if key in values:
            values[key] = [str(Path(folder).resolve()) for folder in values[key]]
    return make_config(values)


def read_config_file(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: The file is missing or no mapping.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read the configuration {path}", got=str(error)) from None
    if not isinstance(values, dict):
        raise UsageError(
            f"{path} holds no configuration", expected="key: value lines", got=type(values).__name__
        )
    return values


def parse_assignments(assignments: tuple[str, ...]) -> dict[str, Any]:
    """`key=value` pairs, each value read as YAML.

    Raises:
        UsageError: A pair without `=`.
    """
    values = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise UsageError(f"--set {assignment}", expected="key=value", hint="--set lr=0.0005")
        values[key.strip()] = yaml.safe_load(value)
    return values


def dump_config(config: msgspec.Struct) -> str:
    """A configuration as YAML, for `resolved.yaml`."""
    return yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False)
