#!/bin/sh
# Make the environments of the programs that `python -m benchmarks.peers` measures beside us, one for each, since they ask for
# other versions of the same packages. ultralytics is under the AGPL: it runs as a program of its own, is no dependency of this
# project and is neither imported by it nor shipped with it.
set -eu
peers=${1:-${EDGE_DIFOM_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/edge-difom/peers}}
venv=${2:-.venv}
say() { printf '[peers] %s\n' "$*"; }

make() {
    name=$1
    shift
    [ -e "$peers/$name/.complete" ] && return
    say "$name"
    mkdir -p "$peers"
    [ -x "$peers/$name/bin/python" ] || "$venv/bin/python" -m venv --without-pip "$peers/$name"
    "$venv/bin/python" -m pip --disable-pip-version-check --python "$peers/$name/bin/python" install --quiet "$@"
    touch "$peers/$name/.complete"
}

openvino=$(grep '^openvino==' constraints.txt)
make loadgen 'mlcommons-loadgen==6.0.17' "$(grep '^numpy==' constraints.txt)" "$openvino" "$(grep '^msgspec==' constraints.txt)" "$(grep '^click==' constraints.txt)" "$(grep '^opencv-python-headless==' constraints.txt)"
make model-api 'openvino-model-api==0.4.7' "$openvino"
# torch is taken from the training machine's environment, which has the same version; all else is its own.
if [ ! -e "$peers/ultralytics/.complete" ]; then
    [ -x "$peers/ultralytics/bin/python" ] || "$venv/bin/python" -m venv --without-pip "$peers/ultralytics"
    packages=$("$peers/ultralytics/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/torch-of-the-training-machine.pth"
    make ultralytics --no-deps 'ultralytics==8.4.190' ultralytics-thop polars polars-runtime-32 psutil scipy pillow requests urllib3 certifi charset-normalizer idna
fi
say "in $peers"
