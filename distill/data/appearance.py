"""Random changes that make a frame look like another hospital's (`edge.datasets.appearance_shift`).

They follow the geometric part and change the image alone, except for a narrower field of view,
outside of which the mask becomes empty. The order of the random draws must stay as it is: runs
resume bit for bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.datasets import appearance_shift as shifts

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]


def shift_domain(image: Image, mask: Image, other: Image, rng: Generator) -> tuple[Image, Image]:
    """Make an image look as if from another camera, video processor and screen.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8.
        other: Image of any size whose colors may be transferred.
        rng: Random numbers of this sample.

    Returns:
        Image and mask; new arrays if they changed.
    """
    if rng.random() < 0.3:
        image = shifts.transfer_colors(image, other, float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.3:
        cy, cx = rng.uniform(0.2, 0.8, 2)
        image = shifts.light(
            image, (cy, cx), gain=rng.uniform(0.8, 1.5), fall=rng.uniform(0.3, 3.0)
        )
    if rng.random() < 0.25:
        image = _highlights(image, rng)
    if rng.random() < 0.25:
        image = _optics(image, rng)
    if rng.random() < 0.25:
        view = _field_of_view((image.shape[0], image.shape[1]), rng)
        image, mask = shifts.narrow(image, mask, view, int(rng.integers(0, 18)))
    if rng.random() < 0.15:
        lines = [_line(image, rng) for _ in range(rng.integers(1, 4))]
        image = shifts.write_text(image, lines)
    if rng.random() < 0.3:
        image = shifts.compress(image, int(rng.integers(15, 75)))
    return image, mask


def _highlights(image: Image, rng: Generator) -> Image:
    H, W = image.shape[:2]
    spots = []
    for _ in range(rng.integers(1, 12)):
        center = (int(rng.integers(W)), int(rng.integers(H)))
        across, down = (int(side) for side in rng.integers(1, max(2, W // 28), 2))
        spots.append(shifts.Spot(center, (across, down), float(rng.uniform(0, 180))))
    sigma = float(rng.uniform(0.6, 2.0))
    return shifts.add_highlights(image, spots, sigma, opacity=rng.uniform(0.7, 1.0))


def _optics(image: Image, rng: Generator) -> Image:
    """Motion blur, or the loss of an older, smaller sensor."""
    if rng.random() < 0.5:
        length = int(rng.integers(3, 10))
        return shifts.blur_motion(image, length, rng.uniform(0, np.pi))
    return shifts.lose_resolution(image, rng.uniform(0.35, 0.8))


def _field_of_view(size: tuple[int, int], rng: Generator) -> Image:
    """An octagon, a circle or a smaller rectangle, 255 inside."""
    H, W = size
    kind = rng.integers(3)
    if kind == 0:
        return shifts.octagon(size, rng.uniform(0.08, 0.25))
    if kind == 1:
        center = (int(W * rng.uniform(0.45, 0.55)), int(H * rng.uniform(0.45, 0.55)))
        return shifts.circle(size, center, int(min(H, W) * rng.uniform(0.48, 0.62)))
    left, top, right, low = (
        int(side * share) for side, share in zip((W, H, W, H), rng.uniform(0, 0.12, 4), strict=True)
    )
    view = np.zeros(size, np.uint8)
    view[top : H - low, left : W - right] = 255
    return view


def _line(image: Image, rng: Generator) -> shifts.TextLine:
    H, W = image.shape[:2]
    letters = "".join(rng.choice(list(shifts.LETTERS), int(rng.integers(3, 14))))
    x, y = int(rng.uniform(0, 0.8) * W), int(rng.uniform(0.06, 0.98) * H)
    size = float(rng.uniform(0.25, 0.5) * W / 256)
    panel = None
    if rng.random() < 0.3:
        red, green, blue = (int(value) for value in rng.integers(0, 80, 3))
        panel = (red, green, blue)
    red, green, blue = (int(value) for value in rng.choice(shifts.SHADES))
    return shifts.TextLine(letters, (x, y), size, (red, green, blue), panel)
