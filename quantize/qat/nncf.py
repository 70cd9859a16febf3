"""Insert, calibrate, share and restore NNCF's fake quantizers of a student.

Weights are symmetric per channel, activations asymmetric per tensor, in int8 tensors, so that one
set of integers fits every runtime. Weights lie on the grids of `quantize.qat.low_bits`, so that it
fits every CPU. Quantizers on both sides of an operation that only moves or selects values (concat,
resize, pooling, pixel shuffle) are one module from the start, so that fine-tuning cannot give them
different scales.
"""

from __future__ import annotations

import gc
import logging
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nncf
import nncf.torch
import torch
from nncf.common.quantization.structs import QuantizationScheme
from nncf.quantization.advanced_parameters import QuantizationParameters
from nncf.torch.function_hook.wrapper import get_hook_storage
from nncf.torch.quantization.extensions import QuantizedFunctionsCPU
from torch import Tensor, nn

from edge.errors import TrainingError
from quantize.graph.tracing import quantizers, scale_groups, trace
from quantize.qat.equalize import equalize
from quantize.qat.grid_alignment import align
from quantize.qat.low_bits import keep_pair_sums, lower_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from nncf.torch.quantization.layers import AsymmetricQuantizer

    from distill.students.base import Student


@contextmanager
def _only_errors() -> Iterator[None]:
    """Keep NNCF's progress messages out of the log of the process; its level is restored."""
    logger = logging.getLogger("nncf")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def load_extension() -> None:
    """Load NNCF's C++ kernels; the first call compiles them (about a minute)."""
    with warnings.catch_warnings():
        # NNCF leaves the thread pool that it uses for loading to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        QuantizedFunctionsCPU.get("Quantize_forward")
        gc.collect()


def checkpoint_types() -> AbstractContextManager[None]:
    """Allow the type in a quantizer's configuration while a checkpoint of quantizers is read."""
    allowed: AbstractContextManager[None] = torch.serialization.safe_globals([QuantizationScheme])
    return allowed


INPUT_HOOK = "post_hooks.x__0.0"
INPUT_LOW, INPUT_RANGE = -127 / 128, 255 / 128
"""Range of a uint8 frame as `(x - 127) / 128`: step 1/128, zero point 127."""


@_only_errors()
def quantize_student(
    student: Student, samples: Sequence[Tensor], *, bits: int = 8, layers: Sequence[str] = ()
) -> nn.Module:
    """Insert quantizers and calibrate them (post-training quantization).

    Args:
        student: Trained student; it is not changed.
        samples: Calibration inputs, each (B, 3, H, W) float, `(rgb - 127) / 128`.
        bits: Bits of the weights; activations have 8.
        layers: Globs of the layers whose weights have fewer than 8 bits, as in
            `quantize.qat.low_bits.lower_weights`.

    Returns:
        The quantized student in eval mode, ready for fine-tuning or export.

    Raises:
        TrainingError: The student's weights are not finite.
        UsageError: A pattern in `layers` matches nothing.
    """
    refuse_nonfinite(student)
    load_extension()
    per_tensor = QuantizationParameters(per_channel=False)
    quantized = nncf.quantize(
        equalize(student, samples),
        nncf.Dataset(list(samples)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(samples),
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.DISABLE, activations_quantization_params=per_tensor
        ),
    )
    quantized = _fix_grids(quantized, samples[0][:1])
    keep_pair_sums(quantized, samples[0][:1])
    if bits < 8:
        lower_weights(quantized, samples[0][:1], bits, layers)
    align(quantized, samples[0][:1])
    return quantized


def quantized_state(quantized: nn.Module) -> dict[str, Any]:
    """Return what `restore` needs to rebuild a quantized student bit for bit."""
    return {"model": quantized.state_dict(), "nncf": nncf.torch.get_config(quantized)}


@_only_errors()
def restore(student: Student, state: dict[str, Any], example: Tensor) -> nn.Module:
    """Rebuild a quantized student from `quantized_state`.

    Args:
        student: A student of the same class and size; it is wrapped in place.
        state: Result of `quantized_state`.
        example: (1, 3, H, W) input.

    Raises:
        TrainingError: The state does not fit the student.
    """
    load_extension()
    try:
        quantized = nncf.torch.load_from_config(student.eval(), state["nncf"])
        quantized = _fix_grids(quantized, example)
        quantized.load_state_dict(state["model"])
    except (KeyError, RuntimeError, nncf.ValidationError) as unfit:
        raise TrainingError(
            "the quantized checkpoint does not fit the student",
            expected="a checkpoint of a quantization of the same run",
            got=str(unfit).splitlines()[0][:200],
            hint="quantize the run again",
            code="quantization-unfit",
        ) from unfit
    return quantized


def freeze_ranges(quantized: nn.Module) -> None:
    """Stop training the quantizers' ranges; the weights are still trained."""
    for quantizer in quantizers(quantized).values():
        quantizer.disable_gradients()


def refuse_nonfinite(model: nn.Module) -> None:
    """Raise TrainingError naming the first tensor of `model` that holds NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(
                f"{name} holds values that are not finite",
                expected="finite weights",
                got="NaN or infinity",
                hint="train again with a smaller lr, or start from an earlier checkpoint",
            )


def _fix_grids(quantized: nn.Module, example: Tensor) -> nn.Module:
    """Fix the input's grid and share the quantizers whose scales must stay equal."""
    by_name = quantizers(quantized)
    frame = by_name[INPUT_HOOK]
    with torch.no_grad():
        frame.input_low.fill_(INPUT_LOW)
        frame.input_range.fill_(INPUT_RANGE)
    frame.disable_gradients()
    storage = get_hook_storage(quantized)
    for group in scale_groups(trace(quantized, example)):
        members = [by_name[name] for name in group]
        joint = members[0]
        _cover(joint, members)
        for name, quantizer in by_name.items():
            if any(
                quantizer is member for member in members
            ):  # NNCF may also register one under several names
                storage.set_submodule(name, joint)
    return quantized.eval()


def _cover(joint: AsymmetricQuantizer, members: list[AsymmetricQuantizer]) -> None:
    """Widen `joint` to the union of its members' ranges."""
    with torch.no_grad():
        low = min(float(member.input_low) for member in members)
        high = max(float(member.input_low + member.input_range) for member in members)
        joint.input_low.fill_(low)
        joint.input_range.fill_(high - low)
