#!/bin/bash
# Boots the systemd of a Debian root as the first process of its own processes, mounts, network and control groups, on the
# kernel of this machine: boot.sh ROOT BOOT_ID. It returns when that ends or asks for a reboot. What the machine would say on
# its serial line is appended to ROOT/story/console.
set -euo pipefail
root=$1 boot_id=$2
if [ -z "${INSIDE:-}" ]; then
	# A control group of its own, under which the new root of control groups is.
	groups=$(mktemp -d)
	mount -t cgroup2 cgroup2 "$groups"
	group=$groups/wanctl-life-$$
	mkdir "$group"
	bash -c 'echo $$ >"$1/cgroup.procs"; shift; INSIDE=1 exec unshare --mount --pid --fork --kill-child --net --uts --ipc --cgroup "$@"' \
		_ "$group" "$0" "$@" || true # a reboot ends the first process by a signal
	for ((i = 0; i < 100; i++)); do
		find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break
		sleep 0.1
	done
	umount "$groups"
	rmdir "$groups"
	exit
fi
mount --make-rprivate /
mount --bind "$root" "$root"
cd "$root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do mknod -m 666 "dev/${node%:*}" c 1 "${node#*:}"; done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
touch story/console
ln -s /story/console dev/ttyS0
# A house with two lines, for what this host does itself.
for l in lan0:192.168.1.1 wan1:198.51.100.2 wan2:192.0.2.130; do
	ip link add "${l%:*}" type veth peer name "${l%:*}p"
	ip addr add "${l#*:}/24" dev "${l%:*}"
	ip link set "${l%:*}p" up
	ip link set "${l%:*}" up
done
ip route add default via 198.51.100.1
ip route add default via 192.0.2.1 metric 200
echo 1 >proc/sys/net/ipv4/ip_forward
for r in proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >"$r"; done
# The machine's own switches are not this boot's; only its name for itself is new.
echo "$boot_id" >run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --bind run/boot_id proc/sys/kernel/random/boot_id
mkdir -p run/old
pivot_root . run/old
umount -l /run/old
mount --make-rshared / # what a service manager lays before its services comes to them by this
exec setpriv --bounding-set=-sys_time,-sys_module,-sys_rawio,-syslog,-mac_admin,-mac_override \
	env -i container=wanctl-life PATH=/usr/sbin:/usr/bin:/sbin:/bin /sbin/init systemd.show_status=0 </dev/null >>/story/init 2>&1
