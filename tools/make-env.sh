#!/bin/sh
# Make the virtual environment of the training machine: system packages where the right to install them exists,
# Python packages with tested versions, and NNCF's C++ extension, compiled once.
set -eu
venv=$1
python=${PYTHON:-python3}
say() { printf '[env] %s\n' "$*"; }

missing=""
if command -v dpkg-query >/dev/null 2>&1; then
    for package in $(sed 's/#.*//' system-packages.txt); do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing="$missing $package"
    done
fi
if [ -n "$missing" ]; then
    if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo=sudo; else sudo=none; fi
    if [ "$sudo" != none ] && command -v apt-get >/dev/null 2>&1; then
        say "installing system packages:$missing"
        $sudo apt-get update -qq || say "the package lists could not be renewed"
        # shellcheck disable=SC2086
        DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null ||
            say "could not be installed:$missing; what needs them will say so"
    else
        say "no right to install:$missing; ask for them, what needs them will say so"
    fi
fi

version=$("$python" -c 'import sys; print(f"{sys.version_info[0]}.{sys.version_info[1]}")')
case $version in
3.10 | 3.11 | 3.12 | 3.13) ;;
*) say "Python $version: 3.11 is tested, 3.10 to 3.13 may work; choose one with: make env PYTHON=python3.11" ;;
esac

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip="$venv/bin/python -m pip --disable-pip-version-check"
say "pip"
$pip install --quiet 'pip>=25.1'
say "torch, several GB where the CUDA build is chosen (minutes)"
$pip install --quiet -c constraints.txt torch torchvision
say "the project with every extra of the training machine (minutes)"
$pip install --quiet -c constraints.txt --group test --group lint --group docs -e '.[train]'
say "NNCF's extension (compiled once, a minute)"
"$venv/bin/python" -c 'import nncf.torch; nncf.torch.force_build_cpu_extensions()' >/dev/null 2>&1 ||
    say "the extension was not built; quantization-aware training will be slower (needs a C++ compiler)"
say "done"
