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
now() { # now NAME CONDITION: must hold at once, by what a shell says
	if eval "$2" >/tmp/why 2>&1; then
		say "STEP $1 ok (at $(cut -d' ' -f1 /proc/uptime) s)"
	else
		broken "$@"
	fi
}
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
prop() { systemctl show --value -p "$1" "$unit"; }
rate() { grep '"kind":"limit"' "${1:-/story/router.json}" | grep '"name":"WAN-Download-ATT"' | tail -1 | sed 's/.*"limit":\([0-9]*\).*/\1/'; }
writes() { grep -c '"kind":"limit"' /story/router.json; }
rule() { grep '"kind":"rule"' /story/router.json | tail -1 | sed 's/.*"enabled":\([a-z]*\).*/\1/'; }
healthy() { wanctl status | grep -q "^$1: healthy"; }
drop_in() { # drop_in NAME, lines on stdin
	mkdir -p "/etc/systemd/system/$unit.d"
	(echo "[$1]"; cat) >"/etc/systemd/system/$unit.d/$2.conf"
	systemctl daemon-reload
}

