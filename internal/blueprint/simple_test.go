package blueprint

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// oneCable is a household with one line that has a simple queue.
func oneCable() Wanted {
	return Wanted{Lines: []Line{{
		Name: "Cable", WAN: "ether1", Simple: "WAN-Cable", Limits: link.Rates{Down: 500 * unit.Mbps, Up: 40 * unit.Mbps}, Overhead: 18, Mpu: 64, Cells: "none",
	}}}
}

// twoCables are two such lines, with steering between them.
func twoCables() Wanted {
	w := twoLines()
	for i := range w.Lines {
		w.Lines[i].Queues, w.Lines[i].Simple = link.Pair[string]{}, "WAN-"+w.Lines[i].Name
	}
	return w
}

// A simple queue from nothing: in front of all others, with no bursts, and with FastTrack kept away, in both protocols.
func TestSimpleQueue(t *testing.T) {
	inv := factory()
	inv[QueueSimple] = []Row{
		{".id": "*1", "name": "guests", "target": "192.168.89.0/24", "max-limit": "5000000/20000000", "dynamic": "false", "disabled": "false"},
		{".id": "*2", "name": "kids", "target": "192.168.88.7/32", "parent": "WAN-Cable"},
		{".id": "*3", "name": "off", "disabled": "true"},
	}
	inv[Address6] = []Row{{".id": "*2", "address": "2001:db8::1/64", "link-local": "false"}}
	inv[Filter6] = []Row{{".id": "*1", "chain": "forward", "action": "fasttrack-connection"}}
	r := &router{t: t, inv: clone(inv)}
	p := New(clone(r.inv), oneCable())
	if p.Blocked() {
		t.Fatalf("%+v", p.Problems)
	}
	r.carry(p)
	want := Row{
		"name": "WAN-Cable", "target": "bridge", "dst": "ether1", "max-limit": "40000000/500000000", "queue": "wanctl-Cable-upload/wanctl-Cable-download",
		"bucket-size": "0.01/0.01", "burst-limit": "0/0", "burst-threshold": "0/0", "burst-time": "0s/0s", "total-max-limit": "0", "disabled": "no",
		"comment": "wanctl: both directions of Cable",
	}
	got := clone(r.inv)[QueueSimple][0]
	delete(got, ".id")
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the first simple queue (-want +got):\n%s", d)
	}
	if len(r.inv[QueueTree]) > 0 || len(r.inv[Mangle]) > 0 {
		t.Errorf("a simple queue needs neither: %v %v", r.inv[QueueTree], r.inv[Mangle])
	}
	for _, note := range []string{"no FastTrack in by Cable", "no FastTrack out by Cable"} {
		if i := r.index(Filter, Owner+note); i < 0 || i > r.index(Filter, "defconf: fasttrack") {
			t.Errorf("%s: is at %d", note, i)
		}
	}
	if len(r.inv[Filter6]) != 3 {
		t.Errorf("%v", r.inv[Filter6])
	}
	r.row(QueueType, "name", "wanctl-Cable-upload")
	if !hints(p, `simple queue "guests" stands behind WAN-Cable`) || hints(p, `"kids"`) || hints(p, `"off"`) || hints(p, "a second time") {
		t.Errorf("%+v", p.Problems)
	}
	if again := New(clone(r.inv), oneCable()); len(again.Changes) > 0 {
		t.Errorf("a second plan: %s", show(again))
	}
	// The controller's rate, as the API prints it, and defaults that are not printed: nothing to do.
	q := r.row(QueueSimple, "name", "WAN-Cable")
	q["max-limit"], q["bucket-size"], q["disabled"] = "12M/100M", "0.010/0.01", "false"
	for _, k := range []string{"burst-limit", "burst-threshold", "burst-time", "total-max-limit"} {
		delete(q, k)
	}
	if again := New(clone(r.inv), oneCable()); len(again.Changes) > 0 {
		t.Errorf("the controller's rate: %s", show(again))
	}
	// Somebody puts another in front, and bursts on.
	q["burst-limit"], q["dst"] = "0/10M", "ether2"
	rows := r.inv[QueueSimple]
	r.inv[QueueSimple] = append(append([]Row{}, rows[1:]...), rows[0])
	again := New(clone(r.inv), oneCable())
	if len(again.Changes) != 2 || again.Changes[1].Verb != Move || again.Changes[1].Before != "*1" {
		t.Errorf("%s", show(again))
	}
	r.carry(again)
	if r.inv[QueueSimple][0]["name"] != "WAN-Cable" || q["burst-limit"] != "0/0" || q["dst"] != "ether1" {
		t.Errorf("%v", r.inv[QueueSimple])
	}
	r.carry(Undo(clone(r.inv), append(p.Changes, again.Changes...)))
	if d := cmp.Diff(full(inv), full(r.inv)); d != "" {
		t.Errorf("after the undo (-before +after):\n%s", d)
	}
}

// Two lines with a simple queue each and steering: dst tells them apart, so no packet marks.
func TestTwoSimpleQueues(t *testing.T) {
	r := &router{t: t, inv: factory()}
	p := New(clone(r.inv), twoCables())
	if p.Blocked() {
		t.Fatalf("%+v", p.Problems)
	}
	r.carry(p)
	for _, l := range twoCables().Lines {
		if q := r.row(QueueSimple, "name", l.Simple); q["dst"] != l.WAN {
			t.Errorf("%v", q)
		}
		if r.index(Mangle, Owner+"download of "+l.Name) >= 0 {
			t.Errorf("%s has packet marks", l.Name)
		}
	}
	if again := New(clone(r.inv), twoCables()); len(again.Changes) > 0 {
		t.Errorf("a second plan: %s", show(again))
	}
	r.carry(Undo(clone(r.inv), p.Changes))
	if d := cmp.Diff(full(factory()), full(r.inv)); d != "" {
		t.Errorf("after the undo (-before +after):\n%s", d)
	}
	// One line of each kind: the tree's line has its marks.
	w := twoCables()
	w.Lines[1].Simple, w.Lines[1].Queues = "", twoLines().Lines[1].Queues
	r.carry(New(clone(r.inv), w))
	if r.index(Mangle, Owner+"download of ATT") < 0 || r.index(Mangle, Owner+"download of Spectrum") >= 0 {
		t.Errorf("%v", r.inv[Mangle])
	}
	if again := New(clone(r.inv), w); len(again.Changes) > 0 || hints(again, "a second time") {
		t.Errorf("a second plan: %s, %+v", show(again), again.Problems)
	}
}

// A simple queue that somebody made keeps its place, target and limits; what makes it bloat is put right, and put back.
func TestSimpleQueueThatIsThere(t *testing.T) {
	inv := factory()
	inv[QueueSimple] = []Row{
		{".id": "*1", "name": "guests", "target": "192.168.89.0/24"},
		{".id": "*D", "name": "<pppoe-x>", "target": "<pppoe-x>", "dynamic": "true"},
		{
			".id": "*2", "name": "WAN-Cable", "target": "192.168.88.0/24,bridge", "max-limit": "40M/500M", "queue": "default-small/default-small", "bucket-size": "0.1/0.1",
			"burst-limit": "60M/0", "burst-time": "8s/0s", "total-max-limit": "600M", "packet-marks": "x", "parent": "all", "time": "8h-22h,mon",
		},
		{".id": "*4", "name": "later", "target": "192.168.90.0/24"},
	}
	inv[QueueTree] = []Row{{".id": "*1", "name": "old", "parent": "ether1"}, {".id": "*2", "name": "g", "parent": "global"}, {".id": "*3", "name": "other", "parent": "ether2"}}
	r := &router{t: t, inv: clone(inv)}
	p := New(clone(r.inv), oneCable())
	r.carry(p)
	q := r.inv[QueueSimple][2]
	if q["target"] != "192.168.88.0/24,bridge" || q["dst"] != "" || q["max-limit"] != "40M/500M" || q["queue"] != "wanctl-Cable-upload/wanctl-Cable-download" ||
		q["bucket-size"] != "0.01/0.01" || q["burst-limit"] != "0/0" || q["burst-time"] != "0s/0s" || q["total-max-limit"] != "0" || q["burst-threshold"] != "" {
		t.Errorf("%v", q)
	}
	for _, text := range []string{
		"has no dst", "with the mark x alone", "hangs under all", "at some times only", `"guests" stands before WAN-Cable`, `"<pppoe-x>" stands before`,
		`"later" stands behind`, `queue "old" under ether1`, `queue "g" under global`,
	} {
		if !hints(p, text) {
			t.Errorf("nothing says %q: %+v", text, p.Problems)
		}
	}
	if hints(p, `"other"`) || p.Blocked() {
		t.Errorf("%+v", p.Problems)
	}
	shapes := 0
	for _, problem := range p.Problems {
		if problem.Shapes {
			shapes++
		}
	}
	if shapes != 4 {
		t.Errorf("%d shape a second time", shapes)
	}
	r.carry(Undo(clone(r.inv), p.Changes))
	if d := cmp.Diff(full(inv), full(r.inv)); d != "" {
		t.Errorf("after the undo (-before +after):\n%s", d)
	}
}

func TestSimpleQueueTargets(t *testing.T) {
	for name, c := range map[string]struct {
		row   Row
		says  string
		block bool
	}{
		"the line":      {Row{"target": "ether1"}, "its first rate is the download's", true},
		"among others":  {Row{"target": "192.168.88.0/24;ether1", "dst": "ether1"}, "its first rate is the download's", true},
		"everything":    {Row{"target": "bridge", "dst": "0.0.0.0/0"}, "has no dst", false},
		"another line":  {Row{"target": "bridge", "dst": "ether2"}, "and not ether1", false},
		"as it must be": {Row{"target": "bridge", "dst": "ether1", "parent": "none"}, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			inv := factory()
			c.row[".id"], c.row["name"] = "*1", "WAN-Cable"
			inv[QueueSimple] = []Row{c.row}
			p := New(inv, oneCable())
			if p.Blocked() != c.block || c.says != "" && !hints(p, c.says) || c.says == "" && hints(p, "simple queue WAN-Cable") {
				t.Errorf("%+v", p.Problems)
			}
		})
	}
	w := oneCable()
	w.Lines[0].Limits.Up = 0
	if p := New(factory(), w); !p.Blocked() || !hints(p, "with which max-limit") {
		t.Errorf("%+v", p.Problems)
	}
	// A line of the tree beside somebody's simple queue.
	inv := factory()
	inv[QueueSimple] = []Row{{".id": "*1", "name": "kids", "target": "192.168.88.7/32"}}
	w = twoCables()
	w.Lines[1].Simple, w.Lines[1].Queues = "", twoLines().Lines[1].Queues
	if p := New(inv, w); !hints(p, `simple queue "kids" shapes 192.168.88.7/32 a second time`) {
		t.Errorf("%+v", p.Problems)
	}
}

// TestPropertySimpleConverges: whatever simple queues are there, in whatever order, a plan that was carried out leaves nothing to do,
// has the lines' queues in front of all others that can be moved, and an undo takes them away and nobody else's.
func TestPropertySimpleConverges(t *testing.T) {
	value := rapid.SampledFrom([]string{"", "0.1/0.1", "0.01/0.01", "0/0", "5M/0", "0s/0s", "1s/2s", "0.010/0.01"})
	rapid.Check(t, func(t *rapid.T) {
		inv := factory()
		var foreign []string
		for i := range rapid.IntRange(0, 5).Draw(t, "queues") {
			r := Row{".id": "*" + string(rune('A'+i))}
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				r["name"], r["dst"], r["comment"] = "WAN-Spectrum", "ether2", Owner+"both directions of Spectrum"
				if slices.ContainsFunc(inv[QueueSimple], named("WAN-Spectrum")) {
					continue
				}
			case 1:
				r["name"], r["dynamic"] = "dyn"+r[".id"], "true"
			case 2:
				r["name"], r["parent"] = "child"+r[".id"], "WAN-ATT"
			default:
				r["name"] = "theirs" + r[".id"]
				foreign = append(foreign, r[".id"])
			}
			for _, k := range []string{"bucket-size", "burst-limit", "burst-time"} {
				if v := value.Draw(t, k); v != "" {
					r[k] = v
				}
			}
			inv[QueueSimple] = append(inv[QueueSimple], r)
		}
		before := clone(inv)
		r := &router{t: t, inv: inv}
		p := New(clone(inv), twoCables())
		r.carry(p)
		if again := New(clone(r.inv), twoCables()); len(again.Changes) > 0 {
			t.Fatalf("a second plan changes %s", show(again))
		}
		at := func(name string) int { return slices.IndexFunc(r.inv[QueueSimple], named(name)) }
		for i, row := range r.inv[QueueSimple] {
			if strings.HasPrefix(row["name"], "theirs") && (i < at("WAN-Spectrum") || i < at("WAN-ATT")) {
				t.Fatalf("%s stands in front: %v", row["name"], r.inv[QueueSimple])
			}
		}
		r.carry(Undo(clone(r.inv), p.Changes))
		rest := slices.DeleteFunc(before[QueueSimple], func(r Row) bool { return Owned(QueueSimple, r) })
		if d := cmp.Diff(rest, r.inv[QueueSimple]); d != "" && len(rest)+len(r.inv[QueueSimple]) > 0 {
			t.Fatalf("after the undo, with %v of others:\n%s", foreign, d)
		}
	})
}
