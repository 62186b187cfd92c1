#!/usr/bin/env bash
# Builds the image of a lab server: this machine's own distribution with systemd and a Docker engine.
# No image registry is asked; packages come from this machine's apt sources.
#   host-image.sh            builds when the recipe changed, tags fleet-lab-host:<hash> and :current
#   host-image.sh --name     prints the name with the hash, builds nothing
# shellcheck disable=SC2016 # $(...) and $1 in single quotes are for apt and sh -c
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/lib.sh
source "$HERE/../lib.sh"

PACKAGES=systemd,systemd-sysv,dbus,iproute2,iptables,docker.io,procps,ca-certificates,curl,passwd,python3-minimal,dnsmasq-base

codename() {
    # shellcheck source=/dev/null
    (source /etc/os-release && printf '%s' "${VERSION_CODENAME:?this machine has no distribution codename}")
}

# The image depends on the two scripts, on what is laid over it, and on the distribution.
recipe_hash() {
    (cd "$HERE" && { codename && cat host-image.sh image-hook.sh &&
        find overlay -type f -printf '%p %m\n' | sort && find overlay -type f -print0 | sort -z | xargs -0 cat; } |
        sha256sum | cut -c1-12)
}

# Lines `deb URI SUITE COMPONENTS` of the distribution itself, as apt resolved them; other vendors'
# sources stay out. Ubuntu keeps docker.io in universe, which a minimal machine may have left out.
apt_lines() {
    apt-get indextargets --format '$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)' 'Created-By: Packages' |
        awk -F'|' -v want="$(codename)" '
            ($1 == "Debian" || $1 == "Ubuntu") && index($3, want) == 1 {
                print "deb", $2, $3, $4
                if ($1 == "Ubuntu") print "deb", $2, $3, "universe"
            }' | sort -u
}

# How this machine reaches its mirrors (proxy, dates, certificates) holds for the build as well.
apt_settings() {
    apt-config dump --format '%F "%v";%n' Acquire |
        grep -E '^Acquire::((http|https)::(Proxy|CaInfo|Timeout)|Check-Valid-Until|Check-Date|Retries) ' || true
}

build_tar() {
    local tar=$1 lines line options=()
    apt_install mmdebstrap
    lines=$(apt_lines)
    if [[ -z $lines ]]; then
        apt_get "$TARGET/lab/apt-update.log" update || die "apt-get update failed" "see $TARGET/lab/apt-update.log"
        lines=$(apt_lines)
    fi
    [[ -n $lines ]] || die "no Debian or Ubuntu source in this machine's apt configuration" "see 'apt-cache policy'"
    while read -r line; do [[ -z $line ]] || options+=("--aptopt=${line%;}"); done < <(apt_settings)
    for line in /etc/apt/trusted.gpg.d /usr/share/keyrings/{debian,ubuntu}-archive-keyring.{gpg,pgp}; do
        [[ ! -e $line ]] || options+=("--keyring=$line")
    done
    quiet "$TARGET/lab/host-image.log" mmdebstrap --variant=minbase --mode=root --format=tar \
        "${options[@]}" --include="$PACKAGES" --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --customize-hook="$HERE/image-hook.sh" "$(codename)" "$tar.part" - <<<"$lines"
    mv "$tar.part" "$tar"
}

# Half a gigabyte each: of older recipes nothing is kept, except what a running lab still uses.
forget_older() {
    local image=$1 tar=$2 old
    find "$TARGET/lab" -maxdepth 1 -name 'host-*.tar*' ! -path "$tar" -delete
    docker image ls --format '{{.Repository}}:{{.Tag}}' fleet-lab-host |
        { grep -vxF -e "$image" -e fleet-lab-host:current || true; } |
        while read -r old; do docker image rm "$old" >/dev/null 2>&1 || true; done
}

main() {
    local hash image tar
    hash=$(recipe_hash)
    image=fleet-lab-host:$hash tar=$TARGET/lab/host-$hash.tar
    if [[ ${1:-} == --name ]]; then
        say "$image"
        return
    fi
    need_engine
    mkdir -p "$TARGET/lab"
    # Two builds at once (a test beside a demo) would write the same tar.
    exec 9>"$TARGET/lab/host-image.lock"
    flock 9
    if docker image inspect "$image" >/dev/null 2>&1; then
        note "image $image is there"
    else
        need_root "building the lab server image"
        [[ -s $tar ]] || step "building the lab server image from $(codename) packages (about a minute)" build_tar "$tar"
        step "importing $(du -h "$tar" | cut -f1) into the engine" \
            quiet "$TARGET/lab/host-import.log" docker import --change 'CMD ["/usr/local/sbin/lab-init"]' \
            --change 'ENV container=docker' --change 'LABEL fleet.image=lab-host' "$tar" "$image"
    fi
    docker tag "$image" fleet-lab-host:current
    forget_older "$image" "$tar"
}

main "$@"
