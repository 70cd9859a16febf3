"""The `modelCard` of CycloneDX 1.6, from a bundle's manifest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.bundle.manifest import Accuracy, Manifest

_LIMITATIONS = (
    "Research use only; no intended population was defined and no clinical performance measured.",
    "Every figure is of the named data set alone; other endoscopes and hospitals may differ.",
)


def model_card(manifest: Manifest) -> dict[str, Any]:
    """Return a bundle's model card: what it was made from, what it takes and gives, how accurate.

    Args:
        manifest: Manifest of the bundle.

    Returns:
        A `modelCard` object; its data sets are references to the bill's components `data:NAME`.
    """
    input_spec, output_spec = manifest.input, manifest.output
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": "segmentation of polyps in endoscopic images",
            "modelArchitecture": manifest.provenance.student,
            "datasets": [{"ref": f"data:{name}"} for name in sorted(manifest.provenance.data)],
            "inputs": [
                {
                    "format": f"{input_spec.dtype} {input_spec.layout} "
                    f"1x{input_spec.height}x{input_spec.width}x3, "
                    f"{input_spec.color}, {input_spec.field_of_view}"
                }
            ],
            "outputs": [
                {"format": f"uint8 score map {output_spec.height}x{output_spec.width}, 1/256"}
            ],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [metric for row in manifest.accuracy for metric in _metrics(row)]
        },
        "considerations": {
            "users": ["Researchers of endoscopic image analysis"],
            "useCases": [manifest.intended_use],
            "technicalLimitations": list(_LIMITATIONS),
            "performanceTradeoffs": [
                f"A region is kept from score {output_spec.threshold:g} on, "
                f"from {output_spec.min_region:g} of the analyzed area on, with a peak of at least "
                f"{output_spec.min_peak:g}: lower values find more polyps and flag more frames "
                "without one."
            ],
            "ethicalConsiderations": [
                {
                    "name": "A missed polyp may be taken for a clean bowel.",
                    "mitigationStrategy": "No sign of the overlay says that there is no polyp.",
                }
            ],
        },
    }


def _metrics(row: Accuracy) -> list[dict[str, Any]]:
    part = f"{row.dataset}, {row.engine}, n={row.n}"
    low, high = row.dice_ci95
    metrics: list[dict[str, Any]] = [
        {
            "type": "Dice",
            "value": f"{row.dice:.4f}",
            "slice": part,
            "confidenceInterval": {"lowerBound": f"{low:.4f}", "upperBound": f"{high:.4f}"},
        },
        {"type": "IoU", "value": f"{row.iou:.4f}", "slice": part},
    ]
    if row.negatives:
        share = {"type": "flagged frames without a polyp", "slice": part}
        metrics.append({**share, "value": f"{row.flagged} of {row.negatives}"})
    return metrics
