"""Agreement of consecutive steps from the FP32 student to every engine, on the same frames."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch

from edge.bundle.manifest import ParityRow
from edge.engines.golden_check import MIN_PIXELS
from edge.engines.open import open_engine_files
from edge.evaluation.metrics import dice_iou
from edge.frame import DEFAULT_OPERATING_POINT
from edge.imaging.postprocess import level
from edge.imaging.preprocess import normalize
from quantize.certify.tflite_legacy import old_runtime_scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from edge.frame import ImageU8, MaskBool
    from quantize.export.engines import ExportedEngine
    from quantize.graph.canonical import Canonical

    Maps = NDArray[np.uint8]

PARITY_FRAMES = 32
OLD_RUNTIME = "tflite-runtime int8"
"""Name of the TFLite engine in tflite-runtime, the package of older systems."""


def images_tensor(frames: ImageU8) -> Tensor:
    """Convert (N, H, W, 3) uint8 RGB to (N, 3, H, W) normalized float32."""
    return torch.from_numpy(normalize(frames)).permute(0, 3, 1, 2).contiguous()


def torch_scores(model: nn.Module, frames: ImageU8) -> Maps:
    """Compute score maps (N, h, w) in 1/256 of a student that returns logits."""
    with torch.no_grad():
        logits = torch.cat([model(image[None]) for image in images_tensor(frames)])
    scores: Maps = (torch.sigmoid(logits)[:, 0] * 256).round().clamp(0, 255).to(torch.uint8).numpy()
    return scores


def canonical_scores(canonical: Canonical, frames: ImageU8) -> Maps:
    """Compute score maps (N, h, w) in 1/256 of the canonical graph."""
    scores: Maps = canonical.scores(images_tensor(frames)).numpy()
    return scores


def engine_scores(engine: ExportedEngine, frames: ImageU8, *, threads: int | None = None) -> Maps:
    """Compute score maps (N, h, w) in 1/256 of an engine, executed as on a device."""
    opened = open_engine_files(engine.runtime, engine.contents, threads, engine.precision)
    try:
        return np.stack([opened.infer(np.ascontiguousarray(frame)).copy() for frame in frames])
    finally:
        opened.close()


def mask_iou(a: NDArray[Any], b: NDArray[Any]) -> float | None:
    """Return the IoU of two masks, or None if neither has `MIN_PIXELS` pixels."""
    if max(np.count_nonzero(a), np.count_nonzero(b)) < MIN_PIXELS:
        return None
    return float(np.count_nonzero(a & b) / np.count_nonzero(a | b))


class FrameSet(NamedTuple):
    """Frames on which the steps are compared.

    Attributes:
        on: Kind of the frames, as in `ParityRow.on`.
        frames: (N, H, W, 3) uint8 RGB at the input size.
        names: Name of each frame; empty to number them.
        masks: (N, H, W) bool masks of the polyps; None if they are unknown.
    """

    on: str
    frames: ImageU8
    names: Sequence[str] = ()
    masks: MaskBool | None = None


def hard_frames(size: tuple[int, int]) -> FrameSet:
    """Make frames on which every engine must agree although no student is trained on them.

    They are noise, black, white and checkerboards of two widths.

    Args:
        size: Height and width.
    """
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    rows, columns = np.indices(size)
    flat = [np.full((*size, 3), value, np.uint8) for value in (0, 255)]
    boards = [
        np.repeat(
            (((rows // width + columns // width) % 2) * 255).astype(np.uint8)[..., None], 3, axis=2
        )
        for width in (1, 8)
    ]
    names = ("noise 1", "noise 2", "black", "white", "checkerboard of 1", "checkerboard of 8")
    return FrameSet("hard", np.stack([*noise, *flat, *boards]), names)


def compare_maps(
    left: str,
    right: str,
    a: Maps,
    b: Maps,
    frame_set: FrameSet | None = None,
    *,
    threshold: float = DEFAULT_OPERATING_POINT.threshold,
    planes: int = 1,
) -> ParityRow:
    """Compare the scores of two steps: differences, mask IoU and Dice difference.

    Args:
        left: Name of the first step.
        right: Name of the second step.
        a: (N, planes * h, w) scores of `left` in 1/256.
        b: (N, planes * h, w) scores of `right` in 1/256.
        frame_set: Frames of the scores.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
        planes: Maps below one another; the first is the mask, and all count for the differences.
    """
    least = level(threshold)
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16))
    rows = a.shape[1] // planes
    a, b = a[:, :rows], b[:, :rows]
    names = (
        frame_set.names
        if frame_set is not None and frame_set.names
        else [str(number) for number in range(len(a))]
    )
    ious = [
        (iou, name)
        for x, y, name in zip(a, b, names, strict=True)
        if (iou := mask_iou(x >= least, y >= least)) is not None
    ]
    worst = min(ious, default=(None, None))
    return ParityRow(
        left=left,
        right=right,
        on=frame_set.on if frame_set is not None else "frames",
        frames=len(a),
        max_difference=float(difference.max()),
        mean_difference=float(difference.mean()),
        mask_iou=float(np.mean([iou for iou, _ in ious])) if ious else None,
        worst_iou=worst[0],
        worst_frame=worst[1],
        dice_difference=_dice_difference(a >= least, b >= least, frame_set),
    )


def _dice_difference(a: MaskBool, b: MaskBool, frame_set: FrameSet | None) -> float | None:
    if frame_set is None or frame_set.masks is None:
        return None
    size = (a.shape[2], a.shape[1])
    differences = []
    for x, y, mask in zip(a, b, frame_set.masks, strict=True):
        true = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA) >= 0.5
        before, after = dice_iou(x, true), dice_iou(y, true)
        if before is not None and after is not None:
            differences.append(after[0] - before[0])
    return float(np.mean(differences)) if differences else None


def parity_rows(
    student: nn.Module,
    quantized: nn.Module,
    canonical: Canonical,
    engines: Sequence[ExportedEngine],
    frame_set: FrameSet,
    *,
    threshold: float = DEFAULT_OPERATING_POINT.threshold,
) -> list[ParityRow]:
    """Compare the steps from the FP32 student to the engines.

    FP32 torch -> QAT torch -> canonical graph -> OpenVINO -> LiteRT -> onnxruntime ->
    tflite-runtime (only if an environment has it). Each step is compared with the next, each INT8
    engine with the canonical graph, and each f32 engine with the student.

    Args:
        student: The FP32 student.
        quantized: The same student, quantized.
        canonical: The canonical graph of `quantized`.
        engines: Exported engines.
        frame_set: Frames to compare on.
        threshold: Score from which a pixel belongs to the mask, 0 to 1.
    """
    frames = frame_set.frames
    names = ("torch f32", "torch int8", "canonical int8")
    maps = {
        names[0]: torch_scores(student, frames),
        names[1]: torch_scores(quantized, frames),
        names[2]: canonical_scores(canonical, frames),
    }
    by_engine = {
        f"{engine.runtime} {engine.precision}": engine_scores(engine, frames) for engine in engines
    }
    for engine in engines:
        if (engine.runtime, engine.precision) == ("tflite", "int8"):
            old = old_runtime_scores(engine.contents[0], frames)
            by_engine |= {} if old is None else {OLD_RUNTIME: old}
    integer_scores = {name: scores for name, scores in by_engine.items() if name.endswith("int8")}
    pairs = [
        *pairwise([*maps, *integer_scores]),
        *((names[2], name) for name in list(integer_scores)[1:]),
    ]
    pairs += [(names[0], name) for name in by_engine if name not in integer_scores]
    maps |= by_engine
    return [
        compare_maps(
            left,
            right,
            maps[left],
            maps[right],
            frame_set,
            threshold=threshold,
            planes=canonical.planes,
        )
        for left, right in pairs
    ]
