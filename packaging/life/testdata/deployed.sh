#!/bin/bash
# "wanctl deploy" to a host that runs the earlier system: over OpenSSH and sudo, under a real systemd. Then newer, worse, back, without
# rights, and a boot.
. /story/steps.sh
site=/story/site
old=/story/unpacked-1.0.0/usr/bin/wanctl new=/story/unpacked-1.1.0/usr/bin/wanctl
emulator
earlier_runs() { pgrep -f "^/bin/sh /home/kevin/wanctl/autorate_continuous.py" && pgrep -f "^/bin/sh /home/kevin/wanctl/wan_steering_daemon.py"; }
lent() { uid=$(stat -Lc %u "$1") && [ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ]; }

if [ "$boot" = 2 ]; then
	step services-are-up-after-a-reboot '[ "$(prop ActiveState)" = active ] && systemctl is-active wanctl-steer.service'
	step healthy-after-a-reboot 'runs v1.0.0 ATT steering'
	now the-state-is-kept 'journalctl -b -u $unit --no-pager | grep "from the saved state"'
	now the-earlier-name-is-up-after-a-reboot 'systemctl is-active cake-att-continuous.service'
	end
fi

# The host: a user with a key and sudo, the router's key, and the earlier system at work.
echo "127.0.0.1 localhost $(hostname)" >/etc/hosts
useradd --create-home --shell /bin/sh kevin
echo 'kevin ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/kevin
install -d -m 700 /root/.ssh
ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/id_ed25519
install -d -m 700 -o kevin -g kevin /home/kevin/.ssh
install -m 600 -o kevin -g kevin /root/.ssh/id_ed25519.pub /home/kevin/.ssh/authorized_keys
now the-ssh-server 'systemctl start ssh.service'
ssh-keyscan -t ed25519 127.0.0.1 >/root/.ssh/known_hosts 2>/dev/null
step the-way-in 'ssh -o BatchMode=yes kevin@127.0.0.1 sudo true'
install -d -m 700 /etc/wanctl/ssh
install -m 600 /story/emu/client_key /etc/wanctl/ssh/router.key
install -m 644 /story/emu/known_hosts /etc/wanctl/ssh/known_hosts
install -d -o kevin -g kevin /home/kevin/wanctl/configs
for program in autorate_continuous wan_steering_daemon; do
	printf '#!/bin/sh\nwhile :; do sleep 1; done\n' >/home/kevin/wanctl/$program.py
done
printf 'wan_name: ATT\nlock_file: /tmp/wanctl_att.lock\ncontinuous_monitoring: {}\n' >/home/kevin/wanctl/configs/att_config.yaml
echo 'wan_name: steering' >/home/kevin/wanctl/configs/steering_config.yaml
cat >/tmp/wanctl_att_state.json <<'STATE'
{"download": {"green_streak": 7, "soft_red_streak": 0, "red_streak": 0, "current_rate": 64000000},
"upload": {"green_streak": 9, "soft_red_streak": 0, "red_streak": 0, "current_rate": 11000000},
"ewma": {"baseline_rtt": 0.21, "load_rtt": 0.3}, "last_applied": {"dl_rate": 64000000, "ul_rate": 11000000}, "timestamp": "2026-01-07T02:35:00"}
STATE
earlier_unit() { # earlier_unit NAME PROGRAM ARGUMENTS
	printf '[Service]\nType=oneshot\nUser=kevin\nWorkingDirectory=/home/kevin/wanctl\nExecStart=/bin/sh /home/kevin/wanctl/%s %s\n' "$2" "$3" >"/etc/systemd/system/$1.service"
	printf '[Timer]\nOnActiveSec=0\nOnUnitActiveSec=2s\nAccuracySec=100ms\n[Install]\nWantedBy=timers.target\n' >"/etc/systemd/system/$1.timer"
}
earlier_unit cake-att-continuous autorate_continuous.py '--configs /home/kevin/wanctl/configs/att_config.yaml'
earlier_unit wan-steering wan_steering_daemon.py '--config configs/steering_config.yaml'
systemctl daemon-reload
now the-earlier-system-starts 'systemctl enable --now cake-att-continuous.timer wan-steering.timer'
step the-earlier-system-runs earlier_runs

mkdir $site
cp /story/att.yaml /story/steering.yaml $site/
cat >$site/inventory.yaml <<'INVENTORY'
defaults: {user: kevin, become: sudo}
hosts:
  - {name: cake-att, address: 127.0.0.1, wans: [att.yaml], steering: steering.yaml}
INVENTORY
now a-dry-run-changes-nothing '$old deploy $site/inventory.yaml --dry-run && earlier_runs && [ ! -e /usr/local/lib/wanctl ]'

# A version that does not come well leaves the earlier system at work.
sed -i s/WAN-Download-ATT/No-Such-Queue/ $site/att.yaml
now one-that-is-not-well-is-refused '! $old deploy $site/inventory.yaml --healthy 20s'
step the-earlier-system-runs-again 'earlier_runs && [ ! -e /usr/bin/wanctl ] && systemctl is-active cake-att-continuous.timer wan-steering.timer'
cp /story/att.yaml $site/
now deploy '$old deploy $site/inventory.yaml 2>&1 | tee /tmp/steps && [ "${PIPESTATUS[0]}" = 0 ]'
now it-is-healthy 'runs v1.0.0 ATT steering'
now the-earlier-system-is-gone '! earlier_runs && [ ! -e /etc/systemd/system/wan-steering.timer ]'
now what-it-learnt-is-taken-over 'grep "baseline 0.2ms, rates 64M/11M" /tmp/steps && journalctl -u $unit --no-pager | grep "from the saved state"'
now its-user-is-a-lent-one 'lent "/proc/$(prop MainPID)" && ! grep -q wanctl /etc/passwd'
now its-state-is-its-own '[ -L /var/lib/wanctl ] && for f in /var/lib/wanctl/ /var/lib/wanctl/*; do lent "$f" || { ls -la /var/lib/wanctl/; exit 1; }; done'
now its-only-right-is-raw-sockets 'grep -q "^CapEff:.0000000000002000" "/proc/$(prop MainPID)/status"'
now its-configuration-is-not-for-everybody '[ "$(stat -Lc %a:%U:%G /etc/wanctl/att.yaml)" = 640:root:wanctl-config ]'
now nobody-found-anothers-directories '[ "$(readlink /var/lib/wanctl)" = private/wanctl ] && ! journalctl --no-pager | grep "pre-existing public"'
now nobody-started-twice '[ "$(prop NRestarts)" = 0 ] && [ "$(systemctl show --value -p NRestarts wanctl-steer.service)" = 0 ]'
now the-earlier-names-lead-there 'systemctl is-active cake-att-continuous.service && systemctl is-active wan-steering.service'
now the-units-are-good 'systemd-analyze verify --man=no /etc/systemd/system/wanctl@.service /etc/systemd/system/wanctl-steer.service'
step the-ceilings-are-on-the-router '[ "$(rate)" = 90000000 ] && [ "$(rate /story/router.json WAN-Upload-ATT)" = 17000000 ]'
now again-is-no-change '$old deploy $site/inventory.yaml 2>&1 | grep "runs already"'

before=$(writes)
now a-newer-version '$new deploy $site/inventory.yaml'
now the-newer-version-runs 'runs v1.1.0 ATT steering'
now it-writes-nothing '[ "$(writes)" = '"$before"' ] && [ "$(rate)" = 90000000 ]'

sed -i s/WAN-Download-ATT/No-Such-Queue/ $site/att.yaml
pid=$(prop MainPID)
now one-that-does-not-come-well '! $new deploy $site/inventory.yaml --healthy 20s'
now the-version-before-is-back 'runs v1.1.0 ATT steering && [ "$(prop MainPID)" != '"$pid"' ] && ! grep -q No-Such-Queue /etc/wanctl/att.yaml'
cp /story/att.yaml $site/

# A process per cycle cannot have the line together with the service.
systemctl stop $unit
systemctl start wanctl-once@att.timer
now a-timer-gives-way '$old deploy $site/inventory.yaml 2>&1 | grep "wanctl-once@att.timer is stopped and disabled" && runs v1.0.0 ATT steering && ! systemctl is-active wanctl-once@att.timer'
now back-on-the-host 'wanctl install --rollback && systemctl is-active wanctl-once@att.timer && wanctl version | grep -q "^wanctl v1.1.0"'
systemctl stop wanctl-once@att.timer
now forth-again '$new deploy $site/inventory.yaml && runs v1.1.0 ATT steering'

# A user without root's rights prepares everything; what remains is one command for root.
rm /etc/sudoers.d/kevin
sed -i 's/become: sudo/become: none/' $site/inventory.yaml
$old deploy $site/inventory.yaml --json >/tmp/summary 2>/tmp/steps
now without-rights-a-step-remains "[ $? = 2 ]"
remaining=$(grep -o '/[^" ]*/wanctl install [^"]*bundle.json' /tmp/summary | head -1)
now nothing-was-changed 'runs v1.1.0 ATT steering'
now the-step-that-remains '$remaining && runs v1.0.0 ATT steering'
now nobody-lacked-a-right '! journalctl --no-pager -u $unit -u wanctl-steer.service | grep -i "not permitted\|permission denied"'
say "REBOOT"
systemctl reboot
sleep infinity # the emulator is part of this service
