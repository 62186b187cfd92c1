#!/bin/sh
# The entry of every agent that hostd starts: register when there is no registration, then become
# the listener. It runs inside the agent's container (or process group), under any POSIX shell.
#
# Environment, given by hostd:
#   FLEET_HANDOVER     directory shared with hostd: entry.sh, env, token, in/, out/
#   FLEET_AGENT_ROOT   where the agent must live; absent = where its package is found
#   FLEET_MODE         once | long-lived
#   FLEET_REPLACE      true = the configuration may replace a registration of the same name
#   FLEET_LIMIT        seconds for the configuration (120)
#   FLEET_NOTIFY       address:port at which the listener announces its jobs; absent = nowhere
#   FLEET_UPDATED      set = the listener before ended for its update, whatever is in the work folder
#   VSTS_AGENT_INPUT_URL, _POOL, _AGENT, _WORK
# It says on its standard output `fleet-entry: registering`, `registered`, `failed: <why>`.
# Exit codes: 70 configuration refused, 71 the name is taken, 78 no agent package; after that, the
# listener's own, because the entry becomes the listener.
set -u
usual_umask=$(umask)
user=$(id -u)
umask 077

handover=${FLEET_HANDOVER:-/run/fleet}
config_pid=
limit_pid=

say() { printf 'fleet-entry: %s\n' "$*"; }

fail() {
    code=$1
    shift
    say "failed: $*"
    rm -f "$handover/token"
    exit "$code"
}

# Of an update whose swap was cut off there may be no `bin`, only what it was to be: finish_update
# goes on with that.
is_agent() {
    [ -e "$1/config.sh" ] || return 1
    for listener in "$1"/bin/Agent.Listener "$1"/bin.*/Agent.Listener; do
        [ -e "$listener" ] && return 0
    done
    return 1
}

find_package() {
    for place in ${FLEET_AGENT_PACKAGE:+"$FLEET_AGENT_PACKAGE"} \
        /azp/agent /azp /agent /opt/agent /actions /actions-runner /home/*/agent; do
        if is_agent "$place"; then
            package=$place
            return 0
        fi
    done
    return 1
}

# The listener takes the real path of its binary for its root: a linked root would give all agents
# one `.agent`. So it is a copy, and it counts only when it is whole.
copy_package() {
    { mkdir -p "$root" && cp -R -P -p "$package/." "$root/" && chmod -R u+w "$root"; } ||
        fail 78 "cannot copy $package to $root"
    rm -rf "$root/.agent" "$root/.credentials" "$root/.credentials_rsaparams" "$root/_work"
    : >"$root/.fleet-copied"
}

find_root() {
    root=${FLEET_AGENT_ROOT:-}
    if [ -n "$root" ] && { [ -e "$root/.fleet-copied" ] || is_agent "$root"; }; then
        return 0
    fi
    find_package || fail 78 "no agent package (bin/Agent.Listener and config.sh) was found"
    if [ -z "$root" ]; then
        root=$package
        [ -w "$root" ] && return 0
        root=${TMPDIR:-/tmp}/agent
        [ -e "$root/.fleet-copied" ] && return 0
    fi
    copy_package
}

# A self-update ends the listener and leaves the swap of bin and externals to a script that waits
# for that end. In a container it dies with the listener, so the swap is done here.
finish_update() {
    [ -e _work/_update.sh ] || [ -n "${FLEET_UPDATED:-}" ] || [ ! -e bin/Agent.Listener ] || return 0
    new=$(for dir in bin.*/; do
        version=${dir#bin.}
        version=${version%/}
        [ -e "${dir}Agent.Listener" ] && [ -d "externals.$version" ] && echo "$version"
    done | sort -t . -k 1,1n -k 2,2n -k 3,3n | tail -n 1)
    if [ -n "$new" ]; then
        for name in bin externals; do
            [ "$(readlink "$name" || :)" = "$name.$new" ] && continue
            if [ -L "$name" ]; then
                rm -f "$name"
            elif [ -e "$name" ]; then
                mv "$name" "$name.before.$new"
            fi
            ln -s "$name.$new" "$name"
        done
        say "updated to $new"
    fi
    rm -f _work/_update.sh
}

# Becomes a program with nothing but this environment. Arguments of `env` and not `export`, because
# names with dots are no shell variables. What comes later wins: our LANG, because hostd reads the
# listener's texts, but the template's PATH.
with_env() {
    [ -r "$handover/env" ] || fail 70 "$handover/env cannot be read"
    set -- LANG=C "$@"
    [ "$user" = 0 ] && set -- AGENT_ALLOW_RUNASROOT=1 "$@"
    while IFS= read -r line; do
        [ -n "$line" ] && set -- "$line" "$@"
    done <"$handover/env"
    set -- env -i PATH="$PATH" HOME="${HOME:-/}" "$@"
    if [ -n "${session:-}" ]; then own_group "$@"; else exec "$@"; fi
}

# A session of its own makes a group of its own, so that all of it can be ended.
own_group() {
    if command -v setsid >/dev/null 2>&1; then exec setsid "$@"; else exec "$@"; fi
}

# The group; or the process, where it has none (yet).
end_group() { [ -z "$1" ] || kill -9 "-$1" 2>/dev/null || kill -9 "$1" 2>/dev/null; }

# Descriptor 3 is the token, unlinked already. Only the configuration inherits it, reads it into
# its environment, and takes it out again itself; it is never an argument of anything.
run_config() {
    session=1
    # shellcheck disable=SC2016 # expanded by the shell it is for
    with_env \
        VSTS_AGENT_INPUT_URL="$VSTS_AGENT_INPUT_URL" \
        VSTS_AGENT_INPUT_POOL="$VSTS_AGENT_INPUT_POOL" \
        VSTS_AGENT_INPUT_AGENT="$VSTS_AGENT_INPUT_AGENT" \
        VSTS_AGENT_INPUT_WORK="${VSTS_AGENT_INPUT_WORK:-_work}" \
        VSTS_AGENT_INPUT_AUTH=pat \
        VSTS_AGENT_INPUT_UNATTENDED=true \
        VSTS_AGENT_INPUT_ACCEPTTEEEULA=true \
        ${replace:+VSTS_AGENT_INPUT_REPLACE=true} \
        ${FLEET_NOTIFY:+VSTS_AGENT_INPUT_NOTIFICATIONSOCKETADDRESS="$FLEET_NOTIFY"} \
        sh -c 'IFS= read -r VSTS_AGENT_INPUT_TOKEN <&3
            exec 3<&-
            export VSTS_AGENT_INPUT_TOKEN
            exec ./config.sh'
}

# A refused replacement makes the configuration loop for ever without a pause, so it has a limit.
configure() {
    [ -e "$handover/token" ] || fail 70 "neither a registration nor a token was handed over"
    say registering
    exec 3<"$handover/token"
    rm -f "$handover/token"
    replace=
    [ "${FLEET_REPLACE:-}" = true ] && replace=1
    limit=${FLEET_LIMIT:-120}
    trap 'end_group "$config_pid"; end_group "$limit_pid"; exit 130' INT TERM HUP
    run_config </dev/null >"$handover/config.log" 2>&1 &
    config_pid=$!
    exec 3<&-
    # shellcheck disable=SC2016 # expanded by the shell it is for
    own_group sh -c 'sleep "$1"; : >"$2"; kill -9 "-$3" || kill -9 "$3"' \
        limit "$limit" "$handover/config.late" "$config_pid" </dev/null >/dev/null 2>&1 &
    limit_pid=$!
    wait "$config_pid"
    code=$?
    end_group "$limit_pid"
    trap - INT TERM HUP
    [ "$code" = 0 ] && [ -e .agent ] && return 0
    refused
}

refused() {
    grep -v '^[[:space:]]*$' "$handover/config.log" | tail -n 5 | while IFS= read -r line; do
        say "failed: $line"
    done
    [ -e "$handover/config.late" ] && fail 70 "the configuration did not end within $limit s"
    if grep -q 'already contains an agent with name' "$handover/config.log"; then
        fail 71 "the name is taken by another registration"
    fi
    fail 70 "the configuration ended with code $code"
}

# Few processes: many agents start at once.
install_registration() {
    from=$handover/in
    {
        cp "$from/.agent" "$from/.credentials" "$from/.credentials_rsaparams" . &&
            chmod 600 .agent .credentials .credentials_rsaparams
    } || fail 70 "cannot install the registration"
    rm -f "$from/.agent" "$from/.credentials" "$from/.credentials_rsaparams"
}

# hostd reads the files when it hears that they are whole.
hand_out() {
    cp .agent .credentials .credentials_rsaparams "$handover/out/" ||
        fail 70 "cannot hand the registration over"
    say registered
}

listen() {
    rm -f "$handover/token" "$handover/config.log" "$handover/config.late"
    umask "$usual_umask"
    if [ "${FLEET_MODE:-once}" = once ]; then
        with_env ./bin/Agent.Listener run --once
    else
        # As a service it leaves the restart after an update to whoever started it.
        with_env ./bin/Agent.Listener run --startuptype service
    fi
}

find_root
cd "$root" || fail 78 "cannot enter $root"
finish_update
if [ ! -e .agent ]; then
    if [ -e "$handover/in/.agent" ]; then
        install_registration
    else
        configure
        hand_out
    fi
fi
listen
