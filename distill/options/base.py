"""Types of the values of options, and their common base."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Positive = Annotated[int, Meta(ge=1, le=2**31 - 1)]
Count = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Side = Annotated[int, Meta(ge=1, le=8192)]
Folder = Annotated[str, Meta(min_length=1)]
Fraction = Annotated[float, Meta(ge=0.0, lt=1.0)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Weight = Annotated[float, Meta(ge=0.0, le=1e6)]
Rate = Annotated[float, Meta(gt=0.0, le=1e3)]
Minutes = Annotated[float, Meta(gt=0.0, le=1e6)]
Seed = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Scale = Annotated[float, Meta(gt=0.0, le=2.0)]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all parts."""
