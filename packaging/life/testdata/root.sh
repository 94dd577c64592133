#!/usr/bin/env bash
# Makes a small Debian with systemd, and the kernel it boots with: root.sh build|find CACHE. Prints ROOT=… (a tar) and KERNEL=….
# Needs mmdebstrap and root; reads this machine's package sources where it is a Debian itself. What was made once is kept in
# CACHE under the hash of its recipe. `find` exits with status 3 when there is none.
set -euo pipefail
verb=$1 cache=$2
suite=bookworm sources=()
if . /etc/os-release && [ "${ID:-}" = debian ]; then
	suite=$VERSION_CODENAME
	for f in /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list; do
		if [ -s "$f" ]; then
			sources=("$f")
			break
		fi
	done
fi
dir=$cache/root-$( (cat "$0"; echo "$suite") | sha256sum | cut -c1-20)
images() { printf 'ROOT=%s\nKERNEL=%s\n' "$dir/root.tar" "$dir/vmlinuz"; }
if [ "$verb" = find ]; then
	[ -e "$dir/root.tar" ] || exit 3
	images
	exit
fi
mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$dir/root.tar" ]; then
	work=$(mktemp -d "$cache/work.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	mmdebstrap --quiet --variant=minbase --include=systemd,systemd-sysv,openssh-server,sudo --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Retries "3"' \
		--dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-include=/usr/share/doc/wanctl/*' \
		--customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/*; chroot "$1" systemctl disable ssh.service' \
		"$suite" "$work/root.tar" "${sources[@]}" >&2
	kernel=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/^ *Depends: \(linux-image-[^ ]*\)$/\1/p' | head -1)
	(cd "$work" && apt-get -o APT::Sandbox::User= -q=2 download "$kernel" >&2 && dpkg-deb --fsys-tarfile "$kernel"_*.deb |
		tar -x --wildcards --strip-components=2 './boot/vmlinuz-*' && rm "$kernel"_*.deb && mv vmlinuz-* vmlinuz)
	rm -rf "$dir"
	chmod 755 "$work"
	mv "$work" "$dir"
	trap - EXIT
fi
images
