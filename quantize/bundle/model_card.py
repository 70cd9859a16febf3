"""The model card and the data card of a bundle, written from its manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.engines.golden_check import MIN_PIXELS
from edge.imaging.crop import MARGIN
from edge.util.plain_text import markdown
from quantize.certify.parity import OLD_RUNTIME
from quantize.certify.tflite_legacy import ABSENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge.bundle.manifest import AccuracyGate, Calibration, Manifest, Proportion
    from edge.frame import FieldOfView

_SHOWN: dict[FieldOfView, str] = {
    "full-frame": "one RGB frame, whole,",
    "view": f"the field of view of one RGB frame with a margin of {100 * MARGIN:g} %,",
}


def model_card(manifest: Manifest, *, bits: int = 8, layers: Sequence[str] = ()) -> str:
    """Write in Markdown what the model is, how good it is and what it is not for.

    Args:
        manifest: Manifest of the bundle.
        bits: Bits of the weights, as in `quantize.runs.folder.QatConfig`.
        layers: Globs of the layers that have these bits, if they are fewer than 8.
    """
    made = manifest.provenance
    lines = [
        f"# Model card: {markdown(manifest.name)}",
        "",
        f"**{manifest.intended_use}**",
        "",
        "- Task: polyp segmentation in colonoscopy frames, one class.",
        f"- Student: `{made.student}`, distilled from {', '.join(made.teachers) or 'no teacher'} "
        f"(recipe `{made.recipe}`), then quantized to {_grid(bits, layers)}.",
        f"- Input: {_SHOWN[manifest.input.field_of_view]} stretched to {manifest.input.width} "
        f"x {manifest.input.height}, uint8; normalization is in the graph.",
        f"- Output: {manifest.output.meaning}, {manifest.output.width} x {manifest.output.height}; "
        f"mask from {manifest.output.threshold:g}; regions smaller than "
        f"{manifest.output.min_region:.1%} of the shown part or with a peak below "
        f"{manifest.output.min_peak:g} are left out.",
        f"- License: {manifest.license}.",
        f"- Made {made.created} with seed {made.seed}.",
        "",
        "## Accuracy",
        "",
        "| data set | engine | images | Dice | 95 % interval | IoU | polyp-free | flagged "
        "| share |",
        "|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {markdown(row.dataset)} | {row.engine} | {row.n} | {row.dice:.4f} "
            f"| {row.dice_ci95[0]:.4f} to {row.dice_ci95[1]:.4f} | {row.iou:.4f} | {row.negatives} "
            f"| {row.flagged} | {_share(row.flagged, row.negatives)} |"
            for row in manifest.accuracy
        ),
        "",
        "Protocol B: per image at native mask size, the mask of the kept regions. The validation "
        "split also chose the checkpoint, so these figures flatter the model.",
        "",
        *_gate(manifest.gate),
        *_operating_point(manifest.output.calibration),
        "## Agreement of the engines",
        "",
        "| on | from | to | frames | mean difference (1/256) | largest | mask IoU | lowest "
        "| its frame | Dice difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.on} | {row.left} | {row.right} | {row.frames} | {row.mean_difference:.3f} "
            f"| {row.max_difference:.0f} | {_number(row.mask_iou)} | {_number(row.worst_iou)} "
            f"| {markdown(row.worst_frame or '-')} | {_number(row.dice_difference)} |"
            for row in manifest.parity
        ),
        "",
        *(
            []
            if any(OLD_RUNTIME in (row.left, row.right) for row in manifest.parity)
            else [ABSENT + ".", ""]
        ),
        "Golden frames are phantoms, hard ones noise, black, white and checkerboards. A frame "
        f"counts for the mask IoU if either mask has at least {MIN_PIXELS} pixels.",
        "",
        "## Operations left in float",
        "",
        *(
            f"- {entry.runtime} {entry.precision}: {'; '.join(entry.float_ops) or 'none'}"
            for entry in manifest.engines
        ),
        "",
        "## Limits",
        "",
        "Not validated on patients, other endoscopes, or procedures with blood, stool or "
        "chromoendoscopy beyond what the data contain. An empty mask is not evidence that there is "
        "no polyp.",
        "",
    ]
    return "\n".join(lines)


def data_card(manifest: Manifest, counts: Sequence[tuple[str, int, int]]) -> str:
    """Write in Markdown which data the model was trained and validated on.

    Args:
        manifest: Manifest of the bundle.
        counts: Name, training frames and validation frames of each data set.
    """
    lines = [
        f"# Data card: {markdown(manifest.name)}",
        "",
        "Research use only: the terms of the data sets apply to these weights.",
        "",
        "| data set | training frames | validation frames | SHA-256 over all files |",
        "|---|---|---|---|",
        *(
            f"| {markdown(name)} | {train} | {validation} "
            f"| `{manifest.provenance.data.get(name, '')}` |"
            for name, train, validation in counts
        ),
        "",
        "A split never cuts a video sequence if the data set tells which frames belong together. "
        "Golden frames come from the procedural phantom and show no patient.",
        "",
    ]
    return "\n".join(lines)


def _gate(gate: AccuracyGate | None) -> list[str]:
    """Report what INT8 lost against FP32, and whether that was allowed."""
    if gate is None:
        return []
    lines = [
        "## INT8 against FP32",
        "",
        f"Accuracy gate: **{gate.verdict}**. INT8 may lose {gate.max_drop:g} of Dice and "
        f"{gate.max_small_drop:g} of the recall of small polyps; a loss fails if its whole 95 % "
        "interval is above the limit, and is undecided if the interval holds the limit.",
        "",
        *(f"- {line}" for line in (*gate.breaches, *gate.undecided, *gate.notes)),
    ]
    if gate.accepted:
        lines += ["", f"Accepted all the same: {gate.accepted}"]
    return [
        *lines,
        "",
        "| step | images | Dice | 95 % interval | small polyps found | 95 % interval "
        "| clean frames flagged | share |",
        "|---|---|---|---|---|---|---|---|",
        *(
            f"| {row.step} | {row.n} | {_number(row.dice)} | {_ends(row.dice_ci95)} "
            f"| {row.small_found} of {row.small} | {_ends(row.small_ci95)} "
            f"| {row.flagged} of {row.clean} | {_share(row.flagged, row.clean)} |"
            for row in gate.steps
        ),
        "",
        f"At threshold 0.5. Recall of small polyps: {gate.small_recall}.",
        "",
    ]


def _ends(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _share(count: int, n: int) -> str:
    return f"{count / n:.1%}" if n else "-"


def _operating_point(made: Calibration | None) -> list[str]:
    """Describe how threshold, minimum region and minimum peak were chosen."""
    if made is None:
        return []
    points = [
        ("highest Dice", made.best),
        ("**chosen**", made.chosen),
        *(("", point) for point in made.curve),
    ]
    frames = ", ".join(f"{count} of {markdown(name)}" for name, count in made.data.items())
    clean = ", ".join(f"{count} of {markdown(name)}" for name, count in made.negatives.items())
    return [
        "## Threshold",
        "",
        f"Chosen on validation frames from the scores of {made.engine}: {made.rule}. "
        f"Frames with a polyp: {frames}; without: {clean or 'none'}. "
        "Figures on these frames flatter the model, because the choice was made on them.",
        "",
        *_specificity(made),
        "| | threshold | minimum region | minimum peak | Dice | polyps found | flagged |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {point.threshold:.4f} | {made.limits(point)[0]:.1%} "
            f"| {made.limits(point)[1]:.4f} | {point.dice:.4f} | {point.found} | {point.flagged} |"
            for name, point in points
        ),
        "",
        *_proportions("Polyps found by data set", made.found_by_set, "found"),
        *_proportions("Clean frames flagged by data set", made.flagged_by_set, "flagged"),
        *_proportions(
            "Clean frames flagged by video sequence", made.flagged_by_sequence, "flagged"
        ),
    ]


def _specificity(made: Calibration) -> list[str]:
    """Report the wanted and the reached specificity."""
    if made.specificity is None:
        return []
    if made.reached is None:
        return ["**No clean frame took part: false alarms are unknown.**", ""]
    text = (
        f"Clean frames that stay unflagged: {made.reached:.1%}, {made.specificity:.1%} wanted "
        "(mean over data sets of the mean over sequences)."
    )
    if made.fell_short:
        text += " **No candidate reaches the wanted share; the chosen one flags the fewest.**"
    return [text, ""]


def _proportions(title: str, proportions: Mapping[str, Proportion], what: str) -> list[str]:
    if not proportions:
        return []
    return [
        f"| {title} | all | {what} |",
        "|---|---|---|",
        *(f"| {markdown(name)} | {held.n} | {held.count} |" for name, held in proportions.items()),
        "",
    ]


def _grid(bits: int, layers: Sequence[str]) -> str:
    """Name the integers that activations and weights lie on."""
    dense = "8-bit tensors; the weights of dense layers keep to seven bits"
    if bits == 8:
        return dense
    largest = 2 ** (bits - 1) - 1
    which = (
        f"the layers {', '.join(f'`{layer}`' for layer in layers)}"
        if layers
        else "all layers but the first and the last"
    )
    return (
        f"{dense}, those of {which} to a grid of {bits} bits, the integers -{largest} to {largest} "
        "in the same int8 tensors (an experiment: no smaller file, no faster kernel)"
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
