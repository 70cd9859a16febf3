"""The records that a dossier contains, each refused by name if it is of a different bundle."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from edge.bench.report.compare import load_reports
from edge.bench.report.summary import encode_report
from edge.engines.golden_check import VerifyReport
from edge.errors import DataError
from edge.evaluation.metrics import EvaluationReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.bench.report.record import BenchReport
    from edge.bundle.reader import Bundle

_T = TypeVar("_T")

_SOURCE = Path("docs", "requirements.toml")


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a component of a bill of materials that a front page shows."""

    name: str
    type: str
    version: str = ""
    ref: str = msgspec.field(default="", name="bom-ref")


class _Metadata(msgspec.Struct, frozen=True, kw_only=True):
    component: Component
    timestamp: str = ""


class Bill(msgspec.Struct, frozen=True, kw_only=True):
    """A bill of materials, CycloneDX."""

    format: str = msgspec.field(name="bomFormat")
    spec: str = msgspec.field(name="specVersion")
    metadata: _Metadata
    components: list[Component] = []


class Requirement(msgspec.Struct, frozen=True, kw_only=True):
    """A requirement with the tests that show it and the records that measured it."""

    text: str
    tests: list[str]
    records: list[str]
    gap: str = ""


class Requirements(msgspec.Struct, frozen=True, kw_only=True):
    """The requirements of this project by identifier, and the names of their areas."""

    areas: dict[str, str]
    requirements: dict[str, Requirement]


class Evaluation(NamedTuple):
    """An evaluation, and its path inside the archive."""

    path: str
    report: EvaluationReport


class Latency(NamedTuple):
    """A latency report, and its path inside the archive."""

    path: str
    report: BenchReport


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Everything that is known of a bundle.

    Attributes:
        bundle: The bundle.
        evaluations: Its evaluations.
        latencies: Its latency reports.
        verification: Check of its hashes and golden frames; None if none was given.
        bill: Its bill of materials; None if none was given.
        requirements: The requirements of this software.
        files: Path inside the archive -> content of each record.
    """

    bundle: Bundle
    evaluations: list[Evaluation] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    verification: VerifyReport | None = None
    bill: Bill | None = None
    requirements: Requirements
    files: dict[str, bytes]

    @property
    def missing(self) -> list[str]:
        """What a reader would expect and was not given."""
        kinds = {
            "an evaluation on labeled images": self.evaluations,
            "a latency measurement": self.latencies,
            "a verification of hashes and golden frames": self.verification,
            "a bill of materials": self.bill,
            "an accuracy gate": self.bundle.manifest.gate,
        }
        return [name for name, present in kinds.items() if not present]


def gather(
    bundle: Bundle,
    *,
    evaluations: Sequence[Path] = (),
    latencies: Sequence[Path] = (),
    verification: Path | None = None,
    bill: Callable[[], bytes] | None = None,
) -> Evidence:
    """Read the records of a bundle.

    Args:
        bundle: An open bundle.
        evaluations: JSON records of `evaluate`.
        latencies: Reports of `bench`, or folders of them.
        verification: JSON record of `verify`.
        bill: Makes the bill of materials, CycloneDX JSON, after the records were read.

    Raises:
        DataError: A record cannot be read, does not say which bundle it is of, or is of a different
            one.
    """
    contents: dict[str, bytes] = {}
    scored = []
    for number, path in enumerate(evaluations, 1):
        data = _content(path)
        report = _decode(data, path, EvaluationReport, "an evaluation")
        _refuse_other(path, report.header.digest if report.header else None, bundle)
        name = f"records/evaluation-{number}.json"
        contents[name] = data
        scored.append(Evaluation(name, report))
    timed: list[Latency] = []
    for path in latencies:
        for latency in load_reports(path):
            _refuse_other(path, latency.digest, bundle)
            name = f"records/latency-{len(timed) + 1}.json"
            contents[name] = encode_report(latency)
            timed.append(Latency(name, latency))
    verified = None
    if verification is not None:
        data = contents["records/verification.json"] = _content(verification)
        verified = _decode(data, verification, VerifyReport, "a verification")
        _refuse_other(verification, verified.digest, bundle)
    listed = None
    if bill is not None:
        data = contents["sbom.cdx.json"] = bill()
        listed = _decode(data, "the bill of materials", Bill, "a bill of materials")
        _refuse_other(
            "the bill of materials", listed.metadata.component.ref.removeprefix("bundle:"), bundle
        )
    required, contents["requirements.toml"] = read_requirements()
    return Evidence(
        bundle=bundle,
        evaluations=scored,
        latencies=timed,
        verification=verified,
        bill=listed,
        requirements=required,
        files=contents,
    )


def read_requirements() -> tuple[Requirements, bytes]:
    """Return this software's requirements and the file that states them.

    Raises:
        DataError: The file is not there.
    """
    # The wheel holds a copy; in a checkout there is the file itself.
    copy = files(__package__).joinpath(_SOURCE.name)
    source = copy if copy.is_file() else Path(__file__).parents[3] / _SOURCE
    try:
        data = source.read_bytes()
    except OSError as error:
        raise DataError(
            f"{source} cannot be read",
            expected="the requirements that come with the package",
            got=error.strerror or str(error),
            hint="install the package again",
        ) from error
    return msgspec.toml.decode(data, type=Requirements), data


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror or str(error)) from error


def _decode(data: bytes, path: Path | str, kind: type[_T], what: str) -> _T:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is not a record of {what}", got=str(error)) from error


def _refuse_other(path: Path | str, digest: str | None, bundle: Bundle) -> None:
    if digest == bundle.digest:
        return
    raise DataError(
        f"{path} is not of this bundle",
        expected=f"a record of {bundle.manifest.name}, {bundle.digest}",
        got=digest or "a record that names no bundle",
        hint="make the record again with this bundle",
    )
