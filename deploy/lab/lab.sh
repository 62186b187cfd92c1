#!/usr/bin/env bash
# Lab servers on one machine: each a container with its own address, real systemd and its own engine.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=deploy/lab/hosts.sh
source "$HERE/hosts.sh"
# shellcheck source=deploy/lab/install.sh
source "$HERE/install.sh"

usage() {
    cat <<'END'
lab.sh up NAME [--hosts "HOST:LAB …"]   boot the servers and `control`, wait until all are ready
lab.sh down NAME                        remove servers, volumes and network (repeatable)
lab.sh install NAME                     programs (from $FLEET_BIN, default target/debug) and units
lab.sh agent-image NAME TAR IMAGE       put an agent image into every server's engine
lab.sh agent-package NAME TAR           agents of users and units come from it, on every server
lab.sh status [NAME]                    what runs
lab.sh hosts NAME                       HOST LAB ADDRESS, one server a line
lab.sh port NAME PORT                   where a port of control is reached on this machine
lab.sh exec NAME HOST COMMAND…          run a command on a server
lab.sh cut NAME HOST | heal NAME HOST   take a server off the network, and back with its address
lab.sh kill-power NAME HOST             power cut (it stays off until `reboot`)
lab.sh reboot NAME HOST                 ordered reboot, or power on; waits until it is ready
END
}

lab_up() {
    local lab=$1 hosts=$DEFAULT_HOSTS pair names=(control) pids=()
    shift
    while (($#)); do
        case $1 in
        --hosts) hosts=${2:?--hosts needs a value} && shift 2 ;;
        *) die "unknown option $1 of up" "lab.sh help" ;;
        esac
    done
    [[ $lab =~ ^[a-z0-9][a-z0-9-]{0,30}$ ]] || die "lab name '$lab' is not lower-case letters, digits and dashes" "choose another"
    need_engine
    tell_failure "deploy/lab/lab.sh down $lab"
    [[ -z $(lab_servers "$lab") ]] || die "lab $lab is up already" "lab.sh status $lab, or lab.sh down $lab"
    "$HERE/host-image.sh"
    step "network $(network_of "$lab")" make_network "$lab"
    for pair in $hosts; do names+=("${pair%%:*}"); done
    step "booting ${#names[@]} servers" boot_all "$lab" "$hosts"
    step "waiting for systemd and Docker on each" wait_servers "$lab" "${names[@]}"
}

boot_all() {
    local lab=$1 pair pids=() number=0
    NAMES=(--add-host "control:$(address_at "$lab" 0)")
    for pair in $2; do
        number=$((number + 1))
        NAMES+=(--add-host "${pair%%:*}:$(address_at "$lab" "$number")")
    done
    number=0
    # Published on loopback only, ports picked by the engine: several labs live side by side.
    run_server "$lab" control control 0 \
        -p 127.0.0.1::7443 -p 127.0.0.1::7444 -p 127.0.0.1::7080 -p 127.0.0.1::8080 &
    pids+=($!)
    for pair in $2; do
        number=$((number + 1))
        run_server "$lab" "${pair%%:*}" "${pair#*:}" "$number" &
        pids+=($!)
    done
    all_of "${pids[@]}"
}

lab_down() {
    local lab=$1 ids
    need_engine
    mapfile -t ids < <(docker ps -aq --filter "label=fleet.lab=$lab")
    ((${#ids[@]} == 0)) || docker rm -fv "${ids[@]}" >/dev/null
    mapfile -t ids < <(docker network ls -q --filter "label=fleet.lab=$lab")
    ((${#ids[@]} == 0)) || docker network rm "${ids[@]}" >/dev/null
}

lab_status() {
    docker ps -a --filter "label=fleet.lab${1:+=$1}" \
        --format 'table {{.Label "fleet.lab"}}\t{{.Label "fleet.host"}}\t{{.Label "fleet.place"}}\t{{.Status}}'
}

list_hosts() {
    local lab=$1 host
    for host in $(lab_hosts "$lab"); do
        printf '%s %s %s\n' "$host" "$(label_of "$lab" "$host" fleet.place)" "$(label_of "$lab" "$host" fleet.address)"
    done
}

# need_server LAB HOST: the server exists, or says which do.
need_server() {
    local known
    known=$(lab_servers "$1")
    [[ -n $known ]] || die "no lab named $1" "lab.sh up $1"
    grep -qxF -- "$2" <<<"$known" || die "lab $1 has no server $2" "one of: ${known//$'\n'/, }"
}

reboot_server() {
    docker restart -t 30 "$(container_of "$1" "$2")" >/dev/null
    wait_server "$1" "$2"
}

main() {
    local verb=${1:-help} lab=${2:-} host=${3:-}
    case $verb in
    help | -h | --help) usage && return ;;
    status) need_engine && lab_status "$lab" && return ;;
    esac
    [[ -n $lab ]] || die "$verb needs the lab's name" "lab.sh help"
    case $verb in
    exec | cut | heal | kill-power | reboot)
        [[ -n $host ]] || die "$verb needs a server's name" "lab.sh help"
        need_engine
        need_server "$lab" "$host"
        ;;
    esac
    case $verb in
    up) lab_up "${@:2}" ;;
    down) lab_down "$lab" ;;
    install) lab_install "$lab" ;;
    agent-image) lab_agent_image "${@:2}" ;;
    agent-package) lab_agent_package "${@:2}" ;;
    hosts) list_hosts "$lab" ;;
    port) docker port "$(container_of "$lab" control)" "${3:?which port of control?}/tcp" | head -n 1 ;;
    exec) docker exec -i "$(container_of "$lab" "$host")" "${@:4}" ;;
    cut) cut_server "$lab" "$host" ;;
    heal) heal_server "$lab" "$host" ;;
    kill-power) docker kill "$(container_of "$lab" "$host")" >/dev/null ;;
    reboot) reboot_server "$lab" "$host" ;;
    *) die "unknown verb $verb" "lab.sh help" ;;
    esac
}

main "$@"
