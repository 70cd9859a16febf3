"""Check a stick with software before anything of it runs: check_stick.py ROOT STICK OUT SEEN.

Uses Python's standard library and the program `openssl` alone, for a machine on which nothing else
is installed yet; `install.sh` runs it. ROOT is the publisher's root metadata, which the
administrator trusts. STICK is a TUF repository with files below `system/` (`bundle stick`). They
are copied to OUT, hashed while they are copied, so that a stick that answers differently the second
time changes nothing. SEEN keeps the versions of the metadata, so that older ones are refused later.

The steps are those of section 5 of the TUF specification (1.0.33), without delegations, as in
`firmware_bridge.fleet.trust.client`. Ends with code 4 if anything is not as it was signed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

FOLDER = "system/"
"""Where the files of the system are among a repository's targets."""

LARGEST = {"root": 512_000, "timestamp": 16_384, "snapshot": 2_000_000, "targets": 5_000_000}
"""Size limits of metadata in bytes, as in `firmware_bridge.fleet.trust.client`."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")
_ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
_ROTATIONS = 256
_BLOCK = 1 << 20

Json = dict[str, Any]


class StickError(Exception):
    """A reason not to install from a stick."""


def check(root: Path, stick: Path, out: Path, seen: Path, now: datetime) -> list[str]:
    """Copy the files of a stick that a publisher signed.

    Args:
        root: Root metadata that is trusted.
        stick: The repository.
        out: Existing, empty folder that nobody else can write.
        seen: File with the versions that were seen before; it may be missing.
        now: Wall clock, UTC.

    Returns:
        Names of the copied files.

    Raises:
        StickError: Something is not signed, is older, expired or damaged, or there is nothing.
    """
    try:
        before = json.loads(seen.read_bytes()) if seen.exists() else {}
        known = _newest_root(_read(root, LARGEST["root"]), before.get("root"), stick)
        timestamp = _online(stick, known, "timestamp", now, before)
        entry = timestamp["meta"]["snapshot.json"]
        snapshot = _online(stick, known, "snapshot", now, before, entry)
        targets = _online(stick, known, "targets", now, before, snapshot["meta"]["targets.json"])
        names = _copy(stick, targets, out)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StickError(f"{type(error).__name__}: {error}") from error
    versions = {part["_type"]: part["version"] for part in (timestamp, snapshot, targets)}
    _write(seen, json.dumps({"root": known, **versions}).encode())
    return names


def _newest_root(anchor: bytes, kept: Json | None, stick: Path) -> Json:
    """Follow the roots of a stick from the trusted one, or from the newest one seen before."""
    document = json.loads(anchor)
    root: Json = document["signed"]
    if root["_type"] != "root" or not signed_by(document, root, "root"):
        raise StickError("the trusted root is not signed by its own keys")
    if kept is not None and kept["version"] > root["version"]:
        root = kept
    for _ in range(_ROTATIONS):
        path = stick / "metadata" / f"{root['version'] + 1}.root.json"
        if not path.exists():
            return root
        document = json.loads(_read(path, LARGEST["root"]))
        following = document["signed"]
        if following["_type"] != "root" or following["version"] != root["version"] + 1:
            raise StickError(f"{path.name} is another root")
        for keys in (root, following):
            if not signed_by(document, keys, "root"):
                raise StickError(f"{path.name} is not signed by the keys of the trusted root")
        root = following
    return root


def _online(
    stick: Path, root: Json, role: str, now: datetime, before: Json, entry: Json | None = None
) -> Json:
    """Read, verify and return the signed part of a role's metadata.

    `entry` is what the metadata before it say of this one; None for the timestamp.
    """
    name = f"{role}.json" if entry is None else f"{entry['version']}.{role}.json"
    data = _read(stick / "metadata" / name, LARGEST[role])
    hashes = {} if entry is None else entry.get("hashes", {})
    if "sha256" in hashes and hashlib.sha256(data).hexdigest() != hashes["sha256"]:
        raise StickError(f"{name} has another hash than was signed")
    document = json.loads(data)
    signed: Json = document["signed"]
    if signed["_type"] != role or not signed_by(document, root, role):
        raise StickError(f"{name} is not signed by a publisher whom this machine trusts")
    if entry is not None and signed["version"] != entry["version"]:
        raise StickError(f"{name} has version {signed['version']}")
    if signed["version"] < before.get(role, 0):
        raise StickError(f"{name} is older than what this machine has seen")
    for part in (root, signed):
        if now >= datetime.strptime(part["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(
            tzinfo=timezone.utc
        ):
            raise StickError(
                f"{part['_type']}.json expired at {part['expires']}; is the clock right?"
            )
    return signed


def _copy(stick: Path, targets: Json, out: Path) -> list[str]:
    names = sorted(name for name in targets["targets"] if name.startswith(FOLDER))
    if not names:
        raise StickError("the publisher signed no software on it, only bundles")
    for name in names:
        plain = name.removeprefix(FOLDER)
        entry = targets["targets"][name]
        length, digest = entry["length"], entry["hashes"]["sha256"]
        if not _NAME.fullmatch(plain) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise StickError(f"{plain!r} is no name of a file")
        held, left = hashlib.sha256(), length
        with (
            _open(stick / "targets" / FOLDER / f"{digest}.{plain}") as source,
            (out / plain).open("xb") as copy,
        ):
            while block := source.read(min(_BLOCK, left + 1)):
                left -= len(block)
                if left < 0:
                    break
                held.update(block)
                copy.write(block)
        if left or held.hexdigest() != digest:
            raise StickError(f"{plain} is not as it was signed")
    return [name.removeprefix(FOLDER) for name in names]


def signed_by(document: Json, root: Json, role: str) -> bool:
    """Return whether enough different keys of a role of a root signed a document."""
    content = canonical(document["signed"]).encode()
    given = {item["keyid"]: bytes.fromhex(item["sig"]) for item in document["signatures"]}
    asked, valid = root["roles"][role], set()
    for keyid in asked["keyids"]:
        key = root["keys"][keyid]
        if keyid in given and _verifies(key, given[keyid], content):
            valid.add(key["keyval"]["public"])
    return bool(asked["threshold"] >= 1 and len(valid) >= asked["threshold"])


def canonical(value: object) -> str:
    """Return canonical JSON, the form that is signed (securesystemslib's `encode_canonical`)."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, dict):
        pairs = (f"{canonical(key)}:{canonical(value[key])}" for key in sorted(value))
        return "{" + ",".join(pairs) + "}"
    raise ValueError(f"{type(value).__name__} has no canonical form")


def _verifies(key: Json, signature: bytes, content: bytes) -> bool:
    public, scheme = key["keyval"]["public"], key["scheme"]
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder) / name for name in ("key", "signature", "content")}
        files["signature"].write_bytes(signature)
        files["content"].write_bytes(content)
        if scheme == "ed25519":
            files["key"].write_bytes(_ED25519_PREFIX + bytes.fromhex(public))
            command = ["pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-rawin"]
            command += ["-inkey", str(files["key"]), "-in", str(files["content"])]
            command += ["-sigfile", str(files["signature"])]
        elif scheme in ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384"):
            files["key"].write_text(public)
            command = ["dgst", f"-sha{scheme[-3:]}", "-verify", str(files["key"])]
            command += ["-signature", str(files["signature"]), str(files["content"])]
        else:
            return False
        done = subprocess.run(["openssl", *command], capture_output=True, check=False)
    return done.returncode == 0


def _open(path: Path) -> Any:
    """Open a plain file, not a link, pipe or device."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    file = os.fdopen(handle, "rb")
    if not path.is_file():
        file.close()
        raise StickError(f"{path} is no plain file")
    return file


def _read(path: Path, largest: int) -> bytes:
    with _open(path) as file:
        data: bytes = file.read(largest + 1)
    if len(data) > largest:
        raise StickError(f"{path} has more than {largest} bytes")
    return data


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def main(arguments: list[str]) -> int:
    """Check what the command line names; return the exit code."""
    root, stick, out, seen = map(Path, arguments)
    try:
        names = check(root, stick, out, seen, datetime.now(timezone.utc))
    except StickError as refused:
        sys.stderr.write(
            f"error: {stick} cannot be trusted: {refused}\n  nothing of it was run or installed\n"
        )
        return 4
    sys.stdout.write(f"{len(names)} files of {stick} are as their publisher signed them\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
