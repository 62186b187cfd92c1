#!/usr/bin/env bash
# The tour without root and without Docker: simulator, coordinator and five hosts as plain processes on
# loopback. Agents are child processes of their hostd and end with it; lab servers do better.
#   local.sh up | down
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=deploy/demo/lib.sh
source "$HERE/lib.sh"
# shellcheck source=deploy/demo/processes.sh
source "$HERE/processes.sh"

D=$LOCAL_DEMO
HOSTS='str-acs-serv-15:str str-acs-serv-65:str3 svcstr-server-2:svc bjw-ca-serv-5:bjw strtk5-serv-02:tk5'

agent_package() {
    "$ROOT/azdo/stub/package.sh" "$D/agent.tar.gz" --binary "$BIN/azdo-stub-agent"
    mkdir -p "$D/agent"
    tar -C "$D/agent" -xzf "$D/agent.tar.gz"
}

simulator() {
    make_pat "$D/pat"
    start simulator azdo-sim serve --listen 127.0.0.1:0 --addr-file "$D/simulator.addr" --org fabrikam \
        --pool nightly --pool nightly-svc --pool nightly-bjw --pool nightly-tk5 --pat-file "$D/pat" --journal "$D/journal"
    wait_file simulator "$D/simulator.addr"
    note "$(simulator_url)"
}

simulator_url() { printf 'http://%s' "$(cat "$D/simulator.addr")"; }

coordinator_up() {
    coordinator init --data "$D/coordinator" --name demo --san 127.0.0.1 --operator-out "$D/operator.toml"
    cat >"$D/coordinator.toml" <<END
data = "$D/coordinator"
listen = "127.0.0.1:0"
enroll_listen = "127.0.0.1:0"
http_listen = "127.0.0.1:0"
END
    start coordinator coordinator run --config "$D/coordinator.toml" --print-addresses "$D/coordinator.addr"
    wait_file coordinator "$D/coordinator.addr"
    place_credential "$D/operator.toml" "$AGENTCTL_CONFIG" "$(coordinator_address)"
    rm -f "$D/operator.toml"
    printf 'COORDINATOR=%q\nSIMULATOR=%q\n' "$(coordinator_address)" "$(simulator_url)" >"$D/addresses"
    note "$(coordinator_address)"
}

# The file is one line of JSON; the mutually authenticated port is what agentctl dials.
coordinator_address() { sed -n 's/.*"listen" *: *"\([^"]*\)".*/\1/p' "$D/coordinator.addr"; }

host_up() {
    local host=$1 place=$2 dir=$D/hosts/$1
    mkdir -p "$dir"
    cat >"$dir/hostd.toml" <<END
data = "$dir/data"
run = "$dir/run"
runtimes = ["process"]

[process]
package = "$D/agent"
END
    # As a person would paste it, with this host's own directory; the token stays on standard input.
    agentctl host invite "$host" --lab "$place" --quiet | sed "s|hostd join|hostd join --data '$dir/data'|" | bash
    start "hostd $host" hostd run --config "$dir/hostd.toml"
}

hosts_up() {
    local pair
    for pair in $HOSTS; do host_up "${pair%%:*}" "${pair#*:}"; done
    until_ok 60 hosts_ready || die "not every host became Ready within 60 s" "see $D/log"
    agentctl get hosts
}

hosts_ready() { [[ $(agentctl get hosts --no-headers | grep -ciw ready) == 5 ]]; }

tour_up() {
    if local_is_up; then
        [[ -e $D/ready ]] || die 'a tour that did not come up completely is still there' 'make demo-down, then make demo LOCAL=1'
        say 'The tour is up already.'
        what_next local
        return
    fi
    ! lab_is_up || die 'the demo with lab servers is running' 'make demo-down first'
    [[ -n ${FLEET_BIN:-} ]] || have cargo || die 'no cargo on the PATH' 'install Rust as https://rustup.rs says'
    mkdir -p "$D/log"
    tell_failure "make demo-down   (logs of this run: $D/log)"
    export PATH=$BIN:$PATH AGENTCTL_CONFIG=$D/agentctl.toml
    say 'This is the tour without Docker: agents are children of hostd and end with it.'
    step 'building the programs (the first time takes minutes)' build_programs
    step 'agent package' quiet "$D/log/package.log" agent_package
    step 'simulator of Azure DevOps' simulator
    step 'coordinator: CA, first operator' coordinator_up
    step 'enrolling five hosts with one-time tokens' hosts_up
    step 'pools' make_pools "$(simulator_url)/fabrikam" "$D/pat" --runtime process
    step 'scaling: nightly-svc to 10, nightly to 12' scale_pools
    step 'queueing jobs' queue_jobs "$(simulator_url)"
    step 'what is there now' show_fleet
    touch "$D/ready"
    what_next local
    say 'Its agents end with hostd: without Docker nothing holds them when their host daemon goes.'
}

tour_down() {
    [[ -d $D ]] || return 0
    stop_all
    rm -rf "$D"
}

case ${1:-} in
up) tour_up ;;
down) tour_down ;;
*) die 'local.sh up | down' 'make demo LOCAL=1' ;;
esac
