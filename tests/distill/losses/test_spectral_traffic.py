"""What the box kernel asks of the memory: launches and bytes, counted in the interpreter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder

from distill.losses.spectral import triton_box
from distill.losses.spectral.way import SpectralLoss

if TYPE_CHECKING:
    from torch import Tensor

pytestmark = pytest.mark.interpreted


class Traffic:
    """Launches, and the addresses that are read and written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.launches = 0
        self.loads: list[Any] = []
        self.stores: list[Any] = []
        load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store
        launch = GridExecutor.__call__

        def loaded(builder: Any, ptrs: Any, mask: Any, *rest: Any) -> Any:
            self.loads.append(ptrs.data[mask.data])
            return load(builder, ptrs, mask, *rest)

        def stored(builder: Any, ptrs: Any, value: Any, mask: Any, *rest: Any) -> Any:
            self.stores.append(ptrs.data[mask.data])
            return store(builder, ptrs, value, mask, *rest)

        def launched(grid: GridExecutor, *arguments: Any, **named: Any) -> Any:
            self.launches += 1
            return launch(grid, *arguments, **named)

        monkeypatch.setattr(InterpreterBuilder, "create_masked_load", loaded)
        monkeypatch.setattr(InterpreterBuilder, "create_masked_store", stored)
        monkeypatch.setattr(GridExecutor, "__call__", launched)

    def clear(self) -> None:
        self.launches, self.loads, self.stores = 0, [], []

    @staticmethod
    def times(addresses: list[Any], tensor: Tensor) -> set[int]:
        """How often the elements of a tensor are accessed: one number if all are alike."""
        flat = np.concatenate([part.reshape(-1) for part in addresses]).astype(np.int64)
        begin, size = tensor.data_ptr(), tensor.element_size()
        inside = flat[(flat >= begin) & (flat < begin + tensor.numel() * size)]
        return set(np.bincount((inside - begin) // size, minlength=tensor.numel()).tolist())

    def distinct_bytes(self, size: int) -> int:
        """Bytes of the different elements of `size` bytes that are read or written."""
        every = np.concatenate([part.reshape(-1) for part in (*self.loads, *self.stores)])
        return size * len(np.unique(every.astype(np.int64)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(1, 2, 64, 64), (1, 1, 96, 80)])
def test_three_maps_are_read_and_two_written_in_one_launch(
    shape: tuple[int, ...], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    low, high, target = (torch.randn(shape, generator=generator).to(dtype) for _ in range(3))
    traffic = Traffic(monkeypatch)
    loss, *grads = triton_box.BOX.compute(low, high, target, 4, "box", keep=True)
    assert traffic.launches == 1
    assert traffic.times(traffic.loads, low) == traffic.times(traffic.loads, high) == {1}
    assert traffic.times(traffic.loads, target) == {2}, "the second time from the cache"
    for grad in grads:
        assert traffic.times(traffic.stores, grad) == {1}
        assert traffic.times(traffic.loads, grad) == {0}
    assert traffic.times(traffic.stores, loss) == {1}
    maps = 5 * target.numel() * target.element_size()
    height, width = shape[2:]
    bases = 4 * triton_box.blocks(height, width, 4)["RANK"] * (height + width + 64)
    # The bases and the programs' sums are all that is touched beside five maps.
    assert traffic.distinct_bytes(target.element_size()) <= maps + bases


def test_a_gradient_of_one_is_one_launch_that_reads_a_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    low, high, target = (torch.randn(1, 2, 16, 16) for _ in range(3))
    low.requires_grad_()
    high.requires_grad_()
    loss = SpectralLoss.apply(low, high, target, 2, "box", triton_box.BOX)
    traffic = Traffic(monkeypatch)
    torch.autograd.grad(loss, (low, high))
    assert traffic.launches == 1
    assert traffic.stores == []
    assert {part.size for part in traffic.loads} == {1}, "each program reads the number alone"
    loss = SpectralLoss.apply(low, high, target, 2, "box", triton_box.BOX)
    traffic.clear()
    scaled = torch.autograd.grad(loss, (low, high), torch.tensor(0.5))
    assert traffic.launches == 1
    assert traffic.stores
    assert scaled[0].shape == low.shape
