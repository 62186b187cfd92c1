# One lab server: its container, its place on the lab's network, its faults. Sourced by lab.sh.
# shellcheck shell=bash

# `HOST:LAB` pairs; the fleet of the examples.
# shellcheck disable=SC2034 # read by lab.sh
DEFAULT_HOSTS='str-acs-serv-15:str str-acs-serv-65:str3 svcstr-server-2:svc bjw-ca-serv-5:bjw strtk5-serv-02:tk5'
BOOT_LIMIT_SECS=90

# Enough for systemd, iptables and an inner engine; --privileged would ask for every capability and
# fails on a machine that itself lacks one.
CAPABILITIES=(AUDIT_CONTROL AUDIT_READ BLOCK_SUSPEND DAC_READ_SEARCH IPC_LOCK IPC_OWNER LEASE LINUX_IMMUTABLE
    MAC_ADMIN MAC_OVERRIDE NET_ADMIN NET_BROADCAST SYSLOG SYS_ADMIN SYS_BOOT SYS_NICE SYS_PACCT SYS_PTRACE
    SYS_TTY_CONFIG WAKE_ALARM)

network_of() { printf 'fleet-%s' "$1"; }
container_of() { printf 'fleet-%s-%s' "$1" "$2"; }

# Names of the lab's servers (control among them), one a line.
lab_servers() {
    docker ps -a --filter "label=fleet.lab=$1" --format '{{.Label "fleet.host"}}' | sort
}

lab_hosts() { lab_servers "$1" | grep -vx control || true; }

# Labels of everything a lab makes; labs of tests are named test-… and carry a mark of their own.
lab_labels() {
    printf -- '--label\nfleet.lab=%s\n' "$1"
    [[ $1 != test-* ]] || printf -- '--label\nfleet.test=1\n'
}

# The engine picks a free subnet; naming that one explicitly is what allows fixed addresses, and a
# server that was cut off must come back under its own.
make_network() {
    local lab=$1 network try subnet labels
    network=$(network_of "$lab")
    docker network inspect "$network" >/dev/null 2>&1 && return
    mapfile -t labels < <(lab_labels "$lab")
    for try in 1 2 3 4 5; do
        docker network create "${labels[@]}" "$network" >/dev/null
        subnet=$(docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' "$network")
        docker network rm "$network" >/dev/null
        # Another lab may have taken it in between.
        docker network create "${labels[@]}" --subnet "$subnet" "$network" >/dev/null 2>&1 && return
    done
    die "no free subnet for the network $network after $try tries" "remove unused ones: docker network prune"
}

# The NUMBERth address of the lab's network (the engine hands out nothing smaller than a /24).
address_at() {
    local subnet
    subnet=$(docker network inspect -f '{{(index .IPAM.Config 0).Subnet}}' "$(network_of "$1")")
    printf '%s.%d' "${subnet%.*}" $(($2 + 10))
}

# Options that tell every server the others' addresses, set by boot_all. The engine's own resolver
# forgets all of them when somebody on the same machine leaves a swarm.
NAMES=()

# run_server LAB HOST PLACE NUMBER [docker run options...]: PLACE is the lab it stands in, as a word.
run_server() {
    local lab=$1 host=$2 place=$3 address options=() cap
    address=$(address_at "$lab" "$4")
    shift 4
    mapfile -t options < <(lab_labels "$lab")
    for cap in "${CAPABILITIES[@]}"; do options+=(--cap-add "$cap"); done
    # State lives on volumes: overlay2 inside needs a real file system below it, and so does SQLite.
    docker run -d --name "$(container_of "$lab" "$host")" --hostname "$host" \
        --network "$(network_of "$lab")" --network-alias "$host" --ip "$address" \
        --label "fleet.host=$host" --label "fleet.place=$place" --label "fleet.address=$address" "${options[@]}" \
        --security-opt seccomp=unconfined --security-opt apparmor=unconfined \
        --security-opt systempaths=unconfined --device-cgroup-rule 'a *:* rwm' --cgroupns=private \
        --tmpfs /run:exec --tmpfs /run/lock --tmpfs /tmp:exec --stop-signal SIGRTMIN+3 \
        "${NAMES[@]}" -v /var/lib/docker -v /var/lib/hostd -v /var/lib/coordinator -v /home \
        "$@" fleet-lab-host:current >/dev/null
}

# Waits until systemd has finished its boot and the inner engine answers on overlay2.
wait_server() {
    local container driver end=$((SECONDS + BOOT_LIMIT_SECS)) state=unknown
    container=$(container_of "$1" "$2")
    until [[ $state == running || $state == degraded ]]; do
        ((SECONDS < end)) || break
        # --wait blocks until the boot is over; it fails at once while the bus is not up yet.
        state=$(timeout "$BOOT_LIMIT_SECS" docker exec "$container" systemctl is-system-running --wait 2>/dev/null) ||
            sleep 0.2
    done
    if [[ $state != running ]]; then
        docker exec "$container" systemctl list-units --failed --no-legend >&2 || docker logs --tail 20 "$container" >&2
        die "$2 is '${state:-unreachable}' after ${BOOT_LIMIT_SECS} s, not running" "docker logs $container"
    fi
    driver=$(docker exec "$container" docker info -f '{{.Driver}} {{.LiveRestoreEnabled}}') ||
        die "the engine inside $2 does not answer" "docker exec $container journalctl -u docker"
    [[ $driver == 'overlay2 true' ]] ||
        die "the engine inside $2 runs with '$driver', not overlay2 with live-restore" \
            "docker exec $container cat /etc/docker/daemon.json"
}

wait_servers() {
    local lab=$1 host pids=()
    shift
    for host in "$@"; do
        wait_server "$lab" "$host" &
        pids+=($!)
    done
    all_of "${pids[@]}"
}

# label_of LAB HOST LABEL
label_of() { docker inspect -f "{{index .Config.Labels \"$3\"}}" "$(container_of "$1" "$2")"; }

attached() {
    docker inspect -f '{{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}' "$(container_of "$1" "$2")" |
        grep -qF "$(network_of "$1")"
}

cut_server() {
    ! attached "$1" "$2" || docker network disconnect "$(network_of "$1")" "$(container_of "$1" "$2")"
}

heal_server() {
    attached "$1" "$2" || docker network connect --ip "$(label_of "$1" "$2" fleet.address)" --alias "$2" \
        "$(network_of "$1")" "$(container_of "$1" "$2")"
}
