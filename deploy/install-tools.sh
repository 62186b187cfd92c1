#!/usr/bin/env bash
# Installs what the tests and the demo need beyond Rust. What is there already is left alone.
#   install-tools.sh demo    compiler, image tools, a Docker engine that answers
#   install-tools.sh lint    nothing but what the checks without tests need
#   install-tools.sh test    all of it
# Programs built here go to target/tools, Python ones to target/tools-venv; tools_path in lib.sh finds them.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"

need_rust() {
    have cargo || die "no cargo on the PATH" "install Rust as https://rustup.rs says, then open a new shell"
    have cc || apt_install gcc libc6-dev
}

rust_components() {
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 && return
    have rustup || die "rustfmt or clippy is missing" "install the components rustfmt and clippy of this toolchain"
    rustup component add rustfmt clippy
}

# cargo_tool NAME VERSION: any version on the PATH will do; else this one, built without optimising,
# because the build costs more than it ever saves.
cargo_tool() {
    have "$1" && return
    note "building $1 $2 once (one to three minutes)"
    quiet "$TARGET/tools/$1.log" cargo install --debug --locked --root "$TARGET/tools" \
        --target-dir "$TARGET/tools/build" "$1@$2"
    # Two gigabytes of objects that nobody needs again.
    rm -rf "$TARGET/tools/build"
}

# The wheels of PyPI carry buf's own binary: nothing else has to be downloaded.
buf_tool() {
    have buf && return
    python_venv
    quiet "$TARGET/tools/buf.log" "$TARGET/tools-venv/bin/python" -m pip install --quiet 'buf-bin==1.75.0'
}

python_venv() {
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt_install python3 python3-venv python3-pip
    [[ -x $TARGET/tools-venv/bin/python ]] || python3 -m venv "$TARGET/tools-venv"
}

# An engine that is installed but stopped is started; a missing one is installed where that is allowed.
engine() {
    engine_answers && return
    # Nothing is started beside an engine that the environment points to.
    if ((EUID != 0)) || ! have apt-get || [[ -n ${DOCKER_HOST:-} ]]; then need_engine; fi
    have dockerd || apt_install docker.io
    have docker || apt_install docker-cli
    note "starting the Docker engine"
    if [[ -d /run/systemd/system ]]; then
        systemctl start docker || true
    else
        setsid dockerd >"$TARGET/lab/dockerd.log" 2>&1 </dev/null &
    fi
    until_ok 60 engine_answers || need_engine
}

lint_tools() {
    need_rust
    rust_components
    have git || apt_install git
    apt_install shellcheck
    cargo_tool cargo-deny 0.20.2
    buf_tool
}

lab_tools() {
    need_rust
    have strip || apt_install binutils
    have curl || apt_install curl ca-certificates
    # The demo's agent image is made of busybox; ps and pkill of procps are used by the stub's scripts.
    apt_install mmdebstrap busybox-static procps util-linux
    engine
}

main() {
    mkdir -p "$TARGET/lab" "$TARGET/tools"
    case ${1:-} in
    lint) lint_tools ;;
    demo) lab_tools ;;
    test)
        lint_tools
        lab_tools
        python_venv
        cargo_tool cargo-nextest 0.9.143
        ;;
    *) die "install-tools.sh needs one of: demo, lint, test" "install-tools.sh test" ;;
    esac
}

main "$@"
