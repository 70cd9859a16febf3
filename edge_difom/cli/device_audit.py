"""`edge-difom device audit`: checkpoints of the audit log, to be kept outside the device."""

from __future__ import annotations

import platform
from pathlib import Path

import click

from edge.errors import BundleError
from edge_difom.cli import console, options
from edge_difom.cli.groups import LazyGroup

_STATE = options.device_state()


@click.group(
    "audit",
    cls=LazyGroup,
    table={
        "keygen": ("edge_difom.cli.device_audit:keygen", "Make the key that signs checkpoints."),
        "export": ("edge_difom.cli.device_audit:export", "Export a checkpoint of the audit log."),
        "verify": ("edge_difom.cli.device_audit:verify", "Compare the log with checkpoints."),
    },
    short_help="Export and verify checkpoints of the audit log.",
    epilog=console.examples(
        "edge-difom device audit keygen /etc/edge-difom/device.pem",
        "edge-difom device audit export --key /etc/edge-difom/device.pem --out cart-7.jsonl",
        "edge-difom device audit verify cart-7.jsonl",
    ),
)
def group() -> None:
    """Export and verify checkpoints of the audit log.

    The log is a chain of hashes, so a changed or missing record shows. A checkpoint that is kept
    outside the device also shows a log that was rewritten as a whole.
    """


@click.command(
    "keygen",
    short_help="Make the key that signs checkpoints.",
    epilog=console.examples(
        "edge-difom device audit keygen /etc/edge-difom/device.pem",
        "edge-difom device audit keygen device.pem",
        "edge-difom device audit keygen /media/stick/cart-7.pem",
    ),
)
@click.argument("key", type=click.Path(path_type=Path))
def keygen(key: Path) -> None:
    """Make the device's Ed25519 key in the file KEY, and print its public key.

    Note the public key outside the device: `device audit verify --public-key` accepts only it.
    """
    from firmware_bridge.fleet.slots.checkpoint import make_key

    public = make_key(key)
    console.made(key)
    console.say(f"public key: {public}")
    console.next_command(f"edge-difom device audit export --key {console.quote(key)} --out FILE")


@click.command(
    "export",
    short_help="Export a checkpoint of the audit log.",
    epilog=console.examples(
        "edge-difom device audit export --out cart-7.jsonl",
        "edge-difom device audit export --key /etc/edge-difom/device.pem --out cart-7.jsonl",
        "edge-difom device audit export --device cart-7 --out /media/stick/cart-7.jsonl",
    ),
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File to append the checkpoint to, one a line.",
)
@click.option(
    "--key",
    type=click.Path(path_type=Path),
    help="Device key that signs it. Default: no signature.",
)
@click.option("--device", default="", metavar="NAME", help="Name in it. Default: the host's name.")
@_STATE
def export(out: Path, key: Path | None, device: str, folder: Path) -> None:
    """Append a checkpoint, the number and hash of the log's last record, to a file.

    Keep the file outside the device. Exits with code 4 if the log was tampered with.
    """
    from edge.util.files import atomic_write
    from firmware_bridge.fleet.slots import checkpoint
    from firmware_bridge.fleet.slots.audit import AuditLog, utc_now

    signed_checkpoint = checkpoint.export(AuditLog(folder), utc_now, device or platform.node(), key)
    before = out.read_bytes() if out.exists() else b""
    atomic_write(out, before + checkpoint.encode(signed_checkpoint))
    console.say(f"checkpoint of record {signed_checkpoint.n}: {signed_checkpoint.digest}")
    console.made(out)
    console.next_command(f"edge-difom device audit verify {console.quote(out)}")


@click.command(
    "verify",
    short_help="Compare the log with checkpoints.",
    epilog=console.examples(
        "edge-difom device audit verify cart-7.jsonl",
        "edge-difom device audit verify cart-7.jsonl --public-key KEY",
        "edge-difom device audit verify cart-7.jsonl --state /mnt/cart-7/var/lib/edge-difom",
    ),
)
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--public-key", default="", help="Public key that must have signed the checkpoints.")
@_STATE
def verify(files: tuple[Path, ...], public_key: str, folder: Path) -> None:
    """Check the chain of the audit log, and that it holds the record of each checkpoint.

    Exits with code 4 if the log was tampered with or a checkpoint's signature is wrong.
    """
    from firmware_bridge.fleet.slots import checkpoint
    from firmware_bridge.fleet.slots.audit import AuditLog

    points = [point for path in files for point in checkpoint.read(path)]
    log = AuditLog(folder)
    problems = list(log.verify().problems)
    for point in points:
        problems += checkpoint.problems(log, point, public_key)
    if problems:
        raise BundleError(
            f"the audit log of {folder} does not verify: " + "; ".join(dict.fromkeys(problems)),
            expected="an unbroken log with the record of every checkpoint",
        )
    console.say(f"verified: {folder}, {len(log.records())} records, {len(points)} checkpoints")
