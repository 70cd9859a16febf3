"""Tokens in software (SoftHSM) with ECDSA keys; run as a program it makes the keys.

Arguments: number of keys of each token, then the tokens' labels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
PIN = "7351"


def library() -> str | None:
    """SoftHSM's library, if it is installed."""
    return next((path for path in LIBRARIES if Path(path).exists()), None)


def make_tokens(folder: Path, labels: list[str], keys: int) -> dict[str, str]:
    """Make tokens below a folder and return the environment that leads to them."""
    held = folder / "tokens"
    held.mkdir()
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {held}\nobjectstore.backend = file\n")
    found = library()
    assert found is not None
    given = {"SOFTHSM2_CONF": str(config), "PYKCS11LIB": found}
    environment, secret = {**os.environ, **given}, ["--pin", PIN, "--so-pin", "0000"]
    for label in labels:
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, *secret],
            check=True,
            capture_output=True,
            env=environment,
        )
    subprocess.run(
        [sys.executable, __file__, str(keys), *labels],
        check=True,
        env={**environment, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return given


def main(keys: str, *labels: str) -> None:
    import pkcs11
    from pkcs11.util.ec import encode_named_curve_parameters

    for label in labels:
        token = pkcs11.lib(os.environ["PYKCS11LIB"]).get_token(token_label=label)
        with token.open(rw=True, user_pin=PIN) as session:
            curve = encode_named_curve_parameters("secp256r1")
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {pkcs11.Attribute.EC_PARAMS: curve}, local=True
            )
            for number in range(1, int(keys) + 1):
                parameters.generate_keypair(store=True, id=bytes([number]), label=f"key {number}")


if __name__ == "__main__":
    main(*sys.argv[1:])
