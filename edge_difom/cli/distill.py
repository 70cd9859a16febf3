"""`edge-difom distill`: train a student from teachers and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_difom.cli import options
from edge_difom.cli.console import examples, made, next_command, progress, quote, say

NUMBERS = "3,8,13"


class NumberList(click.ParamType[list[int]]):
    """A list of integers, separated by commas."""

    name = NUMBERS

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[int]:
        """Parse `3,8,13`."""
        try:
            return [int(part) for part in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as {NUMBERS}", param, ctx)


def _help_config(context: click.Context, _: click.Parameter, value: bool) -> None:
    """Print the settings and end, as `--help` does."""
    if value and not context.resilient_parsing:
        from distill.config import config_options
        from edge_difom.cli.help_config import help_text

        click.echo(help_text(config_options()))
        context.exit()


@click.command(
    epilog=examples(
        "edge-difom distill --data DIR --student edge-s --teacher efficientnet_lite2",
        "edge-difom distill --data DIR1 --data DIR2 --val-sequences 3,8,13 --teacher "
        "dinov2:CHECKPOINT_DIR",
        "edge-difom distill --data DIR --images FRAMES --teacher sam:DIR?size=1024",
        "edge-difom distill --resume RUN",
        "edge-difom distill --help-config",
    )
)
@click.option(
    "--data",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder with images/ and masks/, or with train/ and validation/ (or val/) that contain "
    "them; repeatable. Default: the built-in phantom.",
)
@click.option(
    "--negatives",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of frames that are known to show no polyp, named by sequence and frame, such as "
    "s03_0017.jpg; whole sequences are kept for validation. Repeatable.",
)
@click.option(
    "--boxes",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE_OR_DIR",
    help="Annotations with boxes (COCO, YOLO, Pascal VOC, CSV, Kvasir-SEG's JSON) of pictures "
    "without a mask, beside the pictures; needs --set ema=VALUE. Repeatable.",
)
@click.option(
    "--images",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of frames without masks; the student first learns the teachers' maps on them and "
    "on the training frames, for --set image_epochs=100, and then the task. Repeatable.",
)
@click.option(
    "--val-sequences",
    type=NumberList(),
    help="Video sequences to validate on, for folders with a sequences.json.",
)
@click.option(
    "--val-fraction",
    type=float,
    help="Share of the groups to validate on, for folders without validation/.",
)
@click.option(
    "--student",
    help="Student to train: edge-s, edge-xs, edge-l, unet, unet-32, unetpp, unetpp-16, pranet, "
    "pranet-v2 or ssformer-b0.",
)
@click.option(
    "--teacher",
    "teachers",
    multiple=True,
    help="Teacher: efficientnet_lite2, dinov2, dinov3, sam, sam2, oneformer or mask2former (or "
    "NAME:DIR with a checkpoint), timm:NAME, run:RUN, or fitted:DIR of `teacher fit`; "
    "`?size=PIXELS` sets the size that it is shown frames at, such as sam:DIR?size=1024, and "
    "`?layers=NAME,NAME` the layers that are distilled. Repeatable.",
)
@click.option(
    "--recipe",
    type=click.Choice(["difom", "paper", "blocks", "none"]),
    help="difom: task loss and spectral distillation; paper: the published notebook, whose target "
    "collapses; blocks: new early stages learn the outputs of the pretrained ones, without masks; "
    "none: task loss only.",
)
@options.student_size()
@click.option("--epochs", type=int, help="Passes over the training images.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--lr", type=float, help="Peak learning rate.")
@click.option(
    "--patience",
    type=int,
    help="Epochs without improvement before the run stops; 0 never stops early.",
)
@click.option("--seed", type=int, help="Random seed (initial weights, sample order, augmentation).")
@click.option(
    "--track",
    multiple=True,
    type=click.Choice(["tensorboard", "mlflow", "wandb"]),
    help="Send the figures of every epoch to a tracker of experiments, too; repeatable.",
)
@click.option(
    "--export-trial/--no-export-trial",
    default=True,
    show_default=True,
    help="Before the training, quantize and export the untrained student for every engine, so that "
    "a student that cannot be exported is refused at once.",
)
@click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    help="YAML file with any of the settings, or the name of a built-in configuration (edge-s, "
    "edge-xs, edge-m, edge-s-4f, edge-s-fused); options override it.",
)
@click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Any setting of --help-config; overrides all other options. Repeatable.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder of the run. Default: a new one under $EDGE_DIFOM_RUNS or ./runs.",
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Continue a stopped run, to the same result bit for bit.",
)
@options.force("Train again in a folder that is not empty.")
@click.option(
    "--help-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_help_config,
    help="List every setting of --set with its type, default and meaning.",
)
def distill(
    config_file: Path | None,
    assignments: tuple[str, ...],
    out: Path | None,
    resume: Path | None,
    force: bool,
    export_trial: bool,
    **options: Any,
) -> None:
    """Distill frozen teachers into a small student.

    Each teacher processes each image once, at its own resolution, and training reads its cached
    feature maps. The checkpoint with the best validation Dice is kept.
    """
    from distill.config import find_config, parse_assignments, read_config_file, resolve_config
    from distill.data.load import refuse_size
    from distill.run_folder import load_run
    from distill.students.build import build_student
    from distill.students.size import student_size
    from distill.train.runs import is_main_process, resume_run, start_run
    from edge.errors import UsageError
    from edge_difom.runtime_env import keep_freed_memory

    keep_freed_memory()
    values = {name: value for name, value in options.items() if value not in (None, ())}
    if resume is not None:
        if values or config_file or assignments or out:
            raise UsageError(
                "--resume takes no other settings",
                expected="the run's own settings",
                hint=f"edge-difom distill --resume {resume}",
            )
        run = resume_run(resume, report=progress)
    else:
        settings = values | parse_assignments(assignments)
        if not (
            settings.get("data")
            or (config_file and read_config_file(find_config(config_file)).get("data"))
        ):
            if settings.get("images"):
                raise UsageError(
                    "frames without masks teach no task",
                    expected="folders with masks too, to train on and to validate",
                    hint="--data DIR",
                )
            settings["data"] = [_phantom()]
        config = resolve_config(config_file, settings)
        student = build_student(config.student.network, pretrained=False)
        refuse_size(config, student.divisor)
        say(
            f"{config.student.network} at {config.data.size}x{config.data.size}: "
            f"{student_size(student, config.data.size)}"
        )
        if export_trial and is_main_process():
            from quantize.runs.export_trial import try_export

            if try_export(config):
                say("the untrained student can be quantized and exported for every engine")
        run = start_run(config, out=out, force=force, report=progress)
    if not is_main_process():
        return
    loaded = load_run(run)
    averaged = sum(stage.averaged for stage in loaded.config.run.stages)
    epoch = f"epoch {loaded.metrics['epoch']:.0f}"
    if "distill_val" in loaded.metrics:
        say(f"held-out distillation loss {loaded.metrics['distill_val']:.4f}, {epoch}")
        made(run)
        next_command(f"edge-difom distill --data DIR --set start={quote(run)}")
        return
    weights = f"mean of {averaged} stages" if averaged else epoch
    say(
        f"validation Dice {loaded.metrics['dice_val']:.4f}, IoU {loaded.metrics['iou_val']:.4f} "
        f"at {loaded.config.data.size} pixels, {weights}"
    )
    made(run)
    if loaded.student.has_confidence:
        next_command(f"edge-difom evaluate --run {run} --data DIR")
    else:
        next_command(f"edge-difom qat {run} --bits 8")


def _phantom() -> Path:
    from distill.data.phantom import phantom_folder

    return phantom_folder()
