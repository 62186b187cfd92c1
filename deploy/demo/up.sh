#!/usr/bin/env bash
# `make demo`: simulator, coordinator and five lab servers, enrolled and scaled, left running.
#   LOCAL=1   the tour without root and without Docker
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=deploy/demo/lib.sh
source "$HERE/lib.sh"

already_up() {
    if [[ -e $DEMO/ready ]]; then
        say "The demo is up already."
        what_next lab
        exit 0
    fi
    die "a demo that did not come up completely is still there" "make demo-down, then make demo"
}

demo() {
    ! lab_is_up || already_up
    mkdir -p "$DEMO/log"
    rm -f "$DEMO"/{ready,pat,agentctl.toml}
    tell_failure "make demo-down   (logs of this run: $DEMO/log)"
    step 'building the programs (the first time takes minutes)' build_programs
    "$ROOT/deploy/lab/fleet.sh" up "$LAB_NAME" "$DEMO"
    export PATH=$BIN:$PATH AGENTCTL_CONFIG=$DEMO/agentctl.toml
    local sim
    step 'pools' make_pools http://control:8080/fabrikam "$DEMO/pat" --image "$AGENT_IMAGE"
    step 'scaling: nightly-svc to 10, nightly to 12' scale_pools
    sim=http://$("$LAB" port "$LAB_NAME" 8080)
    step 'queueing jobs' queue_jobs "$sim"
    step 'what is there now' show_fleet
    touch "$DEMO/ready"
    what_next lab
}

main() {
    if [[ -n ${LOCAL:-} && ${LOCAL:-} != 0 ]]; then exec "$HERE/local.sh" up; fi
    ! local_is_up || die "the tour without Docker is running" "make demo-down first"
    # A tour is better than nothing where no engine can be had.
    if ! "$ROOT/deploy/install-tools.sh" demo; then
        warn 'no Docker engine can be had here: this becomes the tour without Docker'
        exec "$HERE/local.sh" up
    fi
    demo
}

main "$@"
