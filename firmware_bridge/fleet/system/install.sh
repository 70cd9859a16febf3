#!/bin/sh
# Install edge-difom on a cart computer: a Python environment in /opt/edge-difom, then `edge-difom device provision`.
#
#     install.sh WHEELS [OPTIONS OF edge-difom device provision]
#
# WHEELS is a folder that tools/make-wheelhouse of a checkout has filled. If it has a list of requirements for this
# machine and its Python, the wheels are checked against the hashes of that list, which also names the extras; a folder
# without any list is taken as it is, with the extras of $EXTRAS. Nothing is fetched from a network. May be run again,
# also with newer wheels. Starts and enables nothing.
set -eu

HOME_OF_IT=/opt/edge-difom
EXTRAS=${EXTRAS:-openvino,metrics,window,cart,trust}
PYTHON=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    exit "${2:-2}"
}

# Everything is checked before anything is written.
[ $# -ge 1 ] || fail "usage: install.sh WHEELS [options of edge-difom device provision]"
wheels=$1
shift
[ -d "$wheels" ] || fail "$wheels is no folder"
ls "$wheels"/edge_difom-*.whl >/dev/null 2>&1 || fail "$wheels holds no edge_difom-*.whl"
[ "$(id -u)" -eq 0 ] || fail "this needs the rights of root: sudo sh install.sh ..."
for tool in systemctl systemd-sysusers systemd-tmpfiles udevadm; do
    command -v "$tool" >/dev/null || fail "$tool is not installed: this is for a system with systemd and udev" 8
done
"$PYTHON" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
    fail "$PYTHON is no Python 3.10 or newer with venv: apt-get install python3-venv" 8
version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
list=$wheels/requirements-$(uname -m)-$version.txt
if [ ! -f "$list" ] && ls "$wheels"/requirements-*.txt >/dev/null 2>&1; then
    fail "$wheels has no requirements-$(uname -m)-$version.txt: tools/make-wheelhouse --machine $(uname -m) --python $version" 8
fi
if systemctl is-active --quiet edge-difom; then
    fail "the runtime is active, and may be in use on a patient: systemctl stop edge-difom" 11
fi

# System packages stay visible: GStreamer's Python bindings are the distribution's.
[ -x "$HOME_OF_IT/bin/python" ] || "$PYTHON" -m venv --system-site-packages "$HOME_OF_IT"
install() {
    "$HOME_OF_IT/bin/python" -m pip install --no-index --find-links "$wheels" --upgrade "$@"
}
if [ -f "$list" ]; then
    install --require-hashes --requirement "$list"
else
    install "edge-difom[$EXTRAS]"
fi
"$HOME_OF_IT/bin/edge-difom" device provision --python "$HOME_OF_IT/bin/python" "$@"
