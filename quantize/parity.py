"""Agreement along the way from the FP32 student to every engine, on the same frames."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge.backends import open_engine_files
from edge.manifest import ParityRow
from edge.preprocess import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edge.types import ImageU8
    from quantize.canonical import Canonical
    from quantize.export import ExportedEngine

    Maps = NDArray[np.uint8]

PARITY_FRAMES = 32
LEAST_PIXELS = 50
"""A frame counts for the mask IoU where either mask has this many pixels."""


def images_tensor(frames: ImageU8) -> Tensor:
    """(N, H, W, 3) uint8 RGB to (N, 3, H, W) normalised float32."""
    return torch.from_numpy(normalise(frames)).permute(0, 3, 1, 2).contiguous()


def torch_scores(model: nn.Module, frames: ImageU8) -> Maps:
    """Score maps (N, h, w) in 1/256 of a student that returns logits."""
    with torch.no_grad():
        logits = torch.cat([model(image[None]) for image in images_tensor(frames)])
    scores: Maps = (torch.sigmoid(logits)[:, 0] * 256).round().clamp(0, 255).to(torch.uint8).numpy()
    return scores


def canonical_scores(canonical: Canonical, frames: ImageU8) -> Maps:
    """Score maps (N, h, w) in 1/256 of the canonical graph."""
    scores: Maps = canonical.scores(images_tensor(frames)).numpy()
    return scores


def engine_scores(engine: ExportedEngine, frames: ImageU8, *, threads: int | None = None) -> Maps:
    """Score maps (N, h, w) in 1/256 of an engine, run as a device runs it."""
    opened = open_engine_files(engine.runtime, engine.contents, threads)
    try:
        return np.stack([opened.infer(np.ascontiguousarray(frame)).copy() for frame in frames])
    finally:
        opened.close()


def parity_chain(maps: Mapping[str, Maps], *, threshold: int = 128) -> list[ParityRow]:
    """Compare each step with the next.

    Args:
        maps: Step name -> (N, h, w) score maps, in the order of the way.
        threshold: Score in 1/256 from which a pixel belongs to the mask.
    """
    return [compare_maps(left, right, maps[left], maps[right], threshold) for left, right in pairwise(maps)]


def compare_maps(left: str, right: str, a: Maps, b: Maps, threshold: int = 128) -> ParityRow:
    """Score differences in 1/256 and mask IoU of two steps over (N, h, w) maps each."""
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16))
    ious = [
        iou
        for x, y in zip(a, b, strict=True)
        if (iou := mask_iou(x >= threshold, y >= threshold)) is not None
    ]
    return ParityRow(
        left=left,
        right=right,
        frames=len(a),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        mask_iou=float(np.mean(ious)) if ious else None,
        worst_iou=min(ious) if ious else None,
    )


def mask_iou(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """IoU of two masks, None where neither has `LEAST_PIXELS` pixels."""
    if max(np.count_nonzero(a), np.count_nonzero(b)) < LEAST_PIXELS:
        return None
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


def parity_rows(
    student: nn.Module,
    quantized: nn.Module,
    canonical: Canonical,
    engines: Sequence[ExportedEngine],
    frames: ImageU8,
) -> list[ParityRow]:
    """The whole way: FP32 torch -> QAT torch -> canonical graph -> each INT8 engine; FP32 torch -> each f32 one.

    Args:
        student: The FP32 student.
        quantized: Its quantized successor.
        canonical: The canonical graph of `quantized`.
        engines: What was exported.
        frames: (N, H, W, 3) uint8 RGB at the input size.
    """
    names = ("torch f32", "torch int8", "canonical int8")
    maps = {
        names[0]: torch_scores(student, frames),
        names[1]: torch_scores(quantized, frames),
        names[2]: canonical_scores(canonical, frames),
    }
    by_engine = {f"{engine.runtime} {engine.precision}": engine_scores(engine, frames) for engine in engines}
    whole = {name: scores for name, scores in by_engine.items() if name.endswith("int8")}
    rows = parity_chain(maps | whole)
    rows += [compare_maps(names[2], name, maps[names[2]], scores) for name, scores in list(whole.items())[1:]]
    plain = [name for name in by_engine if name.endswith("f32")]
    return rows + [compare_maps(names[0], name, maps[names[0]], by_engine[name]) for name in plain]
