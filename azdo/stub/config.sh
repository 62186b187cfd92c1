#!/bin/sh
# Registers this directory as an agent of a pool, or with "remove" takes the registration back.
user_id=$(id -u)
if [ "$user_id" -eq 0 ] && [ -z "${AGENT_ALLOW_RUNASROOT:-}" ]; then
    echo "Must not run with sudo"
    exit 1
fi

DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
cd "$DIR" || exit 1

# A package for another machine cannot run here; say so before anything is written.
if ! ./bin/Agent.Listener warmup >/dev/null 2>&1; then
    echo "bin/Agent.Listener does not run here: libraries are missing, or the package is for another machine."
    exit 1
fi

if [ "${1:-}" = "remove" ]; then
    ./bin/Agent.Listener "$@"
else
    # Keeps PATH and tool locations of the one who configures for the listener to come.
    # shellcheck source=/dev/null
    . ./env.sh
    ./bin/Agent.Listener configure "$@"
fi
