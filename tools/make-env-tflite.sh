#!/bin/sh
# Make the small environment that runs our .tflite in tflite-runtime, the package of older systems: it needs
# numpy 1 and Python 3.11 or older, so it cannot be the training machine's own.
set -eu
old=$1
venv=$2
say() { printf '[env] %s\n' "$*"; }

if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info >= (3, 12) or sys.platform != "linux")'; then
    say "$old is left out: tflite-runtime has wheels for Linux and Python up to 3.11 only (make env PYTHON=python3.11)"
    exit 0
fi
say "$old, the project on tflite-runtime (seconds)"
[ -x "$old/bin/python" ] || "$venv/bin/python" -m venv --without-pip "$old"
pins=$old/constraints.txt
grep -E '^(click|msgspec)==' constraints.txt >"$pins"
# Editable, so that it runs the same sources as the environment beside it.
"$venv/bin/python" -m pip --disable-pip-version-check --python "$old/bin/python" install --quiet -c "$pins" -e '.[tflite-runtime]'
touch "$old/.complete"
