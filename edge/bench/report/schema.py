"""The JSON schema of a latency report; `python -m edge.bench.report.schema` writes the file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from edge.bench.report.record import BenchReport
from edge.util.files import atomic_write, json_text

SCHEMA_FILE = Path(__file__).with_name("report.schema.json")


def schema() -> bytes:
    """Return the schema (JSON Schema 2020-12) as indented JSON."""
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **msgspec.json.schema(BenchReport),
    }
    return json_text(document)


if __name__ == "__main__":
    atomic_write(SCHEMA_FILE, schema())
