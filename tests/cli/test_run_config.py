"""`run --config`: a file instead of options, with suggestions for mistyped keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edge.errors import UsageError
from edge_difom.cli.main import main
from edge_difom.cli.run import command
from edge_difom.cli.run_config import read_config

if TYPE_CHECKING:
    from pathlib import Path

PHANTOM = "synthetic:?width=96&height=64&frames=4&live=0"


def run(*arguments: object) -> object:
    with pytest.raises(SystemExit) as ended:
        main(["run", *map(str, arguments)])
    return ended.value.code


@pytest.fixture
def cart(tmp_path: Path, tiny_bundle: Path) -> Path:
    path = tmp_path / "cart.toml"
    path.write_text(
        f"""
source = "{PHANTOM}"
bundle = "{tiny_bundle}"
engine = "tflite"
threads = 1
smooth = false
sink = ["jsonl:{tmp_path}/frames.jsonl", "null"]
json = "{tmp_path}/summary.json"
force = true
"""
    )
    return path


def test_a_run_from_a_file(cart: Path) -> None:
    assert run("--config", cart) == 0
    summary = json.loads((cart.parent / "summary.json").read_text())
    assert (summary["frames"], summary["header"]["engine"]) == (4, "tflite")
    assert (cart.parent / "frames.jsonl").exists()


def test_the_command_line_takes_precedence(cart: Path, tmp_path: Path) -> None:
    assert run("--frames", 2, "--engine", "onnx", "--config", cart) == 0
    summary = json.loads((cart.parent / "summary.json").read_text())
    assert (summary["frames"], summary["header"]["engine"]) == (2, "onnx")
    assert run("--config", cart, "--camera", "/dev/video99") == 9, "instead of the file's source"
    assert run("--config", cart, "--state", tmp_path / "empty") == 4, "instead of its bundle"
    assert run("--config", cart, "--source", PHANTOM, "--camera", "/dev/video99") == 2


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('engin = "tflite"', ["unknown key 'engin'", "did you mean 'engine'?"]),
        ('sinks = ["null"]', ["unknown key 'sinks'", "did you mean 'sink'?"]),
        ("no_guard = true", ["did you mean 'guard'?"]),
        ("x = 1\nsorce = 2", ["unknown keys 'x', 'sorce'", "did you mean 'source'?"]),
        ('threads = "four"', ["'threads'", "a whole number", "'four'"]),
        ("threads = true", ["'threads'", "a whole number"]),
        ("guard = 1", ["'guard'", "true or false"]),
        ("sink = [1]", ["'sink'", "a list of texts"]),
        ("[source]\na = 1", ["'source'", "a table"]),
        ("engine = ", ["is not TOML"]),
        ("config = 'a'", ["unknown key 'config'"]),
    ],
)
def test_what_does_not_fit_is_one_clear_error(tmp_path: Path, text: str, says: list[str]) -> None:
    path = tmp_path / "cart.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_config(path, command)
    for part in says:
        assert part in str(caught.value)
    assert run("--config", path) == 2
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "nothing.toml", command)


def test_ranges_are_those_of_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cart.toml"
    path.write_text(f'source = "{PHANTOM}"\nthreads = 0')
    assert run("--config", path) == 2
    assert "--threads" in capsys.readouterr().err


def test_options_without_a_value_are_true_or_have_one(tmp_path: Path) -> None:
    path = tmp_path / "cart.toml"
    for text, value in (("true", ""), ("8081", "8081"), ("false", None)):
        path.write_text(f"view = {text}")
        assert read_config(path, command) == {"view": value}
