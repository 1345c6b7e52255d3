#!/usr/bin/env bash
# Makes a small Debian 12 with systemd in .tools/debian/root, for the test that boots the units of deploy/systemd. About
# 70 MB of downloads, 200 MB on disk, one minute, once. Nothing is installed into this machine; needs root.
set -euo pipefail
cd "$(dirname "$0")/../.."
home="$PWD/.tools/debian"
say() { printf 'debian: %s\n' "$*"; }
skip() {
  say "$* - the tests of systemd will fail and say so"
  exit 0
}

if [ -e "$home/root/.whole" ]; then
  exit 0
fi
[ "$(id -u)" = 0 ] || skip "only root can make one"
for tool in apt-get dpkg-deb; do
  command -v "$tool" >/dev/null || skip "there is no $tool, so this is no Debian"
done
# The first archive that this machine's own apt reads a Debian release from.
mirror=$(apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(ORIGIN)' 2>/dev/null |
  awk '$1 == "Packages" && $2 !~ /security/ && ($2 ~ /debian\/?$/ || $3 == "Debian") { print $2; exit }')
[ -n "$mirror" ] || skip "no Debian archive found in this machine's apt sources"

mkdir -p "$home/debs"
rm -rf "$home/root"
if ! command -v debootstrap >/dev/null; then
  say "unpacking debootstrap into .tools/debian"
  (cd "$home/debs" && apt-get -q -o APT::Sandbox::User=root download debootstrap >/dev/null && dpkg-deb -x debootstrap_*.deb "$home/debootstrap")
  export DEBOOTSTRAP_DIR="$home/debootstrap/usr/share/debootstrap"
  PATH="$home/debootstrap/usr/sbin:$PATH"
fi
say "a small Debian with systemd in .tools/debian/root (once, about a minute)"
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,systemd-container bookworm "$home/root" "$mirror" >"$home/log" 2>&1 || {
  tail -n 5 "$home/log" >&2
  rm -rf "$home/root"
  exit 1
}
rm -rf "$home/debs" "$home/root"/var/cache/apt/archives/*.deb "$home/root"/var/lib/apt/lists/* "$home/root"/usr/share/{doc,man,locale}
# What asks people or waits for hardware at the first boot.
systemctl --root="$home/root" mask systemd-firstboot.service systemd-resolved.service systemd-networkd.service >/dev/null 2>&1 || true
echo alys >"$home/root/etc/hostname"
: >"$home/root/.whole"
say "ready: $(du -sm "$home/root" | cut -f1) MB"
