#!/bin/sh
# Builds the stub agent package: package.sh OUT.tar.gz [--version V] [--settings stub.json] [--binary FILE]
#
# The package has the real one's layout. Its three programs are one file under three names (hard links), stripped
# when strip is there. The result is the same bytes for the same input, so that its hash means something.
set -eu

usage() {
    echo "usage: package.sh OUT.tar.gz [--version 4.260.0] [--settings stub.json] [--binary target/debug/azdo-stub-agent]" >&2
    exit 1
}

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
out=${1:-}
case $out in "" | -*) usage ;; esac
shift
version=4.260.0
settings=
binary=${CARGO_TARGET_DIR:-$here/../../target}/debug/azdo-stub-agent
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || usage
    case $1 in
        --version) version=$2 ;;
        --settings) settings=$2 ;;
        --binary) binary=$2 ;;
        *) usage ;;
    esac
    shift 2
done
if [ ! -x "$binary" ]; then
    echo "package.sh: $binary is missing; build it with: cargo build -p azdo --bin azdo-stub-agent" >&2
    exit 1
fi

mkdir -p "$(dirname "$out")"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
mkdir -p "$stage/bin" "$stage/externals/node20/bin"
cp "$here"/*.sh "$here/license.html" "$stage/"
rm "$stage/package.sh" "$stage/start.sh"
cp "$here"/bin/* "$stage/bin/"
if command -v strip >/dev/null; then
    strip -o "$stage/bin/Agent.Listener" "$binary"
else
    cp "$binary" "$stage/bin/Agent.Listener"
fi
ln "$stage/bin/Agent.Listener" "$stage/bin/Agent.Worker"
ln "$stage/bin/Agent.Listener" "$stage/externals/node20/bin/node"
echo "$version" >"$stage/bin/stub-version"
if [ -n "$settings" ]; then
    cp "$settings" "$stage/stub.json"
fi
chmod -R u=rwX,go=rX "$stage"
chmod 755 "$stage"/*.sh "$stage"/bin/Agent.* "$stage/bin/runsvc.sh" "$stage/externals/node20/bin/node"
# Written beside and renamed: a reader never sees half a package.
tar --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 -C "$stage" -cf - . | gzip -n -1 >"$out.part"
mv "$out.part" "$out"
