#!/bin/sh
# Gives the project a real bitcoind at .tools/bin/bitcoind (and bitcoin-cli), without touching the system.
#
# If the PATH has one, that is used. Else bitcoin-knots and its libraries are taken from Debian's trixie-backports, with
# an apt state of our own under .tools/bitcoind/apt, unpacked there, and started through the unpacked dynamic linker: so it
# runs on an older Debian too. The mirror is the one this machine's own apt uses; apt checks the signatures.
# Running it again does nothing. `--force` installs again.
set -eu

root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd)
bin="$root/.tools/bin"
home="$root/.tools/bitcoind"
suite=trixie
libraries="libc6 libstdc++6 libgcc-s1 libevent-core-2.1-7t64 libevent-extra-2.1-7t64 libevent-pthreads-2.1-7t64
libsqlite3-0 libzmq5 libbsd0 libsodium23 libpgm-5.3-0t64 libnorm1t64 libgssapi-krb5-2 libmd0 libkrb5-3 libk5crypto3
libcom-err2 libkrb5support0 libkeyutils1"

say() { printf 'bitcoind: %s\n' "$*"; }
fail() {
    printf 'bitcoind: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '          %s\n' "$line" >&2; done
    exit 1
}
version() { "$1" -version 2>/dev/null | head -n 1; }

# A wrapper is written under another name and renamed: two runs at once never see half of one.
write_wrapper() { # name, command line
    printf '#!/bin/sh\n%s\n' "$2" >"$bin/$1.$$"
    chmod 755 "$bin/$1.$$"
    mv -f "$bin/$1.$$" "$bin/$1"
}

# The system's PATH without our own folder: a wrapper must never point at itself.
on_path() {
    (
        IFS=:
        for folder in $PATH; do
            if [ "$folder" != "$bin" ] && [ -x "$folder/$1" ] && [ ! -d "$folder/$1" ]; then
                printf '%s\n' "$folder/$1"
                break
            fi
        done
    )
}

already_there() {
    [ "${1:-}" != "--force" ] && [ -x "$bin/bitcoind" ] && [ -x "$bin/bitcoin-cli" ] && [ -n "$(version "$bin/bitcoind")" ]
}

use_the_one_on_path() {
    daemon=$(on_path bitcoind)
    [ -n "$daemon" ] || return 1
    [ -n "$(version "$daemon")" ] || fail "$daemon is on the PATH but does not start" "Run '$daemon -version' to see why, or take it off the PATH."
    client=$(on_path bitcoin-cli)
    write_wrapper bitcoind "exec '$daemon' \"\$@\""
    if [ -n "$client" ]; then
        write_wrapper bitcoin-cli "exec '$client' \"\$@\""
    else
        write_wrapper bitcoin-cli "echo 'bitcoin-cli is not installed beside $daemon' >&2; exit 127"
    fi
    say "using $daemon from the PATH"
}

# The first archive that this machine's own apt reads a Debian release from. Security archives have another layout.
mirror() {
    apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(ORIGIN)' 2>/dev/null |
        awk '$1 == "Packages" && $2 !~ /security/ && ($2 ~ /debian\/?$/ || $3 == "Debian") { print $2; exit }'
}

keyring() {
    for file in /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp; do
        if [ -r "$file" ]; then
            printf '%s\n' "$file"
            return
        fi
    done
}

# apt-get with a state of our own; the machine's proxy and download settings still hold.
our_apt() {
    apt-get -q -o Dir::State="$home/apt/state" -o Dir::State::status="$home/apt/state/status" \
        -o Dir::Cache="$home/apt/cache" -o Dir::Etc::sourcelist="$home/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o APT::Get::List-Cleanup=0 \
        -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

prepare_apt() {
    archive=$(mirror)
    [ -n "$archive" ] || fail "no Debian archive found in this machine's apt sources" \
        "Install bitcoind (Bitcoin Core or Knots, 25 or newer) yourself and put it on the PATH."
    keys=$(keyring)
    [ -n "$keys" ] || fail "Debian's archive keys are missing" "Install the package debian-archive-keyring."
    mkdir -p "$home/apt/state/lists/partial" "$home/apt/cache/archives/partial" "$home/debs"
    : >"$home/apt/state/status"
    for release in "$suite" "$suite-backports"; do
        printf 'deb [signed-by=%s] %s %s main\n' "$keys" "$archive" "$release"
    done >"$home/apt/sources.list"
    say "reading the package lists of $suite and $suite-backports (apt state in .tools/bitcoind/apt)"
    our_apt update >"$home/apt/update.log" 2>&1 ||
        fail "apt could not read the package lists; the last lines of .tools/bitcoind/apt/update.log:" "$(tail -n 5 "$home/apt/update.log")"
}

download() {
    say "downloading bitcoin-knots and its libraries (about 13 MB)"
    # shellcheck disable=SC2086 # a list of words
    (cd "$home/debs" && rm -f ./*.deb && our_apt download "bitcoin-knots/$suite-backports" $libraries >"$home/apt/download.log" 2>&1) ||
        fail "apt could not download; the last lines of .tools/bitcoind/apt/download.log:" "$(tail -n 5 "$home/apt/download.log")"
}

unpack() {
    say "unpacking into .tools/bitcoind/root"
    rm -rf "$home/root"
    mkdir -p "$home/root"
    for package in "$home"/debs/*.deb; do
        dpkg-deb -x "$package" "$home/root" || fail "$package does not unpack" "Free some disk space and run this again."
    done
    linker=$(find "$home/root" -name 'ld-linux*.so.*' | sort | head -n 1)
    [ -n "$linker" ] || fail "the unpacked libc6 has no dynamic linker"
    multiarch=$(basename "$(dirname "$(find "$home/root" -name 'libc.so.6' | sort | head -n 1)")")
    libs="$home/root/usr/lib/$multiarch:$home/root/lib/$multiarch"
    for program in bitcoind bitcoin-cli; do
        [ -x "$home/root/usr/bin/$program" ] || fail "the package has no $program"
        write_wrapper "$program" "exec '$linker' --library-path '$libs' '$home/root/usr/bin/$program' \"\$@\""
    done
    rm -rf "$home/debs" "$home/apt/cache" "$home/apt/state"
}

if already_there "$@"; then
    say "already there: $(version "$bin/bitcoind")"
    exit 0
fi
mkdir -p "$bin"
if ! use_the_one_on_path; then
    for tool in apt-get dpkg-deb; do
        command -v "$tool" >/dev/null 2>&1 || fail "there is no $tool, so nothing can be installed from Debian" \
            "Install bitcoind (Bitcoin Core or Knots, 25 or newer) yourself and put it on the PATH."
    done
    prepare_apt
    download
    unpack
fi
[ -n "$(version "$bin/bitcoind")" ] || fail "the installed bitcoind does not start" "Run '$bin/bitcoind -version' to see why."
say "ready: $(version "$bin/bitcoind")"
