package routeros

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestMenusExchange(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, p *peer, o Options) {
		var clock unit.Time
		o.Now = func() unit.Time { clock += 100; return clock }
		c := dialer(t, o)
		got, err := c.Exchange(t.Context(), att, nil)
		if err != nil {
			t.Fatal(err)
		}
		figures := link.Queue{MaxLimit: 95 * unit.Mbps, Bytes: 1000, Packets: 10, QueuedBytes: 1514, QueuedPackets: 1, Parent: "bridge"}
		up := figures
		up.MaxLimit, up.Parent = 18*unit.Mbps, "ether1"
		want := link.Report{
			At: 200, Uptime: 9*24*time.Hour + 3*time.Hour + 4*time.Minute + 5*time.Second, Pair: link.Pair[link.Queue]{Down: figures, Up: up},
			HasWAN: true, WANRx: 205_164_277, WANTx: 4000,
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("report (-want +got):\n%s", d)
		}
		if m.changed() != 0 {
			t.Error("a reading changed something")
		}
		// A decrease goes first, zero leaves a direction alone, and what is written is read back.
		rates := link.Rates{Down: 99_999_999, Up: 9_876_543}
		if got, err = c.Exchange(t.Context(), att, &rates); err != nil || got.Applied() != rates || got.Unwritten {
			t.Errorf("%+v, %v", got, err)
		}
		m.edit(func() {
			if len(m.changes) != 2 || !strings.Contains(m.changes[0], "9876543") {
				t.Errorf("changes %q", m.changes)
			}
		})
		if got, err = c.Exchange(t.Context(), att, &link.Rates{Down: unit.Mbps}); err != nil || got.Applied() != (link.Rates{Down: unit.Mbps, Up: 9_876_543}) {
			t.Errorf("%+v, %v", got, err)
		}
		q, err := c.Queue(t.Context(), "Other")
		if err != nil || q.MaxLimit != unit.Mbps || q.Parent != "global" {
			t.Errorf("%+v, %v", q, err)
		}
		named := att
		for wan, has := range map[string]bool{"bridge": true, "none": false} {
			named.WAN = wan
			if got, err = c.Exchange(t.Context(), named, nil); err != nil || got.HasWAN != has {
				t.Errorf("%s: %+v, %v", wan, got, err)
			}
		}
		if c.Logins() != 1 || p.conns.Load() != 1 || !c.Connected() {
			t.Errorf("%d logins over %d connections", c.Logins(), p.conns.Load())
		}
	})
}

func TestMenusNames(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		// One queue missing: the other is set and stands.
		q := att
		q.Up = "gone"
		report, err := c.Exchange(t.Context(), q, &link.Rates{Down: 7 * unit.Mbps, Up: unit.Mbps})
		e := failure(t, err, NoSuchItem, `"gone"`, "/queue/tree/print")
		if e.Read != (link.Pair[bool]{Down: true}) || !e.Sent || report.Down.MaxLimit != 7*unit.Mbps || contains(e.Error(), att.Down) {
			t.Errorf("%#v, %+v", e, report)
		}
		// One name twice: neither of the two is set.
		m.edit(func() { m.menus["/queue/tree"][0]["name"] = att.Up })
		before := m.changed()
		_, err = c.Exchange(t.Context(), att, &link.Rates{Up: unit.Mbps})
		failure(t, err, Ambiguous, "2 of the kind")
		if m.changed() != before {
			t.Error("one of two queues was set")
		}
		_, err = c.Queue(t.Context(), "WAN")
		failure(t, err, NoSuchItem)
		if _, err = c.Queue(t.Context(), "a\nb"); err == nil {
			t.Error("a line feed passed")
		}
		if !c.Connected() {
			t.Error("a missing queue cost the connection")
		}
	})
}

// A queue that appears, or vanishes, between looking and reading back is not confirmed.
func TestMenusQueuesThatComeAndGo(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		if _, err := c.Queue(t.Context(), "Other"); err != nil {
			t.Fatal(err)
		}
		m.edit(func() { m.menus["/queue/tree"][2]["name"] = "not yet" })
		m.then(func(line string) {
			if strings.Contains(line, "/set") {
				m.menus["/queue/tree"][2]["name"] = att.Up
			}
		})
		_, err := c.Exchange(t.Context(), att, &link.Rates{Down: unit.Mbps, Up: unit.Mbps})
		if e := failure(t, err, NoSuchItem, att.Up); e.Read != (link.Pair[bool]{Down: true}) {
			t.Errorf("%#v", e)
		}
		m.then(func(line string) {
			if strings.Contains(line, "/set") {
				m.menus["/queue/tree"][2]["name"] = "no longer"
			}
		})
		_, err = c.Exchange(t.Context(), att, &link.Rates{Up: unit.Mbps})
		failure(t, err, NoSuchItem, att.Up)
		// Somebody else's write between ours and the read-back.
		m.edit(func() { m.menus["/queue/tree"][2]["name"] = att.Up })
		m.then(func(line string) {
			if strings.Contains(line, "/set") {
				m.menus["/queue/tree"][2]["max-limit"] = "5M"
			}
		})
		report, err := c.Exchange(t.Context(), att, &link.Rates{Up: 6 * unit.Mbps})
		failure(t, err, Mismatch, "5000000 after 6000000")
		if report.Up.MaxLimit != 5*unit.Mbps {
			t.Errorf("%+v", report)
		}
	})
}

func TestMenusRule(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		want := Rule{ID: "*1A", Comment: "STEER", Chain: "prerouting", Action: "mark-connection", ConnectionState: "new", NewConnectionMark: "c-wan2"}
		if got, err := c.Rule(t.Context(), "STEER"); err != nil || got != want {
			t.Errorf("%+v, %v", got, err)
		}
		for _, on := range []bool{true, true, false} {
			want.Enabled = on
			if got, err := c.SetRule(t.Context(), "STEER", on); err != nil || got != want || m.get("/ip/firewall/mangle", "*1A", "disabled") != map[bool]string{true: "false", false: "true"}[on] {
				t.Errorf("%+v, %v", got, err)
			}
		}
		if m.get("/ip/firewall/mangle", "*F", "disabled") != "false" {
			t.Error("the router's own rule was touched")
		}
		m.then(func(line string) {
			if strings.Contains(line, "/enable") {
				m.menus["/ip/firewall/mangle"][1]["disabled"] = "yes"
			}
		})
		_, err := c.SetRule(t.Context(), "STEER", true)
		failure(t, err, Mismatch, "enabled=false")
		m.then(nil)
		m.edit(func() { m.menus["/ip/firewall/mangle"][0]["dynamic"] = "false" })
		before := m.changed()
		_, err = c.SetRule(t.Context(), "STEER", true)
		failure(t, err, Ambiguous)
		_, err = c.SetRule(t.Context(), "STE", true)
		failure(t, err, NoSuchItem, "/ip/firewall/mangle/add")
		if m.changed() != before {
			t.Error("it was changed")
		}
	})
}

func TestMenusPath(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		got, err := c.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
		if err != nil {
			t.Fatal(err)
		}
		as := netip.MustParseAddr("203.0.113.2")
		want := Path{
			Echoes: []Echo{{netip.MustParseAddr("1.1.1.1"), as}, {netip.MustParseAddr("8.8.8.8"), as}},
			Addresses: []Address{
				{netip.MustParsePrefix("192.168.88.1/24"), "bridge|lan"}, {netip.MustParsePrefix("203.0.113.2/24"), "ether1"},
			},
		}
		if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		// More than enough: the API cancels the rest, REST throws it away.
		m.edit(func() {
			for range 500 {
				m.menus["/ip/firewall/connection"] = append(m.menus["/ip/firewall/connection"], m.menus["/ip/firewall/connection"][0])
			}
		})
		if got, err = c.Path(t.Context(), netip.MustParseAddr("192.168.88.5")); err != nil || len(got.Echoes) != mostEchoes {
			t.Errorf("%d echoes, %v", len(got.Echoes), err)
		}
		if _, err = c.Queue(t.Context(), "Other"); err != nil {
			t.Errorf("after that: %v", err)
		}
		_, err = c.Path(t.Context(), netip.MustParseAddr("::1"))
		failure(t, err, Syntax)
		for menu, bad := range map[string]row{
			"/ip/firewall/connection": {".id": "*9", "protocol": "icmp", "src-address": "192.168.88.5", "dst-address": "moo"},
			"/ip/address":             {".id": "*9", "address": "moo"},
		} {
			var kept []row
			m.edit(func() { kept, m.menus[menu] = m.menus[menu], []row{bad} })
			_, err = c.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
			failure(t, err, Reply, "*9")
			m.edit(func() { m.menus[menu] = kept })
		}
	})
}

// TestMenusUnusableRows: what is missing, or no figure, is an error that names it.
func TestMenusUnusableRows(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		exchange := func() error { _, err := c.Exchange(t.Context(), att, &link.Rates{Down: 1}); return err }
		queue := func() error { _, err := c.Queue(t.Context(), att.Down); return err }
		rule := func() error { _, err := c.SetRule(t.Context(), "STEER", true); return err }
		look := func() error { _, err := c.Rule(t.Context(), "STEER"); return err }
		for _, tt := range []struct {
			menu            string
			item            int
			property, value string // no value: it is missing
			call            func() error
			says            string
		}{
			{"/queue/tree", 1, "bytes", "many", exchange, `queue "WAN-Download-ATT": bytes: "many" is not a whole number`},
			{"/queue/tree", 1, "dropped", "", queue, "the answer has no dropped"},
			{"/queue/tree", 1, ".id", "*1/../../system/reboot", exchange, "is not an item id"},
			{"/queue/tree", 1, ".id", "", exchange, "is not an item id"},
			{"/interface", 0, "rx-byte", "", exchange, `interface "ether1": the answer has no rx-byte`},
			{"/interface", 0, "tx-byte", "-1", exchange, `tx-byte: "-1" is not a whole number`},
			{"/system/resource", 0, "uptime", "soon", exchange, `uptime: "soon" is not a duration`},
			{"/ip/firewall/mangle", 1, "disabled", "perhaps", look, `rule "STEER": disabled: "perhaps"`},
			{"/ip/firewall/mangle", 1, "invalid", "perhaps", rule, "invalid:"},
			{"/ip/firewall/mangle", 1, ".id", "5", rule, "is not an item id"},
			{"/ip/firewall/mangle", 1, "disabled", "", look, "disabled is empty"},
		} {
			var kept row
			m.edit(func() {
				item := m.menus[tt.menu][tt.item]
				kept = maps.Clone(item)
				if item[tt.property] = tt.value; tt.value == "" {
					delete(item, tt.property)
				}
			})
			if err := tt.call(); err == nil {
				t.Errorf("%s %s=%q passed", tt.menu, tt.property, tt.value)
			} else if e := failure(t, err, Reply, tt.says); !e.Sent {
				t.Errorf("%s: not sent", tt.says)
			}
			m.edit(func() { m.menus[tt.menu][tt.item] = kept })
		}
		two := func(n int) {
			m.edit(func() { m.menus["/system/resource"] = slices.Repeat(m.menus["/system/resource"][:1], n) })
		}
		two(2)
		failure(t, exchange(), Reply, "/system/resource has 2 entries")
		two(1)
		// A parent that no interface can be asked by is none.
		m.edit(func() { m.menus["/queue/tree"][2]["parent"] = "a\x01b" })
		if r, err := c.Exchange(t.Context(), att, nil); err != nil || r.HasWAN {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestMenusErrors: each step's failure ends the turn, is typed by its text, and leaves the connection.
func TestMenusErrors(t *testing.T) {
	menuDoors(t, func(t *testing.T, m *model, _ *peer, o Options) {
		c := dialer(t, o)
		if _, err := c.Queue(t.Context(), "Other"); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			text   string
			status int
			kind   Kind
		}{
			{"not enough permissions (9)", 500, Permission},
			{"std failure: not allowed (9)", 500, Permission},
			{"no such command", 400, Syntax},
			{"invalid value for argument max-limit", 400, Syntax},
			{"unknown parameter x", 400, Syntax},
			{"failure: something", 400, Reply},
			{"nobody knows", 400, Reply},
			{"action timed out", 400, Timeout},
			{"interrupted", 400, Lost},
		} {
			for _, step := range []string{"name=" + att.Down + " ?name=" + att.Up, "/queue/tree/set", "/interface/print", "/system/resource/print"} {
				m.failing(func(line string) (string, int) {
					if strings.Contains(line, step) {
						return tt.text, tt.status
					}
					return "", 0
				})
				before := len(m.sent())
				_, err := c.Exchange(t.Context(), att, &link.Rates{Down: 5 * unit.Mbps})
				e := failure(t, err, tt.kind, tt.text, "set rates on router wanctl@127.0.0.1")
				if !e.Sent || e.Hint == "" || e.Command == "" || !c.Connected() {
					t.Errorf("%s at %s: %#v, connected %t", tt.text, step, e, c.Connected())
				}
				heard := m.sent()[before:]
				// The API asks for all readings at once; no write follows a failure through any door.
				if o.Transport == API && !strings.HasPrefix(step, "name=") && !strings.HasSuffix(step, "/set") {
					continue
				}
				if last := heard[len(heard)-1]; !strings.Contains(last, step) {
					t.Errorf("%s at %s: it went on to %q", tt.text, step, last)
				}
			}
			for _, step := range []string{"/ip/firewall/mangle/print", "/ip/firewall/mangle/enable"} {
				m.failing(func(line string) (string, int) {
					if strings.Contains(line, step) {
						return tt.text, tt.status
					}
					return "", 0
				})
				_, err := c.SetRule(t.Context(), "STEER", true)
				failure(t, err, tt.kind, tt.text)
			}
			for _, step := range []string{"/ip/firewall/connection", "/ip/address"} {
				m.failing(func(line string) (string, int) {
					if strings.Contains(line, step) {
						return tt.text, tt.status
					}
					return "", 0
				})
				_, err := c.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
				failure(t, err, tt.kind, tt.text)
			}
			m.failing(func(string) (string, int) { return tt.text, tt.status })
			_, err := c.Queue(t.Context(), "Other")
			failure(t, err, tt.kind, tt.text)
			m.failing(nil)
		}
		if c.Logins() != 1 {
			t.Errorf("%d logins", c.Logins())
		}
		// Rights that were taken away while connected.
		m.edit(func() { m.readOnly = true })
		_, err := c.Exchange(t.Context(), att, &link.Rates{Down: unit.Mbps})
		failure(t, err, Permission, `user "wanctl" the policies `+o.Transport.policies())
		if _, err := c.Exchange(t.Context(), att, nil); err != nil {
			t.Errorf("and cannot read: %v", err)
		}
	})
}
