#!/usr/bin/env bash
# Builds the stub agent's container image as a tar for `docker import`: agent-image.sh OUT.tar [options]
#
#   --version V        version the agent reports (default 4.260.0); a second one is what a rollout needs
#   --settings FILE    stub.json for the agent: shorter times for tests
#   --binary FILE      the stub's binary (default target/debug/azdo-stub-agent)
#   --import NAME:TAG  import it here too (default name fleet-agent:demo), and print the image id
#
# There is no image registry: the root is a shell (busybox), the binary's own libraries, and the agent at
# /azp/agent with /azp/start.sh beside it. About 20 MB, a few seconds.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${FLEET_CACHE:-$ROOT/target/lab/cache}
BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/debug/azdo-stub-agent

usage() {
    sed -n '2,7s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
    exit 1
}

die() {
    echo "agent-image.sh: $1" >&2
    exit 1
}

# A busybox that needs no libraries: the machine's own, else Debian's package, kept for the next time.
busybox() {
    local have
    for have in "$CACHE/busybox" /bin/busybox /usr/bin/busybox; do
        if [[ -x $have ]] && ! ldd "$have" >/dev/null 2>&1; then
            echo "$have"
            return
        fi
    done
    fetch_busybox >&2 || die "no static busybox; install it with: apt-get install busybox-static"
    echo "$CACHE/busybox"
}

fetch_busybox() {
    local work
    work=$(mktemp -d)
    (cd "$work" && { apt-get download -qq busybox-static || { apt-get update -qq && apt-get download -qq busybox-static; }; })
    dpkg-deb -x "$work"/busybox-static_*.deb "$work/root"
    mkdir -p "$CACHE"
    install -m 755 "$(find "$work/root" -name busybox -type f | head -n 1)" "$CACHE/busybox"
    rm -rf "$work"
}

shell_and_tools() {
    local stage=$1 box=$2 applet
    mkdir -p "$stage"/{bin,usr,etc,tmp,proc,sys,dev,run,root,home/agent,var/tmp,azp}
    chmod 1777 "$stage/tmp" "$stage/var/tmp"
    ln -s bin "$stage/sbin"
    ln -s ../bin "$stage/usr/bin"
    ln -s ../bin "$stage/usr/sbin"
    install -m 755 "$box" "$stage/bin/busybox"
    for applet in $("$box" --list); do
        [[ $applet == busybox ]] || ln -s busybox "$stage/bin/$applet"
    done
}

# Every library the binary is linked with, and its loader, at the very path it asks for.
libraries() {
    local stage=$1 binary=$2 library
    while read -r library; do
        install -D -m 755 "$(readlink -f "$library")" "$stage$library"
    done < <(ldd "$binary" | grep -o '/[^ ]*')
}

users_and_names() {
    local stage=$1
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'agent:x:1000:1000:agent:/home/agent:/bin/sh' >"$stage/etc/passwd"
    printf '%s\n' 'root:x:0:' 'agent:x:1000:' >"$stage/etc/group"
    printf 'hosts: files dns\n' >"$stage/etc/nsswitch.conf"
    chown 1000:1000 "$stage/home/agent"
}

agent() {
    local stage=$1
    shift
    "$ROOT/azdo/stub/package.sh" "$stage.tar.gz" "$@"
    mkdir "$stage/azp/agent"
    tar -xzf "$stage.tar.gz" -C "$stage/azp/agent"
    rm "$stage.tar.gz"
    install -m 755 "$ROOT/azdo/stub/start.sh" "$stage/azp/start.sh"
}

import() {
    command -v docker >/dev/null || die "no docker here to import into"
    docker import --change 'CMD ["/azp/start.sh"]' --change 'WORKDIR /azp' "$1" "$2"
}

out=${1:-}
[[ -n $out && $out != -* ]] || usage
shift
image='' package=(--binary "$BINARY")
while (($#)); do
    case $1 in
        --version | --settings | --binary) package+=("$1" "${2:?$1 needs a value}") && shift 2 ;;
        --import)
            image=fleet-agent:demo && shift
            [[ ${1:-} == "" || ${1:-} == -* ]] || { image=$1 && shift; }
            ;;
        *) usage ;;
    esac
done
# The last --binary wins in the package; the libraries must be of the same one.
for ((i = 0; i < ${#package[@]}; i += 2)); do
    [[ ${package[i]} != --binary ]] || BINARY=${package[i + 1]}
done
[[ -x $BINARY ]] || die "$BINARY is missing; build it with: cargo build -p azdo --bin azdo-stub-agent"

stage=$(mktemp -d)
trap 'rm -rf "$stage" "$stage.tar.gz"' EXIT
chmod 755 "$stage"
box=$(busybox)
shell_and_tools "$stage" "$box"
libraries "$stage" "$BINARY"
users_and_names "$stage"
agent "$stage" "${package[@]}"
mkdir -p "$(dirname "$out")"
tar --sort=name --mtime=@0 --numeric-owner -C "$stage" -cf "$out.part" .
mv "$out.part" "$out"
echo "$out: $(($(stat -c %s "$out") / 1000000)) MB" >&2
[[ -z $image ]] || import "$out" "$image"
