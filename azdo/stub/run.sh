#!/bin/sh
# Runs the listener. No trap and no exec: a SIGTERM to this shell leaves the listener behind as an orphan.
user_id=$(id -u)
if [ "$user_id" -eq 0 ] && [ -z "${AGENT_ALLOW_RUNASROOT:-}" ]; then
    echo "Must not run interactively with sudo"
    exit 1
fi

DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1

"$DIR"/bin/Agent.Listener run "$@"
code=$?
[ "$code" -eq 4 ] || exit "$code"

# 4: once mode met a self-update, which is swapping bin right now. Wait for it, then run once more, once only.
wait_s=${STUB_RERUN_WAIT_S:-}
if [ -z "$wait_s" ] && [ -r "$DIR/stub.json" ]; then
    wait_s=$(sed -n 's/.*"rerunWaitS"[^0-9]*\([0-9.]*\).*/\1/p' "$DIR/stub.json")
fi
sleep "${wait_s:-5}"
# Up to 15 s more while the swap is not done; a swap that was killed must not hold us for ever.
tries=0
while { [ -e "$DIR/.updating" ] || [ ! -x "$DIR/bin/Agent.Listener" ]; } && [ "$tries" -lt 75 ]; do
    sleep 0.2
    tries=$((tries + 1))
done
"$DIR"/bin/Agent.Listener run "$@"
