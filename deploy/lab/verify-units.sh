#!/usr/bin/env bash
# Lets systemd itself read every unit that is shipped, in the image of a lab server: an unknown
# setting or a missing program is a line of output, and so a failure.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

BIN=${FLEET_BIN:-$TARGET/debug}
mounts=()
for program in hostd coordinator azdo-sim; do
    [[ -x $BIN/$program ]] || die "$BIN/$program is not built" "cargo build --workspace --bins"
    mounts+=(-v "$BIN/$program:/usr/bin/$program:ro")
done
units=("$ROOT"/deploy/systemd/*.service "$ROOT"/deploy/lab/units/*.service)
for unit in "${units[@]}"; do mounts+=(-v "$unit:/etc/systemd/system/$(basename "$unit"):ro"); done

need_engine
# systemd-sysusers first, so that User= is known to whoever reads the unit. The closing word tells a
# clean answer from none.
said=$(docker run --rm --label fleet.test=1 "${mounts[@]}" \
    -v "$ROOT/deploy/systemd/coordinator.sysusers:/usr/lib/sysusers.d/coordinator.conf:ro" \
    fleet-lab-host:current sh -c 'systemd-sysusers coordinator.conf >/dev/null 2>&1
        for unit do systemd-analyze verify "$unit" 2>&1; done; echo verified' _ "${units[@]##*/}") ||
    die "the units could not be looked at" "deploy/lab/host-image.sh builds the image that is needed"
[[ $said == verified ]] || die "systemd finds fault with a unit: ${said%verified}" "see deploy/systemd and deploy/lab/units"
say "${#units[@]} units clean"
