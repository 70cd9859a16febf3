"""The sections of a dossier's front page, each from one kind of evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.evaluation.intervals import bootstrap_ci, wilson
from edge.reports.parity import parity_view
from edge.util.files import sha256
from firmware_bridge.fleet.dossier.layout import NONE, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edge.bundle.manifest import Manifest
    from firmware_bridge.fleet.dossier.evidence import Evaluation, Evidence, Latency


def identity(evidence: Evidence) -> Section:
    """What the bundle is, how it was made, and what its engines take and give."""
    manifest = evidence.bundle.manifest
    provenance, out = manifest.provenance, manifest.output
    facts = {
        "name": manifest.name,
        "digest (SHA-256 of the manifest)": evidence.bundle.digest,
        "schema": str(manifest.schema_version),
        "license": manifest.license,
        "student": provenance.student,
        "teachers": ", ".join(provenance.teachers) or "none",
        "recipe": provenance.recipe,
        "seed": str(provenance.seed),
        "made": provenance.created,
        "input": f"{manifest.input.width} x {manifest.input.height} {manifest.input.color} "
        f"{manifest.input.dtype}, {manifest.input.field_of_view}",
        "output": f"{out.width} x {out.height}, {out.meaning}",
        "operating point": f"threshold {out.threshold:g}, region from {out.min_region:.2%} of the "
        f"analyzed area, peak from {out.min_peak:g}",
    }
    return Section(
        "Identity",
        [],
        [
            Table(["field", "value"], [list(row) for row in facts.items()]),
            Table(
                ["engine", "precision", "from version", "architectures"],
                [
                    [each.runtime, each.precision, each.min_version, ", ".join(each.architectures)]
                    for each in manifest.engines
                ],
            ),
            Table(["training data", "SHA-256"], [list(row) for row in provenance.data.items()]),
            Table(["made with", "version"], [list(row) for row in provenance.versions.items()]),
        ],
    )


def gate(manifest: Manifest) -> Section:
    """What INT8 lost against FP32, and whether that was allowed."""
    gate = manifest.gate
    if gate is None:
        return Section("Accuracy gate", ["The bundle records no accuracy gate."], [])
    rows = [
        [
            row.step,
            str(row.n),
            _number(row.dice),
            _ends(row.dice_ci95),
            f"{row.small_found} of {row.small}",
            _ends(row.small_ci95),
            f"{row.flagged} of {row.clean}",
        ]
        for row in gate.steps
    ]
    limits = (
        f"INT8 may lose {gate.max_drop:g} of Dice and {gate.max_small_drop:g} of the recall of "
        "small polyps against FP32; a loss fails if its whole 95 % interval exceeds the limit."
    )
    columns = ["step", "images", "Dice", "95 %", "small polyps found", "95 %", "clean flagged"]
    return Section(
        "Accuracy gate",
        [f"Verdict: {gate.verdict}. {limits}", *gate.breaches, *gate.undecided, *gate.notes],
        [Table(columns, rows)],
    )


def recorded(manifest: Manifest) -> Section:
    """Accuracy that the bundle records of itself, on the frames that chose its checkpoint."""
    rows = [
        [
            row.dataset,
            row.engine,
            str(row.n),
            _number(row.dice),
            _ends(row.dice_ci95),
            _number(row.iou),
            f"{row.flagged} of {row.negatives}",
        ]
        for row in manifest.accuracy
    ]
    columns = ["data set", "engine", "images", "Dice", "95 %", "IoU", "clean images flagged"]
    text = (
        "Recorded when the bundle was made. The validation split also chose the checkpoint, so "
        "these figures flatter the model."
        if rows
        else "The bundle records no accuracy of its own."
    )
    return Section("Accuracy recorded in the bundle", [text], [Table(columns, rows)])


def figures(evaluation: Evaluation) -> Section:
    """Accuracy by data set, with 95 % intervals."""
    path, report = evaluation
    header = report.header
    of = f"Engine {header.engine} {header.precision}, data {header.data}" if header else "No header"
    if header:
        of += f" ({header.data_digest or 'no digest'}), {header.machine}, {header.date}"
    summary = (
        f"{report.n} images with a polyp, Dice {_number(report.dice)} (95 % interval "
        f"{_ends(report.dice_ci95)}); {report.negatives.flagged} of {report.negatives.n} clean "
        "images flagged."
    )
    by_set = report.detection.by_set if report.detection else {}
    columns = [
        "hospital or data set",
        "images with a polyp",
        "Dice",
        "95 %",
        "polyps found",
        "95 %",
        "clean images flagged",
        "95 %",
    ]
    rows = []
    for name in sorted({row.dataset for row in report.per_image} | set(by_set)):
        dice = [
            row.dice for row in report.per_image if row.dataset == name and row.dice is not None
        ]
        group = by_set.get(name)
        rows.append(
            [
                name or "given",
                str(len(dice)),
                _number(sum(dice) / len(dice) if dice else None),
                _ends(bootstrap_ci(dice) if dice else None),
                *_share(group.overlapped if group else None, group.polyps if group else 0),
                *_share(group.flagged if group else None, group.clean if group else 0),
            ]
        )
    text = [f"{of}.", summary, "One row for each data set or folder that the record names."]
    return Section(f"Figures by hospital: {path}", [*text, *report.notes], [Table(columns, rows)])


def parity(evidence: Evidence) -> Section:
    """How the engines agree with each other and with the golden frames."""
    manifest, verified = evidence.bundle.manifest, evidence.verification
    view = parity_view(manifest.parity)
    text = [view.sentence if view else "The bundle records no comparison of its engines."]
    rows = [
        [
            row.left,
            row.right,
            row.on,
            str(row.frames),
            f"{row.max_difference:g}",
            f"{row.mean_difference:.4f}",
            _number(row.worst_iou),
        ]
        for row in manifest.parity
    ]
    columns = ["from", "to", "on", "frames", "largest, 1/256", "mean, 1/256", "lowest IoU"]
    tables = [Table(columns, rows)]
    if verified is None:
        text.append("Not verified on any machine for this dossier.")
    else:
        header = verified.header
        text.append(f"Verified on {header.machine}, {header.date}." if header else "Verified.")
        tables.append(
            Table(
                ["engine", "version", "golden frames", "lowest IoU", "result"],
                [
                    [
                        check.engine,
                        str(check.settings.get("version", NONE)),
                        str(len(check.frames)),
                        _number(_lowest(frame.iou for frame in check.frames)),
                        ("ok" if check.ok else "FAILED") if check.checked else check.problem,
                    ]
                    for check in verified.engines
                ],
            )
        )
    return Section("Parity of the engines", text, tables)


def latency(latency: Latency) -> Section:
    """Latency of each load of a measurement."""
    path, report = latency
    device = report.device
    names = ("p50", "p90", "p99", "p99.9")
    rows = [
        [
            each.load,
            str(each.samples),
            f"{each.fps:.1f}",
            *(_number(each.latency_empirical_ms.get(name), 2) for name in names),
            *(_number(each.latency_ms.get(name), 2) for name in names[2:3]),
            str(each.dropped),
            "valid" if each.valid else f"INVALID: {each.reason}",
        ]
        for each in report.loads
    ]
    columns = [
        "load",
        "frames",
        "fps",
        *(f"{name}, ms" for name in names),
        "p99 bound, ms",
        "overwritten",
        "verdict",
    ]
    text = [
        f"{report.engine} {report.precision} on {device.board or device.cpu or 'unknown'}, "
        f"{device.usable_cores} of {device.cores} cores, {report.created}.",
        *report.notes,
    ]
    return Section(f"Latency: {path}", text, [Table(columns, rows)])


def software(evidence: Evidence) -> Section:
    """Components of the bill of materials, without single files."""
    bill = evidence.bill
    if bill is None:
        return Section("Bill of materials", ["None was given."], [])
    kinds: dict[str, int] = {}
    for each in bill.components:
        kinds[each.type] = kinds.get(each.type, 0) + 1
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    components = [each for each in bill.components if each.ref.startswith("pkg:pypi/")]
    return Section(
        "Bill of materials",
        [
            f"{bill.format} {bill.spec} of {bill.metadata.timestamp or 'an unknown time'}: "
            f"{counts}. The table has the Python packages; everything else, hashes and licenses "
            "are in sbom.cdx.json."
        ],
        [
            Table(
                ["Python package", "version"],
                [[each.name, each.version or NONE] for each in components],
            )
        ],
    )


def requirements(evidence: Evidence) -> Section:
    """Each requirement of the software with its evidence and its gap."""
    catalog = evidence.requirements
    rows = [
        [
            name,
            catalog.areas.get(name.partition("-")[0], NONE),
            row.text,
            str(len(row.tests)),
            ", ".join(row.records) or NONE,
            row.gap or NONE,
        ]
        for name, row in catalog.requirements.items()
    ]
    return Section(
        "Requirements matrix",
        [
            "Requirements of the software with the number of tests that show each, the committed "
            "records that measured it, and what is not shown. The tests are in requirements.toml."
        ],
        [Table(["requirement", "area", "text", "tests", "records", "gap"], rows)],
    )


def hashes(evidence: Evidence) -> Section:
    """SHA-256 of every record and of every file of the bundle."""
    bundle = evidence.bundle
    rows = [[name, sha256(data)] for name, data in sorted(evidence.files.items())]
    inside = [["manifest.json", bundle.digest], *map(list, sorted(bundle.manifest.files.items()))]
    return Section(
        "Hashes",
        [
            "SHA-256. The signature in dossier.json covers every file of this archive, the front "
            "pages included; the manifest covers every file of the bundle."
        ],
        [
            Table(["file of this archive", "SHA-256"], rows),
            Table(["file of the bundle", "SHA-256"], inside),
        ],
    )


def _share(count: int | None, n: int) -> list[str]:
    if count is None or not n:
        return [NONE, NONE]
    return [f"{count} of {n}", _ends(wilson(count, n))]


def _number(value: float | None, digits: int = 4) -> str:
    return NONE if value is None else f"{value:.{digits}f}"


def _ends(interval: Sequence[float] | None) -> str:
    return NONE if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _lowest(values: Iterable[float | None]) -> float | None:
    return min((value for value in values if value is not None), default=None)
