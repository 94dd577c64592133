package checkup

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// well is a set-up of which everything is as it should be.
func well() *Facts {
	line := func(name, iface string) Line {
		return Line{
			Name: name, Interface: iface,
			Queues: link.Pair[Queue]{
				Down: Queue{Name: "WAN-Download-" + name, Found: true, Cake: true, Limit: 95 * unit.Mbps, Passed: 9_800_000},
				Up:   Queue{Name: "WAN-Upload-" + name, Found: true, Cake: true, Limit: 18 * unit.Mbps, Passed: 980_000},
			},
			Watched: 5 * time.Second, Crossed: link.Pair[unit.Bytes]{Down: 10_000_000, Up: 1_000_000}, HasCrossed: true,
			Reflectors: []Reflector{
				{"1.1.1.1", netip.MustParseAddr("1.1.1.1"), 3, 3, 27.5},
				{"8.8.8.8", netip.MustParseAddr("8.8.8.8"), 3, 3, 30},
				{"9.9.9.9", netip.MustParseAddr("9.9.9.9"), 3, 2, 29},
			},
			Path: "proved", PathText: "the router sends them out by " + iface, Baseline: 28, BaselineMin: 1, BaselineMax: 500, Running: true,
		}
	}
	return &Facts{
		Router: &Router{
			Name: "wanctl@10.0.0.1:22", Door: "ssh", Stage: Open, Version: "7.24.2 (stable)", HasSkew: true, Rights: []string{"read", "write", "ssh"},
			Needs: []string{"read", "write", "ssh"}, Load: 20, Model: "RB5009", HasSectors: true, Sectors: 0.2,
			Inventory: blueprint.Inventory{
				blueprint.Filter:    {{"action": "fasttrack-connection"}, {"action": "fasttrack-connection", "disabled": "true"}},
				blueprint.QueueType: {{"name": "wanctl-ATT-upload", "kind": "cake", "cake-bandwidth": "0"}, {"name": "x", "kind": "cake", "cake-bandwidth": "5M"}},
				blueprint.QueueTree: {{"name": "WAN-Upload-ATT", "queue": "wanctl-ATT-upload"}},
				Scheduler:           {{"name": "backup", "on-event": "/system/backup/save"}, {"name": "off", "disabled": "true", "on-event": "/queue/tree/set max-limit=1M"}},
				Script:              {{"name": "ours", "comment": "wanctl: heartbeat", "source": "/queue tree set max-limit=1M"}},
				Netwatch:            {{"host": "1.1.1.1", "up-script": ":log info up"}},
				Switch:              {{"name": "switch1", "l3-hw-offloading": "no"}},
			},
		},
		Linux:    &Linux{NetAdmin: true, Forwarding: true},
		Lines:    []Line{line("ATT", "ether2"), line("Spectrum", "ether1")},
		Steering: &Steering{Primary: "Spectrum", Alternate: "ATT", Sent: 3, Answered: 3, Least: 28, ShareIPv6: 0.1, HasRule: true},
	}
}

func find(t *testing.T, all []Finding, id string) Finding {
	t.Helper()
	i := slices.IndexFunc(all, func(f Finding) bool { return f.ID == id })
	if i < 0 {
		t.Fatalf("no finding %s in %+v", id, all)
	}
	return all[i]
}

func TestAllIsWell(t *testing.T) {
	all := Run(well())
	for _, f := range all {
		if f.Status != Passed || f.Text == "" || f.Fix != "" || f.Because != "" {
			t.Errorf("%+v", f)
		}
	}
	if Worst(all) != Passed || len(all) != 16+2+16+3 {
		t.Errorf("%d findings, the worst is %v", len(all), Worst(all))
	}
}

// Every check that any facts lead to has an id that is listed.
func TestIDs(t *testing.T) {
	ids := IDs()
	f := well()
	f.Steering.Light, f.Steering.Host = true, &SteeringHost{Gateways: []Gateway{{Line: "ATT"}}}
	for _, fd := range append(Run(well()), Run(f)...) {
		if id := strings.NewReplacer("ATT", "LINE", "Spectrum", "LINE").Replace(fd.ID); !slices.Contains(ids, id) {
			t.Errorf("%s is not listed", id)
		}
	}
	if len(ids) != 16+2+8+3+5+1 || len(ids) != len(slices.Compact(slices.Sorted(slices.Values(ids)))) {
		t.Errorf("%d ids: %v", len(ids), ids)
	}
}

// The reason why the way of the probes is not proved is told once.
func TestPathIsToldOnce(t *testing.T) {
	for text, want := range map[string]string{
		"": "by which line the probes leave is not proved: the router was not asked",
		"by which line the probes leave is not proved: probes have no source address":   "by which line the probes leave is not proved: probes have no source address",
		"That the router sends the probes out through their WAN is not proved: no echo": "That the router sends the probes out through their WAN is not proved: no echo",
	} {
		f := well()
		f.Lines[0].Path, f.Lines[0].PathText = "", text
		if got := find(t, Run(f), "ATT.path"); got.Text != want || got.Status != Skipped {
			t.Errorf("%+v", got)
		}
	}
}

// What the router watches is said to be watched.
func TestAHeartbeatThatIsThere(t *testing.T) {
	f := well()
	f.Router.Heartbeat = true
	if got := find(t, Run(f), "router.heartbeat"); got.Status != Passed || !strings.Contains(got.Text, "watches") {
		t.Errorf("%+v", got)
	}
}

// The ways out of wrong rights are commands for the group that our user is in, and RouterOS's own groups stay as they are.
func TestRightsWaysOut(t *testing.T) {
	needs := []string{"read", "write", "ssh"}
	for _, k := range []struct {
		group  string
		rights []string
		fix    string
	}{
		{"mine", []string{"read", "ssh"}, `/user/group/set [find name="mine"] policy=write; then`},
		{`a "$"`, append([]string{"ftp", "sniff"}, needs...), `/user/group/set [find name="a \"\$\""] policy=!ftp,!sniff; then`},
		{"write", append([]string{"reboot"}, needs...), `/user/group/add name=wanctl-group policy=read,write,ssh; /user/set [find name="wanctl"] group=wanctl-group; then`},
		{"read", []string{"read", "ssh"}, `/user/group/add name=wanctl-group policy=read,write,ssh; /user/set`},
	} {
		f := well()
		f.Router.User, f.Router.Group, f.Router.Rights = "wanctl", k.group, k.rights
		if got := find(t, Run(f), "router.rights").Fix; !strings.HasPrefix(got, k.fix) {
			t.Errorf("%s: %s", k.group, got)
		}
		f.Router.Inventory[blueprint.Group] = []blueprint.Row{{"name": "wanctl-group"}}
		if got := find(t, Run(f), "router.rights").Fix; strings.Contains(got, "group/add") {
			t.Errorf("a second group: %s", got)
		}
	}
}

// Which way the router is proved is said as it is.
func TestTrustIsNotOverstated(t *testing.T) {
	for want, set := range map[string]func(*Router){
		"host key is":               func(*Router) {},
		"certificate is the pinned": func(r *Router) { r.Door = "rest" },
		"host key or certificate":   func(r *Router) { r.Door = "auto" },
		"on this host (without":     func(r *Router) { r.Door, r.Unproved, r.Near = "api", "without TLS", true },
	} {
		f := well()
		set(f.Router)
		if got := find(t, Run(f), "router.trust"); got.Status != Passed || !strings.Contains(got.Text, want) {
			t.Errorf("%q: %+v", want, got)
		}
	}
}

// Every check finds what it is for, and says why it matters and what puts it right.
func TestEveryCheckFinds(t *testing.T) {
	for _, k := range []struct {
		id     string
		status Status
		text   string
		spoil  func(*Facts)
	}{
		{"router.reach", Failed, "refused", func(f *Facts) {
			f.Router.Stage, f.Router.Err, f.Router.Way = NotReached, "connection refused", "is ssh on?"
		}},
		{"router.trust", Failed, "another key", func(f *Facts) {
			f.Router.Stage, f.Router.Err, f.Router.Way = NotTrusted, "another key", "wanctl router trust"
		}},
		{"router.trust", Warned, "without TLS", func(f *Facts) { f.Router.Door, f.Router.Unproved = "api", "without TLS" }},
		{"router.login", Failed, "wrong", func(f *Facts) { f.Router.Stage, f.Router.Err, f.Router.Way = NotAdmitted, "wrong password", "mend it" }},
		{"router.read", Failed, "not enough", func(f *Facts) {
			f.Router.Stage, f.Router.Err, f.Router.Way = NotReadable, "not enough permissions", "read"
		}},
		{"router.version", Failed, "no CAKE", func(f *Facts) { f.Router.Version = "6.49.21" }},
		{"router.version", Hint, "not one that can be judged", nil},
		{"router.version", Warned, "September 2026", func(f *Facts) { f.Router.Version = "7.24.1" }},
		{"router.version", Warned, "September 2026", func(f *Facts) { f.Router.Version = "7.22.3 (stable)" }},
		{"router.version", Failed, "CVE-2023-41570", func(f *Facts) { f.Router.Version, f.Router.Door = "7.11.2", "rest" }},
		{"router.version", Warned, "September 2026", func(f *Facts) { f.Router.Version, f.Router.Door = "7.24.1", "auto" }},
		{"router.version", Hint, "simple queues", func(f *Facts) { f.Router.Version, f.Router.Door = "7.17.2", "api" }},
		{"router.rights", Failed, "lacks write", func(f *Facts) { f.Router.Rights = []string{"read", "ssh"} }},
		{"router.rights", Warned, "policy, ftp", func(f *Facts) { f.Router.Rights = []string{"read", "write", "ssh", "ftp", "policy"} }},
		{"router.clock", Warned, "3h0m0s off", func(f *Facts) { f.Router.Skew = -3 * time.Hour }},
		{"router.load", Warned, "97 %", func(f *Facts) { f.Router.Load = 97 }},
		{"router.fasttrack", Failed, "marks", func(f *Facts) { f.Router.Plan.Changes = []blueprint.Change{{Menu: blueprint.Filter}} }},
		{"router.fasttrack", Failed, "marks", func(f *Facts) {
			f.Router.Inventory[blueprint.Filter], f.Router.Inventory[blueprint.Filter6] = nil, f.Router.Inventory[blueprint.Filter]
			f.Router.Plan.Changes = []blueprint.Change{{Menu: blueprint.Filter6}}
		}},
		{"router.fasttrack", Hint, "most routers", func(f *Facts) { f.Lines, f.Steering = f.Lines[:1], nil }},
		{"router.offload", Warned, "switch1", func(f *Facts) { f.Router.Inventory[Switch][0]["l3-hw-offloading"] = "true" }},
		{"router.shapers", Warned, "cake-bandwidth=18M", func(f *Facts) { f.Router.Inventory[blueprint.QueueType][0]["cake-bandwidth"] = "18M" }},
		{"router.shapers", Warned, "cake-autorate-ingress", func(f *Facts) { f.Router.Inventory[blueprint.QueueType][0]["cake-autorate-ingress"] = "yes" }},
		{"router.shapers", Warned, "second time", func(f *Facts) {
			f.Router.Plan.Problems = []blueprint.Problem{{What: "simple queue x shapes y a second time", Way: "disable it", Shapes: true}}
		}},
		{"router.writers", Warned, "scheduler night", func(f *Facts) {
			f.Router.Inventory[Scheduler] = append(f.Router.Inventory[Scheduler], blueprint.Row{"name": "night", "on-event": "/queue tree set WAN-Upload-ATT disabled=yes"})
		}},
		{"router.writers", Warned, "netwatch 9.9.9.9", func(f *Facts) {
			f.Router.Inventory[Netwatch] = []blueprint.Row{{"host": "9.9.9.9", "down-script": "/queue/simple/set 0 max-limit=1M/1M"}}
		}},
		{"router.owner", Warned, "ATT by wanctl on pi4 (process 7), steering by wanctl on pi5 (process 9)", func(f *Facts) {
			f.Lines[0].Holder, f.Steering.Holder = "wanctl on pi4 (process 7)", "wanctl on pi5 (process 9)"
		}},
		{"router.heartbeat", Warned, "is missing", func(f *Facts) {
			f.Router.Heartbeat = true
			f.Router.Plan.Changes = []blueprint.Change{{Menu: blueprint.Scheduler, Item: "heartbeat of ATT"}}
		}},
		{"router.heartbeat", Warned, "differs", func(f *Facts) {
			f.Router.Plan.Changes = []blueprint.Change{{Verb: blueprint.Set, Menu: blueprint.Scheduler, Item: "heartbeat of ATT"}}
		}},
		{"router.heartbeat", Warned, "no file asks for it", func(f *Facts) {
			f.Router.Plan.Changes = []blueprint.Change{{Verb: blueprint.Remove, Menu: blueprint.Scheduler, Item: "heartbeat of ATT"}}
		}},
		{"router.heartbeat", Failed, "not wanctl's", func(f *Facts) {
			f.Router.Plan.Problems = []blueprint.Problem{{Severity: blueprint.Blocker, Heartbeat: true, What: "the scheduler \"x\" is not wanctl's, and has the name of its heartbeat", Way: "rename it"}}
		}},
		{"router.plan", Warned, "2 settings", func(f *Facts) {
			f.Router.Plan.Changes = []blueprint.Change{{Menu: blueprint.NAT}, {Menu: blueprint.NAT}, {Menu: blueprint.User, Privileged: true}}
		}},
		{"router.plan", Failed, "no gateway", func(f *Facts) {
			f.Router.Plan.Problems = []blueprint.Problem{{Severity: blueprint.Blocker, What: "no gateway", Way: "bring it up"}}
		}},
		{"router.flash", Warned, "12.0 sectors", func(f *Facts) { f.Router.Sectors = 12 }},
		{"host.rights", Failed, "may not", func(f *Facts) { f.Linux.NetAdmin = false }},
		{"host.forwarding", Hint, "forwards nothing", func(f *Facts) { f.Linux.Forwarding = false }},
		{"ATT.queues", Failed, "WAN-Upload-ATT", func(f *Facts) { f.Lines[0].Queues.Up.Found = false }},
		{"ATT.queues", Failed, "WAN-Download-ATT, and no WAN-Upload-ATT", func(f *Facts) {
			f.Router = nil
			f.Lines[0].Queues.Up.Found, f.Lines[0].Queues.Down.Found = false, false
		}},
		{"ATT.queues", Failed, "WAN-Upload-ATT is switched off", func(f *Facts) { f.Lines[0].Queues.Up.Off = true }},
		{"ATT.carries", Warned, "passes 300 %", func(f *Facts) { f.Lines[0].Queues.Down.Passed = 30_000_000 }},
		{"ATT.cake", Failed, "not CAKE", func(f *Facts) { f.Lines[0].Queues.Down.Cake = false }},
		{"ATT.cake", Failed, "not CAKE", func(f *Facts) { f.Router = nil; f.Lines[0].Queues.Down.Cake = false }},
		{"ATT.carries", Failed, "passes 1 %", func(f *Facts) { f.Lines[0].Queues.Down.Passed = 100_000 }},
		{"ATT.carries", Failed, "passes 1 %", func(f *Facts) { f.Router = nil; f.Lines[0].Queues.Up.Passed = 10_000 }},
		{"ATT.reflectors", Failed, "none of 3", func(f *Facts) { silent(f, 0, 1, 2) }},
		{"ATT.reflectors", Warned, "2 of 3", func(f *Facts) { silent(f, 1) }},
		{"ATT.reflectors", Hint, "no answer from 4.4.4.4", func(f *Facts) {
			f.Lines[0].Reflectors = append(f.Lines[0].Reflectors, Reflector{Host: "4.4.4.4", Sent: 3})
		}},
		{"ATT.operators", Warned, "one network", func(f *Facts) {
			for i := range f.Lines[0].Reflectors {
				f.Lines[0].Reflectors[i].Addr = netip.MustParseAddr("8.8.4.4")
			}
		}},
		{"ATT.path", Failed, "by ether1", func(f *Facts) { f.Lines[0].Path, f.Lines[0].PathText = "wrong", "they leave by ether1" }},
		{"ATT.baseline", Failed, "outside", func(f *Facts) { f.Lines[0].BaselineMax = 10 }},
		{"ATT.baseline", Hint, "baseline_rtt_initial", func(f *Facts) { f.Lines[0].Baseline = 5 }},
		{"ATT.controller", Warned, "FastTrack", func(f *Facts) { f.Lines[0].Findings = []string{"FastTrack takes it"} }},
		{"steering.rule", Failed, "mark-routing", func(f *Facts) { f.Steering.Rule = "it is mark-routing" }},
		{"steering.alternate", Failed, "nothing answers over ATT", func(f *Facts) { f.Steering.Answered = 0 }},
		{"steering.ipv6", Hint, "60 %", func(f *Facts) { f.Steering.ShareIPv6 = 0.6 }},
	} {
		f := well()
		if k.spoil == nil {
			f.Router.Version = "seven"
		} else {
			k.spoil(f)
		}
		got := find(t, Run(f), k.id)
		if got.Status != k.status || !strings.Contains(got.Text, k.text) || got.Why == "" || got.Fix == "" {
			t.Errorf("%s: %v %+v, want %v with %q", k.id, got.Status, got, k.status, k.text)
		}
	}
}

func silent(f *Facts, hosts ...int) {
	for _, h := range hosts {
		f.Lines[0].Reflectors[h].Answered = 0
	}
}

// What could not be looked at is neither well nor broken, and says so.
func TestUnknownIsSaid(t *testing.T) {
	for id, forget := range map[string]func(*Facts){
		"router.rights":      func(f *Facts) { f.Router.Rights = nil },
		"router.clock":       func(f *Facts) { f.Router.HasSkew = false },
		"router.load":        func(f *Facts) { f.Router.Load = -1 },
		"router.flash":       func(f *Facts) { f.Router.HasSectors = false },
		"ATT.carries":        func(f *Facts) { f.Lines[0].HasCrossed = false },
		"Spectrum.carries":   func(f *Facts) { f.Lines[1].Crossed = link.Pair[unit.Bytes]{Down: 1000} },
		"ATT.reflectors":     func(f *Facts) { f.Lines[0].Reflectors = nil },
		"ATT.path":           func(f *Facts) { f.Lines[0].Path = "" },
		"ATT.controller":     func(f *Facts) { f.Lines[0].Running = false },
		"steering.alternate": func(f *Facts) { f.Steering.Sent = 0 },
		"steering.rule":      func(f *Facts) { f.Steering.HasRule = false },
		"steering.ipv6":      func(f *Facts) { f.Steering.ShareIPv6 = -1 },
	} {
		f := well()
		forget(f)
		if got := find(t, Run(f), id); got.Status != Skipped || got.Text == "" || got.Because != "" {
			t.Errorf("%s: %+v", id, got)
		}
	}
	f := well()
	f.Lines[0].Reflectors = nil
	if got := find(t, Run(f), "ATT.baseline"); got.Status != Skipped {
		t.Errorf("%+v", got)
	}
}

// A failed check explains those that rest on it, however far, and the others are still looked at.
func TestARootExplains(t *testing.T) {
	f := well()
	f.Router.Stage, f.Router.Err = NotTrusted, "another key"
	all := Run(f)
	if got := find(t, all, "router.reach"); got.Status != Passed {
		t.Errorf("%+v", got)
	}
	for _, id := range []string{"router.login", "router.read", "router.version", "ATT.queues", "ATT.cake", "Spectrum.carries", "steering.rule"} {
		if got := find(t, all, id); got.Status != Skipped || got.Because != "router.trust" {
			t.Errorf("%s: %+v", id, got)
		}
	}
	for _, id := range []string{"ATT.reflectors", "ATT.path", "steering.alternate"} {
		if got := find(t, all, id); got.Status != Passed {
			t.Errorf("%s: %+v", id, got)
		}
	}
	if Worst(all) != Failed {
		t.Errorf("the worst is %v", Worst(all))
	}
	j, err := json.Marshal(find(t, all, "router.trust"))
	if err != nil || !strings.Contains(string(j), `"status":"failed"`) {
		t.Errorf("%v %s", err, j)
	}
}

func TestVersions(t *testing.T) {
	for _, k := range []struct {
		a, b string
		less bool
	}{
		{"7.9", "7.12.2", true}, {"7.22.3", "7.22.3", false}, {"7.25beta3", "7.25", true}, {"7.25", "7.25rc1", false}, {"7.24.1 (stable)", "7.24.2", true},
	} {
		a, ok1 := parseVersion(k.a)
		b, ok2 := parseVersion(k.b)
		if !ok1 || !ok2 || a.less(b) != k.less {
			t.Errorf("%s before %s: %t %t, %v", k.a, k.b, ok1, ok2, a.less(b))
		}
	}
	for _, s := range []string{"", "7", "7.x", "7.1.2.3", "-1.2"} {
		if v, ok := parseVersion(s); ok {
			t.Errorf("%q is %v", s, v)
		}
	}
	if Status(9).String() != "Status(9)" {
		t.Error("a status that is none")
	}
	if len(Menus()) != 3 {
		t.Error("menus")
	}
}
