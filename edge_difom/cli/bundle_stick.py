"""`edge-difom bundle stick`: the software of a cart, signed."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, key_secrets
from edge_difom.cli.bundle_sign import EXPIRES, KEYS, REPOSITORY, show_expiry
from firmware_bridge.fleet.trust.roles import days_of


@click.command(
    "stick",
    short_help="Sign the software of a cart, for install.sh.",
    epilog=console.examples(
        "edge-difom bundle stick WHEELS --repository /media/stick/polyps --keys KEYS",
        "edge-difom bundle stick WHEELS --repository DIR --keys KEYS --expires timestamp=30",
        "edge-difom bundle stick WHEELS --repository DIR --keys KEYS --pin-file PIN",
    ),
)
@click.argument("wheels", metavar="WHEELS", type=click.Path(path_type=Path))
@REPOSITORY
@KEYS
@EXPIRES
@key_secrets.pin_option
def stick(
    wheels: Path, repository: Path, keys: Path, expires: tuple[str, ...], pin_file: Path | None
) -> None:
    """Add the wheels in a folder and the scripts that install them to a repository, signed.

    WHEELS holds edge-difom's wheel and all that it needs, and nothing else. On the cart, install.sh
    checks their signatures before anything of the stick runs as root.
    """
    from firmware_bridge.fleet.slots.audit import utc_now
    from firmware_bridge.fleet.trust.stick import publish_system, scripts

    done = publish_system(
        wheels,
        repository,
        keys,
        utc_now(),
        days=days_of(expires),
        pin=key_secrets.pins(pin_file),
    )
    console.say(f"{len(done.names)} files")
    show_expiry(done.expires)
    console.made(repository)
    for script in scripts():
        console.say(f"bring by another way: {script}")
    console.next_command(f"ROOT=1.root.json sh install.sh {console.quote(repository)}")
