# Run inside of the Debian of .tools/debian with deploy/systemd at /mnt: what `systemd-analyze` says of the units of a host.
#   check-units.sh TOPOLOGY HOST
set -eu
mount -t tmpfs tmpfs /tmp
mkdir /tmp/units
cd /tmp/units
cp -r /mnt/units/system/. "/mnt/$1/$2/etc/systemd/system/." .
# The program is not installed here.
sed -i 's,/usr/local/bin/alys,/bin/true,' ./*.service
for unit in $(sed -n 's/^Wants=//p' alys.target.d/10-host.conf); do
    echo "runs $unit"
    # A worker is judged as itself: its drop-ins are found by its name.
    [ -e "$unit" ] || cp "$(echo "$unit" | sed 's/@.*/@.service/')" "$unit"
done
rm -f ./*@.service
export SYSTEMD_UNIT_PATH=/tmp/units:/lib/systemd/system
for unit in *.service alys.target alys.slice; do
    systemd-analyze verify "./$unit"
done
for unit in *.service; do
    if ! systemd-analyze security --offline=true --threshold=20 --no-pager "./$unit" >/tmp/judged; then
        cat /tmp/judged >&2
        exit 1
    fi
    tail -n 1 /tmp/judged
done
