#!/bin/sh
# Runs the listener again and again while it ends for a self-update (3, 4); for containers.
DIR=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P) || exit 1

once=0
for argument in "$@"; do
    [ "$argument" = "--once" ] && once=1
done
# A listener that somebody restarts must not be restarted by its own update as well.
[ "$once" -eq 1 ] || set -- "$@" --startuptype service

wait_s=${STUB_RERUN_WAIT_S:-}
if [ -z "$wait_s" ] && [ -r "$DIR/stub.json" ]; then
    wait_s=$(sed -n 's/.*"rerunWaitS"[^0-9]*\([0-9.]*\).*/\1/p' "$DIR/stub.json")
fi
# Up to 15 s more while the swap is not done; a swap that was killed must not hold us for ever.
swapped() {
    sleep "${wait_s:-5}"
    tries=0
    while { [ -e "$DIR/.updating" ] || [ ! -x "$DIR/bin/Agent.Listener" ]; } && [ "$tries" -lt 75 ]; do
        sleep 0.2
        tries=$((tries + 1))
    done
}

while :; do
    "$DIR"/bin/Agent.Listener run "$@"
    code=$?
    case $code in
        3 | 4) swapped ;;
        *) exit "$code" ;;
    esac
done
