"""Compare the shipped bundles in INT8 with the classic U-Net in f32.

All engines run in turn in OpenVINO, the U-Net at 256x256 and each bundle at its own size. The U-Net
is untrained, which does not change its speed.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from functools import cache, partial

import numpy as np

from benchmarks.micro.engines import SIZE, THREADS, pictures, timed_ms
from benchmarks.record import Comparison, Goal, Side, compare, interleave
from edge.bundle.reader import Bundle
from edge.bundle.shipped import shipped_bundles
from edge.engines.golden_check import verify_bundle
from edge.engines.open import open_engine, open_engine_files
from edge.errors import ParityError

BUNDLES = ("edge-s", "edge-xs")
_WARM_RUNS = 3
_RUNS_A_ROUND = 20
"""Inferences of a bundle per round; their median is the sample, because one is very short."""


@cache
def measured(rounds: int) -> tuple[str, dict[str, list[float]], dict[str, object]]:
    """Time the U-Net and the bundles in turn.

    Returns:
        The check that was passed, milliseconds by name, and the engines' settings.

    Raises:
        ParityError: An engine computes wrong results.
    """
    with ExitStack() as stack:
        checks = []
        engines = {}
        for name in BUNDLES:
            bundle = Bundle.open(shipped_bundles()[name])
            verify_bundle(bundle, ["openvino"]).raise_for_problems()
            checks.append(f"golden frames of {name} match its manifest")
            engines[name] = stack.enter_context(
                closing(open_engine(bundle, "openvino", threads=THREADS))
            )
        files, check = _unet()
        checks.append(check)
        engines["unet"] = stack.enter_context(
            closing(open_engine_files("openvino", files, THREADS))
        )
        images = {name: pictures(engine.input_size)[0] for name, engine in engines.items()}

        def typical_ms(name: str) -> float:
            return float(
                np.median([timed_ms(engines[name], images[name]) for _ in range(_RUNS_A_ROUND)])
            )

        sides = {"unet": partial(timed_ms, engines["unet"], images["unet"])}
        sides |= {name: partial(typical_ms, name) for name in BUNDLES}
        interleave(*sides.values(), rounds=_WARM_RUNS)
        times = dict(zip(sides, interleave(*sides.values(), rounds=rounds), strict=True))
        settings = {name: engine.settings() for name, engine in engines.items()}
        sizes = {name: engine.input_size for name, engine in engines.items()}
    return (
        "; ".join(checks),
        times,
        {"engines": settings, "sizes": sizes, "runs_a_round": _RUNS_A_ROUND},
    )


def _unet() -> tuple[list[bytes], str]:
    """Make the U-Net's f32 files for OpenVINO, and check their scores against torch's."""
    import torch

    from distill.students.build import build_student
    from edge.imaging.preprocess import normalize
    from quantize.export.engines import export_engines
    from quantize.graph.canonical import canonicalize

    torch.manual_seed(0)
    student = build_student("unet", pretrained=False).eval()
    exported = export_engines(canonicalize(student, SIZE))
    files = next(engine.contents for engine in exported if engine.runtime == "openvino")
    image = pictures(SIZE)[0]
    with torch.no_grad():
        logits = student(torch.from_numpy(normalize(image).transpose(2, 0, 1)[None]))
        expected = (torch.sigmoid(logits)[0, 0] * 256).numpy()
    with closing(open_engine_files("openvino", files, THREADS)) as engine:
        actual = engine.infer(image).astype(float)
    difference = float(np.abs(actual - expected).max())
    if not difference <= 2:
        raise ParityError(
            "the U-Net's engine computes different scores",
            expected="scores within 2/256 of torch's",
            got=f"{difference:.2f}/256",
        )
    return files, f"U-Net within {difference:.2f}/256 of torch"


def _row(name: str, rounds: int, bound: float) -> Comparison:
    check, times, settings = measured(rounds)
    left, right = (
        Side(what="U-Net (31 M), f32", samples=times["unet"]),
        Side(what=f"{name}, INT8", samples=times[name]),
    )
    goal = Goal(
        what=f"U-Net over {name}", value=left.median / right.median, bound=bound, at_least=True
    )
    return compare(left, right, check=check, unit="ms", goal=goal, **settings)


def edge_s(rounds: int, *, bound: float = 80) -> Comparison:
    """Compare the U-Net in f32 with the bundle `edge-s` in INT8."""
    return _row("edge-s", rounds, bound)


def edge_xs(rounds: int, *, bound: float = 200) -> Comparison:
    """Compare the U-Net in f32 with the bundle `edge-xs` in INT8."""
    return _row("edge-xs", rounds, bound)
