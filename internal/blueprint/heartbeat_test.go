package blueprint

import (
	"slices"
	"strings"
	"testing"

	"wanctl/internal/link"
)

// beats are the changes of a plan that concern schedulers.
func beats(p Plan) []Change {
	c, _ := p.Heartbeats()
	return c
}

func TestHeartbeats(t *testing.T) {
	w := twoLines()
	if got := beats(New(factory(), w)); len(got) != 0 || w.Heartbeats() {
		t.Fatalf("nobody asked for %+v", got)
	}
	w.Lines[1].Heartbeat, w.Steering.Heartbeat = true, true
	w.Lines[1].Queues.Up = `Up "$5" \ x`
	r := &router{t: t, inv: factory()}
	p := New(r.inv, w)
	got := beats(p)
	if len(got) != 2 || !w.Heartbeats() {
		t.Fatalf("%+v", got)
	}
	line, steering := got[0], got[1]
	address := link.MarkAddress(link.QueueThing("WAN-Download-ATT"), link.QueueThing(w.Lines[1].Queues.Up))
	want := []Arg{
		{"name", "wanctl-heartbeat-ATT"},
		{"interval", "1m"},
		{"start-time", "startup"},
		{"policy", "read,write"},
		{"on-event", `:if ([/system/resource/get uptime]>10m && [:len [/ip/firewall/address-list/find where list="wanctl-owner" address=` + address +
			`]]=0) do={:foreach i in=[/queue/tree/find where name="WAN-Download-ATT" max-limit!=95000000] do={/queue/tree/set $i max-limit=95000000};` +
			`:foreach i in=[/queue/tree/find where name="Up \"\$5\" \\ x" max-limit!=18000000] do={/queue/tree/set $i max-limit=18000000}}`},
		{"comment", "wanctl: heartbeat of ATT"},
	}
	if line.Verb != Add || line.Privileged || !slices.Equal(line.Args, want) {
		t.Errorf("got  %q\nwant %q", line.Args, want)
	}
	if s := steering.Args[4].Value; steering.Args[0].Value != "wanctl-heartbeat-steering Spectrum" || !strings.Contains(s, `mangle/find where comment="ADAPTIVE: Steer latency-sensitive to ATT" dynamic=no disabled=no] do={/ip/firewall/mangle/disable $i}`) {
		t.Errorf("%q", steering.Args)
	}
	r.carry(p)
	if again := beats(New(r.inv, w)); len(again) != 0 {
		t.Errorf("a second plan has %+v", again)
	}
	i := slices.IndexFunc(r.inv[Scheduler], named("wanctl-heartbeat-ATT"))
	row := r.inv[Scheduler][i]
	row["interval"], row["policy"] = "00:01:00", "read,write,!ftp"
	if again := beats(New(r.inv, w)); len(again) != 0 {
		t.Errorf("written otherwise it is %+v", again)
	}
	w.Lines[1].Limits.Down += 1_000_000
	row["disabled"] = "true"
	if again := beats(New(r.inv, w)); len(again) != 1 || again[0].Verb != Set || len(again[0].Args) != 2 || again[0].Args[1] != (Arg{"disabled", "no"}) {
		t.Errorf("other rates, and disabled: %+v", again)
	}
	if undo := beats(Undo(r.inv, nil)); len(undo) != 2 || undo[0].Verb != Remove {
		t.Errorf("an undo: %+v", undo)
	}
	w.Lines[1].Heartbeat = false
	if off := beats(New(r.inv, w)); len(off) != 1 || off[0].Verb != Remove || off[0].Item != "heartbeat of ATT" {
		t.Errorf("off: %+v", off)
	}
	row["comment"] = "mine"
	if off := beats(New(r.inv, w)); len(off) != 0 {
		t.Errorf("somebody's: %+v", off)
	}
	w.Lines[1].Heartbeat = true
	if p := New(r.inv, w); !p.Blocked() || len(beats(p)) != 0 {
		t.Errorf("somebody's in the way: %+v", p.Problems)
	}
	w.Lines[1].Limits.Up = 0
	if p := New(factory(), w); !p.Blocked() {
		t.Error("a heartbeat that knows no rate")
	}
}
