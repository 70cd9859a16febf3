"""A procedural colonoscopy phantom: frames, clips and data sets with exact masks, from a seed.

It allows tests and demos without patient data. It only resembles a colonoscopy: figures measured on
it say nothing about patients.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from edge.datasets.phantom.paint import paint
from edge.datasets.phantom.scene import Blob, Pose, Scene, draw_polyp, draw_scene
from edge.errors import SourceError, UsageError
from edge.util.ffmpeg import quiet
from edge.util.files import naming

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.random import Generator

    from edge.frame import ImageU8, MaskBool

SIZE = (288, 384)
MIN_SHARE, MAX_SHARE = 0.01, 0.25
_POLYP_EVERY = 160
"""Number of frames per polyp in a long clip."""


class PhantomFrame(NamedTuple):
    """An image and its true mask.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the visible part of the polyp.
    """

    image: ImageU8
    mask: MaskBool


def render(seed: int, *, size: tuple[int, int] = SIZE, polyp: bool | None = None) -> PhantomFrame:
    """Render one frame, the same for the same arguments.

    Args:
        seed: Seed, not negative.
        size: Height and width, at least 32.
        polyp: Whether it shows a polyp, which then covers 1 to 25 % of the image; None lets the
            seed decide.

    Raises:
        UsageError: `size` is too small.
    """
    _check_size(size)
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    has_polyp = rng.random() < 0.8
    if polyp if polyp is not None else has_polyp:
        return _with_polyp(scene, size, rng)
    return PhantomFrame(*paint(scene, Pose(), (), size, rng))


def clip(seed: int, frames: int, *, size: tuple[int, int] = SIZE) -> Iterator[PhantomFrame]:
    """Render a clip of a camera that moves forward through the bowel and passes polyps.

    About half of the frames show a polyp, never the first and the last one.

    Args:
        seed: Seed, not negative.
        frames: Number of frames.
        size: Height and width, at least 32.

    Raises:
        UsageError: `size` is too small.
    """
    _check_size(size)
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    while np.hypot(*scene.lumen) > 1:  # a clip must look down the lumen
        scene = draw_scene(rng)
    aspect = size[1] / size[0]
    count = max(1, round(frames / _POLYP_EVERY))
    polyps = [draw_polyp(rng, rng.uniform(0.06, 0.16), aspect) for _ in range(count)]
    # Polyps pass through the image; the far side of the lumen has the most room.
    angles = np.arctan2(-scene.lumen[1], -scene.lumen[0]) + rng.uniform(-0.8, 0.8, count)
    sway = rng.uniform(0, 2 * np.pi, 3)
    travel = 1.5 * _VISIBLE
    for frame in range(frames):
        at = frame / max(frames - 1, 1) * count
        turn = at * 2 * np.pi
        pose = Pose(
            x=0.14 * float(np.sin(turn + sway[0])),
            y=0.10 * float(np.sin(1.3 * turn + sway[1])),
            roll=0.25 * float(np.sin(0.7 * turn + sway[2])),
            advance=at * travel,
        )
        passing = int(min(at, count - 1))
        placed = _passing(
            polyps[passing], float(angles[passing]), (at - passing - 0.5) * travel, scene, pose
        )
        yield PhantomFrame(*paint(scene, pose, placed, size, rng))


def write_dataset(
    out: Path,
    *,
    train: int,
    validation: int,
    negatives: int,
    seed: int = 0,
    size: tuple[int, int] = SIZE,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Fill a folder with `train/`, `validation/` and `negatives/` (`images/` and `masks/` each).

    One training frame in five shows no polyp; every validation frame shows one.

    Args:
        out: Folder to fill; created if missing.
        train: Number of training frames.
        validation: Number of validation frames.
        negatives: Number of frames without a polyp.
        seed: Seed, not negative.
        size: Height and width.
        progress: Called with the number of written frames and the total.

    Raises:
        UsageError: `size` is too small.
    """
    parts = (
        ("train", train, None),
        ("validation", validation, True),
        ("negatives", negatives, False),
    )
    total, done = train + validation + negatives, 0
    for number, (part, count, polyp) in enumerate(parts):
        for folder in ("images", "masks"):
            (out / part / folder).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            own = int(np.random.SeedSequence([seed, number, index]).generate_state(1, np.uint64)[0])
            frame = render(own, size=size, polyp=polyp)
            _write(
                out / part / "images" / f"{index:05d}.jpg",
                cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR),
            )
            _write(out / part / "masks" / f"{index:05d}.png", frame.mask.astype(np.uint8) * 255)
            done += 1
            if progress is not None:
                progress(done, total)


def write_clip(
    path: Path, *, seed: int = 0, frames: int = 150, size: tuple[int, int] = SIZE, fps: float = 25.0
) -> list[float]:
    """Write a clip as a video file that appears only after it is complete.

    Returns:
        For each frame, the share of the image that a polyp covers.

    Raises:
        SourceError: OpenCV cannot write such a file here.
        UsageError: `size` is too small.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    codec = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix.lower() == ".avi" else "mp4v"))
    with quiet():
        writer = cv2.VideoWriter(str(temporary), codec, fps, (size[1], size[0]))
    try:
        if not writer.isOpened():
            raise SourceError(
                f"{path} cannot be written as a video", hint="use a name that ends in .mp4 or .avi"
            )
        shares = []
        for frame in clip(seed, frames, size=size):
            writer.write(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
            shares.append(float(frame.mask.mean()))
        writer.release()
        temporary.replace(path)
    finally:
        writer.release()
        temporary.unlink(missing_ok=True)
    return shares


_NEAR, _FAR = 2.2, 0.14
_VISIBLE = float(np.log(_NEAR / _FAR))


def _passing(polyp: Blob, angle: float, depth: float, scene: Scene, pose: Pose) -> tuple[Blob, ...]:
    """Place the polyp at `depth` (log units, 0 at mid-passage); empty outside its passage."""
    distance = float(np.sqrt(_NEAR * _FAR) * np.exp(depth))
    if not _FAR < distance < _NEAR:
        return ()
    rising = float(np.clip((np.log(distance / _FAR)) / 0.5, 0.05, 1))  # emerges from behind a fold
    return (
        replace(
            polyp,
            x=scene.lumen[0] + pose.x + distance * float(np.cos(angle + pose.roll)),
            y=scene.lumen[1] + pose.y + distance * float(np.sin(angle + pose.roll)),
            radius=polyp.radius * distance * rising,
            rotation=polyp.rotation + pose.roll,
        ),
    )


def _with_polyp(scene: Scene, size: tuple[int, int], rng: Generator) -> PhantomFrame:
    aspect = size[1] / size[0]
    share = float(np.exp(rng.uniform(np.log(1.3 * MIN_SHARE), np.log(0.85 * MAX_SHARE))))
    polyp = draw_polyp(rng, share, aspect)
    room_x, room_y = (
        max(aspect * 0.82 - 0.6 * polyp.radius, 0.1),
        max(0.82 - 0.6 * polyp.radius, 0.1),
    )
    while True:
        x, y = rng.uniform(-room_x, room_x), rng.uniform(-room_y, room_y)
        if (
            np.hypot(x - scene.lumen[0], y - scene.lumen[1]) > scene.lumen_size
        ):  # not floating in the dark
            break
    polyp = replace(polyp, x=float(x), y=float(y))
    while True:
        frame = PhantomFrame(*paint(scene, Pose(), (polyp,), size, rng))
        area = float(frame.mask.mean())
        if MIN_SHARE <= area <= MAX_SHARE:
            return frame
        # The polyp is cut off by the field of view or too large: move it toward the center and
        # toward the drawn size.
        grow = np.clip(np.sqrt(share / max(area, share / 4)), 0.7, 1.3)
        polyp = replace(polyp, x=0.7 * polyp.x, y=0.7 * polyp.y, radius=polyp.radius * float(grow))


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < 32:
        raise UsageError(f"phantom of {size[1]}x{size[0]} pixels", expected="at least 32x32")


def _write(path: Path, image: ImageU8) -> None:
    encoded = cv2.imencode(
        path.suffix, image, [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    )[1]
    with naming(path):
        path.write_bytes(encoded.tobytes())
