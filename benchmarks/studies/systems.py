"""`python -m benchmarks.studies.systems NAME`: compare parts of related systems with our own.

Each comparison trains its arms in pairs (`benchmarks.studies.paired`) and scores them on data sets
that no run has seen (`benchmarks.studies.left_out`). Arms that several comparisons share are
trained once.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from benchmarks.studies import options
from benchmarks.studies.box_data import write_box_data
from benchmarks.studies.left_out import (
    CONFIDENCE,
    left_out_boxes,
    left_out_figures,
    refuse_seen,
)
from benchmarks.studies.paired import (
    last_metrics,
    recovered_shares,
    run_study,
    show_study,
)
from edge.errors import UsageError
from edge_difom.cli import console
from edge_difom.cli.main import run_program
from edge_difom.runtime_env import keep_freed_memory

if TYPE_CHECKING:
    from benchmarks.studies.paired import Study


class Comparison(NamedTuple):
    """Arms that answer one question.

    Attributes:
        what: The question.
        arms: Name of each arm, the baseline first -> its changes of the shared settings.
        settings: Changes of `SHARED` for all arms.
    """

    what: str
    arms: dict[str, dict[str, Any]]
    settings: dict[str, Any]


SHARED: dict[str, Any] = {
    "recipe": "none",
    "teachers": [],
    "student": "edge-s",
    "size": 128,
    "epochs": 8,
    "lr": 0.003,
    "encoder_lr": 0.3,
    "ema": 0.98,
}
"""Settings of all comparisons, before their own and those of the command line."""
BOXES, MASKS = "{boxes}", "{masks}"
"""Stand for the boxes and for the masks of the folder of `--boxed`, which the arms learn from."""
ALONE = "{alone}"
"""Stands for the frames with masks in a batch of the arm with boxes.

A baseline with them alone makes as many steps on the same frames, and lacks only the boxes.
"""
TEACHER = "{teacher}"
"""Stands for the run of `--taught-by`, a trained student with a selective scan."""
COMPARISONS: dict[str, Comparison] = {
    "decoders": Comparison(
        "The decoders of EMCAD, SSFormer and RPCANet++ on the encoder of edge-s",
        {
            "edge-s": {},
            "emcad": {"decoder": "emcad"},
            "pld": {"decoder": "pld"},
            "rpca": {"decoder": "rpca"},
        },
        {},
    ),
    "dynamic-head": Comparison(
        "LDNet: a kernel of the head that is made from the picture, and attention to pooled tokens",
        {
            "edge-s": {},
            "dynamic-head": {"dynamic_head": True},
            "pooled-attention": {"pooled_attention": True},
            "ldnet": {"dynamic_head": True, "pooled_attention": True},
        },
        {},
    ),
    "background": Comparison(
        "PraNet-V2's supervision of the background, for edge-s",
        {"edge-s": {}, "background": {"background": True}},
        {},
    ),
    "pranet": Comparison(
        "Which part of PraNet-V2 pays: background, summed outputs (its published attention is 1 "
        "everywhere), or attention that works",
        {
            "pranet": {"student": "pranet"},
            "pranet-background": {"student": "pranet", "background": True},
            "pranet-v2-softmax": {"student": "pranet-v2", "attention": "softmax"},
            "pranet-v2": {"student": "pranet-v2"},
        },
        {"pretrained": False},
    ),
    "boxes": Comparison(
        "BoxPolyp: which share of the gain by another hospital's masks do its boxes bring?",
        {
            "masks": {"batch_size": ALONE},
            "boxes": {"boxes": [BOXES]},
            "full-masks": {"data": [MASKS]},
        },
        {"box_share": 0.4, "batch_size": 16},
    ),
    "uncertainty": Comparison(
        "ASPS: is a confidence that is learned by hints worth more than the maximum score?",
        {"edge-s": {}, "uncertainty": {"uncertainty": True}},
        {},
    ),
    "detection": Comparison(
        "ECC-PolypDet: do the boxes of a detection head find more than the regions of a mask, and "
        "do contrast and hard frames pay?",
        {
            "edge-s": {},
            "detection": {"detection": True},
            "detection-no-contrast": {"detection": True, "contrast_weight": 0.0},
            "detection-hard-frames": {"detection": True, "hard_frames": True},
        },
        {},
    ),
    "scan-teacher": Comparison(
        "SAM-Mamba and ProMamba: does a teacher with a selective scan help edge-xs more than the "
        "same maps of other images?",
        {
            "edge-xs": {"student": "edge-xs"},
            "taught": {"student": "edge-xs", "recipe": "difom", "teachers": [TEACHER]},
            "taught-shuffled": {
                "student": "edge-xs",
                "recipe": "difom",
                "teachers": [TEACHER],
                "shuffle_teacher": True,
            },
        },
        {},
    ),
    "ssformer": Comparison(
        "SSFormer: a mixed transformer instead of EfficientNet-Lite0, both from random weights",
        {
            "edge-s-random": {},
            "pld-random": {"decoder": "pld"},
            "ssformer-b0": {"student": "ssformer-b0"},
        },
        {"pretrained": False},
    ),
}
"""Comparisons by name."""
_CALL = "python -m benchmarks.studies.systems"


@click.command(
    epilog=console.examples(
        f"{_CALL} decoders --data KVASIR --left-out CLINICDB --out decoders.json",
        f"{_CALL} pranet --data KVASIR --arm pranet-v2 --seeds 5 --set pretrained=true",
        f"{_CALL} --list",
    )
)
@click.argument("name", required=False, type=click.Choice(list(COMPARISONS)))
@click.option("--list", "only_list", is_flag=True, help="List the comparisons and stop.")
@options.data(required=False)
@options.left_out()
@click.option(
    "--boxed",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Data folder whose masks the comparison `boxes` reduces to their boxes.",
)
@click.option(
    "--taught-by",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Run that teaches the arms of `scan-teacher`, such as one of edge-l with "
    "selective_scan=true or of sam-mamba:FOLDER.",
)
@options.VAL_SEQUENCES
@click.option("--arm", "chosen", multiple=True, help="Arm beside the baseline; repeatable.")
@options.SEEDS
@options.ASSIGNMENTS
@options.runs("runs/systems")
@options.OUT
def command(
    name: str | None,
    only_list: bool,
    data: tuple[Path, ...],
    left_out: tuple[Path, ...],
    boxed: Path | None,
    taught_by: Path | None,
    val_sequences: str,
    chosen: tuple[str, ...],
    seeds: int,
    assignments: tuple[str, ...],
    runs: Path,
    json_path: str | None,
) -> None:
    """Train the arms of the comparison NAME with the same seeds and compare them."""
    if only_list:
        rows = [[name, ", ".join(item.arms), item.what] for name, item in COMPARISONS.items()]
        console.table(["name", "arms, the baseline first", "question"], rows)
        return
    if name is None or not data:
        raise UsageError("a comparison needs a name and data", hint=f"{_CALL} decoders --data DIR")
    from distill.config import parse_assignments

    keep_freed_memory()
    settings = parse_assignments(assignments)
    if val_sequences:
        settings["val_sequences"] = options.parse_sequences(val_sequences)
    study = compare_systems(
        name,
        data,
        range(seeds),
        runs,
        left_out=left_out,
        boxed=boxed,
        taught_by=taught_by,
        settings=settings,
        chosen=chosen,
    )
    show_study(study)
    options.write_study(study, json_path)


def compare_systems(
    name: str,
    data: tuple[Path, ...],
    seeds: range,
    runs: Path,
    *,
    left_out: tuple[Path, ...] = (),
    boxed: Path | None = None,
    taught_by: Path | None = None,
    settings: dict[str, Any] | None = None,
    chosen: tuple[str, ...] = (),
) -> Study:
    """Train the missing runs of a comparison and compare its arms.

    Args:
        name: A key of `COMPARISONS`.
        data: Folders to train and validate on.
        seeds: Seeds of each arm.
        runs: Folder of the runs.
        left_out: Folders that no run sees.
        boxed: Folder with masks whose boxes, and whose masks, the arms of `boxes` learn from.
        taught_by: Run that teaches the arms of `scan-teacher`.
        settings: Further settings of all runs.
        chosen: Arms beside the baseline; all if empty.

    Raises:
        UsageError: An arm is unknown, a left-out folder is trained on, `boxed` or `taught_by` is
            missing or of no use, or `runs` holds a run with different settings.
        TrainingError: A run diverged.
        DataError: The images cannot be used.
    """
    comparison = COMPARISONS[name]
    unknown = sorted(set(chosen) - comparison.arms.keys())
    if unknown:
        raise UsageError(
            f"comparison {name} has no arm {unknown[0]}", expected=", ".join(comparison.arms)
        )
    refuse_seen((*data, boxed) if boxed else data, left_out)
    if (boxed is None) != (name != "boxes"):
        raise UsageError(
            f"comparison {name} {'needs' if name == 'boxes' else 'takes no'} boxes",
            expected="a data folder to reduce to its boxes, for the comparison `boxes` alone",
        )
    if (taught_by is None) != (name != "scan-teacher"):
        raise UsageError(
            f"comparison {name} {'needs' if name == 'scan-teacher' else 'takes no'} teacher",
            expected="a run that teaches, for the comparison `scan-teacher` alone",
        )
    shared = SHARED | comparison.settings | (settings or {})
    baseline = next(iter(comparison.arms))
    arms = {
        arm: changes
        for arm, changes in comparison.arms.items()
        if not chosen or arm in (baseline, *chosen)
    }
    folders = options.absolute(data)
    if boxed is not None:
        box_data = write_box_data(boxed, runs / "data" / boxed.resolve().name)
        batch = shared["batch_size"]
        filled = {
            "boxes": [str(box_data.boxes)],
            "data": [*folders, str(box_data.folder)],
            "batch_size": batch - round(shared["box_share"] * batch),
        }
        arms = {
            arm: {key: filled.get(key, value) for key, value in changes.items()}
            for arm, changes in arms.items()
        }
    if taught_by is not None:
        teachers = [f"run:{taught_by.resolve()}"]
        arms = {
            arm: changes | ({"teachers": teachers} if "teachers" in changes else {})
            for arm, changes in arms.items()
        }
    study = run_study(
        {"data": folders} | shared,
        arms,
        seeds,
        runs,
        score=partial(_figures, left_out=left_out, name=name),
        left_out=left_out,
    )
    if boxed is not None and len(study.rows) > 2:
        study = msgspec.structs.replace(study, recovered=recovered_shares(study))
    return study


def _figures(run: Path, left_out: tuple[Path, ...], *, name: str) -> dict[str, float]:
    """Figures of a finished run of a comparison beside its validation Dice."""
    figures = left_out_figures(run, left_out)
    if name == "detection":
        figures |= left_out_boxes(run, left_out)
    if name != "uncertainty":
        figures = {key: v for key, v in figures.items() if not key.startswith(CONFIDENCE)}
    last = last_metrics(run)
    return figures | ({"boxes kept": last["boxes_kept"]} if "boxes_kept" in last else {})


if __name__ == "__main__":
    run_program(command)
