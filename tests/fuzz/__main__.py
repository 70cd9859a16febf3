"""`python -m tests.fuzz`: fuzz the targets for some minutes and print a record as JSON.

Exit code 1 if anything was found; the inputs then lie in the folder that is named.
"""

from __future__ import annotations

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.fuzz.targets import CORPUS, COUNTS, TARGETS

MEMORY_LIMIT_MB = 256
"""Memory that one case may take beyond its own size, MiB."""

_GRACE_S = 120


class Fuzzed(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one target.

    Attributes:
        seconds: Time that it was fuzzed.
        cases: Number of inputs.
        refused: Inputs that were refused with an error of this project.
        memory_mb: Most memory that one input took beyond its own size, MiB.
        crash: How the process ended before its time; empty if it did not.
        findings: Last line of each other error that was raised, and where its input is.
    """

    seconds: int
    cases: int
    refused: int
    memory_mb: float
    crash: str
    findings: dict[str, str]

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.crash and not self.findings and self.memory_mb <= MEMORY_LIMIT_MB


def fuzz(name: str, seconds: int, seed: int, folder: Path) -> Fuzzed:
    """Fuzz one target in a process of its own.

    Args:
        name: A key of `TARGETS`.
        seconds: Time to fuzz.
        seed: Seed of the mutations.
        folder: Empty folder for findings.
    """
    (folder / "counts").write_bytes(bytes(COUNTS.size))
    command = [sys.executable, "-m", "tests.fuzz.worker", name, str(seconds), str(seed)]
    with (folder / "log").open("wb") as log:
        try:
            ended = subprocess.run(
                [*command, str(folder)],
                stdout=log,
                stderr=log,
                check=False,
                timeout=seconds + _GRACE_S,
            )
            crash = "" if ended.returncode == 0 else f"ended with {ended.returncode}"
        except subprocess.TimeoutExpired:
            crash = "did not end"
    cases, refused, most = COUNTS.unpack((folder / "counts").read_bytes())
    texts = sorted(folder.glob("finding-*.txt"))
    findings = {
        str(text.with_suffix("")): text.read_text().splitlines()[-1][:200] for text in texts
    }
    return Fuzzed(
        seconds=seconds,
        cases=cases,
        refused=refused,
        memory_mb=round(most / (1 << 20), 1),
        crash=f"{crash}; input {folder / 'last'}, log {folder / 'log'}" if crash else "",
        findings=findings,
    )


def main() -> int:
    """Fuzz what the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="time for all targets together")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="repeatable")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="file for the record; it is printed anyway")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write("fuzzing needs atheris: pip install --group fuzz\n")
        return 8
    names = options.target or list(TARGETS)
    seconds = max(1, round(60 * options.minutes / len(names)))
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="edge-difom-fuzz-", dir=memory))
    record: dict[str, Fuzzed] = {}
    for name in names:
        place = folder / name
        place.mkdir()
        record[name] = fuzz(name, seconds, options.seed, place)
        sys.stderr.write(f"{name}: {record[name].cases} cases\n")
    text = msgspec.json.format(msgspec.json.encode(record), indent=2)
    sys.stdout.write(text.decode() + "\n")
    if options.out is not None:
        options.out.write_bytes(text + b"\n")
    if all(one.ok for one in record.values()):
        shutil.rmtree(folder)
        return 0
    sys.stderr.write(f"findings: {folder}; a mended one belongs into {CORPUS}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
