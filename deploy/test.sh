#!/usr/bin/env bash
# Runs every check and test, goes on after a failure, and says at the end what failed and what it took.
#   test.sh                    all
#   test.sh --only lint        without tests (also: unit, lab)
# The last line is `N passed, N failed`: tests, and every other step that failed counted as one.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/lib.sh"
LOGS=$TARGET/test-logs

PASSED=0 FAILED=0
SUMMARY=()

# check TITLE COMMAND...: one step. Its output is shown and kept; a failure is counted and survived.
check() {
    local title=$1 began=$EPOCHREALTIME log verdict=ok
    log=$LOGS/${title// /-}.log
    shift
    printf '\n==> %s\n' "$title"
    # A subshell with its own errexit: `if` would switch it off for everything inside.
    set +e
    (set -euo pipefail && "$@") 2>&1 </dev/null | tee "$log"
    local status=${PIPESTATUS[0]}
    set -e
    count_tests "$log" "$status"
    ((status == 0)) || verdict="FAILED, see $log"
    SUMMARY+=("$(printf '%8s s  %-28s %s' "$(since "$began")" "$title" "$verdict")")
}

# Sums up the runners' closing lines. A step that fails without a failed test counts as a failure itself.
count_tests() {
    local log=$1 status=$2 passed failed
    read -r passed failed < <(awk '
        function number(what,   found) { return match($0, "[0-9]+ " what) ? substr($0, RSTART, RLENGTH) + 0 : 0 }
        { gsub(/\033\[[0-9;]*m/, "") }
        / *Summary \[/ || /^test result:/ {
            passed += number("passed")
            failed += number("failed") + number("timed out") + number("exec failed")
        }
        END { print passed + 0, failed + 0 }' "$log")
    ((status == 0 || failed > 0)) || failed=1
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed))
}

# The fetch makes the check itself work without a network, whatever was built before.
licences() { cargo fetch --locked --quiet && cargo deny --offline --locked check licenses bans sources; }

buf_lint() { (cd "$ROOT/proto" && buf lint && printf 'contract clean\n'); }

shell_scripts() {
    local scripts
    mapfile -t scripts < <(cd "$ROOT" && git ls-files -co --exclude-standard '*.sh' | sed "s#^#$ROOT/#")
    # Shell scripts without the ending are few and named here.
    scripts+=("$ROOT/.ci/run" "$ROOT/deploy/lab/overlay/usr/local/sbin/lab-init")
    shellcheck -x -P "$ROOT" "${scripts[@]}" && printf '%d scripts clean\n' "${#scripts[@]}"
}

# A test nobody runs is a hole: there is no place for ignored ones.
no_ignored_tests() {
    if git -C "$ROOT" grep -nE '#\[ignore' -- '*.rs'; then
        printf 'ignored tests are not run anywhere: make them run or remove them\n'
        return 1
    fi
}

lint() {
    check 'format' cargo fmt --all --check
    check 'clippy' cargo clippy --workspace --all-targets --locked -- -D warnings
    check 'licences and sources' licences
    check 'contract lint' buf_lint
    check 'shell scripts' shell_scripts
    check 'no ignored tests' no_ignored_tests
}

unit() {
    # Tests start the programs, and lab servers get them: all must be of this source.
    check 'programs' cargo build --workspace --bins --locked
    check 'tests' cargo nextest run --workspace --locked --no-fail-fast --color never \
        -E 'not (package(fleet-tests) and binary(lab))'
    check 'examples in docs' cargo test --workspace --doc --locked --no-fail-fast
}

lab() {
    check 'lab programs' cargo build --workspace --bins --locked
    check 'lab servers image' "$ROOT/deploy/lab/host-image.sh"
    check 'units' "$ROOT/deploy/lab/verify-units.sh"
    check 'lab end to end' cargo nextest run -p fleet-tests --locked --no-fail-fast --color never \
        -E 'binary(lab)'
}

# Tests clean up after themselves. What is left is named, not removed: another run may be using it.
name_leftovers() {
    engine_answers || return 0
    local left
    left=$(docker ps -a --filter label=fleet.test=1 --format '{{.Names}}' | paste -sd ' ')
    [[ -z $left ]] || warn "containers of tests still there: $left"
}

main() {
    local began=$EPOCHREALTIME part=all
    [[ ${1:-} != --only ]] || part=${2:?--only needs lint, unit or lab}
    cd "$ROOT"
    mkdir -p "$LOGS"
    case $part in
    all) parts=(lint unit lab) tools=test ;;
    lint) parts=(lint) tools=lint ;;
    unit | lab) parts=("$part") tools=test ;;
    *) die "no part named $part" "lint, unit or lab" ;;
    esac
    check 'tools' "$HERE/install-tools.sh" "$tools"
    for part in "${parts[@]}"; do "$part"; done
    name_leftovers
    printf '\n'
    printf '%s\n' "${SUMMARY[@]}"
    printf '%8s s  all\n\n%d passed, %d failed\n' "$(since "$began")" "$PASSED" "$FAILED"
    ((FAILED == 0))
}

main "$@"
