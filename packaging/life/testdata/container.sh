#!/bin/bash
# Runs an image's root as a container runtime would, by what the kernel has: no capability, a number for a user, a network
# of its own with ping_group_range open. container.sh ROOT WORK PROGRAM; WORK holds the emulated router, PROGRAM its program.
set -euo pipefail
if [ -z "${INSIDE:-}" ]; then
	INSIDE=1 exec unshare --net --mount --fork "$0" "$@"
fi
chroot=$(command -v chroot)
# inside ends its shell: what is started by it in a subshell is the program itself.
root=$1 work=$2 program=$3
ip link set lo up
echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range
mount -t proc proc "$root/proc"
pids=()
trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; wait' EXIT
"$program" emulate --listen 127.0.0.1:2222 --dir "$work/emu" --journal "$work/router.json" >"$work/emulator" 2>&1 &
pids+=($!)
for ((i = 0; i < 600; i++)); do
	[ ! -s "$work/emu/router.yaml" ] || break
	sleep 0.1
done
install -m 600 -o 65532 "$work/emu/client_key" "$root/etc/wanctl/router.key"
install -m 644 "$work/emu/known_hosts" "$root/etc/wanctl/known_hosts"
inside() { exec env -i STATE_DIRECTORY=/var/lib/wanctl RUNTIME_DIRECTORY=/run/wanctl PATH=/usr/bin "$chroot" --userspec=65532:65532 --groups= "$root" "$@"; }
(inside /usr/bin/wanctl status --json) && exit 1 # nothing runs yet: not healthy
inside /usr/bin/wanctl run /etc/wanctl/wan.yaml &
pids+=($!)
for ((i = 0; i < 600; i++)); do
	if (inside /usr/bin/wanctl status --json) >"$work/status"; then
		cat "$work/status"
		grep ^CapEff "/proc/${pids[1]}/status"
		kill "${pids[1]}"
		wait "${pids[1]}"
		exit 0
	fi
	sleep 0.1
done
cat "$work/status"
exit 1
