"""What other hospitals' pictures look like: colours, optics, compression and screen furniture, drawn at random.

Applied after the geometric part, to the image alone, but for the field of view, outside of which the mask is empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import cv2
import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:/.-"


def shift_domain(image: Image, mask: Image, other: Image, rng: Generator) -> tuple[Image, Image]:
    """Move a picture towards another camera, processor and screen.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8.
        other: A picture of any size whose colours may be taken over.
        rng: Of this sample.

    Returns:
        Image and mask, new where they changed.
    """
    if rng.random() < 0.3:
        image = transfer_colours(image, other, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.3:
        image = _lighting(image, rng)
    if rng.random() < 0.25:
        image = _highlights(image, rng)
    if rng.random() < 0.25:
        image = _optics(image, rng)
    if rng.random() < 0.25:
        image, mask = _field_of_view(image, mask, rng)
    if rng.random() < 0.15:
        image = _text(image, rng)
    if rng.random() < 0.3:
        image = _compressed(image, rng)
    return image, mask


def transfer_colours(image: Image, other: Image, strength: float) -> Image:
    """Mean and spread of each channel in CIELAB, taken over from another picture.

    Source: Reinhard et al., Color transfer between images, IEEE CG&A 2001, in CIELAB instead of l-alpha-beta.

    Args:
        image: (H, W, 3) uint8 RGB.
        other: (h, w, 3) uint8 RGB.
        strength: 0 leaves the picture as it is, 1 takes the statistics over whole.
    """
    lab, wanted = (cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32) for picture in (image, other))
    mean, spread = lab.mean(axis=(0, 1)), lab.std(axis=(0, 1)) + 1
    aim, width = wanted.mean(axis=(0, 1)), wanted.std(axis=(0, 1)) + 1
    # A picture with little contrast is not blown up into noise.
    moved = (lab - mean) * np.clip(width / spread, 0.5, 2.0) + aim
    mixed = np.clip(lab + strength * (moved - lab), 0, 255).astype(np.uint8)
    return cast("Image", cv2.cvtColor(mixed, cv2.COLOR_LAB2RGB))


def _lighting(image: Image, rng: Generator) -> Image:
    """The light falls off from a point, the tip of the endoscope, or over-exposes around it."""
    H, W = image.shape[:2]
    y, x = np.ogrid[:H, :W]
    cy, cx = rng.uniform(0.2, 0.8, 2)
    distance = ((y / H - cy) ** 2 + (x / W - cx) ** 2).astype(np.float32)
    gain = rng.uniform(0.8, 1.5) * np.exp(-distance * rng.uniform(0.3, 3.0))
    return _to_image(image * np.clip(gain, 0.25, 1.6)[..., None])


def _highlights(image: Image, rng: Generator) -> Image:
    """Wet mucosa mirrors the light: small, bright, soft-edged spots."""
    H, W = image.shape[:2]
    spots = np.zeros((H, W), np.uint8)
    for _ in range(rng.integers(1, 12)):
        centre = (int(rng.integers(W)), int(rng.integers(H)))
        axes = tuple(int(side) for side in rng.integers(1, max(2, W // 28), 2))
        cv2.ellipse(spots, centre, axes, float(rng.uniform(0, 180)), 0, 360, 255, -1)
    soft = cv2.GaussianBlur(spots, (0, 0), float(rng.uniform(0.6, 2.0))).astype(np.float32)[..., None] / 255
    return _to_image(image + (255 - image) * soft * rng.uniform(0.7, 1.0))


def _optics(image: Image, rng: Generator) -> Image:
    """Motion blur, or the loss of an older, smaller sensor."""
    H, W = image.shape[:2]
    if rng.random() < 0.5:
        length = int(rng.integers(3, 10))
        kernel = np.zeros((length, length), np.float32)
        angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
        reach = np.array([np.cos(angle), np.sin(angle)]) * middle
        begin, end = (tuple(np.rint(middle + sign * reach).astype(int).tolist()) for sign in (-1, 1))
        cv2.line(kernel, begin, end, 1.0)
        return cast("Image", cv2.filter2D(image, -1, kernel / kernel.sum()))
    share = rng.uniform(0.35, 0.8)
    small = cv2.resize(image, (max(8, int(W * share)), max(8, int(H * share))), interpolation=cv2.INTER_AREA)
    return cast("Image", cv2.resize(small, (W, H), interpolation=cv2.INTER_LINEAR))


def _field_of_view(image: Image, mask: Image, rng: Generator) -> tuple[Image, Image]:
    """Black outside an octagon, a circle or a smaller rectangle; the mask is empty there."""
    H, W = image.shape[:2]
    view = np.zeros((H, W), np.uint8)
    kind = rng.integers(3)
    if kind == 0:
        cut = rng.uniform(0.08, 0.25)
        x, y = cut * W, cut * H
        corners = [(x, 0), (W - x, 0), (W, y), (W, H - y), (W - x, H), (x, H), (0, H - y), (0, y)]
        cv2.fillPoly(view, [np.array(corners, np.int32)], 255)
    elif kind == 1:
        centre = (int(W * rng.uniform(0.45, 0.55)), int(H * rng.uniform(0.45, 0.55)))
        cv2.circle(view, centre, int(min(H, W) * rng.uniform(0.48, 0.62)), 255, -1)
    else:
        left, top, right, low = (
            int(side * share) for side, share in zip((W, H, W, H), rng.uniform(0, 0.12, 4), strict=True)
        )
        view[top : H - low, left : W - right] = 255
    level = int(rng.integers(0, 18))
    shown = image.copy()
    shown[view == 0] = level
    return shown, cast("Image", np.minimum(mask, view))


def _text(image: Image, rng: Generator) -> Image:
    """What processors write into the picture: a few lines, sometimes on a panel."""
    H, W = image.shape[:2]
    written = image.copy()
    for _ in range(rng.integers(1, 4)):
        letters = "".join(rng.choice(list(_LETTERS), int(rng.integers(3, 14))))
        x, y = int(rng.uniform(0, 0.8) * W), int(rng.uniform(0.06, 0.98) * H)
        size = float(rng.uniform(0.25, 0.5) * W / 256)
        if rng.random() < 0.3:
            tall = max(6, int(24 * size))
            written[max(0, y - tall) : y + 4, x : x + int(tall * len(letters) * 0.7)] = rng.integers(0, 80, 3)
        shade = tuple(int(c) for c in rng.choice([[235, 235, 235], [235, 220, 60], [90, 230, 90]]))
        cv2.putText(written, letters, (x, y), cv2.FONT_HERSHEY_SIMPLEX, size, shade, 1, cv2.LINE_AA)
    return written


def _compressed(image: Image, rng: Generator) -> Image:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 75))]
    decoded = cv2.imdecode(cv2.imencode(".jpg", image[..., ::-1], quality)[1], cv2.IMREAD_COLOR)
    assert decoded is not None
    return _to_image(decoded[..., ::-1])


def _to_image(values: NDArray[Any]) -> Image:
    return np.ascontiguousarray(np.clip(values, 0, 255), dtype=np.uint8)
