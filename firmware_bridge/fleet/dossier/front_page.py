"""The front page of a dossier: the summary of its evidence, and what each record says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_bridge.fleet.dossier import sections
from firmware_bridge.fleet.dossier.layout import FrontPage, Rating, Verdict

if TYPE_CHECKING:
    from firmware_bridge.fleet.dossier.evidence import Evidence


def front_page(evidence: Evidence, created: str) -> FrontPage:
    """Arrange evidence for a reader.

    Args:
        evidence: The records.
        created: Time of the dossier, UTC, ISO 8601.
    """
    manifest = evidence.bundle.manifest
    return FrontPage(
        title=f"Dossier of {manifest.name}",
        subtitle=f"Bundle {evidence.bundle.digest}, dossier of {created}",
        notice=manifest.intended_use,
        verdicts=verdicts(evidence),
        sections=[
            sections.identity(evidence),
            sections.gate(manifest),
            sections.recorded(manifest),
            *(sections.figures(each) for each in evidence.evaluations),
            sections.parity(evidence),
            *(sections.latency(each) for each in evidence.latencies),
            sections.software(evidence),
            sections.requirements(evidence),
            sections.hashes(evidence),
        ],
    )


def verdicts(evidence: Evidence) -> list[Verdict]:
    """Judge each kind of evidence; what was not given is open, never good."""
    gate, verified = evidence.bundle.manifest.gate, evidence.verification
    rows = []
    if gate is not None:
        rating: dict[str, Rating] = {"passed": "good", "failed": "bad", "undecided": "open"}
        reasons = [*gate.breaches, *gate.undecided]
        if gate.accepted:
            reasons.append(f"accepted: {gate.accepted}")
        rows.append(
            Verdict("accuracy gate", gate.verdict, rating[gate.verdict], "; ".join(reasons))
        )
    if verified is not None:
        ran = ", ".join(check.engine for check in verified.engines if check.checked) or "no engine"
        detail = "; ".join(verified.problems) or f"checked: hashes of all files, {ran}"
        word = "verified" if verified.ok else "FAILED"
        rows.append(
            Verdict("hashes and golden frames", word, "good" if verified.ok else "bad", detail)
        )
    for path, latency in evidence.latencies:
        detail = latency.reason or ""
        if latency.valid and not latency.publishable:
            detail = "valid, but too short or incomplete for publication"
        word = "valid" if latency.valid else "INVALID"
        rows.append(Verdict(f"latency ({path})", word, "good" if latency.valid else "bad", detail))
    gaps = [name for name, row in evidence.requirements.requirements.items() if row.gap]
    total = len(evidence.requirements.requirements)
    rows.append(
        Verdict(
            "requirements of the software",
            f"{total - len(gaps)} of {total} without a gap",
            "open" if gaps else "good",
            f"gaps: {', '.join(gaps)}" if gaps else "",
        )
    )
    return [*rows, *(Verdict(name, "not given", "open") for name in evidence.missing)]
