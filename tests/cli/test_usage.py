"""Mistyped words are answered in one format, with the nearest word of the whole command tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from edge_difom.cli import main as cli

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = "{'numpy', 'cv2', 'torch', 'openvino', 'msgspec', 'distill', 'quantize', 'firmware_bridge'}"


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str]]:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.err.splitlines()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["still"], "edge-difom device still --help"),
        (["evalute"], "edge-difom evaluate --help"),
        (["keygen"], "edge-difom bundle keygen --help"),
        (["bench", "rum"], "edge-difom bench run --help"),
        (["device", "doctor"], "edge-difom doctor --help"),
        (["qqqqqq"], "edge-difom --help"),
        (["run", "--spurce", "x"], "--source"),
        (["device", "gc", "--rest"], "--reset"),
        (["verify", "--max-latency-m"], "edge-difom device install --max-latency-ms"),
        (["verify", "--zzzzzzzz"], "edge-difom verify --help"),
    ],
)
def test_a_mistyped_word_gets_the_nearest_one(
    capsys: pytest.CaptureFixture[str], arguments: list[str], hint: str
) -> None:
    code, lines = call(capsys, *arguments)
    assert code == 2
    assert lines[0].startswith("error: no ")
    assert lines[-1].split(":", 1)[1].strip() == hint


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["verify"], "edge-difom verify needs --bundle"),
        (["qat"], "edge-difom qat needs the argument RUN"),
        (["distill", "--recipe", "x"], "invalid value for --recipe: 'x' is not one of"),
        (["phantom", "--out", "x", "--train", "0"], "invalid value for --train: 0 is not in"),
        (["phantom", "--out"], "option '--out' requires an argument"),
        (["phantom", "--out", "x", "y"], "got unexpected extra argument (y)"),
    ],
)
def test_errors_of_click_have_our_format(
    capsys: pytest.CaptureFixture[str], arguments: list[str], what: str
) -> None:
    code, lines = call(capsys, *arguments)
    assert code == 2
    assert lines[0].startswith(f"error: {what}")
    assert "Usage:" not in "\n".join(lines)
    assert lines[-1].endswith("--help")


def test_the_sections_hold_every_verb_once() -> None:
    verbs_listed = [verb for verbs in cli.SECTIONS.values() for verb in verbs]
    assert verbs_listed == list(cli.VERBS)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_names_the_program(
    capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    if shell == "bash" and shutil.which("bash") is None:
        pytest.skip("no bash here")
    with pytest.raises(SystemExit) as ended:
        cli.main(["completion", shell])
    assert ended.value.code == 0
    assert "_EDGE_DIFOM_COMPLETE" in capsys.readouterr().out


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_a_verb(tmp_path: Path) -> None:
    """The script of `completion bash`, run by bash for `edge-difom ru<TAB>`."""
    program = tmp_path / "edge-difom"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_difom "$@"\n')
    program.chmod(0o755)
    script = """
        eval "$(edge-difom completion bash)"
        COMP_WORDS=(edge-difom ru) COMP_CWORD=1
        _edge_difom_completion edge-difom
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert set(done.stdout.split()) == {"run", "runs"}, done.stderr


def test_completing_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom edge_difom.cli.main import main\n"
        f"try:\n    main()\nfinally:\n    print(sorted(set(sys.modules) & {HEAVY}), "
        "file=sys.stderr)"
    )
    variables = {
        "_EDGE_DIFOM_COMPLETE": "bash_complete",
        "COMP_WORDS": "edge-difom ",
        "COMP_CWORD": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | variables,
    )
    assert {line.partition(",")[2] for line in done.stdout.split()} == set(cli.VERBS)
    assert done.stderr.strip() == "[]"


def test_distill_lists_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    from distill.config import config_options

    with pytest.raises(SystemExit) as ended:
        cli.main(["distill", "--help-config"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "negative_share  float >= 0 and < 1  [default: 0.25]" in text
    assert all(f"{option.key}  {option.type}" in text for option in config_options())
