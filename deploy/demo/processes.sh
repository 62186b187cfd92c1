# Processes that outlive the script that started them, and their orderly end. Sourced by local.sh.
# shellcheck shell=bash

# One line a process: PID START NAME. START (clock ticks since boot) tells a process from another
# that got its number later.
PIDS=$LOCAL_DEMO/pids

started_at() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

# start NAME COMMAND...: in a session of its own, output to a log, no standard input.
start() {
    local name=$1 pid
    shift
    setsid "$@" >"$LOCAL_DEMO/log/${name// /-}.log" 2>&1 </dev/null &
    pid=$!
    disown "$pid"
    printf '%s %s %s\n' "$pid" "$(started_at "$pid")" "$name" >>"$PIDS"
}

# wait_file NAME FILE: NAME writes FILE when it listens.
wait_file() {
    until_ok 30 test -s "$2" || die "the $1 did not start" "see $LOCAL_DEMO/log/$1.log"
}

alive() { [[ -n $2 && $(started_at "$1") == "$2" ]]; }

# In reverse order of their start: hosts end their agents while everything they talk to is still there.
stop_all() {
    local pid began name
    [[ -e $PIDS ]] || return 0
    while read -r pid began name; do
        alive "$pid" "$began" || continue
        kill -TERM "$pid" 2>/dev/null || true
        until_ok 20 gone "$pid" "$began" || {
            warn "$name did not end within 20 s and is killed"
            kill -KILL "$pid" 2>/dev/null || true
        }
    done < <(tac "$PIDS")
    rm -f "$PIDS"
}

gone() { ! alive "$1" "$2"; }
