"""The command that installs an extra works as written, although no index has this project."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge.util.extras import EXTRA_OF
from edge.util.installation import ENGINE_EXTRAS, engine_hint, install_command

ROOT = Path(__file__).parents[3]
REQUIRES = [
    "click>=8.1",
    "tomli>=2; python_version < '3.11'",
    "openvino>=2025.2; extra == 'openvino'",
    "tflite-runtime<2.15,>=2.14; (python_version < '3.12') and extra == 'tflite-runtime'",
    "edge-difom[openvino, report]; extra == 'dossier'",
    'jinja2>=3.1; extra == "report"',
    "reportlab>=4.2; extra == 'dossier'",
]
INDEX_NAME = re.compile(
    r"pip (?:install|download)[^\n]*?[\s'\"]"
    r"(?<![\w./-])edge[-_]difom(?:\[[\w,.-]+\])?(?=['\"\s`]|$)"
)


def came_from(monkeypatch: pytest.MonkeyPatch, url: str | None, *, editable: bool = False) -> None:
    record = f'{{"url": "{url}", "dir_info": {{"editable": {str(editable).lower()}}}}}'
    made = SimpleNamespace(read_text=lambda _: record if url else None, requires=REQUIRES)
    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: made)


def test_a_wheel_that_still_exists_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wheel = tmp_path / "a folder" / "edge_difom-1-py3-none-any.whl"
    wheel.parent.mkdir()
    wheel.touch()
    came_from(monkeypatch, wheel.as_uri())
    assert install_command("report") == f"pip install '{wheel}[report]'"
    wheel.unlink()
    assert install_command("report") == "pip install 'jinja2>=3.1'"


def test_a_checkout_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    came_from(monkeypatch, tmp_path.as_uri(), editable=True)
    assert install_command("train") == f"pip install -e '{tmp_path}[train]'"
    came_from(monkeypatch, tmp_path.as_uri())
    assert install_command("train") == f"pip install '{tmp_path}[train]'"


def test_without_an_origin_the_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for url in (None, "https://example.org/edge_difom.whl"):
        came_from(monkeypatch, url)
        assert install_command("openvino") == "pip install 'openvino>=2025.2'"
        assert install_command("tflite-runtime") == "pip install 'tflite-runtime<2.15,>=2.14'"
        assert install_command() == "pip install 'click>=8.1' 'tomli>=2'"
        assert install_command("dossier") == (
            "pip install 'openvino>=2025.2' 'jinja2>=3.1' 'reportlab>=4.2'"
        )


def test_a_tree_without_metadata_is_installed_from_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def absent(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", absent)
    assert install_command("onnx") == "pip install '.[onnx]' in the checkout"


def test_the_hint_about_engines_names_existing_extras() -> None:
    assert set(ENGINE_EXTRAS) <= set(EXTRA_OF.values())
    assert install_command("openvino") in engine_hint()


def test_nothing_expects_this_project_on_a_package_index() -> None:
    assert INDEX_NAME.search("pip install 'edge-difom[openvino]'")
    assert INDEX_NAME.search("hint: pip install --upgrade edge-difom\n")
    assert not INDEX_NAME.search("pip install dist/edge_difom-0.1.0-py3-none-any.whl[openvino]")
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.sh", "*.toml", "*.yaml", "*.html", "tools/*"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("this is no checkout of git")
    told = {}
    for name in listed.stdout.split():
        path = ROOT / name
        if name == "tests/edge/util/test_installation.py" or not path.is_file():
            continue
        lines = path.read_text(errors="replace").splitlines()
        found = [line for line in lines if INDEX_NAME.search(line) and "--no-index" not in line]
        if found:
            told[name] = found
    assert not told
