"""Random scenes of the phantom colonoscopy.

Image coordinates are in half image heights from the center, x right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge.datasets.phantom.texture import TILE, TILES

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    F32 = NDArray[np.float32]

_MUCOSA = np.array(
    [(0.95, 0.36, 0.27), (1.0, 0.48, 0.41), (1.15, 0.55, 0.24), (0.75, 0.46, 0.32)], np.float32
)
_TINTS = np.array(
    [
        (1.08, 0.78, 0.78),
        (1.10, 1.22, 1.22),
        (1.0, 1.0, 1.0),
        (1.06, 1.02, 0.80),
        (0.95, 0.85, 0.85),
    ],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class Pose:
    """Camera pose: sideways shift, roll (radians) and advance along the tube (log units)."""

    x: float = 0.0
    y: float = 0.0
    roll: float = 0.0
    advance: float = 0.0


@dataclass(frozen=True, slots=True)
class Blob:
    """A closed outline around a center: a polyp or a similar-looking object.

    Attributes:
        x, y: Center; in a tube scene, before the pose is applied.
        radius: Mean radius.
        squash, rotation: Ratio of the axes, and the angle of the first.
        exponent: 2 is an ellipse, more is boxier.
        lobes: (order, amplitude, phase) of the outline's waves.
        height: Steepness of the dome.
        tint: Factor on the mucosa's red, green, blue.
        grain: Strength of the surface pattern.
        soft: Width of the edge, as a share of the radius.
    """

    x: float
    y: float
    radius: float
    squash: float
    rotation: float
    exponent: float
    lobes: tuple[tuple[int, float, float], ...]
    height: float
    tint: tuple[float, float, float]
    grain: float
    soft: float


@dataclass(frozen=True, slots=True)
class Scene:
    """One piece of bowel, its light and its optics, without a polyp."""

    lumen: tuple[float, float]
    lumen_size: float
    lumen_lobes: tuple[tuple[int, float, float], ...]
    mucosa: tuple[float, float, float]
    tile: int
    repeats: int
    offset: tuple[float, float]
    vessels: float
    mottle: float
    folds: float
    fold_strength: F32
    fold_phase: F32
    light: tuple[float, float]
    exposure: float
    falloff: float
    wetness: float
    stool: tuple[Blob, ...]
    patches: tuple[Blob, ...]
    bubbles: tuple[tuple[float, float, float], ...]
    view: str
    view_size: float
    blur: float
    noise: float


def draw_scene(rng: Generator) -> Scene:
    """Draw a random scene; two in three look down the lumen, the others at the wall."""
    tube = rng.random() < 0.65
    angle = rng.uniform(0, 2 * np.pi)
    distance = rng.uniform(0.0, 0.75) if tube else rng.uniform(1.6, 3.5)
    base = _MUCOSA[rng.integers(len(_MUCOSA))] * rng.uniform(0.9, 1.1, 3)
    dirty = rng.random()
    return Scene(
        lumen=(distance * np.cos(angle), 0.8 * distance * np.sin(angle)),
        lumen_size=rng.uniform(0.12, 0.32),
        lumen_lobes=_lobes(rng, (2, 3, 4), 0.12),
        mucosa=_triple(base),
        tile=int(rng.integers(TILES)),
        repeats=2 if tube else round(2 + 2 * distance),
        offset=(rng.uniform(0, TILE), rng.uniform(0, TILE)),
        vessels=rng.uniform(0.1, 1.0),
        mottle=rng.uniform(0.1, 0.35),
        folds=rng.uniform(1.6, 3.2) * (1.0 if tube else 2.5),
        fold_strength=rng.uniform(0.0, 0.62, 32).astype(np.float32) * (rng.random(32) < 0.85),
        fold_phase=rng.uniform(0, 2 * np.pi, (3, 32)).astype(np.float32),
        light=(rng.uniform(-0.4, 0.4), rng.uniform(-0.4, 0.4)),
        exposure=rng.uniform(0.8, 1.5),
        falloff=rng.uniform(0.6, 1.5),
        wetness=rng.uniform(0.0, 1.0),
        stool=tuple(_draw_stool(rng) for _ in range(rng.integers(1, 7) if dirty < 0.35 else 0)),
        patches=tuple(_draw_patch(rng) for _ in range(rng.integers(0, 4))),
        bubbles=tuple(
            (rng.uniform(-1.2, 1.2), rng.uniform(-0.9, 0.9), rng.uniform(0.015, 0.07))
            for _ in range(rng.integers(2, 14) if rng.random() < 0.3 else 0)
        ),
        view=str(rng.choice(["octagon", "octagon", "circle", "rounded", "full"])),
        view_size=rng.uniform(0.94, 1.04),
        blur=rng.choice([0.0, rng.uniform(0.5, 1.4)]),
        noise=rng.uniform(0.006, 0.02),
    )


def draw_polyp(rng: Generator, share: float, aspect: float) -> Blob:
    """Draw a random polyp that covers about `share` of an image; aspect is width / height."""
    squash = rng.uniform(0.6, 1.0)
    contrast = rng.uniform(0.2, 1.0)
    tint = 1 + contrast * (_TINTS[rng.integers(len(_TINTS))] - 1)
    return Blob(
        x=0.0,
        y=0.0,
        radius=float(np.sqrt(4 * aspect * share / (np.pi * squash))),
        squash=squash,
        rotation=rng.uniform(0, np.pi),
        exponent=rng.uniform(1.9, 2.7),
        lobes=_lobes(rng, (2, 3, 4, 5, 7), rng.uniform(0.02, 0.09)),
        height=rng.uniform(0.5, 1.5),
        tint=_triple(tint),
        grain=rng.uniform(0.1, 0.5),
        soft=rng.uniform(0.03, 0.12),
    )


def _draw_stool(rng: Generator) -> Blob:
    tint = np.array((0.75, 0.85, 0.35)) * rng.uniform(0.7, 1.4)
    return replace(
        _draw_patch(rng),
        radius=rng.uniform(0.03, 0.16),
        height=rng.uniform(0.1, 0.6),
        tint=_triple(tint),
        soft=0.2,
    )


def _draw_patch(rng: Generator) -> Blob:
    """Draw a red, pale or shaded patch of flat mucosa with a blurred edge."""
    tint = rng.choice(np.array([(1.05, 0.75, 0.72), (1.1, 1.15, 1.1), (0.8, 0.75, 0.75)]))
    return Blob(
        x=rng.uniform(-1.2, 1.2),
        y=rng.uniform(-0.9, 0.9),
        radius=rng.uniform(0.1, 0.4),
        squash=rng.uniform(0.4, 1.0),
        rotation=rng.uniform(0, np.pi),
        exponent=2.0,
        lobes=_lobes(rng, (2, 3, 5), 0.2),
        height=0.0,
        tint=_triple(tint),
        grain=0.3,
        soft=rng.uniform(0.6, 1.2),
    )


def _lobes(
    rng: Generator, orders: tuple[int, ...], amplitude: float
) -> tuple[tuple[int, float, float], ...]:
    return tuple((k, rng.normal(0, amplitude) * 2 / k, rng.uniform(0, 2 * np.pi)) for k in orders)


def _triple(values: NDArray[np.floating]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
