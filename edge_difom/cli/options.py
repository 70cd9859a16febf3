"""Options that several commands share, each with one spelling and one text."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge_difom.cli import console

if TYPE_CHECKING:
    from collections.abc import Callable

F = TypeVar("F", bound="Callable[..., Any]")

PRECISIONS = ("int8", "f32", "bf16", "f16")


class FiniteRange(click.FloatRange):
    """A range of finite numbers; click accepts `nan` for every range and `inf` for an open one."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return the number, or fail as click does for a number outside the range."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


def bundle(
    help: str = "Bundle: a directory, a .difom file, or the name of a shipped bundle.",
    *,
    required: bool = False,
) -> Callable[[F], F]:
    """The option `--bundle B`, given to the command as `bundle_path: Path | None`."""
    return click.option(
        "--bundle", "bundle_path", type=console.BUNDLE, required=required, help=help
    )


def engine() -> Callable[[F], F]:
    """The option `--engine NAME`, given to the command as `engine: str`."""
    return click.option(
        "--engine",
        default="auto",
        show_default=True,
        metavar="NAME",
        help="openvino (also openvino:GPU, :NPU, :AUTO), tflite, onnx (also onnx:cuda, :tensorrt, "
        ":cpu), or auto for the first that works on this machine.",
    )


def precision() -> Callable[[F], F]:
    """The option `--precision P`, given to the command as `precision: str`."""
    return click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        default="int8",
        show_default=True,
        help="Precision of the engine; bf16 only in OpenVINO, f16 only in ONNX.",
    )


def threads(*, multiple: bool = False) -> Callable[[F], F]:
    """The option `--threads N`, given to the command as `threads: int | None` or as a tuple."""
    return click.option(
        "--threads",
        type=click.IntRange(min=1),
        multiple=multiple,
        help="CPU threads of the engine. Default: one for each core available to this process.",
    )


def force(help: str = "Replace existing output.") -> Callable[[F], F]:
    """The switch `--force`, given to the command as `force: bool`."""
    return click.option("--force", is_flag=True, help=help)


def out(help: str = "Folder to write.") -> Callable[[F], F]:
    """The required option `--out PATH`, given to the command as `out: Path`."""
    return click.option("--out", type=click.Path(path_type=Path), required=True, help=help)


def bundle_name() -> Callable[[F], F]:
    """The option `--name` of a new bundle, given to the command as `name: str | None`."""
    return click.option("--name", help="Name of the bundle. Default: student, size and run.")


def max_drop() -> Callable[[F], F]:
    """The option `--max-drop`, given to the command as `max_drop: float | None`."""
    return click.option(
        "--max-drop",
        type=FiniteRange(0, 1),
        help="Maximum loss of Dice of INT8 against FP32 (0.005).",
    )


def student_size() -> Callable[[F], F]:
    """The option `--size` of a new student, given to the command as `size: int | None`."""
    return click.option(
        "--size", type=int, help="Height and width of the student's input, in pixels."
    )


def device_state() -> Callable[[F], F]:
    """The option `--state` of a device's verbs, given to the command as `folder: Path`."""
    from firmware_bridge.fleet.trust.trust_store import DEFAULT_STATE

    return click.option(
        "--state",
        "folder",
        type=click.Path(path_type=Path),
        default=DEFAULT_STATE,
        show_default=True,
        help="State folder of the device.",
    )
