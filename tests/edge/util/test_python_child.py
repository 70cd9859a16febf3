"""Every process of this project is started isolated, by one function."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import msgspec

from edge.sandbox.grants import Grants
from edge.util.python_child import ROOTS, python_command

ROOT = Path(__file__).parents[3]
HOME = "edge/util/python_child.py"


def test_a_child_runs_its_parent_s_module() -> None:
    """A child runs the module of its parent with its arguments."""
    grants = msgspec.json.encode(Grants()).decode()
    command = python_command("edge.engines.selftest", "/nowhere", "1", grants)
    assert command[1] == "-I"
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert "does not exist" in done.stdout
    assert str(ROOT) in ROOTS


def test_no_other_place_starts_this_interpreter() -> None:
    places = [
        str(path.relative_to(ROOT))
        for folder in ("edge", "edge_difom", "firmware_bridge", "distill", "quantize")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if re.search(r"sys\.executable", path.read_text())
    ]
    # The unit's file names the interpreter, and itself asks for isolation.
    assert places == [HOME, "edge_difom/cli/device_provision.py"]
