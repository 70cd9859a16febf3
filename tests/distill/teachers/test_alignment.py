"""Where cells look, on networks of which it is known."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from distill.teachers.alignment import measure_offsets, to_grid


class Strided(nn.Module):
    """Halves the size by 3x3 box filters, padded symmetrically or as in TensorFlow."""

    def __init__(self, padding: str, times: int) -> None:
        super().__init__()
        self.padding, self.times = padding, times

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for _ in range(self.times):
            x = F.pad(
                x, [1, 1, 1, 1] if self.padding == "symmetric" else [0, 1, 0, 1], mode="replicate"
            )
            x = F.conv2d(x, torch.full((3, 1, 3, 3), 1 / 9), stride=2, groups=3)
            maps.append(x)
        return maps


@pytest.mark.parametrize(("padding", "sign"), [("symmetric", -1), ("tensorflow", 1)])
def test_the_offset_of_strided_convolutions_is_found(padding: str, sign: int) -> None:
    """Each halving with symmetric padding shifts a cell by half an input pixel.

    The sum is 1/2 - 2^-n / 2 of a cell.
    """
    offsets = measure_offsets(Strided(padding, 3), 72)
    for times, offset in enumerate(offsets, 1):
        assert offset == pytest.approx([sign * (0.5 - 0.5 / 2**times)] * 2, abs=1 / 32)


@pytest.mark.parametrize("padding", ["symmetric", "tensorflow"])
@pytest.mark.parametrize("grid", [(9, 9), (18, 18), (6, 6)])
def test_the_offset_is_taken_back(padding: str, grid: tuple[int, int]) -> None:
    """Of a picture that is a slope, each cell gets the slope at its middle."""
    network, side = Strided(padding, 3), 72
    slope = (torch.arange(side) + 0.5) / side
    picture = torch.stack([slope[:, None].expand(side, side), slope[None].expand(side, side)])
    maps = network(torch.cat([picture, picture[:1]])[None])
    for level, offset in zip(maps, measure_offsets(network, side), strict=True):
        down, right = to_grid(level, grid, offset)[0, :2]
        middles = (torch.arange(grid[0]) + 0.5) / grid[0]
        inside = slice(grid[0] // 4, -(grid[0] // 4))
        assert torch.allclose(down[inside, 3], middles[inside], atol=0.01)
        assert torch.allclose(right[3, inside], middles[inside], atol=0.01)


def test_patches_that_do_not_overlap_have_no_offset() -> None:
    network = nn.Conv2d(3, 64, 8, stride=8)
    torch.manual_seed(0)
    nn.init.normal_(network.weight)
    assert measure_offsets(lambda x: [network(x)], 72)[0] == pytest.approx((0, 0), abs=1 / 32)
