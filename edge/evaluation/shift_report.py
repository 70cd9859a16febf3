"""Accuracy under each shift of `edge.datasets.appearance_shift`, at several strengths.

Every run uses the same random draws.
"""

from __future__ import annotations

import math
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edge.datasets import appearance_shift as shifts
from edge.datasets.pairs import read_pair
from edge.evaluation.evaluator import score_frame
from edge.evaluation.intervals import bootstrap_ci
from edge.evaluation.metrics import ImageScore, ShiftFigures, ShiftReport, ShiftRow, summarize
from edge.frame import DEFAULT_OPERATING_POINT, OperatingPoint
from edge.imaging.crop import cut, seen_part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.random import Generator

    from edge.datasets.pairs import Pair
    from edge.evaluation.evaluator import Score
    from edge.frame import FieldOfView, ImageU8

    Changed = tuple[ImageU8, ImageU8]

SEED = 0
NONE = "none"
"""Name of the row of unchanged images."""


class ShiftInput(NamedTuple):
    """The input of a shift.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8, 255 inside the polyp.
        other: The image half the data set away, the source of transferred colors.
    """

    image: ImageU8
    mask: ImageU8
    other: ImageU8


class Shift(NamedTuple):
    """A shift.

    Attributes:
        strength: Meaning of its strength.
        strengths: Strengths, from weak to strong.
        apply: Returns the shifted image and mask.
    """

    strength: str
    strengths: tuple[float, ...]
    apply: Callable[[ShiftInput, float, Generator], Changed]


def evaluate_shifts(
    scores: Mapping[str, Score],
    pairs: Sequence[Pair],
    *,
    point: OperatingPoint = DEFAULT_OPERATING_POINT,
    rule: FieldOfView = "full-frame",
    done: Callable[[str], None] | None = None,
) -> ShiftReport:
    """Score every image unchanged and under every shift.

    Args:
        scores: Engine and precision -> scorer, as in `edge.evaluation.evaluator.evaluate`.
        pairs: Images and masks.
        point: As in `edge.evaluation.evaluator.evaluate`.
        rule: As in `edge.evaluation.evaluator.evaluate`; the view is that of the shifted image.
        done: Called with the name of each pair after it was scored.

    Raises:
        DataError: A pair cannot be used, or there are no pairs.
    """
    places = [
        (NONE, 0.0),
        *((name, strength) for name, shift in SHIFTS.items() for strength in shift.strengths),
    ]
    rows_of: dict[tuple[str, float], dict[str, list[ImageScore]]] = {
        place: {engine: [] for engine in scores} for place in places
    }
    for number, pair in enumerate(pairs):
        image, true = read_pair(pair.image, pair.mask)
        far = pairs[(number + len(pairs) // 2) % len(pairs)]
        sample = ShiftInput(image, true.astype(np.uint8) * 255, read_pair(far.image, far.mask)[0])
        for name, strength in places:
            changed, mask = _changed(name, strength, sample, number)
            part = seen_part(changed, rule)
            given_part = cut(changed, part)
            for engine, score in scores.items():
                row = score_frame(pair.name, score(given_part), mask > 0, point, part=part)
                rows_of[name, strength][engine].append(row)
        if done:
            done(pair.name)
    originals = rows_of[NONE, 0.0]
    return ShiftReport(
        seed=SEED,
        rows=[
            ShiftRow(
                shift=name,
                strength=strength,
                means=SHIFTS[name].strength if name in SHIFTS else "as they are",
                engines={
                    engine: _figures(rows, originals[engine])
                    for engine, rows in rows_of[name, strength].items()
                },
            )
            for name, strength in places
        ],
    )


def _changed(name: str, strength: float, sample: ShiftInput, number: int) -> Changed:
    if name == NONE:
        return sample.image, sample.mask
    rng = np.random.default_rng([SEED, zlib.crc32(name.encode()), number])
    return SHIFTS[name].apply(sample, strength, rng)


def _figures(rows: Sequence[ImageScore], originals: Sequence[ImageScore]) -> ShiftFigures:
    report = summarize(rows)
    changes = [
        row.dice - before.dice
        for row, before in zip(rows, originals, strict=True)
        if row.dice is not None and before.dice is not None
    ]
    return ShiftFigures(
        n=report.n,
        dice=report.dice,
        dice_ci95=report.dice_ci95,
        change=float(np.mean(changes)) if changes else None,
        change_ci95=bootstrap_ci(changes) if changes else None,
        negatives=report.negatives,
    )


def _colors(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    return shifts.transfer_colors(sample.image, sample.other, strength), sample.mask


def _exposure(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    return shifts.expose(sample.image, strength), sample.mask


def _lighting(sample: ShiftInput, strength: float, rng: Generator) -> Changed:
    cy, cx = rng.uniform(0.2, 0.8, 2)
    return shifts.light(sample.image, (cy, cx), gain=1.2, fall=strength), sample.mask


def _highlights(sample: ShiftInput, strength: float, rng: Generator) -> Changed:
    H, W = sample.mask.shape
    spots = []
    for _ in range(int(strength)):
        center = (int(rng.integers(W)), int(rng.integers(H)))
        across, down = (int(side) for side in rng.integers(1, max(2, W // 28), 2))
        spots.append(shifts.Spot(center, (across, down), float(rng.uniform(0, 180))))
    return shifts.add_highlights(
        sample.image, spots, sigma=max(0.6, W / 200), opacity=0.9
    ), sample.mask


def _motion(sample: ShiftInput, strength: float, rng: Generator) -> Changed:
    length = max(2, round(strength * sample.mask.shape[1]))
    return shifts.blur_motion(sample.image, length, rng.uniform(0, math.pi)), sample.mask


def _resolution(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    share = min(1.0, strength / sample.mask.shape[1])
    return shifts.lose_resolution(sample.image, share), sample.mask


def _jpeg(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    return shifts.compress(sample.image, int(strength)), sample.mask


def _octagon(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    H, W = sample.mask.shape
    return shifts.narrow(sample.image, sample.mask, shifts.octagon((H, W), strength), 8)


def _circle(sample: ShiftInput, strength: float, _: Generator) -> Changed:
    H, W = sample.mask.shape
    view = shifts.circle((H, W), (W // 2, H // 2), int(min(H, W) * strength))
    return shifts.narrow(sample.image, sample.mask, view, 8)


def _text(sample: ShiftInput, strength: float, rng: Generator) -> Changed:
    H, W = sample.mask.shape
    lines = []
    for _ in range(int(strength)):
        letters = "".join(rng.choice(list(shifts.LETTERS), 12))
        place = (int(rng.uniform(0, 0.8) * W), int(rng.uniform(0.06, 0.98) * H))
        shade = shifts.SHADES[int(rng.integers(len(shifts.SHADES)))]
        lines.append(shifts.TextLine(letters, place, 0.4 * W / 256, shade))
    return shifts.write_text(sample.image, lines), sample.mask


SHIFTS = {
    "colours": Shift("share of another picture's colors", (0.3, 0.6, 0.9), _colors),
    "exposure": Shift("stops", (-2.0, -1.0, 0.5, 1.0), _exposure),
    "lighting": Shift("fall of the light off a point", (1.0, 2.0, 4.0), _lighting),
    "highlights": Shift("spots", (4.0, 8.0, 16.0), _highlights),
    "motion blur": Shift("length, share of the width", (0.01, 0.02, 0.04), _motion),
    "resolution": Shift("pixels of the width that are left", (192.0, 128.0, 80.0), _resolution),
    "JPEG": Shift("quality", (50.0, 25.0, 10.0), _jpeg),
    "octagon": Shift("share of a side that a cut corner takes", (0.08, 0.16, 0.25), _octagon),
    "circle": Shift("radius, share of the shorter side", (0.62, 0.55, 0.48), _circle),
    "text": Shift("lines", (2.0, 5.0, 10.0), _text),
}
"""Name -> shift."""
