#!/bin/sh
# Makes target/python-venv with Microsoft's own client, or finds it made; prints its python.
# Needs python3 with venv (Debian: python3-venv) and the package index, once.
set -eu

root=$(cd "$(dirname "$0")/../../.." && pwd)
venv=${CARGO_TARGET_DIR:-$root/target}/python-venv
version=7.1.0b4
stamp=$venv/.azure-devops-$version

if [ ! -e "$stamp" ]; then
    command -v python3 >/dev/null || { echo "python3 is missing: apt-get install python3 python3-venv" >&2; exit 1; }
    python3 -c 'import venv, ensurepip' 2>/dev/null || { echo "python3 has no venv: apt-get install python3-venv" >&2; exit 1; }
    mkdir -p "$(dirname "$venv")"
    # Two tests at once must not build it twice, nor use a half-built one.
    exec 9>"$venv.lock"
    flock 9
    if [ ! -e "$stamp" ]; then
        python3 -m venv --clear "$venv" >&2
        "$venv/bin/pip" install --quiet --disable-pip-version-check "azure-devops==$version" >&2
        touch "$stamp"
    fi
fi
echo "$venv/bin/python"
