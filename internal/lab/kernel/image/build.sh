#!/usr/bin/env bash
# Builds the lab's machine from Debian packages: a user-mode kernel with virtual time, and a root file system.
#
#   build.sh build|find CACHE [PACKAGE…]
#
# Prints KERNEL=… and INITRD=… on standard output; progress goes to standard error. `find` builds nothing, and exits
# with status 3 when it would have to.
#
# Needs bash, apt-get, dpkg-deb, gcc, make, tar and xz. Needs no root; nothing is installed on the host. What was built
# once is kept in CACHE under the hash of what it was built from: the kernel alone takes minutes. PACKAGE… are more Debian
# packages for the root file system, for controllers that need them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
verb=$1 cache=$2
shift 2
source=linux-source-6.12
userland=(busybox-static bash coreutils iproute2 iputils-ping "$@")
say() { printf 'lab image: %s\n' "$*" >&2; }
# Where the two parts belong. The recipe's own text is part of the root file system's key; the kernel, which takes
# minutes, is only made anew when its source, its configuration or the number here changes.
recipe=3
key() { sha256sum | cut -c1-20; }
kernel=$cache/kernel-$( (echo "$recipe $source $(uname -m)"; cat "$here/config") | key)
initrd=$cache/initrd-$( (cat "$here/build.sh" "$here/init"; echo "${userland[@]}") | key)

images() { printf 'KERNEL=%s\nINITRD=%s\n' "$kernel/linux" "$initrd/initrd"; }
if [ "$verb" = find ]; then
	[ -e "$kernel/linux" ] && [ -e "$initrd/initrd" ] || exit 3
	images
	exit
fi

for tool in apt-get dpkg-deb gcc make tar xz sha256sum flock; do
	command -v "$tool" >/dev/null || { say "needs $tool, which this machine does not have (a Debian with gcc and make will do)"; exit 1; }
done
mkdir -p "$cache"/{debs,apt/lists/partial,apt/archives/partial}
exec 9>"$cache/lock"
flock -n 9 || { say 'another build is under way, waiting for it'; flock 9; }
work=$(mktemp -d "$cache/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# A private package state with nothing installed: apt resolves the whole closure, whatever the host has. It reads the
# host's sources and keys, and writes only here.
: >"$cache/apt/status"
apt=(-o "Dir::State::Status=$cache/apt/status" -o "Dir::Cache=$cache/apt" -o "Dir::State::Lists=$cache/apt/lists"
	-o APT::Sandbox::User= -o Debug::NoLocking=1 -o APT::Install-Recommends=0 -o Acquire::Languages=none
	-o Acquire::Retries=3 -o quiet=2)
lists() {
	[ -n "$(find "$cache/apt/lists" -maxdepth 1 -name '*Packages*' -mmin -1440 -print -quit)" ] && return
	say 'reading package lists'
	apt-get "${apt[@]}" update >&2
}
get() { # get PACKAGE…: downloads what is missing, prints the files' paths
	local p
	(cd "$cache/debs" && apt-get "${apt[@]}" download "$@" >&2) # keeps a file that is there already
	for p; do find "$cache/debs" -name "${p}_*.deb" -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-; done
}
closure() { # closure PACKAGE…: the names of all packages these need
	apt-get "${apt[@]}" install -y --print-uris "$@" | sed -n "s/^'[^']*' \([^_ ]*\)_.*/\1/p" |
		grep -vxE 'debconf|passwd|adduser|perl.*|libperl.*|dpkg|tar|gcc-12-base|libsemanage.*|libsepol.*|libdebconf.*' | sort -u
}
edit() { # edit FILE SCRIPT: must change something
	cp "$1" "$1.orig"
	sed -i "$2" "$1"
	! cmp -s "$1" "$1.orig" || { echo "$1 is not as it was: look whether it still needs this change"; exit 1; }
}
unpack() { # unpack DIR FILE…
	local dir=$1 f
	shift
	for f; do dpkg-deb --fsys-tarfile "$f" | tar -x -C "$dir" --keep-directory-symlink --no-same-owner; done
}

if [ ! -e "$kernel/linux" ]; then
	lists
	say "building the kernel from $source: about 5 minutes on 2 cores"
	mkdir -p "$work"/{tools,src,build,out}
	mapfile -t files < <(get "$source" flex bison m4 bc)
	unpack "$work/tools" "${files[@]}"
	tar -xf "$work/tools/usr/src/$source.tar.xz" -C "$work/src" --strip-components=1
	(
		export PATH=$PATH:$work/tools/usr/bin BISON_PKGDATADIR=$work/tools/usr/share/bison M4=${M4:-$work/tools/usr/bin/m4}
		cd "$work/src"
		um=(make -s ARCH=um "O=$work/build")
		# Room for the registers of any processor of the host, AMX's tiles among them: what is saved must be as long as the host has
		# it, 11008 bytes today. A kernel stack holds three of these, one for each signal in another, and is larger for it
		# (KERNEL_STACK_ORDER).
		edit arch/x86/um/user-offsets.c 's/DEFINE_LONGS(HOST_FP_SIZE, 2696)/DEFINE_LONGS(HOST_FP_SIZE, 11264)/'
		# Where time stands still while anybody computes, nobody is ever told to let others go on: who waits for a dentry that another
		# was killing when it let go would wait forever (shrink_dcache_parent). So that one does not let go.
		edit fs/dcache.c '/^static struct dentry \*__dentry_kill(/,/^}/{/^\tcond_resched.*();$/d}'
		"${um[@]}" tinyconfig
		./scripts/kconfig/merge_config.sh -m -O "$work/build" "$work/build/.config" "$here/config"
		"${um[@]}" olddefconfig
		# What the configuration asks for and this kernel does not have would only be missed much later.
		lacking=$(grep '^CONFIG_' "$here/config" | while IFS= read -r want; do
			grep -qxF "$want" "$work/build/.config" || { [ "${want#*=}" = n ] && ! grep -q "^${want%%=*}=" "$work/build/.config"; } || echo "$want"
		done)
		[ -z "$lacking" ] || { printf 'the kernel does not take:\n%s\n' "$lacking"; exit 1; }
		"${um[@]}" -j"$(nproc)" linux
		strip -o "$work/out/linux" "$work/build/linux"
		gcc -O2 -o "$work/out/gen_init_cpio" usr/gen_init_cpio.c
	) >"$cache/kernel.log" 2>&1 || {
		tail -n 20 "$cache/kernel.log" >&2
		say "the kernel could not be built; everything it said is in $cache/kernel.log"
		exit 1
	}
	basename "${files[0]}" >"$work/out/source"
	rm -rf "$kernel"
	mv "$work/out" "$kernel"
fi

if [ ! -e "$initrd/initrd" ]; then
	lists
	say 'building the root file system'
	root=$work/root
	mkdir -p "$work/rootout" "$root"/usr/{bin,sbin,lib,lib64}
	for d in bin sbin lib lib64; do ln -s "usr/$d" "$root/$d"; done
	mapfile -t names < <(closure "${userland[@]}")
	mapfile -t files < <(get "${names[@]}")
	[ ${#files[@]} = ${#names[@]} ] || { say 'not every package could be fetched'; exit 1; }
	unpack "$root" "${files[@]}"
	# No maintainer script is run: what they would have linked is linked here.
	[ -e "$root/bin/sh" ] || ln -s bash "$root/bin/sh"
	rm -rf "$root"/usr/share/{doc,man,locale,info,lintian,bug,bash-completion,common-licenses,menu,i18n,zsh} \
		"$root"/boot "$root"/usr/lib/{locale,systemd} "$root"/usr/lib/*/gconv "$root"/var/{lib,cache}
	mkdir -p "$root"/{proc,sys,dev,tmp,run,lab,root,etc,var/lib,var/log}
	rm -rf "$root/var/run" && ln -s /run "$root/var/run"
	printf 'root:x:0:0:root:/root:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\n' >"$root/etc/group"
	printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
	install -m 755 "$here/init" "$root/init"
	{
		echo 'nod /dev/console 0600 0 0 c 5 1'
		cd "$root"
		find . -mindepth 1 -type d -printf 'dir /%P %m 0 0\n'
		find . -mindepth 1 -type f -printf 'file /%P %p %m 0 0\n'
		find . -mindepth 1 -type l -printf 'slink /%P %l 777 0 0\n'
	} >"$work/list"
	(cd "$root" && "$kernel/gen_init_cpio" "$work/list" >"$work/rootout/initrd")
	printf '%s\n' "${files[@]##*/}" >"$work/rootout/packages"
	rm -rf "$initrd"
	mv "$work/rootout" "$initrd"
fi
images
