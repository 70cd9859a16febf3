"""Paint a scene as the camera sees it from a pose.

The bowel is a tube seen along its axis. In log-polar coordinates around the lumen, forward motion
is a shift, so the same scene gives a single image or a clip.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.datasets.phantom.texture import TILE, TILES, tile

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from edge.datasets.phantom.scene import Blob, Pose, Scene
    from edge.datasets.phantom.texture import F32

_BLACK = 0.02
"""Brightness of the processor's border around the field of view."""


def paint(
    scene: Scene, pose: Pose, polyps: tuple[Blob, ...], size: tuple[int, int], rng: Generator
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Paint one frame.

    Args:
        scene: The scene.
        pose: Pose of the camera.
        polyps: Polyps in image coordinates.
        size: Height and width.
        rng: Generator for the sensor noise only.

    Returns:
        (H, W, 3) uint8 RGB and the (H, W) bool mask of the polyps inside the field of view.
    """
    height, width = size
    axis_y = ((np.arange(height) + 0.5) * 2 / height - 1).astype(np.float32)[:, None]
    axis_x = ((np.arange(width) + 0.5) * 2 / height - width / height).astype(np.float32)[None]
    albedo, shade, wet, outward = _wall(scene, pose, axis_x, axis_y)
    mask = np.zeros(size, np.bool_)
    for blob in (*scene.patches, *scene.stool):
        _blend(_carried(blob, scene, pose), albedo, shade, wet, scene, outward, axis_x, axis_y)
    for blob in polyps:
        window, inside = _blend(blob, albedo, shade, wet, scene, outward, axis_x, axis_y)
        mask[window] |= inside
    image = albedo * (shade * scene.exposure)[..., None]
    image += (wet * np.minimum(shade + 0.1, 1.2))[..., None] * np.array(
        (1.9, 1.75, 1.5), np.float32
    )
    for x, y, radius in scene.bubbles:
        _bubble(image, x + pose.x, y + pose.y, radius, axis_x, axis_y)
    image *= np.float32(-1.5)
    image = 1 - cv2.exp(image)
    if scene.blur:
        image = cv2.GaussianBlur(image, (0, 0), scene.blur * height / 288)
    grain = rng.standard_normal((height, width), np.float32) * scene.noise
    view = _view(scene, axis_x, axis_y)
    image += grain[..., None]
    image -= np.float32(_BLACK)
    image *= view[..., None]
    image += (_BLACK + 0.2 * np.abs(grain))[..., None]
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), mask & (view > 0.5)


def _wall(
    scene: Scene, pose: Pose, axis_x: F32, axis_y: F32
) -> tuple[F32, F32, F32, tuple[F32, F32]]:
    """Compute albedo (H, W, 3), shade, wet highlights and the unit vector away from the lumen."""
    dx = axis_x - np.float32(scene.lumen[0] + pose.x)
    dy = axis_y - np.float32(scene.lumen[1] + pose.y)
    dx, dy = np.broadcast_arrays(dx, dy)
    distance, angle = cv2.cartToPolar(dx, dy)
    distance += np.float32(1e-3)
    ex, ey = dx / distance, dy / distance
    angle -= np.float32(pose.roll)
    wave = np.ones_like(distance)
    for order, amplitude, phase in scene.lumen_lobes:
        wave += np.float32(amplitude) * np.cos(order * angle + np.float32(phase))
    radius = distance / wave
    depth = cv2.log(radius) - np.float32(pose.advance)
    scale = np.float32(scene.repeats * TILE / (2 * np.pi))
    texture = cv2.remap(
        tile(scene.tile),
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

    # Folds, going inward: a lit crest, a sharp drop behind it, then a rise to the next crest.
    wobble = 0.35 * np.cos(angle + scene.fold_phase[0, 0]) + 0.16 * np.cos(
        3 * angle + scene.fold_phase[0, 1]
    )
    phase = -depth * np.float32(scene.folds) + wobble + 0.35 * mottle
    ring = np.floor(phase)
    inward = phase - ring
    index = ring.astype(np.int32) & 31
    reach = np.clip(0.45 + 0.9 * np.cos(angle + scene.fold_phase[1][index]), 0, 1)
    drop = np.minimum(inward * 14, 1) * cv2.pow(1 - inward, 1.3)
    crest = np.maximum(inward - 0.75, 0) * 4
    strength = scene.fold_strength[index] * reach
    shade = 1 - strength * drop
    shade += 0.25 * strength * crest * crest * np.minimum((1 - inward) * 14, 1)

    lit = radius / (radius + np.float32(scene.lumen_size))
    shade *= np.minimum(cv2.pow(lit, 1 + 2 * scene.falloff) * 1.5, 1.25)
    edge = axis_x * axis_x * 0.5 + axis_y * axis_y
    shade *= (1 + scene.light[0] * axis_x + scene.light[1] * axis_y) * (1 - 0.22 * edge)
    wet = np.clip(
        (wet_noise - np.float32(0.97 - 0.17 * scene.wetness) + 0.25 * crest * strength) * 12, 0, 1
    )
    return albedo, np.maximum(shade, 0.02), wet * np.clip(lit * 3 - 1.4, 0, 1), (ex, ey)


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
    """Put a blob on the wall in place; return its window and the pixels inside its outline."""
    reach = blob.radius * 1.85 + 0.02
    rows = slice(*np.searchsorted(axis_y[:, 0], (blob.y - reach, blob.y + reach)))
    cols = slice(*np.searchsorted(axis_x[0], (blob.x - reach, blob.x + reach)))
    window = (rows, cols)
    x, y = axis_x[:, cols] - np.float32(blob.x), axis_y[rows] - np.float32(blob.y)
    if x.size == 0 or y.size == 0:
        return window, np.zeros((y.shape[0], x.shape[1]), np.bool_)
    # The light moves with the camera: the side away from the lumen is lit, the side toward it lies
    # in shadow.
    ox, oy = (float(np.mean(part[window])) for part in outward)
    q = _distance(blob, x, y)
    inside = q < 1
    cover = np.clip((1 + np.float32(blob.soft / 2) - q) / np.float32(blob.soft), 0, 1)
    if blob.height > 0:
        shadow = _distance(
            blob, x + np.float32(0.22 * blob.radius * ox), y + np.float32(0.22 * blob.radius * oy)
        )
        shade[window] *= 1 - np.float32(min(0.5 * blob.height, 0.45)) * np.clip(
            1.45 - shadow, 0, 0.5
        ) * 2 * (1 - cover)
    length = np.sqrt(x * x + y * y) + np.float32(1e-4)
    slope = np.float32(blob.height) * q / np.sqrt(np.maximum(1.04 - q * q, 0.04))
    facing = 1 / np.sqrt(1 + slope * slope)
    lateral = (x * np.float32(ox) + y * np.float32(oy)) / length * slope * facing
    dome = np.clip(0.35 + 0.65 * facing + 0.5 * lateral, 0.15, 1.5)
    scale = np.float32(TILE / (0.9 * blob.radius + 0.35))
    bulge = scale * np.float32(0.6) * (1 + np.float32(0.3) * q * q)
    pattern = cv2.remap(
        tile((scene.tile + 3) % TILES),
        x * bulge,
        y * bulge,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_WRAP,
    ).astype(np.float32) / np.float32(255)
    local = albedo[window]
    surface = np.array(scene.mucosa, np.float32) * np.array(blob.tint, np.float32)
    surface = (
        surface
        * (1 + np.float32(blob.grain) * (pattern[..., 2] + 0.5 * pattern[..., 0] - 0.75))[..., None]
    )
    surface = 0.75 * surface + 0.25 * local * np.array(blob.tint, np.float32)
    local += cover[..., None] * (surface - local)
    if blob.height > 0:
        part = shade[window]
        flat = float(np.mean(part[inside])) if inside.any() else 1.0
        # A high polyp mostly hides the fold pattern underneath.
        hidden = cover * np.float32(min(0.85, 0.4 + 0.4 * blob.height))
        part += hidden * (0.5 * (flat + max(flat, 0.45)) - part)
        part *= 1 + cover * (dome - 1)
        gloss = np.clip((0.87 * facing + 0.5 * lateral - 0.97) * 35, 0, 1)
        gloss *= np.clip((pattern[..., 3] - 0.45) * 6, 0, 1)
        wet[window] += cover * (np.maximum(gloss, 0.3 * wet[window]) - wet[window])
    return window, inside


def _distance(blob: Blob, x: F32, y: F32) -> F32:
    """Compute the distance from the center in units of the outline: below 1 is inside."""
    c, s = np.float32(np.cos(blob.rotation)), np.float32(np.sin(blob.rotation))
    u, v = x * c + y * s, (y * c - x * s) / np.float32(blob.squash)
    p = blob.exponent
    length = cv2.pow(cv2.pow(np.abs(u), p) + cv2.pow(np.abs(v), p) + np.float32(1e-9), 1 / p)
    angle = cv2.phase(u, v)
    outline = np.full_like(length, blob.radius)
    for order, amplitude, phase in blob.lobes:
        outline += np.float32(blob.radius * amplitude) * np.cos(order * angle + np.float32(phase))
    return np.asarray(length / outline, np.float32)


def _carried(blob: Blob, scene: Scene, pose: Pose) -> Blob:
    """Move a blob of the wall by the camera's advance; it reappears after it has left."""
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
    """Compute the field of view: 1 inside, 0 outside, with an edge one or two pixels wide."""
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
