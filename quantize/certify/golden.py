"""Golden frames of a bundle: phantom frames and the student's scores on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.datasets.phantom.render import render
from edge.engines.golden_check import compare
from edge.errors import ParityError
from edge.frame import DEFAULT_OPERATING_POINT
from edge.imaging.box_maps import mask_plane
from edge.imaging.postprocess import level
from edge.imaging.preprocess import to_input
from quantize.certify.parity import canonical_scores, engine_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.bundle.manifest import Manifest
    from edge.frame import ImageU8
    from quantize.export.engines import ExportedEngine
    from quantize.graph.canonical import Canonical

GOLDEN_FRAMES = 8
GOLDEN_SEEDS = 96
MIN_AREA, MAX_AREA = 0.005, 0.5
"""Smallest and largest share of the image that the mask of a telling golden frame covers."""


def choose_golden(
    canonical: Canonical, *, threshold: float = DEFAULT_OPERATING_POINT.threshold
) -> tuple[ImageU8, ImageU8]:
    """Choose phantom frames and the canonical graph's scores; at least half of them have a mask.

    Frames are chosen in the order of their seeds by the area of their masks alone, never by how
    well an engine agrees.

    Args:
        canonical: The quantized student.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.

    Returns:
        (N, H, W, 3) uint8 RGB and (N, planes * h, w) uint8.

    Raises:
        ParityError: The student gives a mask on too few phantom frames.
    """
    telling: list[tuple[ImageU8, ImageU8]] = []
    others: list[tuple[ImageU8, ImageU8]] = []
    half, least = GOLDEN_FRAMES // 2, level(threshold)
    for seed in range(GOLDEN_SEEDS):
        frame = to_input(render(seed).image, canonical.size, bgr=False)
        scores = canonical_scores(canonical, frame[None])[0]
        mask = mask_plane(scores, canonical.planes) >= least
        fits = MIN_AREA <= float(mask.mean()) <= MAX_AREA
        (telling if fits else others).append((frame, scores))
        if len(telling) >= half and len(telling) + min(len(others), half) >= GOLDEN_FRAMES:
            break
    chosen = telling[:GOLDEN_FRAMES]
    chosen += others[: min(len(chosen), GOLDEN_FRAMES - len(chosen))]
    if len(telling) < half:
        raise ParityError(
            f"the student gives a mask on only {len(telling)} of {GOLDEN_SEEDS} golden candidates",
            expected=f"at least {half} phantom frames whose mask covers {MIN_AREA:.1%} "
            f"to {MAX_AREA:.0%}",
            got=f"{len(telling)}; agreement on empty masks would prove nothing",
            hint="train longer, or add the phantom to the training data",
            code="too-few-golden-masks",
        )
    return np.stack([frame for frame, _ in chosen]), np.stack([scores for _, scores in chosen])


def check_golden_scores(
    manifest: Manifest,
    engines: Sequence[ExportedEngine],
    frames: ImageU8,
    scores: ImageU8,
    *,
    threads: int | None = None,
) -> None:
    """Run every INT8 engine on the golden frames.

    Raises:
        ParityError: An engine deviates by more than the manifest's tolerance.
    """
    for engine in engines:
        if engine.precision != "int8":
            continue
        actual_scores = engine_scores(engine, frames, threads=threads)
        checks = [
            compare(golden.frame, actual, expected, manifest)
            for golden, actual, expected in zip(
                manifest.golden.frames, actual_scores, scores, strict=True
            )
        ]
        bad = [check for check in checks if not check.ok]
        if bad:
            worst = min(
                bad,
                key=lambda check: (
                    check.iou if check.iou is not None else 0.0,
                    -check.mean_difference,
                ),
            )
            raise ParityError(
                f"the {engine.runtime} engine disagrees with the student on {len(bad)} "
                f"of {len(checks)} golden frames",
                expected=f"mask IoU >= {manifest.golden.min_iou}, mean difference <= "
                f"{manifest.golden.max_mean_difference}/256",
                got=f"{worst.frame}: mask IoU {worst.iou}, "
                f"mean difference {worst.mean_difference:.2f}/256",
                hint="train longer: an undecided student turns rounding into masks",
            )
