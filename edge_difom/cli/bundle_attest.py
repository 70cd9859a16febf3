"""`edge-difom bundle attest`: signatures that other tools can check."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, key_secrets, options


@click.command(
    "attest",
    short_help="Sign a bundle for other tools: OpenSSF model signing, SLSA provenance.",
    epilog=console.examples(
        "edge-difom bundle attest B --keys KEYS --out DIR",
        "edge-difom bundle attest B.difom --keys KEYS --out DIR --force",
        "edge-difom bundle attest B --keys KEYS --out DIR --token 'hsm:3?label=publisher'",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@click.option(
    "--keys",
    type=click.Path(path_type=Path),
    required=True,
    help="Folder created by `bundle keygen`; the key of attestations is made there if it is "
    "missing.",
)
@options.out("Folder for the attestations, beside the bundle.")
@click.option(
    "--token",
    default="",
    metavar="hsm:KEYID?label=LABEL",
    help="With the first attestation: use this key on a PKCS#11 token (P-256) from now on.",
)
@key_secrets.pin_option
@options.force()
def attest(
    path: Path, keys: Path, out: Path, token: str, pin_file: Path | None, force: bool
) -> None:
    """Write two attestations of BUNDLE: of all its files, and of how it was trained and built.

    The first is a model signature of OpenSSF (OMS), which `model_signing verify key` checks on the
    unpacked bundle; the second an in-toto statement with SLSA provenance of what the manifest
    records. Whoever checks them needs KEYS/attestation.pub.pem. They do not replace `bundle
    publish`: devices install what is published.
    """
    from edge.bundle.reader import Bundle
    from firmware_bridge.fleet.attest.check import attest as write
    from firmware_bridge.fleet.attest.keys import PUBLIC, has_key, make_key

    bundle, pin = Bundle.open(path), key_secrets.pins(pin_file)
    if token or not has_key(keys):
        console.made(make_key(keys, uri=token, pin=pin))
    paths = write(bundle, out, keys, pin=pin, force=force)
    for made in paths:
        console.made(made)
    given = " ".join(f"--attestation {console.quote(made)}" for made in paths)
    console.next_command(
        f"edge-difom verify --bundle {console.quote(path)} {given} --public-key "
        f"{console.quote(keys / PUBLIC)}"
    )
