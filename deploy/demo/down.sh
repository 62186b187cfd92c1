#!/usr/bin/env bash
# `make demo-down`: ends the demo, in whatever state it is, and removes what it made. Repeatable.
# Images and programs stay: the next demo is up much faster with them.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=deploy/demo/lib.sh
source "$HERE/lib.sh"

"$HERE/local.sh" down
if engine_answers; then "$LAB" down "$LAB_NAME"; fi
rm -rf "$DEMO/ready" "$DEMO/pat" "$DEMO/agentctl.toml" "$DEMO/operator.toml"
say 'The demo is gone.'
