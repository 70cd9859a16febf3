"""Level of support and end of support of components, from dates that their makers announced."""

from __future__ import annotations

import re
from datetime import date  # noqa: TC003 - msgspec reads the annotation
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from packaging.utils import canonicalize_name

from edge.errors import DataError
from firmware_bridge.fleet.sbom.parts import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = Path(__file__).with_name("support.json")
MAINTAINED, ENDED, ABANDONED = "actively maintained", "no longer maintained", "abandoned"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a maker announced.

    Attributes:
        purl: Package URL without a version.
        versions: Beginning of the versions meant, such as `1.1.1`, which includes `1.1.1k`; empty
            for all of them.
        end: Last day of support; None if none was announced.
        level: `actively maintained`, `no longer maintained` or `abandoned`; after the last day
            always `no longer maintained`.
        source: Where that is written.
    """

    purl: str
    versions: str = ""
    end: date | None = None
    level: str = MAINTAINED
    source: str = ""


class Support(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a component's support.

    Attributes:
        level: Level of support, or `unknown`.
        end: Last day of support, or `unknown`.
        source: Where that is written; empty if nothing is known.
    """

    level: str = UNKNOWN
    end: str = UNKNOWN
    source: str = ""


def read_rules(path: Path = TABLE) -> list[Rule]:
    """Read announcements of support.

    Raises:
        DataError: The file cannot be read or is not a list of rules.
    """
    try:
        rules = msgspec.json.decode(path.read_bytes(), type=list[Rule])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path} cannot be read",
            expected="a JSON list of objects with purl, versions, end, level and source",
            got=str(error),
        ) from error
    for rule in rules:
        if rule.level not in (MAINTAINED, ENDED, ABANDONED):
            raise DataError(
                f"{path}: unknown level of support",
                expected=" | ".join((MAINTAINED, ENDED, ABANDONED)),
                got=rule.level,
            )
    return rules


def support_of(purl: str, rules: Sequence[Rule], today: date) -> Support:
    """Return what is known of a component's support; the first rule that fits counts.

    Args:
        purl: Package URL with version.
        rules: Announcements.
        today: Day for which the level is told.
    """
    name, _, version = purl.partition("?")[0].partition("@")
    for rule in rules:
        begins = re.match(rf"{re.escape(rule.versions)}(?!\d)", version)
        if _same(rule.purl, name) and (begins or not rule.versions):
            over = rule.end is not None and rule.end < today
            return Support(
                level=ENDED if over and rule.level == MAINTAINED else rule.level,
                end=rule.end.isoformat() if rule.end else UNKNOWN,
                source=rule.source,
            )
    return Support()


def _same(left: str, right: str) -> bool:
    (kind, _, name), (other, _, other_name) = left.rpartition("/"), right.rpartition("/")
    return kind == other and canonicalize_name(name) == canonicalize_name(other_name)
