"""Measure the spectral loss on a GPU: `python -m benchmarks.micro.gpu --out RECORD.json`.

Published formulation and ours, forward and backward, interleaved on one device; eagerly and as a
CUDA graph. The share of the memory's speed relates the five passes that are needed (three maps
read, two gradients written) to a copy of the same size, measured in the same run. It takes about
two minutes, and less than four: rows get fewer rounds once their share of the time is spent.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec
import numpy as np
import torch

from benchmarks.micro.spectral import RADIUS, SHAPE, losses
from edge.errors import UsageError
from edge.util.files import write_json
from edge_difom.cli import console
from edge_difom.cli.main import run_program

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from benchmarks.micro.spectral import Loss

    Call = Callable[[], object]

PASSES = 5
"""Maps that are read or written at least: low, high, target, and the gradients to low and high."""
SECONDS = 180.0
"""Time for all rounds of all rows; compilation and warm-up come on top."""
LEAST_ROUNDS = 3
INNER = 10
"""Calls in one sample, so that the clock's resolution does not matter."""


class GpuRow(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison; times are medians in milliseconds of forward and backward.

    Attributes:
        what: Number of images, dtype and mode.
        published_ms: The published formulation.
        ours_ms: Ours.
        ratio: Published over ours, with the 2.5 and 97.5 % quantiles of the rounds' ratios.
        share_of_copy: Five passes at the speed of a copy, over our time.
        largest_error: Largest relative error of our loss and gradients against float64.
        rounds: Samples of each side.
    """

    what: str
    published_ms: float
    ours_ms: float
    ratio: float
    ratio_quantiles: tuple[float, float]
    share_of_copy: float
    largest_error: float
    rounds: int


class GpuRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What one run measured."""

    title: str
    note: str
    gpu: str
    torch: str
    rounds: int
    copy_gb_per_s: float
    gpu_rows: list[GpuRow]


def measure(
    device: torch.device, *, rounds: int, shape: tuple[int, int, int], seconds: float = SECONDS
) -> GpuRecord:
    """Measure all rows.

    Args:
        device: A CUDA device; on a CPU the same calls are timed, without graphs.
        rounds: Largest number of samples of each side.
        shape: Channels, height and width of a map.
        seconds: Time for the rounds of all rows; each row takes at least `LEAST_ROUNDS`.
    """
    copied = _copy_speed(device, rounds)
    wanted = [
        (images, dtype, graph)
        for images in (6, 16)
        for dtype, graph in (
            (torch.float32, False),
            (torch.float32, True),
            (torch.bfloat16, True),
        )
        if not graph or device.type == "cuda"
    ]
    rows = [
        _row(
            device,
            images,
            dtype,
            graph=graph,
            rounds=rounds,
            seconds=seconds / len(wanted),
            shape=shape,
            copied=copied,
        )
        for images, dtype, graph in wanted
    ]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return GpuRecord(
        title=f"Spectral loss on {name}",
        note="Published formulation and ours, interleaved, forward and backward.",
        gpu=name,
        torch=str(torch.__version__),
        rounds=rounds,
        copy_gb_per_s=copied / 1e9,
        gpu_rows=rows,
    )


def _row(
    device: torch.device,
    images: int,
    dtype: torch.dtype,
    *,
    graph: bool,
    rounds: int,
    seconds: float,
    shape: tuple[int, int, int],
    copied: float,
) -> GpuRow:
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(images, *shape, generator=generator).to(device, dtype) for _ in range(3)]
    low, high = (m.requires_grad_() for m in maps[:2])
    target = maps[2]
    calls: dict[str, Call] = {
        name: partial(_step, loss, low, high, target) for name, loss in losses().items()
    }
    error = _error(low, high, target)
    if graph:
        calls = {name: _captured(call) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        _seconds(call, device)
    end = time.perf_counter() + seconds
    for number in range(rounds):
        if number >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        for name, call in calls.items():
            samples[name].append(_seconds(call, device))
    published, own = np.array(samples["published"]), np.array(samples["ours"])
    least = PASSES * target.numel() * target.element_size() / copied
    low_quantile, high_quantile = np.quantile(published / own, [0.025, 0.975]).tolist()
    return GpuRow(
        what=f"{images} x {' x '.join(map(str, shape))}, {dtype}, {'graph' if graph else 'eager'}",
        published_ms=float(1e3 * np.median(published)),
        ours_ms=float(1e3 * np.median(own)),
        ratio=float(np.median(published) / np.median(own)),
        ratio_quantiles=(low_quantile, high_quantile),
        share_of_copy=float(least / np.median(own)),
        largest_error=error,
        rounds=len(own),
    )


def _step(loss: Loss, low: Tensor, high: Tensor, target: Tensor) -> object:
    return torch.autograd.grad(loss(low, high, target), (low, high))


def _captured(call: Call) -> Call:
    """The same work as a CUDA graph, after the warm-up on a side stream that capture needs."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


def _seconds(call: Call, device: torch.device) -> float:
    """Mean seconds of `INNER` calls."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begin = time.perf_counter()
    for _ in range(INNER):
        call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begin) / INNER


def _copy_speed(device: torch.device, rounds: int) -> float:
    """Bytes per second that a copy reads and writes, median."""
    source = torch.zeros(64 << 20 if device.type == "cuda" else 4 << 20, device=device)
    target = torch.empty_like(source)
    seconds = [_seconds(lambda: target.copy_(source), device) for _ in range(rounds)]
    return 2 * source.numel() * source.element_size() / float(np.median(seconds))


def _error(low: Tensor, high: Tensor, target: Tensor) -> float:
    """Largest relative error of the loss and its gradients against float64 on the CPU."""
    from distill.losses import spectral_loss
    from distill.losses.spectral.bands import basis

    wide = [m.detach().cpu().double().requires_grad_(m.requires_grad) for m in (low, high, target)]
    rows, columns = (
        basis(size, RADIUS, torch.device("cpu")).double() for size in target.shape[-2:]
    )
    smooth = rows @ rows.T @ wide[2] @ columns @ columns.T
    exact = (wide[0] - smooth).square().mean() + (wide[1] - wide[2] + smooth).square().mean()
    loss = spectral_loss(low, high, target, radius=RADIUS)
    pairs = [(loss, exact)]
    pairs += zip(
        torch.autograd.grad(loss, (low, high)), torch.autograd.grad(exact, wide[:2]), strict=True
    )
    return max(
        float((a.detach().cpu().double() - b.detach()).norm() / b.detach().norm()) for a, b in pairs
    )


@click.command()
@click.option("--rounds", type=click.IntRange(min=3), default=50, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Record to write.")
def main(rounds: int, out: Path) -> None:
    """Measure the spectral loss on this machine's GPU."""
    if not torch.cuda.is_available():
        raise UsageError(
            "no CUDA device", expected="a GPU", hint="`python -m benchmarks spectral-6` on a CPU"
        )
    record = measure(torch.device("cuda"), rounds=rounds, shape=SHAPE)
    write_json(out, record)
    console.table(
        ["what", "published ms", "ours ms", "ratio", "share of copy", "error"],
        [
            [
                row.what,
                row.published_ms,
                row.ours_ms,
                row.ratio,
                row.share_of_copy,
                row.largest_error,
            ]
            for row in record.gpu_rows
        ],
    )
    console.made(out)


if __name__ == "__main__":
    run_program(main)
