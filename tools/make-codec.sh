#!/bin/sh
# Write the controller's CBOR codec from its schema: make-codec.sh [FOLDER], firmware_bridge/cart/firmware/codec by default.
# The generator stands in an environment of its own, made once: it needs an older cbor2 than the host's codec.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
out=${1:-$root/firmware_bridge/cart/firmware/codec}
venv=${ZCBOR_VENV:-$root/.venv-zcbor}
if [ ! -e "$venv/.complete" ]; then
    rm -rf "$venv"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet 'zcbor==0.9.1' 'cbor2<6'
    touch "$venv/.complete"
fi
mkdir -p "$out"
"$venv/bin/zcbor" code --cddl "$root/firmware_bridge/cart/protocol/cart.cddl" --decode --encode --entry-types envelope \
    --copy-sources --output-c "$out/cart.c" --output-h "$out/cart.h" --output-h-types "$out/cart_types.h" >/dev/null
rm -f "$out/zcbor_print.c" # logging, which is off
