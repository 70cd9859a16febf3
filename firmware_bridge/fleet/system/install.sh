#!/bin/sh
# Install edge-difom on a cart computer: a Python environment in /opt/edge-difom, then `edge-difom device provision`.
#
#     ROOT=1.root.json install.sh STICK [OPTIONS OF edge-difom device provision]
#
# STICK is a folder that `edge-difom bundle stick` made. Before anything of it runs, its signatures are checked
# against ROOT, the publisher's root metadata (by default /etc/edge-difom/root.json), and its files are copied; then
# the install.sh among them goes on. So take this first one and ROOT from a place that you trust, not from the stick.
# UNSIGNED=yes takes a plain folder of wheels without signatures, for trials.
#
# Nothing is fetched from a network. May be run again, also with newer wheels. Starts and enables nothing.
set -eu

HOME_OF_IT=/opt/edge-difom
SEEN=/var/lib/edge-difom-provision/stick.json
EXTRAS=${EXTRAS:-openvino,metrics,window,cart,trust}
PYTHON=${PYTHON:-python3}
ROOT=${ROOT:-/etc/edge-difom/root.json}
UNSIGNED=${UNSIGNED:-}
CHECKED=${EDGE_DIFOM_CHECKED:-} # the copies of a stick that was checked, from the script that checked it

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

# Everything is checked before anything is written.
[ $# -ge 1 ] || fail "usage: install.sh STICK [options of edge-difom device provision]"
wheels=$1
shift
[ -d "$wheels" ] || fail "$wheels is no folder"
[ -z "$CHECKED" ] || [ "$CHECKED" = "$wheels" ] || fail "EDGE_DIFOM_CHECKED is not for you"
[ -z "$CHECKED" ] || trap 'rm -rf "$wheels"' EXIT
[ -d "$wheels/metadata" ] || [ -n "$UNSIGNED$CHECKED" ] ||
    fail "$wheels is not signed: make it with \`edge-difom bundle stick\`, or set UNSIGNED=yes"
[ "$(id -u)" -eq 0 ] || fail "this needs the rights of root: sudo sh install.sh ..."
for tool in systemctl systemd-sysusers systemd-tmpfiles udevadm openssl; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: this is for a system with systemd and udev" 8
done
# Isolated (-I) wherever it is called: a module in the current folder, which may be the stick, is not imported.
"$PYTHON" -I -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "$PYTHON is no Python 3.10 or newer with venv: apt-get install python3-venv" 8
if systemctl is-active --quiet edge-difom; then
    fail "the runtime is active, and may be in use on a patient: systemctl stop edge-difom" 11
fi

if [ -z "$CHECKED" ] && [ -d "$wheels/metadata" ]; then
    here=$(cd "$(dirname "$0")" && pwd -P)
    case $here/ in
    "$(cd "$wheels" && pwd -P)"/*) fail "$0 lies on the stick that it would check: take it from a place that you trust" ;;
    esac
    [ -f "$ROOT" ] || fail "$ROOT is missing: set ROOT to the publisher's root metadata, from a place that you trust"
    copy=$(mktemp -d)
    if "$PYTHON" -I -S "$here/check_stick.py" "$ROOT" "$wheels" "$copy" "$SEEN"; then
        # What goes on is the script that was signed, with the copies of the other files.
        EDGE_DIFOM_CHECKED=$copy PYTHON=$PYTHON EXTRAS=$EXTRAS exec sh "$copy/install.sh" "$copy" "$@"
    else
        code=$?
        rm -rf "$copy"
        exit "$code"
    fi
fi
ls "$wheels"/edge_difom-*.whl >/dev/null 2>&1 || fail "$wheels holds no edge_difom-*.whl"

# System packages stay visible: GStreamer's Python bindings are the distribution's.
[ -x "$HOME_OF_IT/bin/python" ] || "$PYTHON" -I -m venv --system-site-packages "$HOME_OF_IT"
"$HOME_OF_IT/bin/python" -I -m pip install --no-index --only-binary :all: --find-links "$wheels" --upgrade \
    "edge-difom[$EXTRAS]"
"$HOME_OF_IT/bin/edge-difom" device provision --python "$HOME_OF_IT/bin/python" "$@"
