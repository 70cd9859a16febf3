"""What is wrong with one small picture on its own: black, over-exposed, out of the body, blurred beyond use.

The limits lie well outside what 1766 real frames show (Kvasir-SEG, CVC-ClinicDB, polyp-free frames
and two clips), at the worst: 70 % lit, 17 % white, 31 % of the colour of mucosa, 14 % grey, detail
3.2. Of 200 of them, blurred by a Gaussian of 4 % of their width, three in four are told as such; of
6 %, all. No frames from outside a body and none under narrow-band light were at hand, so nothing is
known of how those are judged.
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
"""Grey level over which a cell is lit; borders of processors go up to 26."""
MIN_LIT = 0.05
WHITE = 232
"""Grey level of green from which a cell is over-exposed: white is 235 in a capture of limited range."""
MAX_WHITE = 0.5
COLORED = 64
"""Grey level over which a cell's colour can be told."""
MIN_COLORED = 0.2
CHROMA = 10
"""Grey levels by which red lies over both other channels in what may be mucosa under white light."""
MIN_MUCOSA = 0.1
COLOR_SPREAD = 20
"""Grey levels between the channels below which a cell is grey."""
MAX_GRAY = 0.6
COARSE = 3
"""Cells of the small picture that make one of the picture on which sharpness is measured."""
TOP_DETAIL = 8
"""Largest detail that counts: letters over the view stay sharp when the picture does not."""
MIN_DETAIL = 2.6
MIN_RELATIVE_DETAIL = 0.035
_MIN_CELLS = 100


def find_quality_problem(picture: Thumbnail, mask: ImageU8) -> Reason | None:
    """What is wrong; None if nothing is.

    Args:
        picture: A frame in small.
        mask: (h, w) uint8, 255 in the field of view.
    """
    cells = max(1, cv2.countNonZero(mask))
    lit = cv2.bitwise_and(cv2.compare(picture.bright, LIT, cv2.CMP_GT), mask)
    lit_cells = cv2.countNonZero(lit)
    if lit_cells < MIN_LIT * cells:
        return Reason(ReasonKind.BLACK, f"{100 * lit_cells / cells:.0f} % of the view is lit")
    white = cv2.countNonZero(cv2.bitwise_and(cv2.compare(picture.green, WHITE, cv2.CMP_GE), mask))
    if white > MAX_WHITE * cells:
        return Reason(ReasonKind.LIGHT, f"{100 * white / cells:.0f} % of the view is over-exposed")
    share, mucosa, grey = measure_colors(picture, mask)
    # Under narrow-band light mucosa is not red, but it is not grey either.
    if share > MIN_COLORED and mucosa < MIN_MUCOSA and grey > MAX_GRAY:
        return Reason(
            ReasonKind.OUT_OF_BODY, f"{100 * mucosa:.0f} % of the view has the colour of mucosa"
        )
    detail = _detail(picture.green, lit)
    if detail is not None and detail[0] < MIN_DETAIL and detail[1] < MIN_RELATIVE_DETAIL:
        return Reason(ReasonKind.BLURRED, f"detail {detail[0]:.1f} of at least {MIN_DETAIL}")
    return None


def measure_colors(picture: Thumbnail, mask: ImageU8) -> tuple[float, float, float]:
    """Share of the view whose colour can be told, and of that the shares that may be mucosa and that are grey."""
    bright = cv2.compare(picture.bright, COLORED, cv2.CMP_GT)
    told = cv2.bitwise_and(
        cv2.bitwise_and(bright, mask), cv2.compare(picture.green, WHITE, cv2.CMP_LT)
    )
    cells = max(1, cv2.countNonZero(told))
    redness = cv2.subtract(picture.red, cv2.max(picture.green, picture.blue))
    mucosa = cv2.bitwise_and(cv2.compare(redness, CHROMA, cv2.CMP_GT), told)
    darkest = cv2.min(picture.red, cv2.min(picture.green, picture.blue))
    grey = cv2.bitwise_and(
        cv2.compare(cv2.subtract(picture.bright, darkest), COLOR_SPREAD, cv2.CMP_LT), told
    )
    whole = max(1, cv2.countNonZero(mask))
    return cells / whole, cv2.countNonZero(mucosa) / cells, cv2.countNonZero(grey) / cells


def _detail(green: ImageU8, lit: ImageU8) -> tuple[float, float] | None:
    """Detail of the lit cells in grey levels, and as a share of their brightness; None where too few are lit.

    Detail is the root of the mean product of two Laplacians at about a hundredth of the frame's
    width, one of the even rows and one of the odd: what they have in common is the picture, and the
    sensor's noise is not.
    """
    height, width = green.shape
    size = (max(1, width // COARSE), max(1, height // COARSE))
    # Edges of the view are no detail of the picture.
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
