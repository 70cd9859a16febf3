"""`edge-difom bundle keygen`, `publish` and `sign`: the publisher's commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from edge_difom.cli import console, key_secrets
from firmware_bridge.fleet.trust.roles import DAYS, ROLES, days_of, quorums_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

_PASSPHRASE = click.option(
    "--passphrase-file",
    "passphrase_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File whose first line is the passphrase of the root key; repeatable if the root keys "
    "have different ones. Default: ask for it.",
)
_THRESHOLD = click.option(
    "--threshold",
    "thresholds",
    multiple=True,
    metavar="ROLE=NEEDED[/KEYS]",
    help="How many keys of a role must sign, and how many it has; repeatable. Default: 1/1 for a "
    "new role, as before for one that is rotated.",
)
_TOKENS = click.option(
    "--token",
    "on_tokens",
    multiple=True,
    metavar="ROLE=hsm:KEYID?label=LABEL",
    help="Key of a role on a PKCS#11 token (ECDSA on P-256 or P-384, made by the token's tool), "
    "instead of a new file; repeatable. PYKCS11LIB names the token's library.",
)
EXPIRES = click.option(
    "--expires",
    multiple=True,
    metavar="ROLE=DAYS",
    help="Days until signatures of a role expire; repeatable. Default: "
    + ", ".join(f"{role}={days}" for role, days in DAYS.items())
    + ".",
)
KEYS = click.option(
    "--keys",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder created by `bundle keygen`.",
)
REPOSITORY = click.option(
    "--repository",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder of the repository, such as one on a USB stick.",
)


@click.command(
    "keygen",
    short_help="Create a publisher's keys.",
    epilog=console.examples(
        "edge-difom bundle keygen KEYS",
        "edge-difom bundle keygen KEYS --passphrase-file /run/secrets/root",
        "edge-difom bundle keygen KEYS --threshold root=2/3 --threshold targets=2",
        "edge-difom bundle keygen KEYS --expires root=3650",
        "edge-difom bundle keygen WARD --family ward",
        "edge-difom bundle keygen KEYS --token 'root=hsm:1?label=vault' --token "
        "'targets=hsm:2?label=publisher'",
    ),
)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@_PASSPHRASE
@_THRESHOLD
@_TOKENS
@key_secrets.pin_option
@EXPIRES
@click.option(
    "--family",
    metavar="NAME",
    help="Create the keys of a family instead, whose owner signs bundles NAME-... alone. For "
    "--threshold and --token the role is NAME.",
)
def keygen(
    folder: Path,
    passphrase_files: tuple[Path, ...],
    thresholds: tuple[str, ...],
    on_tokens: tuple[str, ...],
    pin_file: Path | None,
    expires: tuple[str, ...],
    family: str | None,
) -> None:
    """Create the keys of the four roles in DIR, and the root metadata for devices to trust.

    The root key, DIR/root.pem, only signs other keys. Move it off this machine, and bring it back
    to rotate a key. With a threshold a role has several keys, DIR/ROLE-1.pem and so on: keep each
    root key in a different place, and bring as many of them together as must sign. A key on a token
    never leaves it; DIR then holds its public part.
    """
    from firmware_bridge.fleet.slots.audit import utc_now
    from firmware_bridge.fleet.trust import (
        client,
        families,
        key_files,
        publishing,
        trust_store,
    )

    if family is not None:
        roles = (family,)
        record = families.create_family(
            folder,
            family,
            quorum=quorums_of(thresholds, roles).get(family),
            uris=key_secrets.tokens_of(on_tokens, roles).get(family, ()),
            pin=key_secrets.pins(pin_file),
        )
        console.made(record)
        console.next_command(
            f"edge-difom bundle delegate {console.quote(record)} --repository DIR --keys KEYS"
        )
        return
    days, quorums = days_of(expires), quorums_of(thresholds)
    held = key_secrets.tokens_of(on_tokens)
    root = publishing.create_keys(
        folder,
        [] if "root" in held else key_secrets.passphrases(passphrase_files, new=True),
        utc_now(),
        days,
        quorums,
        on_tokens=held,
        pin=key_secrets.pins(pin_file),
    )
    for keyid in trust_store.root_keys(client.first_trust(root.read_bytes())):
        console.say(f"root key {keyid}")
    console.made(folder)
    for path in key_files.key_paths(folder, "root"):
        console.say(f"keep offline: {path}" + (" and its token" if "root" in held else ""))
    console.say(f"for devices:  edge-difom device trust {root}")
    console.next_command(
        f"edge-difom bundle publish B --repository DIR --keys {console.quote(folder)}"
    )


@click.command(
    "publish",
    short_help="Publish a signed bundle in a repository.",
    epilog=console.examples(
        "edge-difom bundle publish B --repository /media/stick/polyps --keys KEYS",
        "edge-difom bundle publish B.difom --repository DIR --keys KEYS --name polyps",
        "edge-difom bundle publish B --repository DIR --keys KEYS --as-version 7 --expires "
        "timestamp=30",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@REPOSITORY
@KEYS
@click.option("--name", help="Name in the repository. Default: the bundle's name.")
@click.option(
    "--as-version",
    type=click.IntRange(min=1),
    help="Version to publish. Default: one more than the last.",
)
@EXPIRES
@key_secrets.pin_option
@console.json_option()
def publish(
    path: Path,
    repository: Path,
    keys: Path,
    name: str | None,
    as_version: int | None,
    expires: tuple[str, ...],
    pin_file: Path | None,
    json_path: str | None,
) -> None:
    """Publish BUNDLE in a repository: a plain folder for any file server or USB stick.

    The repository is consistent at every moment, because the index file is replaced last. With the
    keys of a family, devices see the bundle once its publisher has run `bundle sign`.
    """
    from firmware_bridge.fleet.slots.audit import utc_now
    from firmware_bridge.fleet.trust import publishing

    done = publishing.publish(
        path,
        repository,
        keys,
        utc_now(),
        target=name,
        version=as_version,
        days=days_of(expires),
        pin=key_secrets.pins(pin_file),
    )
    console.say(f"{done.target} {done.version}: {done.file.stat().st_size} bytes")
    show_expiry(done.expires)
    console.made(repository)
    if json_path:
        console.write_json(json_path, done)
    console.next_command(f"edge-difom device install {console.quote(repository)}")


@click.command(
    "sign",
    short_help="Re-sign a repository or rotate its keys.",
    epilog=console.examples(
        "edge-difom bundle sign --repository DIR --keys KEYS",
        "edge-difom bundle sign --repository DIR --keys KEYS --rotate targets --rotate timestamp",
        "edge-difom bundle sign --repository DIR --keys KEYS --rotate root --passphrase-file old "
        "--new-passphrase-file new",
    ),
)
@REPOSITORY
@KEYS
@click.option(
    "--rotate",
    "roles",
    multiple=True,
    type=click.Choice(ROLES),
    help="Replace the key of a role; repeatable. Needs the root key.",
)
@click.option(
    "--renew-root",
    is_flag=True,
    help="Re-sign the root metadata with the same keys. Needs the root key.",
)
@_PASSPHRASE
@click.option(
    "--new-passphrase-file",
    "new_passphrase_files",
    type=click.Path(path_type=Path),
    multiple=True,
    help="File with the passphrase of the new root keys; repeatable, one for each. Default: the "
    "old passphrase.",
)
@_THRESHOLD
@_TOKENS
@key_secrets.pin_option
@EXPIRES
def sign(
    repository: Path,
    keys: Path,
    roles: tuple[str, ...],
    renew_root: bool,
    passphrase_files: tuple[Path, ...],
    new_passphrase_files: tuple[Path, ...],
    thresholds: tuple[str, ...],
    on_tokens: tuple[str, ...],
    pin_file: Path | None,
    expires: tuple[str, ...],
) -> None:
    """Re-sign the contents of a repository before they expire; with --rotate, by new keys.

    Devices accept new keys automatically, because each root is signed by the previous one.
    """
    from firmware_bridge.fleet.slots.audit import utc_now
    from firmware_bridge.fleet.trust import key_files, publishing

    days, quorums, held = days_of(expires), quorums_of(thresholds), key_secrets.tokens_of(on_tokens)
    if others := [role for role in dict.fromkeys([*quorums, *held]) if role not in roles]:
        raise UsageError(
            f"a threshold or token of {', '.join(others)} comes with new keys only",
            expected=" ".join(f"--rotate {role}" for role in others),
        )
    pin = key_secrets.pins(pin_file)
    if roles or renew_root:
        in_files = any(path.suffix == key_files.PEM for path in key_files.key_paths(keys, "root"))
        new_files = "root" in roles and "root" not in held
        root = publishing.rotate(
            repository,
            keys,
            roles,
            key_secrets.passphrases(passphrase_files) if in_files else [],
            utc_now(),
            new_passphrases=key_secrets.passphrases(new_passphrase_files, new=True)
            if new_passphrase_files or (new_files and not in_files)
            else (),
            quorums=quorums,
            days=days,
            on_tokens=held,
            pin=pin,
        )
        console.made(root)
    else:
        show_expiry(publishing.renew(repository, keys, utc_now(), days=days, pin=pin))
    console.made(repository)
    console.next_command(f"edge-difom device install {console.quote(repository)}")


def show_expiry(expires: Mapping[str, datetime]) -> None:
    """Print when the signature of each role expires."""
    console.table(
        ["role", "expires (UTC)"],
        [[role, f"{when:%Y-%m-%d %H:%M}"] for role, when in expires.items()],
    )
