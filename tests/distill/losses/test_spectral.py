from __future__ import annotations

import itertools
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distill.losses.spectral import cpu as cpu_path
from distill.losses.spectral import triton_box, triton_weighted
from distill.losses.spectral.cpu import CPU
from distill.losses.spectral.loss import (
    Band,
    focal_frequency_loss,
    low_band,
    reference_loss,
    spectral_loss,
    weighted_loss,
)
from distill.losses.spectral.operator import PLAIN, spectral_operator
from distill.losses.spectral.way import SpectralLoss, Way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

SHAPES = [(2, 3, 16, 16), (1, 2, 13, 22), (1, 1, 64, 40), (2, 1, 7, 5)]
DTYPES = [torch.float32, torch.bfloat16]


def maps(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator).to(dtype).requires_grad_(n < 2) for n in range(3)
    ]


def same_numbers(
    actual: Callable[[Tensor, Tensor, Tensor], Tensor],
    expected: Callable[..., Tensor],
    triple: list[Tensor],
) -> None:
    """Values and gradients agree, in the dtypes of the maps, whatever factor stands in front."""
    low, high, target = triple
    loss, expected_loss = actual(low, high, target), expected(low, high, target)
    assert loss.dtype == expected_loss.dtype == torch.float32
    torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
    for gradient, reference in zip(
        torch.autograd.grad(0.3 * loss, (low, high)),
        torch.autograd.grad(0.3 * expected_loss, (low, high)),
        strict=True,
    ):
        assert gradient.dtype == low.dtype
        exact = low.dtype == torch.float32
        torch.testing.assert_close(
            gradient, reference, rtol=1e-4 if exact else 1e-2, atol=1e-6 if exact else 1e-4
        )


@settings(max_examples=40)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 33), st.integers(2, 33)),
    radius=st.integers(0, 18),
    band=st.sampled_from(["box", "radial"]),
    dtype=st.sampled_from(DTYPES),
)
def test_the_cpu_path_gives_the_reference(
    shape: tuple[int, ...], radius: int, band: Band, dtype: torch.dtype
) -> None:
    same_numbers(
        lambda low, high, t: spectral_loss(low, high, t, radius=radius, band=band),
        lambda low, high, t: reference_loss(low, high, t, radius, band),
        maps(shape, dtype),
    )


@pytest.mark.parametrize("shape", [(2, 40, 64, 64), (1, 70, 48, 80), (3, 5, 17, 31)])
def test_the_cpu_path_is_exact_to_five_digits(shape: tuple[int, ...]) -> None:
    low, high, target = maps(shape)
    double = [m.detach().double().requires_grad_(m.requires_grad) for m in (low, high, target)]
    spectrum = torch.fft.fft2(double[2])
    inside = [torch.fft.fftfreq(side, 1 / side).abs() <= 4 for side in shape[2:]]
    smooth = torch.fft.ifft2(spectrum * (inside[0][:, None] & inside[1])).real
    rest = double[2] - smooth
    expected = (double[0] - smooth).square().mean() + (double[1] - rest).square().mean()
    loss = spectral_loss(low, high, target, radius=4)
    assert abs(loss.item() - expected.item()) <= 1e-5 * expected.item()
    exact = torch.autograd.grad(expected, double[:2])
    for gradient, reference in zip(torch.autograd.grad(loss, (low, high)), exact, strict=True):
        assert (gradient - reference).norm() <= 1e-5 * reference.norm()


def test_the_cpu_path_ignores_memory_layout_and_chunk_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cpu_path, "CHUNK_BYTES", 5 * 4 * 12 * 9)
    low, high, target = (
        m.detach().to(memory_format=torch.channels_last) for m in maps((3, 7, 12, 9))
    )
    same_numbers(
        lambda low, high, t: spectral_loss(low, high, t, radius=2),
        lambda low, high, t: reference_loss(low, high, t, 2, "box"),
        [low.requires_grad_(), high.requires_grad_(), target],
    )


def test_a_second_backward_pass_gives_the_same_gradients() -> None:
    low, high, target = maps((1, 2, 8, 8))
    loss = spectral_loss(low, high, target, radius=1)
    first = torch.autograd.grad(2 * loss, (low, high), retain_graph=True)
    second = torch.autograd.grad(4 * loss, (low, high))
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(2 * a, b)


def test_a_radial_band_is_smooth_and_equals_its_box_on_the_axes() -> None:
    t = torch.arange(16) / 16 * 2 * torch.pi
    for k, gain in ((2, 1.0), (3, 1.0), (4, 0.0)):
        wave = torch.cos(k * t).expand(1, 1, 16, 16)
        torch.testing.assert_close(low_band(wave, 3, "radial"), gain * wave, atol=1e-5, rtol=0)
    diagonal = torch.cos(3 * t[:, None] + 2 * t[None, :])[None, None]
    share = (low_band(diagonal, 3, "radial") * diagonal).sum() / (diagonal**2).sum()
    assert 0.1 < share < 0.9, "|k| = 3.6 lies on the slope"
    torch.testing.assert_close(low_band(diagonal, 3), diagonal, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shapes", "radius"), [(((1, 2, 4, 4), (1, 2, 8, 8)), 1), (((2, 4, 4), (2, 4, 4)), 1), (((0, 1,
    4, 4),) * 2, 1),
                           (((1, 1, 4, 4),) * 2, -1)]
)  # fmt: skip
def test_maps_that_do_not_belong_together_are_refused(
    shapes: tuple[tuple[int, ...], tuple[int, ...]], radius: int
) -> None:
    first, second = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match="one shape"):
        spectral_loss(first, second, first, radius=radius)


@pytest.mark.interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "radius"),
    [*itertools.product(SHAPES, [0, 3, 40]), ((1, 2, 96, 80), 7), ((1, 1, 20, 200), 15)],
)
def test_the_box_kernel_gives_the_reference(
    shape: tuple[int, ...], radius: int, dtype: torch.dtype
) -> None:
    assert triton_box.fits(shape[-2], shape[-1], radius)
    same_numbers(
        lambda low, high, t: SpectralLoss.apply(low, high, t, radius, "box", triton_box.BOX),
        lambda low, high, t: reference_loss(low, high, t, radius, "box"),
        maps(shape, dtype),
    )


def test_a_low_band_beyond_one_program_takes_the_other_kernel() -> None:
    assert triton_box.fits(128, 128, 31)
    assert not triton_box.fits(128, 128, 32)
    assert triton_box.fits(64, 64, 40), "the basis of 64 samples has 64 columns"


@pytest.mark.interpreted
def test_a_loss_of_many_programs_repeats_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    for kernels in (triton_box, triton_weighted):  # more programs than are added at a time
        monkeypatch.setattr(kernels, "SUM_BLOCK", 16)
    monkeypatch.setattr(triton_weighted, "BLOCK", 16)
    low, high, target = (m.detach() for m in maps((1, 20, 4, 4)))
    losses = [
        way.compute(low, high, target, 1, "box", keep=False)[0]
        for way in (triton_box.BOX, triton_weighted.RESIDUAL)
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert losses[2] == losses[3]
    for loss in losses:
        torch.testing.assert_close(loss, reference_loss(low, high, target, 1, "box"))


@pytest.mark.interpreted
@pytest.mark.parametrize("way", [triton_box.BOX, CPU, PLAIN], ids=["triton", "cpu", "plain"])
def test_an_incoming_gradient_scales_in_place(way: Way) -> None:
    """An incoming gradient scales in place and one changes nothing."""
    low, high, target = maps((2, 3, 16, 16))
    loss = SpectralLoss.apply(low, high, target, 2, "box", way)
    grads = torch.autograd.grad(loss, (low, high), retain_graph=True)
    copies = [grad.clone() for grad in grads]
    scaled = torch.autograd.grad(loss, (low, high), torch.tensor(0.25))
    for grad, copy, other in zip(grads, copies, scaled, strict=True):
        assert torch.equal(grad, copy), "a second pass leaves handed out gradients alone"
        torch.testing.assert_close(other, copy / 4)


def test_compiled_code_holds_the_loss_as_one_operator() -> None:
    low, high, target = maps((1, 2, 12, 10))
    graphs = []

    def backend(module: torch.fx.GraphModule, inputs: object) -> torch.fx.GraphModule:
        del inputs
        graphs.append([str(node.target) for node in module.graph.nodes])
        return module

    def weighted(low: Tensor, high: Tensor) -> Tensor:
        return 3 * spectral_loss(2 * low, high, target, radius=2)

    compiled = torch.compile(weighted, backend=backend, fullgraph=True)
    same_numbers(
        lambda low, high, _: compiled(low, high), lambda low, high, _: weighted(low, high),
        [low, high, target],
    )  # fmt: skip
    assert len(graphs) == 1
    assert sum("edge_difom.spectral_loss" in name for name in graphs[0]) == 1


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")
def test_the_operator_keeps_the_rules_of_operators() -> None:
    low, high, target = maps((1, 2, 12, 10))
    torch.library.opcheck(spectral_operator, (low, high, target, 2, "box"))


@pytest.mark.interpreted
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (1, 3, 80, 72)])
def test_the_residual_kernels_give_the_reference(
    shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    same_numbers(
        lambda low, high, t: SpectralLoss.apply(
            low, high, t, 2, "radial", triton_weighted.RESIDUAL
        ),
        lambda low, high, t: reference_loss(low, high, t, 2, "radial"),
        maps(shape, dtype),
    )


@pytest.mark.interpreted
def test_the_energy_kernel_weighs_every_coefficient() -> None:
    spectrum = torch.fft.rfft2(maps((3, 2, 33, 20))[2])
    weight = torch.rand(33, 11)
    expected = (spectrum.abs() ** 2 * weight).sum()
    torch.testing.assert_close(triton_weighted.weighted_energy(spectrum, weight), expected)


def radial_weight(height: int, width: int) -> Tensor:
    k_h = torch.fft.fftfreq(height, 1 / height).abs()[:, None]
    weight: Tensor = 1 / (1 + k_h + torch.fft.rfftfreq(width, 1 / width)[None])
    return weight


@pytest.mark.parametrize("shape", SHAPES)
def test_a_weighted_distance_is_the_sum_over_the_whole_spectrum(shape: tuple[int, ...]) -> None:
    low, _, target = maps(shape)
    H, W = shape[-2:]
    weight = radial_weight(H, W)
    full_weight = torch.cat([weight, weight[:, 1 : (W + 1) // 2].flip(1)], dim=1)

    def plain(x: Tensor) -> Tensor:
        distance: Tensor = (
            full_weight * torch.fft.fft2(x - target, norm="ortho").abs() ** 2
        ).mean()
        return distance

    weighted, expected = weighted_loss(low, target, weight), plain(low)
    torch.testing.assert_close(weighted, expected)
    gradient, reference = (torch.autograd.grad(3 * loss, low)[0] for loss in (weighted, expected))
    torch.testing.assert_close(gradient, reference, atol=1e-6, rtol=1e-4)


def test_equal_weights_give_the_mean_squared_error() -> None:
    low, _, target = maps((2, 2, 8, 10))
    expected = torch.nn.functional.mse_loss(low, target)
    torch.testing.assert_close(weighted_loss(low, target, torch.ones(8, 6)), expected)
    torch.testing.assert_close(focal_frequency_loss(low, target, alpha=0), expected)
    with pytest.raises(ValueError, match="rfft2"):
        weighted_loss(low, target, torch.ones(8, 10))


def test_the_focal_loss_looks_away_from_what_fits() -> None:
    t = torch.arange(16) / 16 * 2 * torch.pi
    target = torch.zeros(1, 1, 16, 16)
    one = torch.cos(2 * t).expand(1, 1, 16, 16)
    small = one + 0.01 * torch.cos(5 * t)
    plain = torch.nn.functional.mse_loss(one, target)
    torch.testing.assert_close(focal_frequency_loss(one, target), plain)
    extra = focal_frequency_loss(small, target) - plain
    assert 0 < extra < 0.02 * (torch.nn.functional.mse_loss(small, target) - plain)


COMPILE = """
import pathlib, re, subprocess, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from distill.losses.spectral import triton_box, triton_common, triton_weighted

capability, folder = int(sys.argv[1]), pathlib.Path(sys.argv[2])
tools = pathlib.Path(triton.__file__).parent / "backends/nvidia/bin"
box = triton_box.box_loss_kernel
kernels = [
    *((box, {"KEEP": True, "SUM": 1024} | triton_box.blocks(size, size, radius), True)
      for size, radius in ((64, 4), (64, 10), (128, 15))),
    (triton_weighted.residual_loss_kernel, {"KEEP": True, "SUM": 1024, "BLOCK": 4096}, False),
    (triton_weighted.energy_kernel, {"BLOCK": 4096}, False),
    (triton_common.scale_kernel, {"BLOCK": 4096}, False),
]
kinds = {"H": "i32", "W": "i32", "count": "i32", "plane": "i32", "share": "fp32"}
kinds |= {"low": "*bf16", "to_low": "*bf16", "counter": "*i32"}
for kernel, given, matrices in kernels:
    options = {"num_warps": given.get("num_warps", 8), "num_stages": given.get("num_stages", 3)}
    constants = {name: value for name, value in given.items() if name in kernel.arg_names}
    signature = {
        name: "constexpr" if name in constants else kinds.get(name, "*fp32")
        for name in kernel.arg_names
    }
    source = ASTSource(kernel, signature, constants)
    made = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
    assert f".target sm_{capability}" in made.asm["ptx"], kernel
    assert made.metadata.shared <= 99 * 1024, "more shared memory than an Orin has"
    assert matrices == bool(re.search(r"\\bw?g?mma\\b", made.asm["ptx"])), kernel
    binary = folder / "kernel.cubin"
    binary.write_bytes(made.asm["cubin"])
    usage = subprocess.run(
        [tools / "cuobjdump", "-res-usage", binary], capture_output=True, text=True, check=True
    )
    held = dict(re.findall(r"(REG|STACK|LOCAL):(\\d+)", usage.stdout + usage.stderr))
    assert held["STACK"] == held["LOCAL"] == "0", f"{kernel.__name__} {given} spills: {held}"
    print(kernel.__name__, held["REG"])
"""


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 87, 90])
def test_the_kernels_compile_ahead_of_time(capability: int, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE, str(capability), str(tmp_path)],
        env=environment | {"TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 6


@pytest.mark.gpu
@pytest.mark.parametrize("band", ["box", "radial"])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 3, 96, 80)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_gives_the_reference(shape: tuple[int, ...], band: Band, dtype: torch.dtype) -> None:
    triple = [m.detach().cuda().requires_grad_(n < 2) for n, m in enumerate(maps(shape, dtype))]
    same_numbers(
        lambda low, high, t: spectral_loss(low, high, t, radius=3, band=band),
        lambda low, high, t: reference_loss(low, high, t, 3, band),
        triple,
    )
