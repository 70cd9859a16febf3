"""Make docs/configuration.md from the training configurations: key, values, default and meaning.

python tools/config_page.py docs/configuration.md
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from distill.config import config_options
from quantize.runs.folder import QatConfig

HEAD = """# Training configuration

This page is generated from the code by `python tools/config_page.py docs/configuration.md`.

Set any key of a distillation on the command line with `--set KEY=VALUE` (repeatable), or write keys
to a YAML file and pass it with `--config FILE`. `--config` also accepts the name of a built-in
configuration. The effective configuration is written to the run directory. An unknown key or a
value out of range ends the command with exit code 2.
"""
DISTILL, QAT = (
    "Distillation (`edge-difom distill`)",
    "Quantization-aware training (`edge-difom qat`)",
)


def page() -> str:
    """Render the page as Markdown."""
    tables = ((DISTILL, distill_table()), (QAT, table(QatConfig)))
    return "\n".join([HEAD, *(f"## {title}\n\n{rows}\n" for title, rows in tables)])


def distill_table() -> str:
    """Render every key of a distillation: values, default and meaning."""
    rows = ["| key | values | default | meaning |", "| --- | --- | --- | --- |"]
    for option in config_options():
        default = "required" if option.default is None else f"`{option.default}`"
        values, meaning = (text.replace("|", "\\|") for text in (option.type, option.help))
        rows.append(f"| `{option.key}` | {values} | {default} | {meaning} |")
    return "\n".join(rows)


def table(config: type[msgspec.Struct]) -> str:
    """Render every key of a configuration: default and meaning."""
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *_rows(config, "")])


def _rows(config: type[msgspec.Struct], prefix: str) -> list[str]:
    """Return one row for each key; keys of a nested structure follow a dot."""
    meanings = attributes(config.__doc__ or "")
    rows = []
    for field in msgspec.structs.fields(config):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            rows += _rows(field.type, f"{prefix}{field.name}.")
            continue
        meaning = meanings[field.name].replace("|", "\\|")
        rows.append(f"| `{prefix}{field.name}` | {_default(field)} | {meaning} |")
    return rows


def attributes(docstring: str) -> dict[str, str]:
    """Return name -> meaning from the `Attributes:` section of a Google docstring."""
    section = inspect.cleandoc(docstring).partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section, re.MULTILINE):
        found[name] = " ".join(text.split())
    return found


def _default(field: Any) -> str:
    if field.default is not msgspec.NODEFAULT:
        value = field.default
    elif field.default_factory is not msgspec.NODEFAULT:
        value = field.default_factory()
    else:
        return "required"
    return f"`{msgspec.json.encode(value).decode()}`"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page())
