"""What a phantom colonoscopy shows: drawn at random from a generator, then painted for any camera pose.

The bowel is a tube seen along its axis. In log-polar coordinates around the lumen, moving forward is a shift, so
one scene serves a still picture and a clip. Image coordinates are in half image heights from the centre, x right
and y down.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    F32 = NDArray[np.float32]

TILES, TILE = 8, 512
_MUCOSA = np.array(
    [(0.80, 0.40, 0.34), (0.84, 0.50, 0.28), (0.80, 0.54, 0.44), (0.68, 0.42, 0.28)], np.float32
)
_TINTS = np.array(
    [(1.08, 0.78, 0.78), (1.10, 1.22, 1.22), (1.0, 1.0, 1.0), (1.06, 1.02, 0.80), (0.95, 0.85, 0.85)],
    np.float32,
)


@dataclass(frozen=True, slots=True)
class Pose:
    """Where the camera is: sideways shift, roll (radians) and advance along the tube (log units)."""

    x: float = 0.0
    y: float = 0.0
    roll: float = 0.0
    advance: float = 0.0


@dataclass(frozen=True, slots=True)
class Blob:
    """A closed outline around a centre: a polyp, or something that is none.

    Attributes:
        x, y: Centre; in a tube scene before the pose.
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
    """A random scene; two in three look down the lumen, the others at the wall."""
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
        repeats=2 if tube else int(round(2 + 2 * distance)),
        offset=(rng.uniform(0, TILE), rng.uniform(0, TILE)),
        vessels=rng.uniform(0.1, 1.0),
        mottle=rng.uniform(0.1, 0.35),
        folds=rng.uniform(1.6, 3.2) * (1.0 if tube else 2.5),
        fold_strength=rng.uniform(0.0, 0.62, 32).astype(np.float32) * (rng.random(32) < 0.85),
        fold_phase=rng.uniform(0, 2 * np.pi, (3, 32)).astype(np.float32),
        light=(rng.uniform(-0.25, 0.25), rng.uniform(-0.25, 0.25)),
        exposure=rng.uniform(0.9, 1.6),
        falloff=rng.uniform(0.5, 1.1),
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
    """A random polyp that covers about `share` of an image of the given aspect ratio (width / height)."""
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
        height=rng.uniform(0.35, 1.5),
        tint=_triple(tint),
        grain=rng.uniform(0.1, 0.5),
        soft=rng.uniform(0.03, 0.12),
    )


def paint(
    scene: Scene, pose: Pose, polyps: tuple[Blob, ...], size: tuple[int, int], rng: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint one frame.

    Args:
        scene: What there is.
        pose: Where the camera is.
        polyps: Polyps in image coordinates.
        size: Height and width.
        rng: For the sensor's noise only.

    Returns:
        (H, W, 3) uint8 RGB and the (H, W) bool mask of the polyps inside the field of view.
    """
    height, width = size
    axis_y = ((np.arange(height, dtype=np.float32) + 0.5) * 2 / height - 1)[:, None]
    axis_x = ((np.arange(width, dtype=np.float32) + 0.5) * 2 / height - width / height)[None]
    albedo, shade, wet, outward = _wall(scene, pose, axis_x, axis_y)
    mask = np.zeros(size, np.bool_)
    for blob in (*scene.patches, *scene.stool):
        placed = _carried(blob, scene, pose)
        if placed is not None:
            _blend(placed, albedo, shade, wet, scene, outward, axis_x, axis_y)
    for blob in polyps:
        window, inside = _blend(blob, albedo, shade, wet, scene, outward, axis_x, axis_y)
        mask[window] |= inside
    image = albedo * (shade * scene.exposure)[..., None]
    image += (wet * np.minimum(shade + 0.2, 1.2))[..., None] * 1.6
    for x, y, radius in scene.bubbles:
        _bubble(image, x + pose.x, y + pose.y, radius, axis_x, axis_y)
    image = 1 - np.exp(-1.5 * image)
    if scene.blur:
        image = cv2.GaussianBlur(image, (0, 0), scene.blur * height / 288)
    grain = rng.standard_normal((height, width), np.float32) * scene.noise
    view = _view(scene, axis_x, axis_y)
    image = (image + grain[..., None]) * view[..., None] + (0.02 + 0.3 * np.abs(grain))[..., None] * (
        1 - view
    )[..., None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), mask & (view > 0.5)


def _wall(scene: Scene, pose: Pose, axis_x: F32, axis_y: F32) -> tuple[F32, F32, F32, tuple[F32, F32]]:
    """Albedo (H, W, 3), shade, wet highlights and the unit vector away from the lumen."""
    dx = axis_x - np.float32(scene.lumen[0] + pose.x)
    dy = axis_y - np.float32(scene.lumen[1] + pose.y)
    distance = np.sqrt(dx * dx + dy * dy) + np.float32(1e-3)
    ex, ey = dx / distance, dy / distance
    angle = np.arctan2(dy, dx) - np.float32(pose.roll)
    wave = np.ones_like(distance)
    for order, amplitude, phase in scene.lumen_lobes:
        wave += np.float32(amplitude) * np.cos(order * angle + np.float32(phase))
    radius = distance / wave
    depth = np.log(radius) - np.float32(pose.advance)
    scale = np.float32(scene.repeats * TILE / (2 * np.pi))
    texture = cv2.remap(
        _tile(scene.tile),
        angle * scale + np.float32(scene.offset[0]),
        depth * scale + np.float32(scene.offset[1]),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    ).astype(np.float32) / np.float32(255)
    mottle, vessel, grain, wet_noise = (texture[..., i] for i in range(4))
    albedo = (
        np.array(scene.mucosa, np.float32)
        * (1 + np.float32(scene.mottle) * (mottle + 0.3 * grain - 0.65))[..., None]
    )
    albedo *= 1 - (np.float32(0.5 * scene.vessels) * vessel)[..., None] * np.array(
        (0.35, 0.9, 0.8), np.float32
    )

    # Folds: going inwards, a lit crest, a sharp drop behind it, then a rise towards the next crest.
    wobble = 0.35 * np.cos(angle + scene.fold_phase[0, 0]) + 0.16 * np.cos(3 * angle + scene.fold_phase[0, 1])
    phase = -depth * np.float32(scene.folds) + wobble + 0.35 * mottle
    ring = np.floor(phase)
    inward = phase - ring
    index = ring.astype(np.int32) & 31
    reach = np.clip(0.45 + 0.9 * np.cos(angle + scene.fold_phase[1][index]), 0, 1)
    drop = np.minimum(inward * 14, 1) * (1 - inward) ** 1.3
    crest = np.maximum(1 - inward * 0, 0) * np.maximum(inward - 0.75, 0) * 4
    strength = scene.fold_strength[index] * reach
    shade = 1 - strength * drop
    shade += 0.25 * np.roll(strength, 0) * crest * crest * np.minimum((1 - inward) * 14, 1)

    lit = radius / (radius + np.float32(scene.lumen_size))
    shade *= np.minimum(lit ** np.float32(1 + 2 * scene.falloff) * 1.5, 1.25)
    edge = axis_x * axis_x * 0.5 + axis_y * axis_y
    shade *= (1 + scene.light[0] * axis_x + scene.light[1] * axis_y) * (1 - 0.22 * edge)
    wet = np.clip((wet_noise - np.float32(0.83 - 0.13 * scene.wetness) + 0.12 * crest * strength) * 9, 0, 1)
    return albedo, np.maximum(shade, 0.02), wet * np.clip(lit * 2 - 0.7, 0, 1), (ex, ey)


def _blend(
    blob: Blob,
    albedo: F32,
    shade: F32,
    wet: F32,
    scene: Scene,
    outward: tuple[F32, F32],
    axis_x: F32,
    axis_y: F32,
) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """Put a blob on the wall, in place. Returns its window and the pixels inside its outline."""
    reach = blob.radius * 1.9 + 0.02
    rows = slice(*np.searchsorted(axis_y[:, 0], (blob.y - reach, blob.y + reach)))
    cols = slice(*np.searchsorted(axis_x[0], (blob.x - reach, blob.x + reach)))
    window = (rows, cols)
    x, y = axis_x[:, cols] - np.float32(blob.x), axis_y[rows] - np.float32(blob.y)
    if x.size == 0 or y.size == 0:
        return window, np.zeros((y.shape[0], x.shape[1]), np.bool_)
    # Light comes with the camera: the side away from the lumen is lit, the side towards it lies in shadow.
    ox, oy = (float(np.mean(part[window])) for part in outward)
    q = _distance(blob, x, y)
    inside = q < 1
    cover = np.clip((1 + np.float32(blob.soft / 2) - q) / np.float32(blob.soft), 0, 1)
    if blob.height > 0:
        shadow = _distance(
            blob, x + np.float32(0.22 * blob.radius * ox), y + np.float32(0.22 * blob.radius * oy)
        )
        shade[window] *= 1 - np.float32(min(0.5 * blob.height, 0.45)) * np.clip(1.45 - shadow, 0, 0.5) * 2 * (
            1 - cover
        )
    length = np.sqrt(x * x + y * y) + np.float32(1e-4)
    slope = np.float32(blob.height) * q / np.sqrt(np.maximum(1.04 - q * q, 0.04))
    facing = 1 / np.sqrt(1 + slope * slope)
    lateral = (x * np.float32(ox) + y * np.float32(oy)) / length * slope * facing
    dome = np.clip(0.15 + 0.85 * facing + 0.45 * lateral, 0.1, 1.5)
    scale = np.float32(TILE / (0.9 * blob.radius + 0.35))
    bulge = 1 + 0.3 * q * q
    pattern = cv2.remap(
        _tile((scene.tile + 3) % TILES),
        np.broadcast_to(x * bulge * scale * np.float32(0.6), q.shape).copy(),
        np.broadcast_to(y * bulge * scale * np.float32(0.6), q.shape).copy(),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    ).astype(np.float32) / np.float32(255)
    local = albedo[window]
    surface = np.array(scene.mucosa, np.float32) * np.array(blob.tint, np.float32)
    surface = (
        surface * (1 + np.float32(blob.grain) * (pattern[..., 2] + 0.5 * pattern[..., 0] - 0.75))[..., None]
    )
    surface = 0.75 * surface + 0.25 * local * np.array(blob.tint, np.float32)
    local += cover[..., None] * (surface - local)
    if blob.height > 0:
        part = shade[window]
        flat = float(np.mean(part[inside])) if inside.any() else 1.0
        # The fold pattern underneath is mostly hidden by a high polyp.
        hidden = cover * np.float32(min(0.85, 0.4 + 0.4 * blob.height))
        part += hidden * (0.5 * (flat + max(flat, 0.45)) - part)
        part *= 1 + cover * (dome - 1)
        gloss = np.clip((0.5 * lateral + facing - 0.93) * 14, 0, 1) * (
            pattern[..., 3] > 0.62 - 0.12 * scene.wetness
        )
        wet[window] += cover * (0.8 * gloss - wet[window])
    return window, inside


def _distance(blob: Blob, x: F32, y: F32) -> F32:
    """Distance from the centre in units of the outline: below 1 is inside."""
    c, s = np.float32(np.cos(blob.rotation)), np.float32(np.sin(blob.rotation))
    u, v = x * c + y * s, (y * c - x * s) / np.float32(blob.squash)
    p = np.float32(blob.exponent)
    length = (np.abs(u) ** p + np.abs(v) ** p + np.float32(1e-9)) ** (1 / p)
    angle = np.arctan2(v, u)
    outline = np.full_like(length, blob.radius)
    for order, amplitude, phase in blob.lobes:
        outline += np.float32(blob.radius * amplitude) * np.cos(order * angle + np.float32(phase))
    result: F32 = length / outline
    return result


def _carried(blob: Blob, scene: Scene, pose: Pose) -> Blob | None:
    """A blob of the wall where the camera's advance has carried it; it comes back after leaving."""
    x, y = blob.x - scene.lumen[0], blob.y - scene.lumen[1]
    span, low = 3.6, -2.4
    start = float(np.log(np.hypot(x, y) + 1e-3))
    depth = (start + pose.advance - low) % span + low if pose.advance else start
    factor = float(np.exp(depth - start))
    c, s = float(np.cos(pose.roll)), float(np.sin(pose.roll))
    return replace(
        blob,
        x=scene.lumen[0] + pose.x + factor * (x * c - y * s),
        y=scene.lumen[1] + pose.y + factor * (x * s + y * c),
        radius=blob.radius * factor,
        rotation=blob.rotation + pose.roll,
    )


def _bubble(image: F32, x: float, y: float, radius: float, axis_x: F32, axis_y: F32) -> None:
    rows = slice(*np.searchsorted(axis_y[:, 0], (y - 1.2 * radius, y + 1.2 * radius)))
    cols = slice(*np.searchsorted(axis_x[0], (x - 1.2 * radius, x + 1.2 * radius)))
    dx, dy = (axis_x[:, cols] - x) / radius, (axis_y[rows] - y) / radius
    q = np.sqrt(dx * dx + dy * dy)
    ring = np.exp(-(((q - 0.9) / 0.1) ** 2))
    glint = np.exp(-((dx + 0.4) ** 2 + (dy + 0.4) ** 2) / 0.02)
    image[rows, cols] *= (1 - 0.3 * ring)[..., None]
    image[rows, cols] += (0.9 * glint + 0.2 * ring * (dx + dy < 0))[..., None]


def _view(scene: Scene, axis_x: F32, axis_y: F32) -> F32:
    """Field of view: 1 inside, 0 outside, soft over a pixel or two."""
    half = float(-axis_x[0, 0])
    x, y, k = np.abs(axis_x), np.abs(axis_y), np.float32(scene.view_size)
    if scene.view == "octagon":
        outside = np.maximum(np.maximum(x / half, y) - 0.97 * k, (x / half + y) / 1.5 - 0.97 * k)
    elif scene.view == "circle":
        outside = np.sqrt(x * x + y * y) - np.float32(0.55 + 0.5 * half) * k
    elif scene.view == "rounded":
        corner = np.maximum(x - (0.93 * half - 0.2) * k, 0) ** 2 + np.maximum(y - 0.73 * k, 0) ** 2
        outside = np.sqrt(corner) - np.float32(0.2)
    else:
        outside = np.full((axis_y.shape[0], axis_x.shape[1]), -1, np.float32)
    result: F32 = np.clip(0.5 - outside * np.float32(axis_y.shape[0] / 4), 0, 1).astype(np.float32)
    return result


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
    """A red, pale or shaded patch of flat mucosa with a blurred edge."""
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


def _lobes(rng: Generator, orders: tuple[int, ...], amplitude: float) -> tuple[tuple[int, float, float], ...]:
    return tuple((k, rng.normal(0, amplitude) * 2 / k, rng.uniform(0, 2 * np.pi)) for k in orders)


def _triple(values: NDArray[np.floating]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


@lru_cache(maxsize=TILES)
def _tile(number: int) -> NDArray[np.uint8]:
    """A seamless texture (TILE, TILE, 4): mottling, vessels, grain, wetness."""
    rng = np.random.default_rng([20, number])
    mottle = _noise(rng, 4) + 0.6 * _noise(rng, 8) + 0.3 * _noise(rng, 32)
    grain = _noise(rng, 64) + 0.7 * _noise(rng, 128)
    wet = _noise(rng, 16) + 0.9 * _noise(rng, 64)
    canvas = np.zeros((3 * TILE, 3 * TILE), np.uint8)
    for _ in range(16):
        start = rng.uniform(TILE, 2 * TILE, 2)
        _vessel(canvas, rng, start, rng.uniform(0, 2 * np.pi), int(rng.integers(3, 6)))
    vessels = canvas.reshape(3, TILE, 3, TILE).max(axis=(0, 2))
    wrapped = cv2.GaussianBlur(np.tile(vessels, (3, 3)), (0, 0), 1.3)[TILE : 2 * TILE, TILE : 2 * TILE]
    channels = [_stretched(mottle), wrapped, _stretched(grain), _stretched(wet)]
    return np.ascontiguousarray(np.stack(channels, axis=-1))


def _vessel(
    canvas: NDArray[np.uint8], rng: Generator, start: NDArray[np.float64], angle: float, width: int
) -> None:
    points = [start]
    for _ in range(rng.integers(12, 30)):
        angle += rng.normal(0, 0.28)
        points.append(points[-1] + 8 * np.array((np.cos(angle), np.sin(angle))))
        if width > 1 and rng.random() < 0.13:
            _vessel(canvas, rng, points[-1], angle + rng.choice((-0.7, 0.7)), width - 1)
    line = np.round(np.array(points) * 8).astype(np.int32)
    cv2.polylines(canvas, [line], False, 80 + 35 * width, width, cv2.LINE_AA, 3)


def _noise(rng: Generator, cells: int) -> F32:
    """Seamless smooth noise (TILE, TILE) with so many cells along each side."""
    grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
    step = TILE // cells
    smooth: F32 = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return smooth[2 * step : 2 * step + TILE, 2 * step : 2 * step + TILE]


def _stretched(values: F32) -> NDArray[np.uint8]:
    low, high = np.quantile(values, (0.01, 0.99))
    return (np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
