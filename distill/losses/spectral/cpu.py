"""The spectral loss on the CPU, on a few maps at a time that stay in the cache throughout.

The low band is never written: `low - U B U^T` is one matrix product that starts from `low`. It is
the gradient up to a factor, so the forward pass writes it where the gradient will be and sums its
squares while they are in the cache.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import lru_cache
from itertools import repeat
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from distill.losses.spectral.bands import Band, basis, low_band
from distill.losses.spectral.way import Way

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LARGE = 32 << 20
"""Bytes above which the allocator maps fresh pages for every tensor."""
_HUGE: int = getattr(mmap, "MADV_HUGEPAGE", 0)
CHUNK_BYTES = 1 << 20
"""Bytes of each float32 map in a chunk."""


def loss_and_grads(
    low: Tensor, high: Tensor, target: Tensor, radius: int, band: Band, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The loss of three (B, C, H, W) maps, and its gradients; see `way.Way`."""
    H, W = low.shape[-2:]
    step = max(1, CHUNK_BYTES // (4 * H * W))
    grads = [_large_empty(m) if keep else m.new_empty(0) for m in (low, high)]
    in_place = keep and low.dtype == high.dtype == torch.float32
    buffers = [torch.empty(step, H, W) for _ in range(0 if in_place else 2)]
    scale = 2 / low.numel()
    total = 0.0
    # Without gradients nothing is written: every chunk then has no outputs.
    outputs: Iterable[tuple[Tensor, ...]] = _split(step, *grads) if keep else repeat(())
    for part, out in zip(_split(step, low, high, target), outputs, strict=keep):
        residuals = out if in_place else tuple(buffer[: len(part[0])] for buffer in buffers)
        _residuals(part, radius, band, scale, *residuals)
        for residual in residuals:
            total += torch.dot(residual.view(-1), residual.view(-1)).item()
        if not in_place:
            for gradient, residual in zip(out, residuals, strict=False):
                gradient.copy_(residual)
    return torch.tensor(total / scale / scale / low.numel()), grads[0], grads[1]


def scale_grads(first: Tensor, second: Tensor, incoming: Tensor) -> None:
    """Multiply two tensors by a scalar tensor, in place."""
    factor = incoming.item()
    if factor != 1:
        first.mul_(factor)
        second.mul_(factor)


CPU = Way(loss_and_grads, scale_grads)


def _large_empty(like: Tensor) -> Tensor:
    """Make an empty contiguous tensor; a large one asks Linux for huge pages, which saves time."""
    buffer = torch.empty(like.shape, dtype=like.dtype)
    size = buffer.numel() * buffer.element_size()
    if size >= _LARGE and (madvise := _madvise()) is not None:
        begin = -(-buffer.data_ptr() // mmap.PAGESIZE) * mmap.PAGESIZE
        # This is only advice, so the kernel's result does not matter.
        madvise(begin, buffer.data_ptr() + size - begin, _HUGE)
    return buffer


@lru_cache(maxsize=1)
def _madvise() -> Callable[[int, int, int], int] | None:
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    madvise_of_libc = ctypes.CDLL(None).madvise
    madvise_of_libc.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    function: Callable[[int, int, int], int] = madvise_of_libc
    return function


def _split(step: int, *maps: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The same `step` (H, W) maps of each at a time."""
    return zip(*(m.reshape(-1, *m.shape[-2:]).split(step) for m in maps), strict=True)


def _residuals(
    part: tuple[Tensor, ...], radius: int, band: Band, scale: float, first: Tensor, second: Tensor
) -> None:
    """Write `scale (low - L)` and `scale (high - H)` of (n, H, W) maps into two float32 tensors."""
    low, high, target = (m.float() for m in part)
    count, H, W = low.shape
    if band != "box":
        smooth = low_band(target, radius, band)
        torch.sub(low, smooth, out=first).mul_(scale)
        torch.sub(high, target, out=second).add_(smooth).mul_(scale)
        return
    rows, columns = basis(H, radius, low.device), basis(W, radius, low.device)
    # A product with as few rows as the basis has is much faster than one with as few columns.
    half = (columns.T @ target.reshape(-1, W).T).view(-1, H)
    small = ((half @ rows) @ rows.T).view(-1, count * H).T
    torch.addmm(
        low.reshape(-1, W), small, columns.T, beta=scale, alpha=-scale, out=first.view(-1, W)
    )
    torch.sub(high, target, out=second).view(-1, W).addmm_(
        small, columns.T, beta=scale, alpha=scale
    )
