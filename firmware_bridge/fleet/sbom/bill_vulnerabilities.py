"""VEX statements as the vulnerabilities of a CycloneDX bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclonedx.model.impact_analysis import ImpactAnalysisJustification, ImpactAnalysisState
from cyclonedx.model.vulnerability import BomTarget, Vulnerability, VulnerabilityAnalysis

from firmware_bridge.fleet.sbom.vex import statement_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from firmware_bridge.fleet.sbom.vex import Statement

_STATES = {
    "not_affected": ImpactAnalysisState.NOT_AFFECTED,
    "fixed": ImpactAnalysisState.RESOLVED,
    "affected": ImpactAnalysisState.EXPLOITABLE,
    "under_investigation": ImpactAnalysisState.IN_TRIAGE,
}
_JUSTIFICATIONS = {
    "component_not_present": ImpactAnalysisJustification.CODE_NOT_PRESENT,
    "vulnerable_code_not_present": ImpactAnalysisJustification.CODE_NOT_PRESENT,
    "vulnerable_code_not_in_execute_path": ImpactAnalysisJustification.CODE_NOT_REACHABLE,
    "vulnerable_code_cannot_be_controlled_by_adversary": (
        ImpactAnalysisJustification.REQUIRES_ENVIRONMENT
    ),
    "inline_mitigations_already_exist": (
        ImpactAnalysisJustification.PROTECTED_BY_MITIGATING_CONTROL
    ),
}
"""Words of OpenVEX and CycloneDX for the same reasons."""


def vulnerabilities(
    statements: Sequence[Statement], purls: Mapping[str, str]
) -> list[Vulnerability]:
    """Return one vulnerability for each statement that holds for a component of the bill.

    Args:
        statements: VEX statements, the oldest first; of two on the same component the newer holds.
        purls: `ref` of each component -> its package URL.
    """
    vulnerabilities_found = []
    for statement in statements:
        refs = [
            ref
            for ref, purl in purls.items()
            if statement_for(statements, statement.names[:1], purl) is statement
        ]
        if refs:
            vulnerabilities_found.append(
                Vulnerability(
                    id=statement.names[0],
                    analysis=VulnerabilityAnalysis(
                        state=_STATES[statement.status],
                        justification=_JUSTIFICATIONS.get(statement.justification),
                        detail=statement.detail or None,
                    ),
                    affects=[BomTarget(ref=ref) for ref in sorted(refs)],
                )
            )
    return vulnerabilities_found
