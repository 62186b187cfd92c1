#!/bin/sh
# What the unit runs: the service host, with SIGTERM turned into SIGINT for it.
DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1
cd "$DIR" || exit 1
[ -r .path ] && PATH=$(cat .path) && export PATH

./externals/node20/bin/node bin/AgentService.js &
host=$!
trap 'kill -INT "$host" 2>/dev/null' TERM INT
# A trapped signal ends wait early; wait again for the real end.
wait "$host"
code=$?
while kill -0 "$host" 2>/dev/null; do
    wait "$host"
    code=$?
done
exit "$code"
