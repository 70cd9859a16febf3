"""The cards of a bundle answer the usual questions, and name what is not recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from distill.data.splits import Sample, Splits
from edge.bundle.manifest import AccuracyGate, StepAccuracy
from edge.bundle.reader import Bundle, write_bundle
from edge.errors import AccuracyError
from edge_difom.cli.main import main
from firmware_bridge.fleet.trust.publishing import publish
from quantize.bundle.card_facts import CardFacts, set_facts
from quantize.bundle.data_card import NOT_RECORDED, data_card
from quantize.bundle.model_card import model_card

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failed_gate_leaves_a_trace(publisher: Any, capsys: pytest.CaptureFixture[str]) -> None:
    accuracy = StepAccuracy(
        step="f32", n=4, dice=0.8, dice_ci95=(0.7, 0.9), small=5, small_found=4,
        small_ci95=(0.376, 0.964), clean=8, flagged=2,
    )  # fmt: skip
    gate = AccuracyGate(
        verdict="failed", max_drop=0.005, max_small_drop=0.1, breaches=["qat: Dice 0.5 lost"],
        undecided=[], notes=[], steps=[accuracy], small_recall="share", accepted=None,
    )  # fmt: skip

    def bundle(gate: AccuracyGate) -> Path:
        manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
        changed = msgspec.structs.replace(manifest, gate=gate, files={})
        out = publisher.folder / "gated"
        return write_bundle(out, changed, {"model.xml": b"<net/>"}, force=True).path

    path = bundle(gate)
    with pytest.raises(AccuracyError, match=r"qat: Dice 0\.5 lost"):
        publish(path, publisher.repository, publisher.keys, publisher.now)
    path = bundle(msgspec.structs.replace(gate, accepted="only a test"))
    assert publish(path, publisher.repository, publisher.keys, publisher.now).version == 1
    with pytest.raises(SystemExit):
        main(["bundle", "show", str(path)])
    output, card = capsys.readouterr().out, model_card(Bundle.open(path).manifest)
    for text in (output, card):
        for trace in ("failed", "qat: Dice 0.5 lost", "only a test", "4 of 5", "2 of 8"):
            assert trace in text
    assert "25.0%" in card


def test_the_grid_of_the_weights_is_told(publisher: Any) -> None:
    manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
    assert "4 bits" not in model_card(manifest)
    assert "Research use only" in model_card(manifest)
    all_layers = model_card(manifest, bits=4)
    assert (
        "all layers but the first and the last to a grid of 4 bits, the integers -7 to 7"
        in all_layers
    )
    some = model_card(manifest, bits=4, layers=["fuse16.*", "head"])
    assert "the layers `fuse16.*`, `head` to a grid of 4 bits" in some


def sample(dataset: str, number: int, group: str, mask: str = "m.png") -> Sample:
    return Sample(image=f"/data/{dataset}/{number}.png", mask=mask, dataset=dataset, group=group)


def test_frames_and_groups_are_counted_by_kind() -> None:
    splits = Splits(
        train=[sample("a", 0, "s1"), sample("a", 1, "s1"), sample("b", 0, "0")],
        validation=[sample("a", 2, "s2")],
        clean_validation=[sample("a", 3, "s3", "")],
        images=[sample("c", 0, "0", "")],
    )
    facts = set_facts(splits)
    assert list(facts) == ["a", "b", "c"]
    assert facts["a"].frames == {"train": 2, "validation": 1, "clean_validation": 1}
    assert facts["a"].groups == 3
    assert facts["c"].frames == {"images": 1}


def test_a_model_card_has_the_sections_of_mitchell(publisher: Any) -> None:
    manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
    facts = CardFacts(
        sets={},
        settings={"lr": "0.0005", "epochs": "20"},
        quantization={"epochs": "5"},
        environment={"machine": "AMD EPYC", "commit": "abc"},
        stages=["clean", "pseudo"],
    )
    card = model_card(manifest, facts=facts)
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings[:6] == [
        "Model details",
        "Intended use",
        "Factors",
        "Metrics",
        "Evaluation data",
        "Training data",
    ]
    assert headings[-2:] == ["Ethical considerations", "Limits"]
    assert "- Training: lr 0.0005, epochs 20." in card
    assert "- The training began: machine AMD EPYC, commit abc." in card
    assert "- Stages: clean, pseudo." in card
    assert "- Training:" not in model_card(manifest)


def test_a_data_card_has_the_sections_of_gebru(publisher: Any) -> None:
    """A data card has the sections of Gebru and names what is unknown."""
    manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
    provenance = msgspec.structs.replace(
        manifest.provenance, data={"a": "d" * 64}, teachers=["sam"]
    )
    manifest = msgspec.structs.replace(manifest, provenance=provenance)
    splits = Splits(
        train=[sample("a", 0, "s1")],
        validation=[sample("a", 1, "s2")],
        images=[sample("u|", 0, "0", "")],
    )
    card = data_card(manifest, set_facts(splits))
    headings = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        "Motivation",
        "Composition",
        "Collection",
        "Preprocessing and labeling",
        "Uses",
        "Distribution",
        "Maintenance",
    ]
    assert f"| a | 1 | 1 | 0 | 2 | `{'d' * 64}` |" in card
    assert "| u\\| | 0 | 0 | 1 | 1 | none |" in card
    assert "without labels learn from sam" in card
    assert card.count(NOT_RECORDED) == 5
    assert "/data/" not in card


def test_without_unlabeled_frames_no_teacher_is_named(publisher: Any) -> None:
    manifest = Bundle.open(publisher.bundle(b"<net/>")).manifest
    card = data_card(manifest, set_facts(Splits(train=[sample("a", 0, "0")], validation=[])))
    assert "learn from" not in card
    assert "clean" not in card
