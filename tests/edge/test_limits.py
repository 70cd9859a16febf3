"""The numbers of the safety case: one bound in Python, and equal ones in C, protocol and help."""

import re
from pathlib import Path

from click.testing import CliRunner

import firmware_bridge
from edge import limits, shm
from edge_difom.cli.device_slots import install
from firmware_bridge.cart.protocol import messages as m

CART = Path(firmware_bridge.__file__).parent / "cart"


def defined(path: Path, name: str) -> int:
    """The value of `#define NAME VALUE` in a C header."""
    match = re.search(rf"^#define {name} (\d+)u?\b", path.read_text(), re.MULTILINE)
    assert match is not None, f"{path} does not define {name}"
    return int(match[1])


def test_one_bound_and_its_budgets() -> None:
    assert limits.MAX_MASK_AGE_MS == 120.0, (
        "the bound of the safety case; changing it is a decision"
    )
    bounds = (limits.PRESENTER_SILENCE_MS, limits.WEB_PICTURE_MS, limits.ROUTE_LEASE_MS)
    assert max(bounds) <= limits.MAX_MASK_AGE_MS
    assert limits.BEAT_MAX_AGE_MS < limits.ROUTE_LEASE_MS
    assert limits.MAX_MEDIAN_INFERENCE_MS < limits.INFERENCE_TIMEOUT_MS < limits.MAX_MASK_AGE_MS


def test_the_c_header_of_the_stream() -> None:
    header = Path(shm.__file__).parent / "edge_difom_shm.h"
    assert defined(header, "EDGE_DIFOM_SILENCE_NS") == limits.PRESENTER_SILENCE_MS * 1e6


def test_the_controllers_firmware() -> None:
    header = CART / "firmware" / "core" / "route.h"
    assert defined(header, "ROUTE_HEARTBEAT_MS") == limits.HEARTBEAT_LOST_MS
    assert defined(header, "ROUTE_SETTLE_MS") == limits.RELAY_SETTLE_MS
    assert defined(header, "ROUTE_BEAT_AGE_MS") == limits.ROUTE_LEASE_MS
    assert limits.HEARTBEAT_LOST_MS + limits.RELAY_SETTLE_MS <= limits.RELAY_OPEN_MS


def test_the_longest_lease_of_the_protocol() -> None:
    schema = (CART / "protocol" / "cart.cddl").read_text()
    assert f"lease_ms: 0..{limits.RELAY_OPEN_MS} ]" in schema
    longest = m.Envelope(m.PROTOCOL, 1, m.SetRoute(1, limits.RELAY_OPEN_MS))
    assert m.decode(m.encode(longest)) == longest


def test_the_self_test_says_its_limit() -> None:
    text = " ".join(CliRunner().invoke(install, ["--help"]).output.split())
    assert f"{limits.MAX_MEDIAN_INFERENCE_MS:g}" in text
