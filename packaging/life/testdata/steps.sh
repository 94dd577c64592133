# What every story is told with. Prints "STEP NAME ok", or why not, and ends the machine; /story/boot counts the boots.
exec 9>>/dev/ttyS0
say() { printf '\n%s\n' "$*" >&9; }
unit=wanctl@att.service
declare -i failures=0
boot=$(cat /story/boot 2>/dev/null || echo 0)
echo $((++boot)) >/story/boot

broken() { # broken NAME CONDITION: says all there is to say, and ends
	failures+=1
	say "STEP $1 FAILED: $2"
	{
		tail -5 /tmp/why
		systemctl status --no-pager -n 5 "$unit" wanctl-steer.service
		journalctl --no-pager -n 100 -u "$unit" | grep -v GREEN/GREEN
		grep -v '"kind":"command"' /story/router.json | tail -8
	} >&9 2>&1
	end
}
now() { step "$1" "$2" 1; } # now NAME CONDITION: must hold at once, by what a shell says
step() { # step NAME CONDITION [TRIES]: must hold before long
	local i
	for ((i = 0; i < ${3:-600}; i++)); do
		if eval "$2" >/tmp/why 2>&1; then
			say "STEP $1 ok (at $(cut -d' ' -f1 /proc/uptime) s)"
			return
		fi
		sleep 0.1
	done
	broken "$@"
}
end() {
	sync
	say "END boot $boot, $failures failures"
	systemctl poweroff --force --force
	sleep 60
}
emulator() { # emulator ARG...: the router, which is known to be there when it has said its key
	rm -f /story/emulator.out
	install -m 755 /story/unpacked-1.0.0/usr/bin/wanctl /usr/local/bin/emulator
	/usr/local/bin/emulator emulate --listen 127.0.0.1:2222 --dir /story/emu --journal /story/router.json "$@" >/story/emulator.out 2>&1 &
	step emulator 'grep -q "^host key" /story/emulator.out'
}
gone() { # the package goes, and takes along what it brought and made
	now purge 'dpkg --purge wanctl'
	now no-group-is-left '! grep wanctl /etc/group /etc/gshadow'
	now nothing-runs '! systemctl is-active "wanctl@*" wanctl-steer.service'
	now nothing-is-left '[ -z "$(find / -xdev -iname "*wanctl*" -not -path "/proc/*" -not -path "/story/*" -not -path "/var/log/journal/*" -not -path "/var/log/dpkg.log" -print | tee /dev/stderr)" ]'
}
prop() { systemctl show --value -p "$1" "$unit"; }
rate() { # rate [JOURNAL [QUEUE]]: the last limit that a queue was given
	grep '"kind":"limit"' "${1:-/story/router.json}" | grep "\"name\":\"${2:-WAN-Download-ATT}\"" | tail -1 | sed 's/.*"limit":\([0-9]*\).*/\1/'
}
writes() { grep -c '"kind":"limit"' /story/router.json; }
rule() { grep '"kind":"rule"' /story/router.json | tail -1 | sed 's/.*"enabled":\([a-z]*\).*/\1/'; }
healthy() { wanctl status | grep -q "^$1: healthy"; }
runs() { # runs VERSION NAME...: they are healthy, by that version
	local version=$1 name
	shift
	for name; do wanctl status | grep -q "^$name: healthy.*wanctl $version" || return; done
}
drop_in() { # drop_in NAME, lines on stdin
	mkdir -p "/etc/systemd/system/$unit.d"
	(echo "[$1]"; cat) >"/etc/systemd/system/$unit.d/$2.conf"
	systemctl daemon-reload
}

