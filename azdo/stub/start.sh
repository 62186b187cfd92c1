#!/bin/sh
# A container's life as Microsoft's recipe has it: AZP_URL, AZP_POOL, AZP_AGENT_NAME, AZP_WORK and AZP_TOKEN or
# AZP_TOKEN_FILE; configure with --replace, run, and at the end take the registration back. That last step is
# tried for ever, as it fails while a job runs: stopping such a container in order is not this script's business.
set -u

HERE=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd) || exit 1
AGENT=${AZP_AGENT_DIR:-$HERE/agent}

die() {
    echo "error: $1" >&2
    exit 1
}

[ -n "${AZP_URL:-}" ] || die "missing AZP_URL environment variable"
if [ -z "${AZP_TOKEN_FILE:-}" ]; then
    [ -n "${AZP_TOKEN:-}" ] || die "missing AZP_TOKEN or AZP_TOKEN_FILE environment variable"
    AZP_TOKEN_FILE=$HERE/.token
    (umask 077 && printf '%s' "$AZP_TOKEN" >"$AZP_TOKEN_FILE") || die "cannot write $AZP_TOKEN_FILE"
fi
# Exported by whoever started us; jobs must see neither.
unset AZP_TOKEN
export VSO_AGENT_IGNORE=AZP_TOKEN,AZP_TOKEN_FILE
export AGENT_ALLOW_RUNASROOT=1
[ -z "${AZP_WORK:-}" ] || mkdir -p "$AZP_WORK"
cd "$AGENT" || die "no agent at $AGENT"

# The token goes through the environment of the one short process that needs it, never through its arguments.
with_token() {
    VSTS_AGENT_INPUT_TOKEN=$(cat "$AZP_TOKEN_FILE") "$@"
}

cleanup() {
    trap '' EXIT
    [ -e ./config.sh ] || return 0
    echo "Cleanup. Removing the agent..."
    until with_token ./config.sh remove --unattended --auth PAT; do
        echo "Retrying in ${AZP_REMOVE_RETRY_S:-30} seconds..."
        sleep "${AZP_REMOVE_RETRY_S:-30}"
    done
}

echo "Configuring the agent..."
with_token ./config.sh --unattended --auth PAT --url "$AZP_URL" --pool "${AZP_POOL:-Default}" \
    --agent "${AZP_AGENT_NAME:-$(hostname)}" --work "${AZP_WORK:-_work}" --replace --acceptTeeEula &
wait $! || die "the agent could not be configured"

trap 'cleanup; exit 0' EXIT
trap 'cleanup; exit 130' INT
trap 'cleanup; exit 143' TERM

echo "Running the agent..."
./run.sh "$@" &
wait $!
