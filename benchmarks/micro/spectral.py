"""Compare the spectral loss with the formulation that was published with the method.

The published formulation, with a frozen target, takes an orthonormal FFT of the target, a centered
box of half-width min(H, W) // 6, two inverse FFTs and two mean squared errors. Both sides run
forward and backward with gradients to `low` and `high`, on CUDA if it is available.
"""

from __future__ import annotations

import math
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.micro.engines import THREADS
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.errors import ParityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

SHAPE = (256, 64, 64)
RADIUS = min(SHAPE[1:]) // 6
_TOLERANCE = 1e-5
_MEMORY_ROUNDS = 3
_MEMORY = """
import sys, torch
from benchmarks.micro import spectral
torch.set_num_threads(1)
loss = spectral.losses()[sys.argv[1]]
spectral.step(loss, spectral.tensors(1, (2, 16, 16)))
print(spectral.highest_memory(loss, spectral.tensors(int(sys.argv[2]))))
"""


def spectral_6(rounds: int) -> Comparison:
    """Compare forward and backward of 6 x 256 x 64 x 64, published with ours."""
    return spectral_speed(rounds, batch=6)


def spectral_16(rounds: int) -> Comparison:
    """Compare forward and backward of 16 x 256 x 64 x 64, published with ours."""
    return spectral_speed(rounds, batch=16)


def spectral_speed(rounds: int, *, batch: int, bound: float = 10.0) -> Comparison:
    """Compare the time of forward and backward, published with ours.

    Args:
        rounds: Number of rounds of each side.
        batch: Images in a batch.
        bound: Promised ratio.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        functions, triple = losses(), tensors(batch)
        check = _check(triple)
        for loss in functions.values():
            step(loss, triple)
        slow, fast = interleave(
            lambda: step(functions["published"], triple),
            lambda: step(functions["ours"], triple),
            rounds=rounds,
        )
    finally:
        torch.set_num_threads(threads)
    left, right = Side(what="published", samples=slow), Side(what="ours", samples=fast)
    goal = Goal(
        what="published over ours, forward and backward",
        value=left.median / right.median,
        bound=bound,
        at_least=True,
    )
    device = triple[0].device.type
    where = f"{THREADS} threads" if device == "cpu" else torch.cuda.get_device_name()
    return compare(
        left,
        right,
        check=check,
        unit="ms",
        goal=goal,
        shape=(batch, *SHAPE),
        radius=RADIUS,
        device=f"{device}, {where}",
    )


def spectral_memory(rounds: int, *, batch: int = 6, bound: float = 5.0) -> Comparison:
    """Compare the memory of forward and backward beyond maps and gradients, published with ours.

    Args:
        rounds: Maximum number of fresh processes of each side.
        batch: Images in a batch.
        bound: Promised ratio.
    """
    check = _check(tensors(1))
    high, low = interleave(
        lambda: _peak("published", batch),
        lambda: _peak("ours", batch),
        rounds=min(rounds, _MEMORY_ROUNDS),
    )
    left, right = Side(what="published", samples=high), Side(what="ours", samples=low)
    goal = Goal(
        what="published over ours, extra memory",
        value=left.median / right.median,
        bound=bound,
        at_least=True,
    )
    return compare(
        left, right, check=check, unit="MiB", goal=goal, shape=(batch, *SHAPE), radius=RADIUS
    )


def losses() -> dict[str, Loss]:
    """Return both formulations."""
    from distill.losses import spectral_loss

    return {
        "published": lambda low, high, target: published_loss(
            low, high, target, -RADIUS, RADIUS - 1
        ),
        "ours": lambda low, high, target: spectral_loss(low, high, target, radius=RADIUS),
    }


def published_loss(low: Tensor, high: Tensor, target: Tensor, first: int, last: int) -> Tensor:
    """Two inverse FFTs, with the box of the frequencies `first` to `last` along both axes."""
    import torch
    import torch.nn.functional as F

    H, W = target.shape[-2:]
    center_h, center_w = H // 2, W // 2
    box = torch.zeros(H, W, device=target.device)
    box[center_h + first : center_h + last + 1, center_w + first : center_w + last + 1] = 1
    spectrum = torch.fft.fftshift(torch.fft.fft2(target, norm="ortho"), dim=(-2, -1))
    bands = [
        torch.fft.ifft2(torch.fft.ifftshift(spectrum * part, dim=(-2, -1)), norm="ortho").real
        for part in (box, 1 - box)
    ]
    return F.mse_loss(low, bands[0]) + F.mse_loss(high, bands[1])


def tensors(batch: int, shape: tuple[int, int, int] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    """Return random low, high and target; the first two have gradients."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    generator = torch.Generator(device).manual_seed(0)
    low, high, target = (
        torch.randn(batch, *shape, generator=generator, device=device) for _ in range(3)
    )
    return low.requires_grad_(), high.requires_grad_(), target


def step(loss: Loss, triple: tuple[Tensor, Tensor, Tensor]) -> float:
    """Return the milliseconds of one forward and backward pass."""
    import torch

    low, high, target = triple
    low.grad = high.grad = None
    _synchronize(torch.cuda)
    begin = time.perf_counter_ns()
    loss(low, high, target).backward()
    _synchronize(torch.cuda)
    return (time.perf_counter_ns() - begin) / 1e6


def highest_memory(loss: Loss, triple: tuple[Tensor, Tensor, Tensor]) -> float:
    """Measure the peak MiB of one forward and backward pass in this process, with gradients."""
    import torch

    if triple[0].is_cuda:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(loss, triple)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    # VmHWM can be reset, so that the peak is that of the loss alone.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status_kib("VmRSS")
    step(loss, triple)
    return (_status_kib("VmHWM") - before) / 1024


def _status_kib(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key))


def _synchronize(cuda: object) -> None:
    if cuda.is_available():  # type: ignore[attr-defined]
        cuda.synchronize()  # type: ignore[attr-defined]


def _peak(name: str, batch: int) -> float:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, name, str(batch)],
        capture_output=True,
        text=True,
        check=True,
    )
    gradients = 2 * batch * math.prod(SHAPE) * 4 / 2**20
    return float(done.stdout) - gradients


def _check(triple: tuple[Tensor, Tensor, Tensor]) -> str:
    """Check that both formulations give the same loss and gradients with the same symmetric box."""
    import torch

    own_loss = losses()["ours"]
    low, high, target = (m[:2].detach() for m in triple)
    results = []
    for loss in (own_loss, lambda *m: published_loss(m[0], m[1], m[2], -RADIUS, RADIUS)):
        maps = low.clone().requires_grad_(), high.clone().requires_grad_()
        value = loss(*maps, target)
        results.append([value, *torch.autograd.grad(value, maps)])
    errors = [float(((a - b).norm() / b.norm()).item()) for a, b in zip(*results, strict=True)]
    if max(errors) > _TOLERANCE:
        raise ParityError(
            "the formulations disagree",
            expected=f"relative difference of loss and gradients <= {_TOLERANCE}",
            got=f"{max(errors):.1e}",
        )
    return f"loss and gradients agree to {max(errors):.1e} with the same symmetric box"
