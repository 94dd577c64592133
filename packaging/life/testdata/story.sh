#!/bin/bash
# What happens to wanctl's services under a real systemd. It is run at every boot.
. /story/steps.sh
second_boot() {
	step services-are-up-after-a-reboot '[ "$(prop ActiveState)" = active ] && systemctl is-active wanctl-steer.service'
	step healthy-after-a-reboot 'healthy ATT && healthy steering'
	now the-stop-of-the-reboot-left-the-base '[ "$(rate /story/router-at-the-end.json)" = 80000000 ]'
	step the-state-is-kept 'journalctl -b -u $unit --no-pager | grep "from the saved state"'
	gone
	end
}

[ "$boot" = 1 ] || cp /story/router.json /story/router-at-the-end.json
emulator
[ "$boot" = 1 ] || second_boot

now install 'dpkg -i /story/one.deb'
now nothing-runs-unasked '! systemctl is-active "wanctl@*.service" wanctl-steer.service | grep -qx active'
install -m 600 /story/emu/client_key /etc/wanctl/ssh/router.key
install -m 644 /story/emu/known_hosts /etc/wanctl/ssh/known_hosts
install -m 640 -g wanctl-config /story/att.yaml /story/steering.yaml /etc/wanctl/
now start 'systemctl enable --now wanctl@att.service wanctl-steer.service'
now its-user-is-a-lent-one 'uid=$(stat -c %u "/proc/$(prop MainPID)") && [ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] && ! grep -q wanctl /etc/passwd'
now its-configuration-is-not-for-everybody '[ "$(stat -c %a:%U:%G /etc/wanctl/att.yaml)" = 640:root:wanctl-config ] &&
	! setpriv --reuid=65534 --clear-groups cat /etc/wanctl/att.yaml'
now its-only-right-is-raw-sockets 'grep -q "^CapEff:.0000000000002000" "/proc/$(prop MainPID)/status" && grep -q "^CapBnd:.0000000000002000" "/proc/$(prop MainPID)/status" &&
	grep -q "^Seccomp:.2" "/proc/$(prop MainPID)/status"'
step healthy 'healthy ATT && healthy steering'
step the-ceiling-is-on-the-router '[ "$(rate)" = 90000000 ]'
now the-key-came-as-a-credential '[ "$(stat -c %a:%U /etc/wanctl/ssh/router.key)" = 600:root ]'

sed -i s/ceiling_mbps:.90/ceiling_mbps:\ 88/ /etc/wanctl/att.yaml
pid=$(prop MainPID)
now reload 'systemctl reload $unit'
step reload-takes-over '[ "$(rate)" = 88000000 ] && [ "$(prop MainPID)" = '"$pid"' ]'

before=$(writes)
now restart 'systemctl restart $unit'
step healthy-after-a-restart 'healthy ATT && [ "$(prop MainPID)" != '"$pid"' ]'
now a-restart-writes-nothing '[ "$(writes)" = '"$before"' ] && [ "$(rate)" = 88000000 ]'

cp /etc/wanctl/att.yaml /story/good.yaml
echo 'no_such_key: 1' >>/etc/wanctl/att.yaml
systemctl restart $unit
step a-broken-file-is-not-handed-over '[ "$(rate)" = 80000000 ] && [ "$(prop MainPID)" = 0 ]'
cp /story/good.yaml /etc/wanctl/att.yaml
step it-starts-again-by-itself 'healthy ATT && [ "$(rate)" = 88000000 ]'

drop_in Service watchdog <<<'WatchdogSec=6'
systemctl restart $unit
step healthy-before-the-watchdog 'healthy ATT'
before=$(writes) pid=$(prop MainPID)
kill -STOP "$pid"
step the-watchdog-kills '[ "$(prop MainPID)" != '"$pid"' ]'
step the-killed-one-was-released "tail -n +$((before + 1)) <(grep '\"kind\":\"limit\"' /story/router.json) | grep -q '\"name\":\"WAN-Download-ATT\",\"limit\":80000000'"
step healthy-after-the-watchdog 'healthy ATT && [ "$(rate)" = 88000000 ] && [ "$(prop NRestarts)" -ge 1 ]'

now stop 'systemctl stop $unit wanctl-steer.service'
step a-stop-leaves-the-base '[ "$(rate)" = 80000000 ]'
step the-rule-is-off '[ "$(rule)" != true ]'
now the-run-directory-is-kept '[ -d /run/wanctl/ ]'

now the-earlier-name-starts 'systemctl start cake-att-continuous.service && [ "$(prop ActiveState)" = active ]'
systemctl stop cake-att-continuous.service
step the-earlier-name-stops '[ "$(prop ActiveState)" = inactive ]'
now the-earlier-name-of-steering 'systemctl start wan-steering.service && systemctl is-active wanctl-steer.service'

now start-before-the-crashes 'systemctl start $unit'
step healthy-before-the-crashes 'healthy ATT && [ "$(rate)" = 88000000 ]'
drop_in Service crash <<<$'ExecStartPre=/bin/false\nRestartSec=1'
drop_in Unit limit <<<'StartLimitBurst=3'
kill -KILL "$(prop MainPID)"
step crashes-until-the-start-limit '[ "$(prop ActiveState)" = failed ] && [ "$(prop NRestarts)" -ge 2 ]'
step a-crash-loop-is-released '[ "$(rate)" = 80000000 ]'
rm -r "/etc/systemd/system/$unit.d"
systemctl daemon-reload
systemctl reset-failed $unit
now start-after-the-crashes 'systemctl start $unit'
step healthy-before-the-upgrade 'healthy ATT && [ "$(rate)" = 88000000 ] && healthy steering'

before=$(writes)
now upgrade 'dpkg -i /story/two.deb'
step the-new-version-runs 'runs v1.1.0 ATT steering'
now an-upgrade-writes-nothing '[ "$(writes)" = '"$before"' ] && [ "$(rate)" = 88000000 ]'
now downgrade 'dpkg -i /story/one.deb'
step the-old-version-runs 'runs v1.0.0 ATT'
now a-downgrade-writes-nothing '[ "$(writes)" = '"$before"' ] && [ "$(rate)" = 88000000 ]'

if [ -e /sys/class/net/wan1 ]; then # a line and steering of this host itself, by what boot.sh laid
	for u in wanctl@lin.service wanctl-steer.service; do
		mkdir -p "/etc/systemd/system/$u.d"
		cp /usr/share/wanctl/systemd/linux.conf "/etc/systemd/system/$u.d/"
	done
	cp /usr/share/wanctl/systemd/qdisc.conf /etc/systemd/system/wanctl@lin.service.d/
	systemctl daemon-reload
	install -m 640 -g wanctl-config /story/lin.yaml /etc/wanctl/lin.yaml
	install -m 640 -g wanctl-config /story/steering-linux.yaml /etc/wanctl/steering.yaml
	now no-queues-yet '[ ! -e /sys/class/net/ifb4wan1 ]'
	now start-of-a-line-of-this-host 'systemctl start wanctl@lin.service'
	# Where the kernel has no CAKE this is as far as it comes; what it made needs the same right.
	step its-queues-are-made-first '[ -e /sys/class/net/ifb4wan1 ] && journalctl -u wanctl-qdisc@lin.service --no-pager | grep -q .'
	step its-rights-are-raw-sockets-and-the-network 'grep -q "^CapEff:.0000000000003000" "/proc/$(systemctl show --value -p MainPID wanctl@lin.service)/status" &&
		wanctl status | grep -q ^Lin:'
	now steering-of-this-host 'systemctl restart wanctl-steer.service'
	step its-rules-are-in-the-kernel 'wanctl policy plan /etc/wanctl/steering.yaml | grep -qx "nothing to do"'
	now nobody-lacked-a-right '! journalctl --no-pager -u wanctl-qdisc@lin.service -u wanctl@lin.service -u wanctl-steer.service | grep -i "not permitted\|permission denied"'
	now stop-of-this-hosts-own 'systemctl stop wanctl@lin.service wanctl-qdisc@lin.service && rm -r /etc/systemd/system/wanctl-steer.service.d /etc/systemd/system/wanctl@lin.service.d'
	cp /story/steering.yaml /etc/wanctl/steering.yaml
	systemctl daemon-reload
	systemctl restart wanctl-steer.service
	step healthy-steering-of-the-router 'healthy steering'
fi

# A timer that runs a process per cycle, over an upgrade.
systemctl stop $unit
now the-timer-starts 'systemctl enable --now wanctl-once@att.timer'
step a-process-per-cycle 'journalctl -u wanctl-once@att.service --no-pager | grep -c "GREEN/GREEN" | grep -qv "^[01]$"'
now upgrade-under-a-timer 'dpkg -i /story/two.deb && systemctl is-active wanctl-once@att.timer'
step the-timer-runs-the-new-version 'journalctl -u wanctl-once@att.service --no-pager | grep -q "wanctl v1.1.0"'
now the-service-again 'systemctl disable --now wanctl-once@att.timer && systemctl start $unit'
now downgrade-again 'dpkg -i /story/one.deb'
step healthy-at-the-end 'healthy ATT && healthy steering && [ "$(rate)" = 88000000 ]'

say "REBOOT"
systemctl reboot
# The emulator is part of this service, which nothing stops: it is there until the last, so the stop at the end is its to see.
sleep infinity
