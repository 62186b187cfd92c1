# What the demo's scripts share: its files, its pools, and what is said at the end. Sourced.
# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is read by the scripts that source this

DEMO=$TARGET/demo
LOCAL_DEMO=$TARGET/demo-local
BIN=${FLEET_BIN:-$TARGET/debug}
LAB=$ROOT/deploy/lab/lab.sh
LAB_NAME=demo
# Every pool and the hosts that may serve it.
POOLS=('nightly|lab in (str,str3)' 'nightly-svc|lab=svc' 'nightly-bjw|lab=bjw' 'nightly-tk5|lab=tk5')

lab_is_up() { engine_answers && [[ -n $(docker ps -aq --filter "label=fleet.lab=$LAB_NAME") ]]; }
local_is_up() { [[ -e $LOCAL_DEMO/pids ]]; }

# FLEET_BIN names programs that were built elsewhere: nothing to do then.
build_programs() {
    [[ -z ${FLEET_BIN:-} ]] || return 0
    cd "$ROOT" || return
    cargo build -p hostd -p coordinator -p agentctl -p azdo --bins --locked
}

make_pools() {
    local url=$1 pat=$2 line name selector
    shift 2
    for line in "${POOLS[@]}"; do
        IFS='|' read -r name selector <<<"$line"
        agentctl pool create "$name" --azure-url "$url" --selector "$selector" --mode once --pat-file "$pat" "$@"
    done
}

scale_pools() {
    # In the order of the tour: first the pool on one server, then the one spread over two.
    agentctl scale nightly-svc 10
    agentctl scale nightly 12
}

queue_jobs() {
    local sim=$1
    azdo-sim queue --sim "$sim" --pool nightly-svc --count 3 --seconds 60
    azdo-sim queue --sim "$sim" --pool nightly --count 4 --seconds 120
}

# Which sentence is true: of 7 jobs queued, some agents are Busy as soon as the simulator assigned one.
some_busy() { agentctl get agents -o json | grep -q '"phase": *"Busy"'; }

show_fleet() {
    until_ok 60 some_busy || warn "no agent took a job within 60 s; azdo-sim jobs shows what they wait for"
    agentctl status
    agentctl get agents
}

# what_next lab|local
what_next() {
    cat <<'END'

It keeps running. To try things, first put agentctl and the demo's credential into this shell:

  eval "$(make -s demo-env)"

  agentctl status                          the fleet at a glance
  agentctl get agents -w                   agents, live
  agentctl scale nightly-svc 4             fewer: idle ones leave first, busy ones end their job
  agentctl events -f                       what happens, as it happens
  azdo-sim queue --pool nightly --count 5 --seconds 30
END
    [[ $1 == local ]] || cat <<'END'
  deploy/lab/lab.sh status                 the servers themselves
  deploy/lab/lab.sh exec demo svcstr-server-2 docker ps
  deploy/lab/lab.sh exec demo svcstr-server-2 systemctl restart hostd     no agent notices
  deploy/lab/lab.sh cut demo str-acs-serv-15                              and: heal demo str-acs-serv-15
END
    printf '\n  make demo-down                           ends it and removes what it made\n'
}
