#!/usr/bin/env bash
# make bench: measures the fleet on this machine and writes BENCHMARKS.md.
#   bench.sh            builds for release, full rounds (about 30 minutes)
#   QUICK=1 bench.sh    development build, one round: tries the harness; writes target/bench/quick.md
# FLEET_BIN=DIR measures programs that were built elsewhere (or before); nothing is built then.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"

OUT=$TARGET/bench
IMAGE=fleet-agent:bench
PACKAGES=(-p hostd -p coordinator -p agentctl -p azdo -p fleet-tests --bins)

plan() {
    ENGINE=() ONCE=(--deploy "$ROOT/deploy") FANOUT=() MEMORY=()
    if [[ -n ${QUICK:-} ]]; then
        PROFILE=debug RESULTS=$OUT/quick.json PAGE=$OUT/quick.md
        ENGINE=(--rounds 1 --kills 1)
        ONCE+=(--rounds 1 --jobs 20)
        FANOUT=(--hosts 200 --rounds 3)
        MEMORY=(--hosts 100 --seconds 20)
    else
        PROFILE=release RESULTS=$OUT/results.json PAGE=$ROOT/BENCHMARKS.md
    fi
    BIN=${FLEET_BIN:-$TARGET/$PROFILE}
}

need_tools() {
    need_root "the benchmark (hostd and the engine)"
    need_engine
    have cargo || die 'no cargo on the PATH' 'install Rust as https://rustup.rs says'
}

build() {
    [[ -z ${FLEET_BIN:-} ]] || return 0
    cd "$ROOT" || return
    if [[ $PROFILE == release ]]; then
        cargo build --release --locked "${PACKAGES[@]}"
    else
        cargo build --locked "${PACKAGES[@]}"
    fi
}

agent_image() {
    "$ROOT/deploy/lab/agent-image.sh" "$OUT/agent.tar" --binary "$BIN/azdo-stub-agent" --import "$IMAGE" >"$OUT/image-id"
}

bench() { "$BIN/fleet-bench" --bin "$BIN" --results "$RESULTS" "$@"; }

# In the background, so that a signal to this script reaches it and is waited for.
MEASURING=''
measure() {
    bench "$@" &
    MEASURING=$!
    wait "$MEASURING"
    MEASURING=''
}

# Whatever happens, this runs last: the measuring program ends its own programs, and what a killed one
# left behind goes here.
clean() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [[ -n $MEASURING ]] && kill -TERM "$MEASURING" 2>/dev/null; then
        wait "$MEASURING" || true
    fi
    [[ ! -x $BIN/fleet-bench ]] || bench clean || warn 'the engine could not be cleaned; fleet-bench clean tries again'
    docker image rm "$IMAGE" >/dev/null 2>&1 || true
    rm -f "$OUT/agent.tar" "$OUT/image-id"
    if ((status)); then
        warn "the benchmark did not end well${CURRENT_STEP:+ (in: $CURRENT_STEP)}"
    fi
    exit "$status"
}

plan
need_tools
mkdir -p "$OUT"
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
step "building ($PROFILE)" build
step 'agent image' agent_image
rm -f "$RESULTS"
step 'one engine: ours, the bare API, Docker Swarm' measure engine --image "$IMAGE" "${ENGINE[@]}"
step 'once mode: from a listener to the next' measure once --image "$IMAGE" "${ONCE[@]}"
step 'an order on its way to every host' measure fanout "${FANOUT[@]}"
step 'memory, and hostd at rest' measure memory --image "$IMAGE" "${MEMORY[@]}"
step "the page: $PAGE" bench report --out "$PAGE"
