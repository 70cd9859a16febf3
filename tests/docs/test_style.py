"""What `docs/style.md` says about spelling, columns and the docstrings of packages."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BRITISH = re.compile(
    r"colour|grey|centre|licence|behaviour|favour|neighbour|analogue|catalogue|judgement|chequered"
    r"|learnt|spelt|levelling|labelled|labelling|modelling|cancelling|travell|towards\b"
    r"|(?:normal|optim|summar|material|recogn|organ|equal|general|initial|energ|synchron|minim"
    r"|maxim|util|categor|character|author|visual|serial|local|final|standard|quant)"
    r"is(?:e|ing|ation)"
    r"|analys(?:e[drs]?\b|ing)",
    re.IGNORECASE,
)
COLUMNS = 100
SKIPPED = ("benchmarks/results/", "edge/bundles/", "docs/results.md", "docs/style.md")
"""Records and what is made from them keep what was written; the style page lists such names."""

PRAGMA = re.compile(r"\s*# (?:type: ignore|noqa).*")
KEPT = {
    "edge/bundle/manifest.py": {"colour", "licence"},  # keys of the manifest
    "edge/evaluation/shift_report.py": {"colour"},  # the name of a change in records
    "distill/train/trainer.py": {"optimisation"},  # a key of checkpoints
    "firmware_bridge/cart/firmware/codec/zcbor_common.c": {"towards"},  # another project's
    "edge/evaluation/page.py": {"colour"},
    "tests/": {"colour", "licence", "grey"},
}
"""Start of a path -> words that it keeps."""


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = [name for name in done.stdout.splitlines() if not name.startswith(SKIPPED)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def british(name: str, text: str) -> list[str]:
    allowed = set[str]().union(*(words for start, words in KEPT.items() if name.startswith(start)))
    return [word for word in BRITISH.findall(text) if word.lower() not in allowed]


@pytest.mark.parametrize("word", ["Colour", "normalised", "analyse", "labelled", "towards"])
def test_a_british_spelling_is_seen(word: str) -> None:
    assert british("a.py", f"a {word} here") != []


def test_spelling_is_american() -> None:
    wrong = {}
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        name = path.relative_to(ROOT).as_posix()
        if name != "tests/docs/test_style.py" and (words := british(name, text)):
            wrong[name] = sorted(set(words))
    assert wrong == {}


@pytest.mark.parametrize(
    "path",
    [path for path in tracked() if path.name == "__init__.py"],
    ids=lambda path: path.parent.relative_to(ROOT).as_posix(),
)
def test_a_package_says_in_twelve_lines_what_it_is(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text is not None
    assert len(text.splitlines()) <= 12


def long_lines(text: str) -> list[int]:
    lines = [PRAGMA.sub("", line) for line in text.splitlines()]
    return [number for number, line in enumerate(lines, 1) if len(line) > COLUMNS]


def test_a_line_without_a_space_is_measured_too() -> None:
    """Ruff passes over such lines, and over the pragmas that end a line."""
    assert long_lines(f"'{'x' * COLUMNS}'") == [1]
    assert long_lines(f"{'x' * COLUMNS}  # noqa: ARG002 - an argument") == []


def test_python_ends_at_column_100() -> None:
    texts = {path: path.read_text() for path in tracked() if path.suffix == ".py"}
    assert {
        path.relative_to(ROOT).as_posix(): numbers
        for path, text in texts.items()
        if "# noqa: E501" not in text and (numbers := long_lines(text))
    } == {}


def test_names_of_tests_have_at_most_60_characters() -> None:
    names = [
        node.name
        for path in tracked()
        if path.name.startswith("test_") and path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    ]
    assert len(names) > 1000
    assert [name for name in names if len(name) > 60] == []
