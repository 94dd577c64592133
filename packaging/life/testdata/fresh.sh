#!/bin/bash
# From nothing to a house that is steered, and back to nothing: install, set up, examine, upgrade under load, go back, purge.
. /story/steps.sh
unit=wanctl@cable.service
files="/etc/wanctl/cable.yaml /etc/wanctl/vdsl.yaml /etc/wanctl/steering.yaml"
# green holds when the doctor is content: what it cannot know here is how many connections use IPv6, because none was ever counted, and
# how many sectors of flash a change writes, which it tries on request only. It looks for three seconds each time.
green() {
	wanctl doctor --watch 3s $files >/tmp/doctor 2>&1
	local rc=$?
	cat /tmp/doctor
	[ "$rc" = 0 ] && ! grep -E '^(hint|warning|failed|unknown)' /tmp/doctor | grep -Ev '^unknown +(steering.ipv6|router.flash):'
}
jump() { # jump FROM: the greatest change of a rate since line FROM of the journal, against the one before it, in percent
	awk -v from="$1" '/"kind":"limit"/ && match($0, /"name":"[^"]*"/) {
		name = substr($0, RSTART, RLENGTH)
		if (!match($0, /"limit":[0-9]+/)) next
		limit = substr($0, RSTART + 8, RLENGTH - 8)
		if (NR > from && last[name] > 0) { by = (limit / last[name] - 1) * 100; if (by < 0) by = -by; if (by > most) most = by }
		last[name] = limit
	} END { printf "%.2f\n", most }' /story/router.json
}

faults=()
for ((at = 10; at < 600; at += 5)); do # until the queues are there these say that they are not
	faults+=(--fault "${at}s:offer=WAN-Download-cable=80M" --fault "${at}s:offer=WAN-Upload-cable=9M"
		--fault "${at}s:offer=WAN-Download-vdsl=20M" --fault "${at}s:offer=WAN-Upload-vdsl=5M")
	for to in 127.0.0.1 127.64.0.1 127.128.0.1; do
		faults+=(--fault "${at}s:track=127.0.0.2,$to,ether1" --fault "${at}s:track=127.0.0.3,$to,ether2")
	done
done
emulator --user keeper --import /story/factory.rsc --profile 7.24.2 "${faults[@]}"

now install 'dpkg -i /story/one.deb'
fingerprint=$(sed -n 's/^host key .* //p' /story/emulator.out)
export WANCTL_ADMIN_PASSWORD=boss
now init 'wanctl init --yes --router 127.0.0.1 --transport ssh --port 2222 --fingerprint '"$fingerprint"' --admin admin --apply \
	--ping-host 127.0.0.1 --ping-host 127.64.0.1 --ping-host 127.128.0.1 --line wan=ether1,access=cable,rates=450/38,name=cable,source=127.0.0.2 \
	--line wan=ether2,access=vdsl,rates=95/18,name=vdsl,source=127.0.0.3 --steer </dev/null | tee /tmp/init'
now the-next-command 'grep -q "^    systemctl enable --now" /tmp/init && eval "$(sed -n "s/^    \(systemctl enable .*\)/\1/p" /tmp/init)"'
step healthy 'healthy cable && healthy vdsl && healthy steering'
step the-doctor-is-content green 20
now secrets-are-nobodys-else '[ "$(find /etc/wanctl -name "*password*" -perm /077)" = "" ] && ! grep -r "$(cat /etc/wanctl/secrets/*password)" /etc/wanctl/*.yaml /run/wanctl /var/lib/wanctl'

before=$(writes) from=$(wc -l </story/router.json)
now upgrade 'dpkg -i /story/two.deb'
step the-new-version-runs 'runs v1.1.0 cable vdsl steering'
say "FIGURE rates changed by at most $(jump "$from") % during the upgrade, in $(($(writes) - before)) writes"
now no-jump '[ "$(jump '"$from"' | cut -d. -f1)" -lt 5 ]'
from=$(wc -l </story/router.json) before=$(writes)
now roll-back 'dpkg -i /story/one.deb'
step the-old-version-runs 'runs v1.0.0 cable vdsl steering'
say "FIGURE rates changed by at most $(jump "$from") % while going back, in $(($(writes) - before)) writes"
now no-jump-back '[ "$(jump '"$from"' | cut -d. -f1)" -lt 5 ]'
step the-doctor-is-still-content green 20

export WANCTL_ROUTER_PASSWORD=
now undo 'wanctl router undo --yes --user admin $files'
gone
end
