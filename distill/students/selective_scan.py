"""A selective scan over the cells of a map, in plain PyTorch (Mamba: Gu & Dao, 2023).

Every cell decides from its own features how much of the state it keeps, enters and reads:

    h_t = exp(d_t A) h_{t-1} + d_t B_t u_t        y_t = C_t h_t + D u_t

The steps d, and B and C are functions of the cell. On maps, two scans run over the rows, one from
each end (Vision Mamba: Zhu et al., 2024), behind a depthwise 3x3 convolution. No engine has such an
operation: a student with it is a teacher.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STATE = 8
"""Size of the state of each channel."""
_STEPS = (1e-3, 1e-1)
"""Range of the steps at the start."""


def selective_scan(
    u: Tensor, step: Tensor, decay: Tensor, enter: Tensor, leave: Tensor, skip: Tensor
) -> Tensor:
    """Scan by doubling: after round k every cell has summed up the 2^k cells behind it.

    It takes log2(L) rounds of products of whole maps instead of L steps one after the other; the
    factors are at most 1, so that nothing grows.

    Args:
        u: (B, D, L) input.
        step: (B, D, L) steps, positive.
        decay: (D, N), negative.
        enter: (B, N, L), B of each cell.
        leave: (B, N, L), C of each cell.
        skip: (D,).

    Returns:
        (B, D, L).
    """
    retained = torch.exp(step.unsqueeze(2) * decay[None, :, :, None])  # (B, D, N, L)
    state = (step * u).unsqueeze(2) * enter.unsqueeze(1)
    shift, length = 1, u.shape[-1]
    while shift < length:
        state = state + retained * F.pad(state[..., :-shift], (shift, 0))
        retained = retained * F.pad(retained[..., :-shift], (shift, 0), value=1.0)
        shift *= 2
    read: Tensor = (state * leave.unsqueeze(1)).sum(dim=2) + skip[:, None] * u
    return read


def recurrent_scan(
    u: Tensor, step: Tensor, decay: Tensor, enter: Tensor, leave: Tensor, skip: Tensor
) -> Tensor:
    """The recurrence of `selective_scan`, cell after cell: its reference, with its arguments."""
    state = u.new_zeros(*u.shape[:2], decay.shape[1])
    read = []
    for cell in range(u.shape[-1]):
        retained = torch.exp(step[..., cell, None] * decay)
        entered = (step[..., cell] * u[..., cell]).unsqueeze(2) * enter[:, None, :, cell]
        state = retained * state + entered
        read.append((state * leave[:, None, :, cell]).sum(dim=2) + skip * u[..., cell])
    return torch.stack(read, dim=2)


class ScanDirection(nn.Module):
    """What one direction makes of each cell, and its scan.

    Args:
        width: Channels of the sequence.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.rank = max(1, width // 16)
        self.read = nn.Conv1d(width, self.rank + 2 * STATE, 1, bias=False)
        self.step = nn.Conv1d(self.rank, width, 1)
        # Steps that are spread evenly over their range, on a logarithmic scale.
        low, high = (math.log(value) for value in _STEPS)
        first = torch.exp(torch.linspace(low, high, width))
        assert self.step.bias is not None
        with torch.no_grad():
            self.step.bias.copy_(torch.log(torch.expm1(first)))
        rates = torch.arange(1, STATE + 1, dtype=torch.float32).repeat(width, 1)
        self.log_decay = nn.Parameter(torch.log(rates))
        self.skip = nn.Parameter(torch.ones(width))

    def forward(self, u: Tensor) -> Tensor:
        """(B, width, L) -> the same shape."""
        projected, enter, leave = self.read(u).split((self.rank, STATE, STATE), dim=1)
        step = F.softplus(self.step(projected))
        return selective_scan(u, step, -torch.exp(self.log_decay), enter, leave, self.skip)


class SelectiveScan(nn.Module):
    """A residual block with a scan from each end of a map.

    Args:
        channels: Channels of the map.
        width: Channels of the scans.
    """

    def __init__(self, channels: int, width: int = 64) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels)
        self.enter = nn.Conv2d(channels, 2 * width, 1)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.ahead, self.back = ScanDirection(width), ScanDirection(width)
        self.leave = nn.Conv2d(width, channels, 1)
        # The student begins almost as it would without the block.
        nn.init.normal_(self.leave.weight, std=0.01)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) -> the same shape."""
        inner, gate = self.enter(self.norm(x)).chunk(2, dim=1)
        cells = F.silu(self.near(inner)).flatten(2)
        scanned = self.ahead(cells) + self.back(cells.flip(2)).flip(2)
        read = scanned.unflatten(2, (x.shape[-2], x.shape[-1])) * F.silu(gate)
        output: Tensor = x + self.leave(read)
        return output
