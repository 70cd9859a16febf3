"""The header of a record of a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from edge.record_header import make_header

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from edge.bundle.reader import Bundle
    from edge.record_header import RecordHeader


def of_bundle(
    header: RecordHeader, bundle: Bundle, *, engine: str, precision: str = "int8"
) -> RecordHeader:
    """Return a header with a bundle and its engine filled in."""
    return msgspec.structs.replace(
        header,
        bundle=bundle.manifest.name,
        digest=bundle.digest,
        engine=engine,
        precision=precision,
        threshold=bundle.manifest.output.threshold,
    )


def bundle_header(
    bundle: Bundle,
    *,
    engine: str,
    precision: str = "int8",
    data: str | None = None,
    files: Iterable[Path] = (),
) -> RecordHeader:
    """Make the header of a record of a bundle; `data` and `files` as in `make_header`."""
    header = make_header(data=data, files=files)
    return of_bundle(header, bundle, engine=engine, precision=precision)
