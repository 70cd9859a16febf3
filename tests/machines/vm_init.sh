#!/bin/busybox sh
# First process of the virtual machine: the host's files under an overlay, the results writable, one command, off.
# /job, written by vm.py, sets MODULES (in their order), KERNEL, COMMAND, WHERE and HOST_PATH.
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
. /job

end() {
    echo "[vm] $1"
    sync
    poweroff -f
    sleep 60
}

for module in $MODULES; do
    insmod "/modules/$module" || end "$module does not load"
done
mkdir -p /host /results /layers /root
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=loose,ro host /host || end "no files of the host"
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none results /results || end "no place for results"
boots=$(($(cat /results/boots 2>/dev/null || echo 0) + 1))
echo "$boots" >/results/boots
echo "[vm] start $boots, $(cut -d' ' -f1 /proc/uptime) s after the kernel"
[ "$boots" -gt 2 ] && end "started too often"

mount -t tmpfs layers /layers
mkdir /layers/upper /layers/work
mount -t overlay -o lowerdir=/host,upperdir=/layers/upper,workdir=/layers/work overlay /root || end "no overlay"
mount -t proc proc /root/proc
mount -t sysfs sys /root/sys
mount -t devtmpfs dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm /root/lib/modules /root/results
mount -t devpts pts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
mount -t tmpfs run /root/run
mount -t tmpfs tmp /root/var/tmp
mount --bind "/host$KERNEL" /root/lib/modules
mount --bind /results /root/results
ip link set lo up

env -i HOME=/root LANG=C.UTF-8 PATH="$HOST_PATH" TERM=dumb TMPDIR=/var/tmp \
    chroot /root /bin/sh -c "cd '$WHERE' && $COMMAND"
echo $? >/results/status
end "done, $(cut -d' ' -f1 /proc/uptime) s after the kernel"
