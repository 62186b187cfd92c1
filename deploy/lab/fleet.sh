#!/usr/bin/env bash
# A whole fleet in a lab: servers, programs, agent image, simulator, coordinator, every server enrolled.
# The demo and the lab's tests begin with it.
#   fleet.sh up NAME DIR [lab.sh up's options…]   DIR gets agentctl.toml, pat, agent-image.tar and log/
#   fleet.sh down NAME DIR
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

LAB=$HERE/lab.sh

control() { docker exec -i "fleet-$NAME-control" "$@"; }

agent_image() {
    "$ROOT/deploy/lab/agent-image.sh" "$DIR/agent-image.tar"
    "$LAB" agent-image "$NAME" "$DIR/agent-image.tar" "$AGENT_IMAGE"
}

agent_package() {
    "$ROOT/azdo/stub/package.sh" "$DIR/vsts-agent.tar.gz"
    "$LAB" agent-package "$NAME" "$DIR/vsts-agent.tar.gz"
}

simulator() {
    make_pat "$DIR/pat"
    control sh -c 'umask 077; mkdir -p /etc/azdo-sim; cat >/etc/azdo-sim/pat' <"$DIR/pat"
    control systemctl enable --now azdo-sim
    until_ok 30 curl -fsS "http://$("$LAB" port "$NAME" 8080)/_sim/summary" ||
        die "the simulator does not answer" "$LAB exec $NAME control journalctl -u azdo-sim"
}

coordinator() {
    # The first operator's credential goes to a directory of the service's user and from there here.
    control runuser -u coordinator -- /usr/bin/coordinator init --data /var/lib/coordinator \
        --name "$NAME" --san control --san 127.0.0.1 --operator-out /var/lib/coordinator/operator.toml
    control systemctl enable --now coordinator
    until_ok 30 curl -fsS "http://$("$LAB" port "$NAME" 7080)/healthz" ||
        die "the coordinator does not answer" "$LAB exec $NAME control journalctl -u coordinator"
    (umask 077 && control cat /var/lib/coordinator/operator.toml >"$DIR/operator.toml")
    control rm -f /var/lib/coordinator/operator.toml
    place_credential "$DIR/operator.toml" "$AGENTCTL_CONFIG" "$("$LAB" port "$NAME" 7443)"
    rm -f "$DIR/operator.toml"
}

# One server: a one-time token, the printed line run there as a person would paste it, the service on.
# The line goes to the shell's standard input, because it carries the token.
enrol() {
    local host=$1 place=$2
    agentctl host invite "$host" --lab "$place" --quiet | "$LAB" exec "$NAME" "$host" bash
    "$LAB" exec "$NAME" "$host" systemctl enable --now hostd
}

enrol_all() {
    local servers line host place pids=()
    mapfile -t servers < <("$LAB" hosts "$NAME")
    for line in "${servers[@]}"; do
        read -r host place _ <<<"$line"
        enrol "$host" "$place" >"$DIR/log/enrol-$host.log" 2>&1 </dev/null &
        pids+=($!)
    done
    all_of "${pids[@]}" || { tail -n 5 "$DIR"/log/enrol-*.log >&2 && die "a server could not be enrolled" "see $DIR/log"; }
    until_ok 60 all_ready || { agentctl get hosts && die "not every server became Ready within 60 s" "see $DIR/log"; }
    agentctl get hosts
}

all_ready() { [[ $(agentctl get hosts --no-headers | grep -ciw ready) == "$("$LAB" hosts "$NAME" | wc -l)" ]]; }

fleet_up() {
    mkdir -p "$DIR/log"
    rm -f "$DIR"/{pat,agentctl.toml}
    tell_failure "deploy/lab/fleet.sh down $NAME $DIR   (logs of this run: $DIR/log)"
    "$LAB" up "$NAME" "$@"
    step 'programs and units into the servers' "$LAB" install "$NAME"
    step 'agent image into every engine' quiet "$DIR/log/agent-image.log" agent_image
    step 'agent package onto every server' quiet "$DIR/log/agent-package.log" agent_package
    export PATH=${FLEET_BIN:-$TARGET/debug}:$PATH AGENTCTL_CONFIG=$DIR/agentctl.toml
    step 'simulator of Azure DevOps' quiet "$DIR/log/simulator.log" simulator
    step 'coordinator: CA, first operator, service' quiet "$DIR/log/coordinator.log" coordinator
    step 'enrolling the servers with one-time tokens' enrol_all
}

fleet_down() {
    "$LAB" down "$NAME"
    rm -rf "$DIR"
}

NAME=${2:-} DIR=${3:-}
[[ -n $NAME && -n $DIR ]] || die 'fleet.sh up|down NAME DIR' 'fleet.sh up demo target/demo'
case $1 in
up) fleet_up "${@:4}" ;;
down) fleet_down ;;
*) die "unknown verb $1" 'up or down' ;;
esac
