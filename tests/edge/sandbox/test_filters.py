"""Both filters on both architectures, run by an interpreter of their programs."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from edge.sandbox.filters import closed_filter, drivers_filter
from edge.sandbox.syscalls import ARCHITECTURES, NUMBERS, number

AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
OWN, OTHER = 4711, 4712
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}


def run(program: bytes, call: int, *arguments: int, audit: int) -> str:
    """Interpret a program: `allow`, `kill`, or the name of the error's number."""
    data = struct.pack("=IIQ6Q", call, audit, 0, *arguments, *[0] * (6 - len(arguments)))
    value, at = 0, 0
    while True:
        code, true, false, operand = struct.unpack_from("=HBBI", program, 8 * at)
        at += 1
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, operand)
        elif code == 0x54:
            value &= operand
        elif code in (0x15, 0x35):
            at += true if (value == operand if code == 0x15 else value >= operand) else false
        else:
            assert code == 0x06
            kind = {0x7FFF0000: "allow", 0x80000000: "kill"}.get(operand & 0xFFFF0000)
            return kind or errno.errorcode[operand & 0xFFFF]


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def called(kind: str, machine: str, name: str | int, *arguments: int) -> str | None:
    """What becomes of a call; None if the architecture has none of that name."""
    make = closed_filter if kind == "closed" else drivers_filter
    call = number(name, machine) if isinstance(name, str) else name
    if call is None:
        return None
    return run(make(machine, OWN), call, *arguments, audit=AUDIT[machine])


CASES = [
    ("read", (0,), "allow", "allow"),
    ("futex", (), "allow", "allow"),
    ("execve", (), "EPERM", "EPERM"),
    ("execveat", (), "EPERM", "EPERM"),
    ("ptrace", (), "EPERM", "EPERM"),
    ("mount", (), "EPERM", "EPERM"),
    ("bpf", (), "EPERM", "EPERM"),
    ("socket", (1,), "EPERM", "allow"),
    ("socket", (2,), "EPERM", "EPERM"),
    ("socket", (16,), "EPERM", "EPERM"),
    ("clone", (0x3D0F00,), "allow", "allow"),
    ("clone", (17,), "EPERM", "EPERM"),
    ("kill", (OWN,), "allow", "allow"),
    ("kill", (OTHER,), "EPERM", "EPERM"),
    ("tgkill", (OTHER,), "EPERM", "EPERM"),
    ("prlimit64", (OTHER,), "EPERM", "allow"),
    ("prlimit64", (0,), "allow", "allow"),
    ("ioctl", (2, 0x5401), "allow", "allow"),
    ("ioctl", (2, 0x5412), "EPERM", "allow"),
    ("prctl", (15,), "allow", "allow"),
    ("prctl", (4,), "EPERM", "allow"),
    ("openat", (0, 0, 0), "allow", "allow"),
    ("openat", (0, 0, 0o1101), "allow", "allow"),
    ("openat", (0, 0, 0o1000), "EPERM", "allow"),
    ("close_range", (), "allow", "allow"),
    (435, (), "ENOSYS", "ENOSYS"),
    (425, (), "ENOSYS", "ENOSYS"),
    (446, (), "ENOSYS", "ENOSYS"),
    (9999, (), "ENOSYS", "ENOSYS"),
    (423, (), "EPERM", "allow"),
]


@pytest.mark.parametrize(("name", "arguments", "closed", "drivers"), CASES)
def test_calls(
    name: str | int, arguments: tuple[int, ...], closed: str, drivers: str, machine: str
) -> None:
    assert called("closed", machine, name, *arguments) == closed
    assert called("drivers", machine, name, *arguments) == drivers


def test_calls_of_a_different_architecture_end_the_process(machine: str) -> None:
    for program in (closed_filter(machine, OWN), drivers_filter(machine, OWN)):
        assert run(program, 0, audit=0x40000003) == "kill"
        if machine == "x86_64":
            assert run(program, 0x40000000, audit=AUDIT[machine]) == "kill"


def test_calls_that_have_no_name_here_are_denied() -> None:
    numbers_known = {number(name, "x86_64") for name in NUMBERS}
    program = closed_filter("x86_64", OWN)
    unknown = [call for call in range(424) if call not in numbers_known]
    assert len(unknown) > 150
    assert {run(program, call, audit=AUDIT["x86_64"]) for call in unknown} == {"EPERM"}


def test_numbers_are_those_of_the_kernel(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"{header} is not installed")
    text = header.read_text()
    numbers = {
        name: int(value)
        for name, value in re.findall(r"^#define __NR(?:3264)?_(\w+) (\d+)$", text, re.MULTILINE)
    }
    if machine == "aarch64":
        numbers["newfstatat"] = numbers["fstatat"]
    for name in NUMBERS:
        expected = number(name, machine)
        assert numbers.get(name) == expected, name
