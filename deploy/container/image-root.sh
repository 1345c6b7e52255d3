#!/bin/sh
# Puts together the whole file system of the image: the binary, the shared libraries that it is linked with, a user.
#
#   image-root.sh BINARY FOLDER
set -eu
binary=${1:?the binary}
root=${2:?a new folder}

mkdir -p "$root/usr/local/bin" "$root/etc" "$root/run/alys" "$root/var/lib/alys"
install -m 755 "$binary" "$root/usr/local/bin/alys"
# Lines of ldd: "name => /path (address)" and "/lib64/ld-linux… (address)".
ldd "$binary" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// { print $1 }' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
# The same numbers as in the pods' securityContext.
echo 'alys:x:10001:10001:Alys:/var/lib/alys:/none' >"$root/etc/passwd"
echo 'alys:x:10001:' >"$root/etc/group"
echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
chown 10001:10001 "$root/run/alys" "$root/var/lib/alys"
