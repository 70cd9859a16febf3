"""`edge-difom bundle delegate`: families of bundles that others sign."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import UsageError
from edge_difom.cli import console, key_secrets
from edge_difom.cli.bundle_sign import EXPIRES, KEYS, REPOSITORY, show_expiry
from firmware_bridge.fleet.trust.roles import days_of


@click.command(
    "delegate",
    short_help="Let others sign a family of bundles.",
    epilog=console.examples(
        "edge-difom bundle delegate ward.family.json --repository DIR --keys KEYS",
        "edge-difom bundle delegate --revoke ward --repository DIR --keys KEYS",
        "edge-difom bundle delegate ward.family.json --repository DIR --keys KEYS --pin-file PIN",
    ),
)
@click.argument("record", metavar="[FAMILY]", type=click.Path(path_type=Path), required=False)
@click.option("--revoke", metavar="NAME", default="", help="Family that signs nothing any more.")
@REPOSITORY
@KEYS
@EXPIRES
@key_secrets.pin_option
def delegate(
    record: Path | None,
    revoke: str,
    repository: Path,
    keys: Path,
    expires: tuple[str, ...],
    pin_file: Path | None,
) -> None:
    """Let the owner of FAMILY, a record of `bundle keygen --family`, sign bundles of its name.

    The keys of the record replace earlier ones. What its owner publishes reaches devices once
    `bundle sign` was run with KEYS.
    """
    from firmware_bridge.fleet.slots.audit import utc_now
    from firmware_bridge.fleet.trust import families

    if (record is None) == (not revoke):
        raise UsageError("a family is delegated to or revoked", expected="FAMILY or --revoke NAME")
    done = families.sign_delegation(
        repository,
        keys,
        utc_now(),
        family=None if record is None else families.read_family(record),
        revoked=revoke,
        days=days_of(expires),
        pin=key_secrets.pins(pin_file),
    )
    show_expiry(done)
    console.made(repository)
    console.next_command(
        f"edge-difom bundle sign --repository {console.quote(repository)} --keys "
        f"{console.quote(keys)}"
    )
