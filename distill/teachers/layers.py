"""Which layers of a network are distilled, and several of them as one map.

`?layers=8,12` at the end of a teacher's specification replaces the map that is usual for it.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from distill.teachers.alignment import measure_offsets, to_grid
from distill.teachers.base import Teacher
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

MIDDLE, SPREAD = 127.0, 60.0
"""Mean and deviation of the pixels on which offsets are measured, of 0 to 255."""


class LayeredTeacher(Teacher):
    """A teacher whose layers have names.

    Attributes:
        measured_on: Side in pixels of the pictures on which the offset of its cells is measured; 0
            for a network whose cells lie on what they see, such as one of patches.
    """

    measured_on = 0

    @abstractmethod
    def layer_names(self) -> tuple[str, ...]:
        """Names of the layers that may be distilled, from the input on."""

    @abstractmethod
    def layer_maps(self, pixels: Tensor, names: Sequence[str]) -> list[Tensor]:
        """Maps (B, C, h, w) of some layers, each with channels and grid of its own.

        Args:
            pixels: (B, 3, side, side) float32 RGB, 0 to 255; `size` or `measured_on` pixels.
            names: Out of `layer_names`.
        """


class ChosenLayers(Teacher):
    """Chosen layers of a teacher, aligned, stretched to the finest grid of them and concatenated.

    Args:
        teacher: What they are layers of.
        names: Out of its `layer_names`, each once.

    Raises:
        UsageError: A name is unknown or given twice, or there is none.
    """

    def __init__(self, teacher: LayeredTeacher, names: Sequence[str]) -> None:
        available = teacher.layer_names()
        if not names or not set(names) <= set(available) or len(set(names)) < len(names):
            raise UsageError(
                f"teacher {teacher.name}: no such choice of layers",
                expected=f"layers out of {', '.join(available)}, each once",
                got=f"layers={','.join(names)}",
                hint=f"layers={available[-1]}",
            )
        with torch.no_grad():
            probe = torch.full((1, 3, teacher.size, teacher.size), MIDDLE)
            shapes = [maps.shape for maps in teacher.layer_maps(probe, names)]
        offsets = tuple((0.0, 0.0) for _ in names)
        if teacher.measured_on:
            offsets = measure_offsets(
                lambda x: teacher.layer_maps(MIDDLE + SPREAD * x, names), teacher.measured_on
            )
        super().__init__(
            teacher.name,
            sum(shape[1] for shape in shapes),
            f"{teacher.preprocessing}, layers {','.join(names)}, cells {offsets}",
            size=teacher.size,
            cells=max(shape[-1] for shape in shapes),
        )
        self.source, self.license = teacher.source, teacher.license
        self.network, self.layers, self.offsets = teacher, tuple(names), offsets
        self.freeze()

    def native_features(self, pixels: Tensor) -> Tensor:
        """(B, channels, *grid) of (B, 3, size, size) float RGB."""
        outputs = zip(self.network.layer_maps(pixels, self.layers), self.offsets, strict=True)
        return torch.cat([to_grid(m.float(), self.grid, offset) for m, offset in outputs], dim=1)


def choose_layers(teacher: Teacher, names: Sequence[str]) -> Teacher:
    """A teacher of chosen layers of a teacher.

    Raises:
        UsageError: The teacher has no layers to choose from, or not those.
    """
    if not isinstance(teacher, LayeredTeacher):
        raise UsageError(f"teacher {teacher.name} has no choice of layers", hint="leave out layers")
    return ChosenLayers(teacher, names)


def tapped(modules: Mapping[str, nn.Module], run: Callable[[], object]) -> list[Tensor]:
    """Outputs of some modules of a network during one call of it.

    Args:
        modules: Name -> module, each of which the call runs once.
        run: Calls the network.

    Returns:
        One tensor for each module, in their order; the first one of a module that returns several.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            assert isinstance(first, Tensor), f"layer {name} gives no tensor"
            outputs[name] = first

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in modules.items()]
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()
    return [outputs[name] for name in modules]


def numbered(count: int) -> tuple[str, ...]:
    """Names of `count` layers: 1 for the first after the input."""
    return tuple(str(number + 1) for number in range(count))


def read_layers(text: str) -> tuple[str, ...]:
    """Read `8,12`, or `8+12` where a list is written in brackets.

    Raises:
        ValueError: A name is empty.
    """
    names = tuple(text.replace("+", ",").split(","))
    if not all(names):
        raise ValueError("names of layers, separated by commas")
    return names
