"""Quality checks on a single thumbnail: black, overexposed, outside the body, or too blurred.

The limits are well outside the range of 1766 real frames (Kvasir-SEG, CVC-ClinicDB, polyp-free
frames and two clips). Their extreme values are 70 % lit, 17 % white, 31 % in the color of mucosa,
14 % gray, and detail 3.2. Of 200 of these frames, blurred by a Gaussian of 4 % of their width,
three in four are detected as blurred; at 6 %, all are. No frames from outside a body or under
narrow-band light were available, so it is unknown how they are judged.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.status import Reason, ReasonKind

if TYPE_CHECKING:
    from edge.frame import ImageU8
    from edge.imaging.thumbnail import Thumbnail

LIT = 32
"""Gray level above which a cell is lit; borders drawn by processors reach 26."""
MIN_LIT = 0.05
WHITE = 232
"""Green level from which a cell is overexposed: white is 235 in a limited-range capture."""
MAX_WHITE = 0.5
COLORED = 64
"""Gray level above which the color of a cell can be determined."""
MIN_COLORED = 0.2
CHROMA = 10
"""Minimum excess of red over both other channels in mucosa under white light, gray levels."""
MIN_MUCOSA = 0.1
COLOR_SPREAD = 20
"""Difference between the channels below which a cell is gray, gray levels."""
MAX_GRAY = 0.6
COARSE = 3
"""Thumbnail cells per cell of the coarser image on which sharpness is measured."""
TOP_DETAIL = 8
"""Maximum detail that counts: text over the view stays sharp when the image does not."""
MIN_DETAIL = 2.6
MIN_RELATIVE_DETAIL = 0.035
_MIN_CELLS = 100


def find_quality_problem(picture: Thumbnail, mask: ImageU8) -> Reason | None:
    """Find the quality problem of a frame; None if there is none.

    Args:
        picture: Thumbnail of the frame.
        mask: (h, w) uint8, 255 in the field of view.
    """
    cells = max(1, cv2.countNonZero(mask))
    lit = cv2.bitwise_and(cv2.compare(picture.bright, LIT, cv2.CMP_GT), mask)
    lit_cells = cv2.countNonZero(lit)
    if lit_cells < MIN_LIT * cells:
        return Reason(ReasonKind.BLACK, f"{100 * lit_cells / cells:.0f} % of the view is lit")
    white = cv2.countNonZero(cv2.bitwise_and(cv2.compare(picture.green, WHITE, cv2.CMP_GE), mask))
    if white > MAX_WHITE * cells:
        return Reason(ReasonKind.LIGHT, f"{100 * white / cells:.0f} % of the view is overexposed")
    share, mucosa, gray = measure_colors(picture, mask)
    # Under narrow-band light mucosa is not red, but it is not gray either.
    if share > MIN_COLORED and mucosa < MIN_MUCOSA and gray > MAX_GRAY:
        return Reason(
            ReasonKind.OUT_OF_BODY, f"{100 * mucosa:.0f} % of the view has the color of mucosa"
        )
    detail = _detail(picture.green, lit)
    if detail is not None and detail[0] < MIN_DETAIL and detail[1] < MIN_RELATIVE_DETAIL:
        return Reason(ReasonKind.BLURRED, f"detail {detail[0]:.1f} of at least {MIN_DETAIL}")
    return None


def measure_colors(picture: Thumbnail, mask: ImageU8) -> tuple[float, float, float]:
    """Return the share of the view with a known color, and its shares of mucosa and of gray."""
    bright = cv2.compare(picture.bright, COLORED, cv2.CMP_GT)
    judgeable = cv2.bitwise_and(
        cv2.bitwise_and(bright, mask), cv2.compare(picture.green, WHITE, cv2.CMP_LT)
    )
    cells = max(1, cv2.countNonZero(judgeable))
    redness = cv2.subtract(picture.red, cv2.max(picture.green, picture.blue))
    mucosa = cv2.bitwise_and(cv2.compare(redness, CHROMA, cv2.CMP_GT), judgeable)
    darkest = cv2.min(picture.red, cv2.min(picture.green, picture.blue))
    gray = cv2.bitwise_and(
        cv2.compare(cv2.subtract(picture.bright, darkest), COLOR_SPREAD, cv2.CMP_LT), judgeable
    )
    total = max(1, cv2.countNonZero(mask))
    return cells / total, cv2.countNonZero(mucosa) / cells, cv2.countNonZero(gray) / cells


def _detail(green: ImageU8, lit: ImageU8) -> tuple[float, float] | None:
    """Return detail in gray levels and relative to brightness; None if too few cells are lit.

    Detail is the root of the mean product of two Laplacians at about 1 % of the frame's width, one
    over the even rows and one over the odd rows. They share the image, but not the sensor noise.
    """
    height, width = green.shape
    size = (max(1, width // COARSE), max(1, height // COARSE))
    # The edges of the view are not details of the image.
    inner = cv2.resize(lit, size, interpolation=cv2.INTER_NEAREST)
    inner = cv2.erode(inner, np.ones((5, 5), np.uint8), borderValue=255)
    if height < 2 or cv2.countNonZero(inner) < _MIN_CELLS:
        return None
    coarse = [cv2.resize(green[half::2], size, interpolation=cv2.INTER_AREA) for half in (0, 1)]
    one, other = (
        np.clip(
            cv2.Laplacian(rows, cv2.CV_32F, borderType=cv2.BORDER_REPLICATE),
            -TOP_DETAIL,
            TOP_DETAIL,
        )
        for rows in coarse
    )
    detail = math.sqrt(max(0.0, cv2.mean(cv2.multiply(one, other), inner)[0]))
    return detail, detail / max(1.0, cv2.mean(coarse[0], inner)[0])
