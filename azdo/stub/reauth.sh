#!/bin/sh
# Gives the registered agent a new key.
user_id=$(id -u)
if [ "$user_id" -eq 0 ] && [ -z "${AGENT_ALLOW_RUNASROOT:-}" ]; then
    echo "Must not run with sudo"
    exit 1
fi
DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
cd "$DIR" || exit 1
./bin/Agent.Listener reauth "$@"
