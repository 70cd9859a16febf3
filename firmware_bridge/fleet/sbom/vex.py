"""Statements on vulnerabilities of components (VEX), from a file in the OpenVEX format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from packageurl import PackageURL
from packaging.utils import canonicalize_name

from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

CLEARED = ("not_affected", "fixed")
"""Statuses by which an advisory needs no more attention."""

_STATUSES = (*CLEARED, "affected", "under_investigation")


class _Vulnerability(msgspec.Struct, frozen=True):
    name: str = ""
    aliases: list[str] = []


class _Product(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="@id", default="")
    identifiers: dict[str, str] = {}
    subcomponents: list[_Product] = []

    @property
    def purl(self) -> str:
        return self.identifiers.get("purl", self.id)


class _Statement(msgspec.Struct, frozen=True):
    vulnerability: _Vulnerability
    status: str
    products: list[_Product]
    justification: str = ""
    impact_statement: str = ""
    action_statement: str = ""
    timestamp: str = ""


class _Document(msgspec.Struct, frozen=True):
    statements: list[_Statement]
    author: str = ""
    timestamp: str = ""


class Statement(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody states of one vulnerability in some components.

    Attributes:
        names: Identifier of the vulnerability and its aliases.
        status: `not_affected`, `fixed`, `affected` or `under_investigation`.
        products: Package URLs of the components it is about; one without a version means all.
        justification: Word of OpenVEX for why a component is not affected; empty if none is given.
        detail: The reason in words.
    """

    names: list[str]
    status: str
    products: list[str]
    justification: str
    detail: str


def read_statements(path: Path) -> list[Statement]:
    """Read statements, the oldest first.

    A product with subcomponents is the whole, and the statement is about its subcomponents.

    Raises:
        DataError: The file cannot be read, has an unknown status, names no component, or says
            `not_affected` without a reason.
    """
    try:
        document = msgspec.json.decode(path.read_bytes(), type=_Document)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read", expected="an OpenVEX document in JSON", got=str(error)
        ) from error
    ordered = sorted(document.statements, key=lambda each: each.timestamp or document.timestamp)
    return [_checked(statement, path) for statement in ordered]


def statement_for(
    statements: Sequence[Statement], names: Collection[str], purl: str
) -> Statement | None:
    """Return the newest statement on a vulnerability of a component; None if there is none.

    Args:
        statements: Statements, the oldest first.
        names: Identifier of the vulnerability and its aliases.
        purl: Package URL of the component, with its version.
    """
    for statement in reversed(statements):
        about = any(name in names for name in statement.names)
        if about and any(means(product, purl) for product in statement.products):
            return statement
    return None


def means(product: str, purl: str) -> bool:
    """Return whether a package URL, with or without a version, names a component."""
    try:
        named_package, package = PackageURL.from_string(product), PackageURL.from_string(purl)
    except ValueError:
        return False
    same = (named_package.type, named_package.namespace, canonicalize_name(named_package.name)) == (
        package.type,
        package.namespace,
        canonicalize_name(package.name),
    )
    return same and named_package.version in (None, package.version)


def _checked(statement: _Statement, path: Path) -> Statement:
    vulnerability = statement.vulnerability
    products = list(_about(statement.products))
    detail = statement.impact_statement or statement.action_statement
    wrong = ""
    if not vulnerability.name:
        wrong = "a statement without the name of a vulnerability"
    elif statement.status not in _STATUSES:
        wrong = f"{vulnerability.name}: status {statement.status!r}"
    elif not products:
        wrong = f"{vulnerability.name}: no product"
    elif statement.status == "not_affected" and not (statement.justification or detail):
        wrong = f"{vulnerability.name}: not_affected without a justification"
    if wrong:
        raise DataError(
            f"{path} cannot be used",
            expected="statements with a vulnerability, a status of OpenVEX, products and, if "
            "not_affected, a justification",
            got=wrong,
        )
    return Statement(
        names=[vulnerability.name, *vulnerability.aliases],
        status=statement.status,
        products=products,
        justification=statement.justification,
        detail=detail,
    )


def _about(products: Iterable[_Product]) -> Iterable[str]:
    for product in products:
        for part in product.subcomponents or [product]:
            if part.purl:
                yield part.purl
