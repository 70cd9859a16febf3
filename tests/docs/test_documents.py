"""Generated pages are up to date, and the site builds without a broken link."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any

import click
import msgspec
import pytest

from benchmarks import results_page, templates
from benchmarks.table import RESULTS, put_between
from edge.errors import DataError, EdgeDifomError
from edge.util.files import sha256

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


class Part(msgspec.Struct):
    """A part.

    Attributes:
        rate: Of one thing,
            or of two.
    """

    rate: Annotated[float, msgspec.Meta(gt=0)] = 0.5


class Whole(msgspec.Struct):
    """The whole.

    Attributes:
        name: A | b.
        part: Its part.
    """

    name: str
    part: Part


def load(tool: str) -> Any:
    spec = importlib.util.spec_from_file_location(tool, ROOT / f"tools/{tool}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_results_page_is_made_from_the_records() -> None:
    assert (DOCS / "results.md").read_text() == results_page.results_page(), "run `make pages`"


def test_the_readme_s_table_is_made_from_the_shipped_bundles() -> None:
    text = results_page.README.read_text()
    assert put_between(text, results_page.bundle_table()) == text, "run `make pages`"


def test_the_command_line_page_is_made_from_the_commands() -> None:
    assert (DOCS / "cli.md").read_text() == load("cli_page").page(), "run `make pages`"


def test_the_configuration_page_is_made_from_the_configurations() -> None:
    assert (DOCS / "configuration.md").read_text() == load("config_page").page(), "run `make pages`"


def test_the_python_page_is_made_from_the_package() -> None:
    text = (DOCS / "python.md").read_text()
    assert load("python_page").page(text) == text, "run `make pages`"


def test_every_record_is_on_the_results_page() -> None:
    page = (DOCS / "results.md").read_text()
    for path in RESULTS.rglob("*.json"):
        if path.name != "shipped-bundles.json":
            assert f"(../{path.relative_to(ROOT).as_posix()})" in page, path


def test_a_record_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new.json").write_text('{"rows": []}')
    with pytest.raises(DataError, match="unknown kind"):
        results_page.results_page(tmp_path, tmp_path)


def test_a_bundle_that_was_not_measured_has_no_latency(tmp_path: Path) -> None:
    path = tmp_path / "epyc/matrix.json"
    path.parent.mkdir()
    content = msgspec.json.decode((RESULTS / "epyc-zen4-2-cores-pareto/matrix.json").read_bytes())
    row = content["rows"][0]
    digest = sha256(ROOT / "edge/bundles/edge-s/manifest.json")
    content["rows"] = [{**row, "digest": digest}]
    path.write_bytes(msgspec.json.encode(content))
    assert results_page.bundle_table(tmp_path).count("not measured") == 1
    content["rows"][0]["digest"] = sha256(b"a bundle that was made again")
    path.write_bytes(msgspec.json.encode(content))
    assert results_page.bundle_table(tmp_path).count("not measured") == 2


def test_a_missed_check_stands_on_the_page() -> None:
    check = {"name": "memory", "what": "grows little", "passed": False, "figures": {"mb": 3.0}}
    content = {
        "passed": False,
        "faults": 3,
        "seconds": 60.0,
        "injected": {"kill": 1},
        "protocol": {"bundle": "b", "fps": 60.0},
        "checks": [check],
    }
    text = templates.soak(content)
    assert "Not every check passed." in text
    assert "* **FAILED**, memory: grows little. mb 3." in text


def test_prose_is_wrapped_and_code_is_not() -> None:
    words = " ".join(["word"] * 40)
    text = results_page.wrap(f"{words}\n\n```bash\n{words}\n\n{words}\n```\n\n| {words} |")
    first, code, table = (
        text.partition("```bash")[0],
        text.count(f"\n{words}\n"),
        text.splitlines()[-1],
    )
    assert max(map(len, first.splitlines())) <= 100
    assert code == 2
    assert table == f"| {words} |"


def test_the_command_line_page_names_options_and_exit_codes() -> None:
    """A page of the command line names options, groups and exit codes."""

    @click.group()
    def root() -> None:
        pass

    @root.group(help="Cook *things*.")
    def cook() -> None:
        pass

    @cook.command(
        epilog="\b\nExamples:\n  edge-difom cook egg --minutes 3", help="Boil.\n\nAn egg_cup."
    )
    @click.option("--minutes", type=int, default=4, show_default=True, help="How long | hard.")
    @click.option("--secret", hidden=True)
    def egg(minutes: int, secret: str) -> None:
        pass

    text = load("cli_page").page(root)
    assert "## edge-difom cook\n\nCook \\*things\\*." in text
    assert "Commands: [`egg`](#edge-difom-cook-egg)." in text
    assert "### edge-difom cook egg\n\nBoil.\n\nAn egg\\_cup." in text
    assert "| `--minutes INTEGER` | How long \\| hard. \\[default: 4\\] |" in text
    assert "```bash\nedge-difom cook egg --minutes 3\n```" in text
    assert "--secret" not in text
    for kind in EdgeDifomError.__subclasses__():
        assert (
            kind.__module__ != "edge.errors" or f"| {kind.exit_code} | `{kind.__name__}`: " in text
        )


def test_a_page_of_the_configuration_follows_parts() -> None:
    lines = load("config_page").table(Whole).splitlines()[2:]
    assert lines == [
        "| `name` | required | A \\| b. |",
        "| `part.rate` | `0.5` | Of one thing, or of two. |",
    ]


def test_a_page_of_a_package_lists_its_public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def open_thing(path: Path, *, engine: str = "auto") -> int:
        """Open a thing.

        More about it.
        """
        return 0

    names = ["open_thing", "LIMIT", "__version__"]
    package = SimpleNamespace(__all__=names, open_thing=open_thing, LIMIT=3, __version__="1")
    tool = load("python_page")
    monkeypatch.setattr(tool.importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(tool.importlib, "import_module", lambda _: package)
    text = tool.page(f"Before.\n\n{tool.MARKER}\nold\n", "kitchen")
    assert text.startswith(f"Before.\n\n{tool.MARKER}\n\n## Reference\n\n### open_thing\n")
    assert "kitchen.open_thing(path: Path, *, engine: str = 'auto') -> int" in text
    assert "Open a thing.\n" in text
    assert "More about it" not in text
    assert "`kitchen.LIMIT`: int" in text
    assert "old" not in text
    assert "__version__" not in text


def test_links_of_the_files_beside_the_site_exist() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        text = (ROOT / name).read_text()
        for target in re.findall(r"\]\(\s*([^)#\s]+)", text):
            assert (ROOT / target).exists(), f"{name}: {target}"


@pytest.mark.slow
def test_the_site_builds_and_loads_nothing_from_the_network(tmp_path: Path) -> None:
    """The site builds strictly and loads nothing from the network."""
    pytest.importorskip("sphinx", reason="the documentation group is not installed")
    site = tmp_path / "site"
    options = [
        "--fail-on-warning",
        "--keep-going",
        "--quiet",
        "-b",
        "html",
        "-d",
        str(tmp_path / "trees"),
    ]
    command = [sys.executable, "-m", "sphinx", *options, str(DOCS), str(site)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    loads = (
        r"<(?:script|img|iframe|source)[^>]*src=\"(?:https?:)?//|<link[^>]*href=\"(?:https?:)?//"
    )
    for page in pages:
        assert not re.search(loads, page.read_text()), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(?:@import|url\()\s*['\"]?(?:https?:)?//", style.read_text()), style
    assert (site / "searchindex.js").stat().st_size > 10_000
