#!/bin/sh
# Boot the installed systemd in namespaces of its own and run one program as a service of it, with the rights of root.
#
#     booted.sh SECONDS PROGRAM [ARGUMENT...]
#
# Folders that a service writes (/etc, /run, /var/{cache,lib,log}) are thrown away at the end; the network is empty.
set -eu

if [ "$1" != inside ]; then
    group=/sys/fs/cgroup/unified
    [ -d "$group" ] || group=/sys/fs/cgroup
    group=$group/edge-difom-test-$$
    mkdir "$group"
    seconds=$1
    shift
    # systemd ends by a signal to itself; whether the program did its work is told by what it leaves.
    sh -c 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"' - "$group" timeout -k 2 "$seconds" \
        unshare --pid --fork --mount --cgroup --uts --ipc --net --kill-child sh "$0" inside "$@" || true
    # The kernel takes a moment to let go of processes that ended with their namespace.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
        sleep 0.5
    done
    exit 0
fi
shift

mount --make-rprivate /
mount -t proc proc /proc
mount --bind /proc/sys /proc/sys
mount -o remount,ro,bind /proc/sys
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup

# A Python under /root, for a user who is not root.
base=$(dirname "$(dirname "$(readlink -f "$PYTHON")")")
mount -t tmpfs -o mode=755 kept /mnt
mkdir /mnt/base /mnt/etc /mnt/work
case $base in
/root/*)
    mount --bind "$base" /mnt/base
    mount -t tmpfs -o mode=755 root /root
    mkdir -p "$base"
    mount --bind /mnt/base "$base"
    ;;
esac

mount -t overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work etc /etc
for folder in /run /var/cache /var/lib /var/log; do mount -t tmpfs -o mode=755 thrown-away $folder; done
cat >/etc/systemd/system/test.target <<UNIT
[Unit]
DefaultDependencies=no
Wants=test.service
UNIT
cat >/etc/systemd/system/test.service <<UNIT
[Unit]
DefaultDependencies=no
[Service]
Type=oneshot
Environment="PYTHONPATH=$PYTHONPATH" "PYTHON=$PYTHON"
ExecStart=$*
ExecStopPost=/bin/kill -s RTMIN+14 1
StandardOutput=file:$LOG
StandardError=file:$LOG
UNIT
export container=lxc
exec /lib/systemd/systemd --system --unit=test.target --show-status=no --log-target=null
