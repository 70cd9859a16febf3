"""Verify a bundle: its hashes, and each engine's scores on the golden frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np

from edge.bundle.header import bundle_header
from edge.engines.golden_picture import PictureDecoder, PictureError, decode_png
from edge.engines.open import open_engine, split_name
from edge.errors import (
    BundleError,
    EdgeDifomError,
    InferenceFault,
    MachineError,
    MissingDependencyError,
    ParityError,
)
from edge.imaging.box_maps import mask_plane
from edge.imaging.postprocess import level
from edge.record_header import RecordHeader  # noqa: TC001 - msgspec reads annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edge.bundle.manifest import Golden, Manifest
    from edge.bundle.reader import Bundle
    from edge.contracts import Engine
    from edge.engines.golden_picture import PictureKind
    from edge.frame import ImageU8

    Opener = Callable[[Bundle, str], Engine]
    """Opens the engine of a bundle by its name."""

MIN_PIXELS = 50
"""Masks with fewer expected pixels are judged only by their scores.

One pixel would change their IoU too much.
"""


class FrameCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an engine on one golden frame.

    Attributes:
        frame: Path inside the bundle.
        mask_pixels: Pixels of the expected mask.
        iou: IoU of the masks at the bundle's threshold; None if both are empty.
        mean_difference: Mean score difference in 1/256.
        max_difference: Largest score difference in 1/256.
        ok: Whether the scores are within the manifest's tolerance.
    """

    frame: str
    mask_pixels: int
    iou: float | None
    mean_difference: float
    max_difference: int
    ok: bool


class EngineCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Result of an engine on all golden frames.

    Attributes:
        engine: `openvino`, `tflite` or `onnx`.
        checked: Whether the engine ran; False if its runtime is missing or incompatible with the
            installed numpy.
        ok: Whether every frame is within tolerance.
        settings: Settings reported by the runtime.
        frames: One row per golden frame.
        problem: Why the engine could not be checked; empty if it was.
    """

    engine: str
    checked: bool
    ok: bool
    settings: dict[str, Any] = {}
    frames: list[FrameCheck] = []
    problem: str = ""


class VerifyReport(msgspec.Struct, frozen=True, kw_only=True):
    """Outcome of a verification.

    Attributes:
        ok: Whether all hashes match and every installed engine agrees with the golden frames.
        bundle: Path of the bundle.
        digest: SHA-256 of its manifest; None if the manifest cannot be read.
        files: Path -> `ok`, `changed`, `missing`, or `unlisted` (never read, so only reported).
        engines: One row per requested INT8 engine.
        problems: Everything that failed; empty if `ok`.
        header: What the record is of; None if the bundle cannot be opened.
    """

    ok: bool
    bundle: str
    digest: str | None
    files: dict[str, str]
    engines: list[EngineCheck]
    problems: list[str]
    header: RecordHeader | None = None

    def raise_for_problems(self) -> None:
        """Raise the error for the first kind of problem; do nothing if `ok`.

        Raises:
            BundleError: A file is changed or missing, or nothing could be compared.
            ParityError: An engine disagrees with the golden frames.
        """
        if self.ok:
            return
        damaged = any(state in ("changed", "missing") for state in self.files.values())
        disagrees = any(check.checked and not check.ok for check in self.engines)
        kind = ParityError if disagrees and not damaged else BundleError
        raise kind(
            f"{self.bundle} does not verify: " + "; ".join(self.problems),
            expected="unchanged files, and every engine within the golden frames' tolerance",
            hint="copy the bundle again from where it was made" if damaged else "",
        )


def verify_bundle(
    bundle: Bundle, engines: Sequence[str] | None = None, *, opener: Opener | None = None
) -> VerifyReport:
    """Check every hash, and each INT8 engine against the golden frames.

    The golden scores come from the quantized student, so an f32 engine is verified only by its
    hashes.

    Args:
        bundle: An open bundle.
        engines: Names of engines; None for all engines of the bundle that are installed.
        opener: Opens an engine of the bundle; by default in this process, which a hostile file may
            crash (`edge.inference.isolated.open_isolated` opens it in another).

    Raises:
        UsageError: The bundle has no such engine.
        MissingDependencyError: The runtime of a named engine, or every runtime, is missing.
    """
    files = bundle.verify_hashes()
    problems = [
        f"{name} {state}" for name, state in files.items() if state in ("changed", "missing")
    ]
    runtimes = [entry.runtime for entry in bundle.manifest.engines if entry.precision == "int8"]
    for name in engines or ():
        bundle.engine(split_name(name)[0])
    start, explicit = opener or open_engine, engines is not None
    checks = [_check_engine(bundle, name, start, explicit=explicit) for name in engines or runtimes]
    if runtimes and all(check.ok and not check.checked for check in checks):
        raise MissingDependencyError(
            f"no engine of {bundle.path} can run here",
            expected=" or ".join(runtimes),
            got="; ".join(check.problem for check in checks),
            hint="pip install 'edge-difom[openvino]' or 'edge-difom[tflite]' "
            "(on old systems [tflite-runtime]) or 'edge-difom[onnx]'",
        )
    for check in checks:
        if not check.ok:
            bad = [frame for frame in check.frames if not frame.ok]
            problems.append(check.problem or f"{check.engine}: {_describe(bad)}")
    if not runtimes or not bundle.manifest.golden.frames:
        problems.append("the bundle has nothing to compare: no INT8 engine or no golden frames")
    return VerifyReport(
        ok=not problems,
        bundle=str(bundle.path),
        digest=bundle.digest,
        files=files,
        engines=checks,
        problems=problems,
        header=bundle_header(
            bundle,
            engine=", ".join(check.engine for check in checks if check.checked),
            data="golden frames",
        ),
    )


def unreadable(path: Path, error: BundleError) -> VerifyReport:
    """Make the report of a bundle that cannot be opened."""
    return VerifyReport(
        ok=False, bundle=str(path), digest=None, files={}, engines=[], problems=[error.what]
    )


def _check_engine(bundle: Bundle, name: str, opener: Opener, *, explicit: bool) -> EngineCheck:
    try:
        engine = opener(bundle, name)
    except MissingDependencyError as error:
        if explicit:
            raise
        return EngineCheck(engine=name, checked=False, ok=True, problem=error.what)
    except MachineError:
        raise  # it says nothing about the engine
    except EdgeDifomError as error:
        return EngineCheck(engine=name, checked=False, ok=False, problem=error.what)
    try:
        frames = [check_golden(bundle, engine, golden) for golden in bundle.manifest.golden.frames]
        settings = engine.settings()
    except (BundleError, InferenceFault) as error:
        problem = error.what if isinstance(error, BundleError) else f"{name}: {error}"
        return EngineCheck(engine=name, checked=False, ok=False, problem=problem)
    finally:
        engine.close()
    return EngineCheck(
        engine=name,
        checked=True,
        ok=all(frame.ok for frame in frames),
        settings=settings,
        frames=frames,
    )


def check_golden(bundle: Bundle, engine: Engine, golden: Golden) -> FrameCheck:
    """Run an engine of a bundle on one of its golden frames.

    Raises:
        BundleError: The golden frame is damaged, or its scores and the engine's differ in size.
    """
    manifest = bundle.manifest
    decode = engine.decode_png if isinstance(engine, PictureDecoder) else decode_png
    shape = manifest.input.height, manifest.input.width
    frame = _decode(bundle, golden.frame, shape, "RGB", decode)
    size = manifest.output.map_size
    expected = _decode(bundle, golden.scores, size, "gray", decode)
    scores = engine.infer(frame)
    if scores.shape != expected.shape:
        raise BundleError(
            f"{bundle.path}: the output size of the {engine.name} engine differs from that of the "
            "golden scores",
            expected=f"{expected.shape}",
            got=f"{scores.shape}",
        )
    return compare(golden.frame, scores, expected, manifest)


def compare(
    name: str, engine_scores: ImageU8, golden_scores: ImageU8, manifest: Manifest
) -> FrameCheck:
    """Judge the scores of one golden frame by the manifest's threshold and tolerance.

    Args:
        name: Name of the frame.
        engine_scores: (planes * h, w) uint8 scores of the engine.
        golden_scores: (planes * h, w) uint8 scores of the quantized student.
        manifest: Threshold and tolerance.
    """
    difference = cv2.absdiff(engine_scores, golden_scores)
    least = level(manifest.output.threshold)
    planes = manifest.output.planes
    expected, actual = (
        mask_plane(scores, planes) >= least for scores in (golden_scores, engine_scores)
    )
    either = int(np.count_nonzero(expected | actual))
    iou = int(np.count_nonzero(expected & actual)) / either if either else None
    mean, pixels = float(difference.mean()), int(np.count_nonzero(expected))
    tolerance = manifest.golden
    agrees = pixels < MIN_PIXELS or (iou is not None and iou >= tolerance.min_iou)
    return FrameCheck(
        frame=name,
        mask_pixels=pixels,
        iou=iou,
        mean_difference=mean,
        max_difference=int(difference.max()),
        ok=agrees and mean <= tolerance.max_mean_difference,
    )


def _decode(
    bundle: Bundle,
    name: str,
    size: tuple[int, int],
    kind: PictureKind,
    decode: Callable[[bytes, tuple[int, int], PictureKind], ImageU8],
) -> ImageU8:
    try:
        return decode(bundle.read(name), size, kind)
    except PictureError as error:
        raise BundleError(
            f"{bundle.path}: {name} is not a golden image",
            expected=f"a PNG of {size[1]}x{size[0]} pixels, {kind}, 8 bits",
            got=str(error),
        ) from error


def _describe(frames: list[FrameCheck]) -> str:
    worst = max(frames, key=lambda frame: (frame.mean_difference, -(frame.iou or 0)))
    iou = "none" if worst.iou is None else f"{worst.iou:.4f}"
    return (
        f"{len(frames)} golden frames beyond tolerance, worst {worst.frame} "
        f"(mask IoU {iou}, mean difference {worst.mean_difference:.2f}/256)"
    )
