"""The data card of a bundle: the questions of datasheets, answered from recorded facts.

Source: Gebru et al., Datasheets for Datasets, Communications of the ACM 2021. The data sets are
those of others. What only their publishers know is named as not recorded, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.imaging.crop import MARGIN
from edge.util.plain_text import markdown
from quantize.bundle.card_facts import KINDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edge.bundle.manifest import Manifest
    from quantize.bundle.card_facts import SetFacts

NOT_RECORDED = "Not recorded here: ask the publisher of the data set"


def data_card(manifest: Manifest, sets: Mapping[str, SetFacts]) -> str:
    """Write in Markdown which data the model was trained and validated on.

    Args:
        manifest: Manifest of the bundle.
        sets: Data set -> its frames.
    """
    kinds = [kind for kind in KINDS if any(kind in facts.frames for facts in sets.values())]
    lines = [
        f"# Data card: {markdown(manifest.name)}",
        "",
        "Research use only: the terms of the data sets apply to these weights.",
        "",
        "## Motivation",
        "",
        "Frames of colonoscopies to train and validate the segmentation of polyps. The data sets "
        f"were collected by others. {NOT_RECORDED} for whom, why and with which funding.",
        "",
        "## Composition",
        "",
        f"| data set | {' | '.join(KINDS[kind] for kind in kinds)} | groups | SHA-256 over all "
        "files |",
        "|---" * (len(kinds) + 3) + "|",
        *(
            f"| {markdown(name)} | {' | '.join(str(facts.frames.get(kind, 0)) for kind in kinds)} "
            f"| {facts.groups} | {_digest(manifest, name)} |"
            for name, facts in sets.items()
        ),
        "",
        "Each instance is one RGB frame; its label is a mask of one class, a set of boxes, or the "
        "statement that it shows no polyp. A group is a video sequence if the data set tells which "
        "frames belong together, and a single frame otherwise; a split never cuts a group. "
        "The validation frames chose the checkpoint.",
        "",
        "The frames show the bowels of patients. "
        f"{NOT_RECORDED} about their number, age and sex, the hospitals and endoscopes, and "
        "whether a patient occurs in several data sets.",
        "",
        "## Collection",
        "",
        f"{NOT_RECORDED} about devices, dates, sampling, consent and ethical review. "
        "This software read the files as they were published, with the hashes above.",
        "",
        "## Preprocessing and labeling",
        "",
        f"{_frame_part(manifest)} stretched to "
        f"{manifest.input.width} x {manifest.input.height} pixels. "
        "The published files are not changed.",
        *_teachers(manifest, sets),
        f"{NOT_RECORDED} about who drew the masks and how often experts agreed.",
        "",
        "## Uses",
        "",
        f"{manifest.intended_use} Trained from them: `{markdown(manifest.provenance.student)}`, "
        "this bundle. A figure on the validation frames is no estimate for other hospitals, "
        "endoscopes or populations.",
        "",
        "## Distribution",
        "",
        "The bundle holds none of these frames. Golden frames come from the procedural phantom and "
        f"show no patient. {NOT_RECORDED} about its license; the weights are under: "
        f"{markdown(manifest.license)}.",
        "",
        "## Maintenance",
        "",
        "A changed file changes the SHA-256 above: the digest of the folder tells whether these "
        "are still the data. Whoever must remove a patient's frames trains again without them; "
        "weights cannot forget single frames.",
        "",
    ]
    return "\n".join(lines)


def _digest(manifest: Manifest, name: str) -> str:
    digest = manifest.provenance.data.get(name)
    return f"`{digest}`" if digest else "none"


def _frame_part(manifest: Manifest) -> str:
    if manifest.input.field_of_view == "view":
        return f"The field of view of each frame, cut out with a margin of {100 * MARGIN:g} %, is"
    return "Each frame, whole, is"


def _teachers(manifest: Manifest, sets: Mapping[str, SetFacts]) -> list[str]:
    """Say whose outputs were learned where there are no masks."""
    without = [
        name for name, facts in sets.items() if {"unlabeled", "images"} & facts.frames.keys()
    ]
    if not without:
        return []
    taught = ", ".join(map(markdown, manifest.provenance.teachers)) or "the student itself"
    return [f"Frames of {', '.join(map(markdown, without))} without labels learn from {taught}."]
