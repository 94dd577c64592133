package routeros

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const simpleAnswer = "wanctl|found|1|.\r\nwanctl|set|both|.\r\n" +
	"wanctl|simple|18000000/95M|1 000/2000|10/20|1/2|1514/3028|1/2|192.168.88.0/24;guests|ether1|.\r\n" +
	"wanctl|wan|100|200|.\r\nwanctl|uptime|1d|.\r\nwanctl|end|.\r\n"

func TestSimpleAnswer(t *testing.T) {
	s, c := scripted(t, say(simpleAnswer, 0))
	got, err := c.Exchange(t.Context(), cable, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := link.Pair[link.Queue]{
		Down: link.Queue{MaxLimit: 95 * unit.Mbps, Bytes: 2000, Packets: 20, Dropped: 2, QueuedBytes: 3028, QueuedPackets: 2},
		Up:   link.Queue{MaxLimit: 18 * unit.Mbps, Bytes: 1000, Packets: 10, Dropped: 1, QueuedBytes: 1514, QueuedPackets: 1},
	}
	if d := cmp.Diff(want, got.Pair); d != "" || !got.HasWAN || got.WANTx != 200 {
		t.Errorf("%s%+v", d, got)
	}
	if d := cmp.Diff([]string{built(simpleLine(cable, nil))}, s.sent()); d != "" {
		t.Error(d)
	}
}

// TestSimpleUnusable: answers that cannot be a simple queue's.
func TestSimpleUnusable(t *testing.T) {
	for name, text := range map[string]string{
		"one rate":       "18000000|1/2|1/2|1/2|1/2|1/2|bridge|ether1",
		"three rates":    "1/2/3|1/2|1/2|1/2|1/2|1/2|bridge|ether1",
		"no rate":        "/|1/2|1/2|1/2|1/2|1/2|bridge|ether1",
		"words":          "1/2|1/x|1/2|1/2|1/2|1/2|bridge|ether1",
		"a negative":     "1/2|1/2|-1/2|1/2|1/2|1/2|bridge|ether1",
		"no destination": "1/2|1/2|1/2|1/2|1/2|1/2|bridge",
		"a bar":          "1/2|1/2|1/2|1/2|1/2|1/2|bri|dge|ether1",
		"twice":          "1/2|1/2|1/2|1/2|1/2|1/2|bridge|ether1|.\nwanctl|simple|1/2|1/2|1/2|1/2|1/2|1/2|bridge|ether1",
	} {
		t.Run(name, func(t *testing.T) {
			_, c := scripted(t, say("wanctl|found|1|.\nwanctl|simple|"+text+"|.\nwanctl|uptime|1d|.\nwanctl|end|.\n", 0))
			_, err := c.Exchange(t.Context(), cable, nil)
			failure(t, err, Reply)
		})
	}
	_, c := scripted(t, say("wanctl|found|1|.\nwanctl|end|.\n", 0))
	_, err := c.SimpleQueue(t.Context(), "WAN-Cable")
	failure(t, err, Reply, "not complete")
	_, err = c.SimpleQueue(t.Context(), "")
	failure(t, err, Syntax, "empty")
}

func TestSimpleRefused(t *testing.T) {
	_, c := scripted(t, say(simpleAnswer, 0))
	for text, q := range map[string]Queues{
		"beside it":  {Simple: "a", Down: "b"},
		"WAN":        {Simple: "a", WAN: "b\n"},
		"U+000A":     {Simple: "a\nb"},
		"bytes long": {Simple: strings.Repeat("x", maxName+1)},
	} {
		_, err := c.Exchange(t.Context(), q, nil)
		failure(t, err, Syntax, text)
	}
	_, err := c.Exchange(t.Context(), cable, &link.Rates{Down: -1})
	failure(t, err, Syntax, "outside")
	if _, err := simpleLine(Queues{Simple: "a", Up: "b"}, nil); err == nil {
		t.Error("built")
	}
	if _, err := oneSimpleLine("\n"); err == nil {
		t.Error("built")
	}
}

// TestSimpleGuard: what is near to the lines of a simple queue and is none.
func TestSimpleGuard(t *testing.T) {
	both := built(simpleLine(cable, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}))
	up := built(simpleLine(cable, &link.Rates{Up: 7}))
	down := built(simpleLine(cable, &link.Rates{Down: 7}))
	for _, whole := range []string{both, up, down, built(simpleLine(cable, nil))} {
		if err := guard(whole); err != nil {
			t.Fatal(err)
		}
	}
	for name, line := range map[string]string{
		"no limit":            strings.Replace(both, "18000000/95000000", "0/0", 1),
		"no upload limit":     strings.Replace(both, "18000000/95000000", "0/95000000", 1),
		"one rate":            strings.Replace(both, "18000000/95000000", "18000000", 1),
		"a zero upload":       strings.Replace(up, `("7"`, `("0"`, 1),
		"another half":        strings.Replace(up, `[:find $m "/"] [:len $m]`, `0 [:len $m]`, 1),
		"nothing kept":        strings.Replace(down, `[:pick $m 0 [:find $m "/"]]`, `"0"`, 1),
		"a zero download":     strings.Replace(down, `"/7"`, `"/0"`, 1),
		"another property":    strings.Replace(both, "set $q max-limit", "set $q target", 1),
		"the tree":            strings.Replace(both, "/queue/simple set", "/queue/tree set", 1),
		"removal":             strings.Replace(both, "/queue/simple set $q max-limit=18000000/95000000", "/queue/simple remove $q", 1),
		"write without check": strings.Replace(both, ":if ([:len $q]=1) do={/queue", ":if (true) do={/queue", 1),
		"two writes":          strings.Replace(both, ";:put \"wanctl|set|both|.\"", ";/queue/simple set $q max-limit=1/1;:put \"wanctl|set|both|.\"", 1),
	} {
		if line == both || line == up || line == down {
			t.Fatalf("%s changes nothing", name)
		}
		if guard(line) == nil {
			t.Errorf("the guard passes %s: %s", name, line)
		}
	}
}

// TestSimpleMenus is a simple queue through the API and REST.
func TestSimpleMenus(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		c := dialer(t, o)
		got, err := c.Exchange(t.Context(), cable, nil)
		want := link.Pair[link.Queue]{
			Down: link.Queue{MaxLimit: 95 * unit.Mbps, Bytes: 2000, Packets: 20, Dropped: 2, QueuedBytes: 3028, QueuedPackets: 2},
			Up:   link.Queue{MaxLimit: 18 * unit.Mbps, Bytes: 1000, Packets: 10, Dropped: 1, QueuedBytes: 1514, QueuedPackets: 1},
		}
		if d := cmp.Diff(want, got.Pair); err != nil || d != "" || !got.HasWAN {
			t.Errorf("%v %s%+v", err, d, got)
		}
		// One rate: the other is what the router has in that moment, not what was read last.
		m.edit(func() { m.menus["/queue/simple"][0]["max-limit"] = "0/44M" })
		if _, err := c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps}); err != nil || m.get("/queue/simple", "*7", "max-limit") != "0/50000000" {
			t.Errorf("%v, %s", err, m.get("/queue/simple", "*7", "max-limit"))
		}
		m.edit(func() { m.menus["/queue/simple"][0]["max-limit"] = "3M/44M" })
		if got, err := c.Exchange(t.Context(), cable, &link.Rates{Up: 5 * unit.Mbps}); err != nil || got.Applied() != (link.Rates{Down: 44 * unit.Mbps, Up: 5 * unit.Mbps}) {
			t.Errorf("%v, %v", got.Applied(), err)
		}
		before := m.changed()
		both := link.Rates{Down: 60 * unit.Mbps, Up: 6 * unit.Mbps}
		if got, err := c.Exchange(t.Context(), Queues{Simple: cable.Simple}, &both); err != nil || got.Applied() != both || m.changed() != before+1 || !got.HasWAN {
			t.Errorf("%+v, %v after %d changes", got, err, m.changed()-before)
		}
		q, err := c.SimpleQueue(t.Context(), cable.Simple)
		if err != nil || q.Down.MaxLimit != both.Down || q.Up.QueuedPackets != 1 {
			t.Errorf("%+v, %v", q, err)
		}
		// Somebody else writes between ours and the read-back.
		m.then(func(line string) {
			if strings.Contains(line, "/set") {
				m.menus["/queue/simple"][0]["max-limit"] = "6M/1M"
			}
		})
		report, err := c.Exchange(t.Context(), cable, &both)
		e := failure(t, err, Mismatch, "has max-limit 1000000 for the download after 60000000")
		if !e.Read.Down || !e.Read.Up || report.Applied() != (link.Rates{Down: unit.Mbps, Up: 6 * unit.Mbps}) || contains(e.Error(), "for the upload") {
			t.Errorf("%#v, %v", e, report.Applied())
		}
		m.then(nil)
		if c.Logins() != 1 || p.conns.Load() != 1 {
			t.Errorf("%d logins", c.Logins())
		}
	})
}

// TestSimpleMenusTrouble: queues that are not there once, whose answers mean nothing, or whose target is the line.
func TestSimpleMenusTrouble(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		if _, err := c.Exchange(t.Context(), cable, nil); err != nil {
			t.Fatal(err)
		}
		first := m.menus["/queue/simple"][0]
		for value, kind := range map[string]Kind{"5": Reply, "x/5000000": Reply, "5/1T": Reply, "2000000000000/5": Reply} {
			m.edit(func() { first["max-limit"] = value })
			before := m.changed()
			_, err := c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps})
			if failure(t, err, kind); m.changed() != before {
				t.Errorf("%q: it was set all the same", value)
			}
		}
		m.edit(func() { first["max-limit"] = "5/x" })
		_, err := c.SimpleQueue(t.Context(), cable.Simple)
		failure(t, err, Reply, "simple queue")
		_, err = c.Exchange(t.Context(), cable, nil)
		failure(t, err, Reply, "simple queue")
		m.edit(func() { first["max-limit"] = "5M/50M"; delete(first, "bytes") })
		_, err = c.Exchange(t.Context(), cable, nil)
		failure(t, err, Reply, "no bytes")
		m.edit(func() { first["bytes"] = "1/2"; first[".id"] = "7" })
		_, err = c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps})
		failure(t, err, Reply, "not an item id")
		m.edit(func() { first[".id"] = "*7"; first["target"] = "guests,ether1" })
		report, err := c.Exchange(t.Context(), cable, nil)
		failure(t, err, Syntax, "its first rate is the download's", "dst=ether1")
		if report.Down.MaxLimit != 50*unit.Mbps {
			t.Errorf("%+v", report)
		}
		m.edit(func() { first["target"] = "bridge" })
		if _, err := c.Exchange(t.Context(), cable, nil); err != nil {
			t.Error(err)
		}
		m.edit(func() { m.menus["/queue/simple"][1]["name"] = cable.Simple })
		before := m.changed()
		_, err = c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps})
		failure(t, err, Ambiguous, "2 of the kind simple queue", "/queue/simple/print")
		_, err = c.SimpleQueue(t.Context(), "gone")
		failure(t, err, NoSuchItem, "no simple queue", "/queue/simple/print")
		m.edit(func() { first["name"], m.menus["/queue/simple"][1]["name"] = "other", "kids" })
		m.then(func(string) { first["name"] = cable.Simple }) // it comes after the look-up
		_, err = c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps})
		if failure(t, err, NoSuchItem, "no simple queue"); m.changed() != before {
			t.Error("a queue that is not there once was set")
		}
		m.then(nil)
		for _, step := range []string{"=.id,name,max-limit ", "/queue/simple/set", "/interface/print", "/system/resource/print", ",dst"} {
			m.failing(func(line string) (string, int) {
				if strings.Contains(line, step) {
					return "failure: something", 400
				}
				return "", 0
			})
			_, err := c.Exchange(t.Context(), cable, &link.Rates{Down: 50 * unit.Mbps, Up: unit.Mbps})
			if e := failure(t, err, Reply, "something"); !e.Sent {
				t.Errorf("%s: %#v", step, e)
			}
		}
		_, err = c.SimpleQueue(t.Context(), cable.Simple)
		failure(t, err, Reply, "something")
	})
}

// TestAtOnce: over the API the readings leave together, and so do two rates that move alike; a rate that falls beside one that
// rises is confirmed before the other leaves.
func TestAtOnce(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		named := att
		named.WAN = "ether1"
		if _, err := c.Exchange(t.Context(), named, nil); err != nil {
			t.Fatal(err)
		}
		refuse := func(limit string) {
			m.failing(func(line string) (string, int) {
				if strings.Contains(line, "/set") && strings.Contains(line, "max-limit="+limit) {
					return "failure: something", 400
				}
				return "", 0
			})
		}
		sets := func() (n int) {
			for _, line := range m.sent() {
				if strings.Contains(line, "/set") {
					n++
				}
			}
			return n
		}
		for _, tt := range []struct {
			name string
			want link.Rates
			bad  string
			sets int // that leave on the API, and on REST
			rest int
		}{
			{"one falls, one rises", link.Rates{Down: 50 * unit.Mbps, Up: 20 * unit.Mbps}, "50000000", 1, 1},
			{"both fall", link.Rates{Down: 50 * unit.Mbps, Up: 10 * unit.Mbps}, "50000000", 2, 1},
		} {
			refuse(tt.bad)
			before := sets()
			_, err := c.Exchange(t.Context(), named, &tt.want)
			failure(t, err, Reply, "something")
			want := tt.sets
			if o.Transport == REST {
				want = tt.rest
			}
			if got := sets() - before; got != want {
				t.Errorf("%s: %d sets left, want %d", tt.name, got, want)
			}
		}
		m.failing(nil)
		want := link.Rates{Down: 40 * unit.Mbps, Up: 9 * unit.Mbps}
		if got, err := c.Exchange(t.Context(), named, &want); err != nil || got.Applied() != want || !got.HasWAN {
			t.Errorf("%+v, %v", got, err)
		}
		// A line that names no interface: the one it had is asked for along, and asked for anew where it changed.
		if got, err := c.Exchange(t.Context(), att, nil); err != nil || got.WANTx != 4000 {
			t.Errorf("%+v, %v", got, err)
		}
		for parent, has := range map[string]bool{"bridge": true, "global": false, "": false} {
			m.edit(func() { m.menus["/queue/tree"][2]["parent"] = parent })
			got, err := c.Exchange(t.Context(), att, nil)
			if err != nil || got.HasWAN != has || has && got.WANTx != 2 {
				t.Errorf("under %q: %+v, %v", parent, got, err)
			}
		}
	})
}

// TestSimpleHostileNames: a name stays a name.
func TestSimpleHostileNames(t *testing.T) {
	plain, _, _ := strip(built(simpleLine(Queues{Simple: "a", WAN: "b"}, &link.Rates{Down: 7})))
	for _, name := range []string{`";/system/reboot;:put "`, `$[/system/reboot]`, `\`, `"`, `a;b`, `wanctl|end|.`, "é漢"} {
		line := built(simpleLine(Queues{Simple: name, WAN: name}, &link.Rates{Down: 7}))
		rest, texts, ok := strip(line)
		if !ok || rest != plain || texts[0] != name || guard(line) != nil {
			t.Errorf("%q makes %s", name, line)
		}
	}
}

// FuzzSimple: what is taken for a simple queue's row has two whole directions, and no other.
func FuzzSimple(f *testing.F) {
	f.Add("18000000/95M", "1 000/2000", "10/20", "bridge,192.168.88.0/24")
	f.Add("0/0", "/", "1/2/3", "")
	f.Add("27.8kbps/1G", "9223372036854775807/0", "0/0", ";,;")
	f.Fuzz(func(t *testing.T, limit, bytes, packets, target string) {
		r := row{
			"max-limit": limit, "bytes": bytes, "packets": packets, "dropped": packets, "queued-bytes": bytes, "queued-packets": packets, "target": target,
		}
		p := sitting{}
		if p.takeSimple(r) != nil {
			return
		}
		both := link.Pair[link.Queue]{Down: *p.reply.queues.Down, Up: *p.reply.queues.Up}
		for _, q := range []link.Queue{both.Down, both.Up} {
			if q.MaxLimit < 0 || q.Bytes < 0 || q.Packets < 0 || q.Parent != "" || q.Dropped != q.Packets || q.QueuedBytes != q.Bytes {
				t.Fatalf("%+v from %q", q, r)
			}
		}
		if strings.Count(limit, "/") != 1 || strings.Count(bytes, "/") != 1 {
			t.Fatalf("taken: %q", r)
		}
		// What is kept of one direction never removes the other's limit, and passes the guard.
		if both.Up.MaxLimit <= unit.MaxRate {
			a := ask{menu: simpleMenu, verb: "set", id: "*1", key: "max-limit", value: pairOf(link.Rates{Down: 7, Up: both.Up.MaxLimit})}
			if err := guardWords(a.words()); err != nil {
				t.Fatalf("%q: %v", a.words(), err)
			}
		}
	})
}
