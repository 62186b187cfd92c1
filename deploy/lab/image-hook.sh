#!/usr/bin/env bash
# Last step of a lab server's image, called by mmdebstrap with the new root as its argument.
set -euo pipefail
root=$1
HERE=$(cd "$(dirname "$0")" && pwd)

# What a container must not do to the kernel it shares, and what only costs time.
MASKED=(systemd-sysctl.service systemd-modules-load.service systemd-binfmt.service
    systemd-udevd.service systemd-udev-trigger.service systemd-timesyncd.service
    systemd-networkd-wait-online.service console-getty.service getty.target
    apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
    fstrim.timer motd-news.timer sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount
    dev-hugepages.mount dev-mqueue.mount proc-sys-fs-binfmt_misc.automount)

tar -C "$HERE/overlay" --owner=0 --group=0 -cf - . | tar -C "$root" -xf -
chroot "$root" systemctl mask "${MASKED[@]}"
chroot "$root" systemctl enable lab-dns.service docker.service
chroot "$root" systemctl set-default multi-user.target

# Each server gets its own machine id at its first boot; the engine provides name and resolver.
: >"$root/etc/machine-id"
rm -rf "$root"/etc/{resolv.conf,hostname} "$root"/var/lib/apt/lists/* "$root"/var/cache/* \
    "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/usr/share/{doc,man,locale,info}
