"""What the Triton kernels of the spectral loss share: the sum of all programs, and scaling."""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

SUM_BLOCK = 1024
SCALE_BLOCK = 4096
WARPS = 8


@triton.jit
def add_in_order(value, partial, counter, total, BLOCK: tl.constexpr):
    """Add the values of all programs of a launch; called by each of them, once and last.

    The program that finishes last adds the values in the order of the programs, so that a sum
    repeats to the bit, and sets the counter to 0 for the next launch.
    """
    tl.store(partial + tl.program_id(0), value)
    tl.debug_barrier()
    count = tl.num_programs(0)
    if tl.atomic_add(counter, 1, sem="acq_rel", scope="gpu") == count - 1:
        sums = tl.zeros((BLOCK,), tl.float32)
        for begin in range(0, count, BLOCK):
            index = begin + tl.arange(0, BLOCK)
            sums += tl.load(partial + index, mask=index < count, other=0.0, cache_modifier=".cg")
        tl.store(total, tl.sum(sums))
        tl.store(counter, 0)


@triton.jit
def scale_kernel(first, second, incoming, count, BLOCK: tl.constexpr):
    """Multiply two tensors by a scalar on the device; nothing is read or written if it is 1."""
    factor = tl.load(incoming)
    if factor != 1.0:
        offset = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        inside = offset < count
        a = tl.load(first + offset, mask=inside).to(tl.float32)
        b = tl.load(second + offset, mask=inside).to(tl.float32)
        tl.store(first + offset, (factor * a).to(first.dtype.element_ty), mask=inside)
        tl.store(second + offset, (factor * b).to(second.dtype.element_ty), mask=inside)


def scale(first: Tensor, second: Tensor, incoming: Tensor) -> None:
    """Multiply two contiguous tensors of one shape by a scalar tensor, in place."""
    count = first.numel()
    scale_kernel[(triton.cdiv(count, SCALE_BLOCK),)](
        first, second, incoming, count, BLOCK=SCALE_BLOCK, num_warps=WARPS
    )


def counter(device: torch.device) -> Tensor:
    """Count of finished programs: one for each stream, whose launches follow one another."""
    stream = torch.cuda.current_stream(device).cuda_stream if device.type == "cuda" else 0
    return _zero(device, stream)


@lru_cache(maxsize=256)
def _zero(device: torch.device, stream: int) -> Tensor:  # noqa: ARG001 - part of the key
    return torch.zeros(1, dtype=torch.int32, device=device)
