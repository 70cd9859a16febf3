"""The model card of a bundle: the usual questions, answered from recorded facts.

Source: Mitchell et al., Model Cards for Model Reporting, FAT* 2019.
"""

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
    from quantize.bundle.card_facts import CardFacts

_VIEW_TEXTS: dict[FieldOfView, str] = {
    "full-frame": "one RGB frame, whole,",
    "view": f"the field of view of one RGB frame with a margin of {100 * MARGIN:g} %,",
}


def model_card(
    manifest: Manifest,
    *,
    bits: int = 8,
    layers: Sequence[str] = (),
    facts: CardFacts | None = None,
) -> str:
    """Write in Markdown what the model is, how good it is and what it is not for.

    Args:
        manifest: Manifest of the bundle.
        bits: Bits of the weights, as in `quantize.runs.folder.QatConfig`.
        layers: Globs of the layers that have these bits, if they are fewer than 8.
        facts: What the run records; None if the bundle is not made from a run.
    """
    provenance = manifest.provenance
    lines = [
        f"# Model card: {markdown(manifest.name)}",
        "",
        f"**{manifest.intended_use}**",
        "",
        "## Model details",
        "",
        "- Task: polyp segmentation in colonoscopy frames, one class.",
        f"- Student: `{provenance.student}`, distilled from "
        f"{', '.join(provenance.teachers) or 'no teacher'} (recipe `{provenance.recipe}`), "
        f"then quantized to {_grid(bits, layers)}.",
        f"- Input: {_VIEW_TEXTS[manifest.input.field_of_view]} stretched to {manifest.input.width} "
        f"x {manifest.input.height}, uint8; normalization is in the graph.",
        f"- Output: {manifest.output.meaning}, {manifest.output.width} x {manifest.output.height}; "
        f"mask from {manifest.output.threshold:g}; regions smaller than "
        f"{manifest.output.min_region:.1%} of the shown part or with a peak below "
        f"{manifest.output.min_peak:g} are left out.",
        f"- License: {manifest.license}.",
        f"- Made {provenance.created} with seed {provenance.seed}"
        f"{', by ' * bool(provenance.versions)}{_listed(provenance.versions)}.",
        *(_training(facts) if facts else []),
        "",
        "## Intended use",
        "",
        "- Users: researchers of endoscopic image analysis.",
        "- Use: segmentation of polyps in frames of colonoscopies, for research.",
        "- Out of scope: diagnosis, treatment, any decision on a patient, frames of other organs "
        "or of capsules, and the conclusion that a frame shows no polyp.",
        "",
        "## Factors",
        "",
        "Figures are given by data set and engine, for small polyps, and on frames without a "
        "polyp, by video sequence where it is known. No record tells the age or sex of patients, "
        "the endoscope, the bowel preparation or the kind of polyp, so there is no figure by them.",
        "",
        "## Metrics",
        "",
        "Dice and IoU per image at native mask size, as means with a bootstrap 95 % interval; "
        "polyps found and frames without a polyp flagged, as counts. The threshold and how it was "
        "chosen are below.",
        "",
        "## Evaluation data",
        "",
        "The data sets in the tables below, read by the device's own preprocessing. Frames of the "
        "run's validation split took part in choosing the checkpoint.",
        "",
        "## Training data",
        "",
        f"{', '.join(map(markdown, provenance.data)) or 'None is recorded'}: "
        "DATA_CARD.md has frames, groups and digests.",
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
        "## Ethical considerations",
        "",
        "A missed polyp may be taken for a clean bowel, and a false alarm may lead to a needless "
        "biopsy. The training frames show patients; the weights are a function of them. Groups of "
        "patients that are rare in the data may be served worse, which these figures cannot show.",
        "",
        "## Limits",
        "",
        "Not validated on patients, other endoscopes, or procedures with blood, stool or "
        "chromoendoscopy beyond what the data contain. An empty mask is not evidence that there is "
        "no polyp.",
        "",
    ]
    return "\n".join(lines)


def _training(facts: CardFacts) -> list[str]:
    """Tell the settings of the training, and when and where it began."""
    lines = [f"- Training: {_listed(facts.settings)}.", f"- INT8: {_listed(facts.quantization)}."]
    if facts.stages:
        lines.append(f"- Stages: {', '.join(facts.stages)}.")
    if facts.environment:
        lines.append(f"- The training began: {_listed(facts.environment)}.")
    return lines


def _listed(values: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {markdown(value)}" for name, value in values.items())


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


def _operating_point(calibration: Calibration | None) -> list[str]:
    """Describe how threshold, minimum region and minimum peak were chosen."""
    if calibration is None:
        return []
    points = [
        ("highest Dice", calibration.best),
        ("**chosen**", calibration.chosen),
        *(("", point) for point in calibration.curve),
    ]
    frames = ", ".join(f"{count} of {markdown(name)}" for name, count in calibration.data.items())
    clean = ", ".join(
        f"{count} of {markdown(name)}" for name, count in calibration.negatives.items()
    )
    return [
        "## Threshold",
        "",
        f"Chosen on validation frames from the scores of {calibration.engine}: {calibration.rule}. "
        f"Frames with a polyp: {frames}; without: {clean or 'none'}. "
        "Figures on these frames flatter the model, because the choice was made on them.",
        "",
        *_specificity(calibration),
        "| | threshold | minimum region | minimum peak | Dice | polyps found | flagged |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {name} | {point.threshold:.4f} | {calibration.limits(point)[0]:.1%} "
            f"| {calibration.limits(point)[1]:.4f} | {point.dice:.4f} "
            f"| {point.found} | {point.flagged} |"
            for name, point in points
        ),
        "",
        *_proportions("Polyps found by data set", calibration.found_by_set, "found"),
        *_proportions("Clean frames flagged by data set", calibration.flagged_by_set, "flagged"),
        *_proportions(
            "Clean frames flagged by video sequence", calibration.flagged_by_sequence, "flagged"
        ),
    ]


def _specificity(calibration: Calibration) -> list[str]:
    """Report the wanted and the reached specificity."""
    if calibration.specificity is None:
        return []
    if calibration.reached is None:
        return ["**No clean frame took part: false alarms are unknown.**", ""]
    text = (
        f"Clean frames that stay unflagged: {calibration.reached:.1%}, "
        f"{calibration.specificity:.1%} wanted (mean over data sets of the mean over sequences)."
    )
    if calibration.fell_short:
        text += " **No candidate reaches the wanted share; the chosen one flags the fewest.**"
    return [text, ""]


def _proportions(title: str, proportions: Mapping[str, Proportion], what: str) -> list[str]:
    if not proportions:
        return []
    return [
        f"| {title} | all | {what} |",
        "|---|---|---|",
        *(
            f"| {markdown(name)} | {proportion.n} | {proportion.count} |"
            for name, proportion in proportions.items()
        ),
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
