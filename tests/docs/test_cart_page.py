"""docs/cart.md: its commands and tests exist, and its figures and signs match the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edge.status import State
from edge_difom.cli.device_provision import NEXT
from firmware_bridge.cart.link.session import LAMPS
from firmware_bridge.cart.protocol import messages as m
from tests.support.command_lines import parse_command

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/cart.md").read_text()
COMMANDS = re.findall(r"edge-difom (?:bundle|device|run|doctor|bench) ?.*", PAGE)
COLORS = {m.GREEN: "green", m.AMBER: "amber", m.RED: "red", m.BLUE: "blue", m.WHITE: "white"}


def test_every_test_that_the_page_names_exists() -> None:
    tests_named = re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)
    assert len(tests_named) > 25
    for file, test in tests_named:
        assert f"def {test}(" in (ROOT / "tests" / file).read_text(), f"{file} has no {test}"


def test_every_risk_names_a_test() -> None:
    table = PAGE.partition("| hazard |")[2].partition("\n\n")[0]
    rows = [line for line in table.splitlines()[2:] if line]
    assert len(rows) > 15
    for row in rows:
        assert re.search(r"`[\w/]+\.py::\w+`", row.split("|")[3]), row


@pytest.mark.parametrize(
    "line",
    [line for line in PAGE.splitlines() if re.match(r"(\S*bin/|runuser .*/)?edge-difom ", line)],
)
def test_a_command_of_the_page_is_understood(line: str) -> None:
    words = shlex.split(line)
    at = next(
        n
        for n, word in enumerate(words)
        if word.rpartition("/")[2] == "edge-difom" and words[n - 1] != "-u"
    )
    parse_command(words[at + 1 :])


def test_the_page_has_the_commands_of_the_whole_way() -> None:
    for command in ("keygen", "publish", "install", "provision", "trust", "status", "run --camera"):
        assert command in PAGE
    for line in NEXT:
        assert line in PAGE.splitlines()


@pytest.mark.parametrize("state", State)
def test_a_state_has_its_lamp_on_the_page(state: State) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith(f"| {state.name} |"))
    color, period = LAMPS[state]
    lamp = row.split("|")[4]
    assert COLORS[color] in lamp
    assert ("blinking" in lamp) is (period > 0)


def test_the_page_says_what_this_is_not() -> None:
    words = " ".join(PAGE.split())
    assert "**Research use only. Not a medical device" in words
    assert "21 CFR 876.1520" in words
