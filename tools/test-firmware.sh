#!/bin/sh
# Build, check, fuzz and emulate the controller's firmware: test-firmware.sh PYTHON [PYTEST'S OPTIONS].
# What that needs of the system is installed where the right to do so exists.
set -eu
python=$1
shift
root=$(cd "$(dirname "$0")/.." && pwd)
needed="build-essential make gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm cppcheck"
missing=""
for package in $needed; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    sudo=""
    [ "$(id -u)" = 0 ] || sudo="sudo -n"
    echo "[firmware] installing:$missing"
    $sudo apt-get update -qq || echo "[firmware] the package lists could not be renewed"
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi
out=${OUT:-$root/build/firmware}
make -s -C "$root/firmware_bridge/cart/firmware" "OUT=$out" check firmware fuzz
cd "$root"
exec "$python" -m pytest tests/firmware "$@"
