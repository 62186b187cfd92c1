# Programs, units and agent images into the servers of a lab. Sourced by lab.sh.
# shellcheck shell=bash

# Debug symbols are most of a development binary; every server gets a copy, so they stay here.
stripped() {
    local bin=${FLEET_BIN:-$TARGET/debug} out=$1 name
    shift
    mkdir -p "$out"
    for name in "$@"; do
        [[ -x $bin/$name ]] || die "$bin/$name is not built" "cargo build, or set FLEET_BIN to where the programs are"
        [[ $out/$name -nt $bin/$name ]] || strip -o "$out/$name" "$bin/$name"
    done
}

# Files only: a directory in the archive would give the server's /etc our owner and mode.
pack() { (cd "$1" && find . -type f -printf '%P\0' | tar --null -T - --owner=0 --group=0 -cf "$2"); }

# unpack CONTAINER TAR: replaces files by new ones, so that a running program keeps its own.
unpack() {
    docker exec -i "$1" tar -C / -xf - <"$2"
    docker exec "$1" systemctl daemon-reload
}

lab_install() {
    local lab=$1 work host pids=()
    need_engine
    [[ -n $(lab_servers "$lab") ]] || die "no lab named $lab" "lab.sh up $lab"
    work=$(mktemp -d)
    stripped "$TARGET/lab/bin" hostd coordinator azdo-sim agentctl
    lay_out "$work"
    for host in $(lab_hosts "$lab"); do
        unpack "$(container_of "$lab" "$host")" "$work/host.tar" &
        pids+=($!)
    done
    install_control "$(container_of "$lab" control)" "$work" &
    pids+=($!)
    all_of "${pids[@]}" || die "a server did not take its programs" "see the lines above"
    rm -rf "$work"
}

# What a package would put where, as two trees: a lab server's and control's.
lay_out() {
    local work=$1 units=$ROOT/deploy/systemd config=$ROOT/deploy/config
    install -D -t "$work/host/usr/bin" "$TARGET/lab/bin/hostd"
    install -D -m 644 -t "$work/host/etc/systemd/system" "$units/hostd.service"
    install -D -m 600 -t "$work/host/etc/hostd" "$config/hostd.toml"
    install -D -t "$work/control/usr/bin" "$TARGET"/lab/bin/{coordinator,azdo-sim,agentctl}
    install -D -m 644 -t "$work/control/etc/systemd/system" "$units/coordinator.service" "$ROOT/deploy/lab/units/azdo-sim.service"
    install -D -m 644 "$units/coordinator.sysusers" "$work/control/usr/lib/sysusers.d/coordinator.conf"
    install -D -m 644 -t "$work/control/etc/coordinator" "$config/coordinator.toml"
    # What is true of a lab only: where the others find control, and its page for this machine.
    install -D -m 644 -t "$work/control/etc/coordinator/conf.d" "$ROOT/deploy/lab/config/lab.toml"
    pack "$work/host" "$work/host.tar"
    pack "$work/control" "$work/control.tar"
}

install_control() {
    unpack "$1" "$2/control.tar"
    docker exec "$1" systemd-sysusers coordinator.conf
    # `coordinator init` runs as that user before the unit ever made its state directory.
    docker exec "$1" install -d -o coordinator -g coordinator -m 700 /var/lib/coordinator
}

# lab_agent_image LAB TAR IMAGE
lab_agent_image() {
    local lab=$1 tar=${2:?which tar?} image=${3:-fleet-agent:demo} host pids=()
    need_engine
    [[ -s $tar ]] || die "no image at $tar" "deploy/lab/agent-image.sh $tar"
    for host in $(lab_hosts "$lab"); do
        import_image "$(container_of "$lab" "$host")" "$tar" "$image" &
        pids+=($!)
    done
    all_of "${pids[@]}" || die "a server did not take the agent image" "see the lines above"
}

# The same bytes give the same tag: a server that has them already is left alone.
import_image() {
    local container=$1 tar=$2 image=$3 hash
    hash=$(sha256sum "$tar" | cut -c1-16)
    [[ $(docker exec "$container" docker image inspect -f '{{index .Config.Labels "fleet.tar"}}' "$image" 2>/dev/null) != "$hash" ]] ||
        return 0
    docker exec -i "$container" docker import --change 'CMD ["/azp/start.sh"]' --change 'WORKDIR /azp' \
        --change "LABEL fleet.tar=$hash" - "$image" <"$tar" >/dev/null
}

# lab_agent_package LAB TAR: agents under systemd come from this tarball, on every server.
lab_agent_package() {
    local lab=$1 tar=${2:?which tar?} host pids=()
    need_engine
    [[ -s $tar ]] || die "no agent package at $tar" "azdo/stub/package.sh $tar"
    for host in $(lab_hosts "$lab"); do
        place_package "$(container_of "$lab" "$host")" "$tar" &
        pids+=($!)
    done
    all_of "${pids[@]}" || die "a server did not take the agent package" "see the lines above"
}

place_package() {
    local container=$1 tar=$2 place=/opt/vsts-agent-linux-x64.tar.gz
    docker exec -i "$container" sh -c "cat >$place" <"$tar"
    # Beside the shipped settings, as an operator would do it.
    docker exec -i "$container" sh -c 'mkdir -p /etc/hostd/conf.d && cat >/etc/hostd/conf.d/lab.toml' <<END
runtimes = ["docker", "systemd"]

[systemd]
package = { source = "$place", sha256 = "$(sha256sum "$tar" | cut -d' ' -f1)" }
END
}
