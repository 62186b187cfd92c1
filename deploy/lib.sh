# Words every script of deploy/ speaks: where things are, how a step reports, how a script gives up.
# Sourced, never run. Callers set -euo pipefail first.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
TARGET=${CARGO_TARGET_DIR:-$ROOT/target}
case $TARGET in /*) ;; *) TARGET=$ROOT/$TARGET ;; esac
export ROOT TARGET

# What an earlier demo put into the caller's shell must not steer this one.
unset AGENTCTL_CONFIG AGENTCTL_ENDPOINT AZDO_SIM

# The image that labs and the demo run their agents from.
# shellcheck disable=SC2034 # read by the scripts that source this
AGENT_IMAGE=fleet-agent:demo

say() { printf '%s\n' "$*"; }
note() { printf '   %s\n' "$*"; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# die MESSAGE [NEXT STEP]: one cause and what to do about it.
die() {
    printf 'error: %s\n' "$1" >&2
    [[ $# -lt 2 ]] || printf 'next:  %s\n' "$2" >&2
    exit 1
}

# Seconds with one decimal since EPOCHREALTIME value $1.
since() {
    local us=$((10#${EPOCHREALTIME/./} - 10#${1/./}))
    printf '%d.%d' $((us / 1000000)) $((us % 1000000 / 100000))
}

# step TITLE COMMAND...: runs COMMAND in this shell, says what and how long. Its failure ends the
# script (nothing here tests the result, so errexit stays on); tell_failure says in which step.
CURRENT_STEP=''
step() {
    local title=$1 began=$EPOCHREALTIME
    shift
    printf '==> %s\n' "$title"
    CURRENT_STEP=$title
    "$@"
    CURRENT_STEP=''
    printf '    done in %s s\n' "$(since "$began")"
}

# tell_failure HINT: from here on a failing script names the step it was in, and says HINT.
tell_failure() {
    FAILURE_HINT=$1
    trap 'say_failure $?' EXIT
}

say_failure() {
    (($1)) || return 0
    [[ -z $CURRENT_STEP ]] || printf 'failed:  %s\n' "$CURRENT_STEP" >&2
    printf 'cleanup: %s\n' "$FAILURE_HINT" >&2
}

# quiet LOG COMMAND...: output goes to LOG; on failure its end is shown with the place of the rest.
quiet() {
    local log=$1 status
    shift
    mkdir -p "$(dirname "$log")"
    # A subshell with its own errexit: testing the command would switch it off inside.
    set +e
    (set -e && "$@") >"$log" 2>&1
    status=$?
    set -e
    ((status)) || return 0
    tail -n 25 "$log" >&2
    die "'$*' failed" "the whole output is in $log"
}

# until_ok SECONDS COMMAND...: repeats until it succeeds; false once the limit has passed.
until_ok() {
    local limit=$1 end
    shift
    end=$((SECONDS + limit))
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || return 1
        sleep 0.2
    done
}

# all_of PIDS...: waits for each background job, false if any failed.
all_of() {
    local pid bad=0
    for pid in "$@"; do wait "$pid" || bad=1; done
    return "$bad"
}

have() { command -v "$1" >/dev/null 2>&1; }

engine_answers() { have docker && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

need_engine() {
    engine_answers && return
    if have docker; then
        die "the Docker engine does not answer" \
            "start it ('systemctl start docker' or 'dockerd &') as root, or use LOCAL=1 for the tour without Docker"
    fi
    die "no Docker engine on this machine" \
        "install one ('apt-get install docker.io') as root, or use LOCAL=1 for the tour without Docker"
}

need_root() {
    ((EUID == 0)) || die "$1 needs root" "run it as root, or use LOCAL=1 for the tour without root"
}

# apt_install PACKAGE...: installs what is missing; silent and quick when nothing is.
apt_install() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    need_root "installing ${missing[*]}"
    note "installing ${missing[*]}"
    # Lists that are merely old still install; only an empty cache makes the update necessary.
    if ! apt_get "$TARGET/lab/apt-install.log" install --no-install-recommends "${missing[@]}"; then
        apt_get "$TARGET/lab/apt-update.log" update || die "apt-get update failed" "see $TARGET/lab/apt-update.log"
        apt_get "$TARGET/lab/apt-install.log" install --no-install-recommends "${missing[@]}" ||
            die "apt-get could not install ${missing[*]}" "see $TARGET/lab/apt-install.log"
    fi
}

apt_get() {
    local log=$1
    shift
    mkdir -p "$(dirname "$log")"
    DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@" >"$log" 2>&1 </dev/null
}

# A token nobody chose: the simulator accepts this one and no other.
make_pat() {
    [[ -s $1 ]] || (umask 077 && head -c 96 /dev/urandom | base32 -w0 | tr -d '=' | head -c 84 >"$1")
}

# The operator's credential with the address that this machine reaches the coordinator by.
place_credential() {
    local from=$1 to=$2 endpoint=$3
    (umask 077 && sed "s|^endpoint *=.*|endpoint = \"$endpoint\"|" "$from" >"$to.part" && mv "$to.part" "$to")
}

# Tools that install-tools.sh put beside the build; ones on the machine's own PATH win.
export PATH=$PATH:$TARGET/tools/bin:$TARGET/tools-venv/bin
