#!/usr/bin/env bash
# `make demo-env`: lines for the shell that put agentctl, azdo-sim and the demo's credential into it.
# Prints them and nothing else; addresses are asked for anew, because a restarted server has new ports.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=deploy/demo/lib.sh
source "$HERE/lib.sh"

lines() {
    printf 'export AGENTCTL_CONFIG=%q\n' "$1"
    printf 'export AGENTCTL_ENDPOINT=%q\n' "$2"
    printf 'export AZDO_SIM=%q\n' "$3"
    # Once is enough, however often this is evaluated.
    [[ :$PATH: == *:$BIN:* ]] || printf 'export PATH=%q:"%s"\n' "$BIN" "\$PATH"
}

if local_is_up; then
    # shellcheck source=/dev/null
    source "$LOCAL_DEMO/addresses"
    lines "$LOCAL_DEMO/agentctl.toml" "$COORDINATOR" "$SIMULATOR"
elif lab_is_up; then
    lines "$DEMO/agentctl.toml" "$("$LAB" port "$LAB_NAME" 7443)" "http://$("$LAB" port "$LAB_NAME" 8080)"
else
    die 'no demo is running' 'make demo'
fi
