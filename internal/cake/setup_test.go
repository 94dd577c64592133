package cake

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// house is the line of the plans below.
var house = Setup{
	Upload: "wan", Download: "ifb4wan", Rates: link.Rates{Down: 450 * unit.Mbps, Up: 38_500 * unit.Kbps},
	Framing: Framing{Overhead: 18, Mpu: 64},
}

// bare is a host with that line's interface and nothing else.
func bare() Found {
	return Found{
		Upload: Place{
			Exists: true, Interface: Interface{Index: 2, Name: "wan"}, Up: true, HasRoot: true, Root: Cake{Qdisc: Qdisc{Kind: "fq_codel", Parent: Root}},
		},
		Names: map[int32]string{1: "lo", 2: "wan", 9: "ifb9"},
	}
}

// after is what there is once steps were taken: the kernel in small.
func after(s Setup, f Found, steps []Step) Found {
	f.Names = map[int32]string{1: "lo", 2: "wan", 9: "ifb9"}
	at := func(dev string) *Place {
		if dev == s.Download {
			return &f.Download
		}
		return &f.Upload
	}
	for _, st := range steps {
		p := at(st.Dev)
		switch st.Op {
		case AddIFB:
			*p = Place{Exists: true, Interface: Interface{Index: 5, Name: st.Dev}, Kind: kindIFB}
		case SetUp:
			p.Up = true
			if st.Alias != "" {
				p.Alias = st.Alias
			}
		case AddCake:
			p.HasRoot, p.Root = true, Cake{Qdisc: Qdisc{Kind: kindCake, Handle: OurHandle, Parent: Root}, Settings: st.Settings}
		case ChangeCake:
			rate := p.Root.Bandwidth
			p.Root.Settings = st.Settings
			p.Root.Bandwidth = rate
		case AddIngress:
			p.Ingress = kindIngress
		case AddRedirect:
			p.Filters = append(p.Filters, Filter{
				Pref: OurPref, Kind: kindMatchall, Handle: matchallHandle, To: f.Download.Index, Cookie: st.Cookie, Redirects: true,
			})
		case DelRedirect:
			var kept []Filter
			for _, o := range p.Filters {
				if !o.ours() {
					kept = append(kept, o)
				}
			}
			p.Filters = kept
		case DelIngress:
			p.Ingress, p.Filters = "", nil
		case DelCake:
			p.Root = Cake{Qdisc: Qdisc{Kind: "fq_codel", Parent: Root}}
		case DelIFB:
			*p = Place{}
		}
	}
	return f
}

func done() Found { return after(house, bare(), PlanApply(house, bare()).Steps) }

// with changes what was found.
func with(f Found, change func(*Found)) Found {
	change(&f)
	return f
}

// TestPlans writes each situation with its plan, to be read as prose.
func TestPlans(t *testing.T) {
	own := func(kind string, h Handle) func(*Found) {
		return func(f *Found) { f.Upload.Root = Cake{Qdisc: Qdisc{Kind: kind, Handle: h, Parent: Root}} }
	}
	filter := func(o Filter) func(*Found) {
		return func(f *Found) { f.Upload.Filters = append([]Filter{o}, f.Upload.Filters...) }
	}
	acks, mq, lan := house, house, house
	acks.AckFilter, acks.Framing = true, Framing{Overhead: 30, Atm: PTM}
	mq.ReplaceMQ = true
	lan.Download, lan.Framing = "br-lan", Framing{Raw: true}
	var b strings.Builder
	for _, c := range []struct {
		name  string
		setup Setup
		found Found
	}{
		{"a bare host", house, bare()},
		{"everything is there", house, done()},
		{"no such interface", house, Found{}},
		{"the kernel shows no root", house, with(bare(), func(f *Found) { f.Upload.HasRoot = false })},
		{"several hardware queues", house, with(bare(), own("mq", 0))},
		{"several hardware queues, to be replaced", mq, with(bare(), own("mq", 0))},
		{"somebody's own mq is not replaced with that", mq, with(bare(), own("mq", 0x10000))},
		{"somebody's cake_mq", house, with(bare(), own("cake_mq", 0x80010000))},
		{"somebody's htb", house, with(bare(), own("htb", 0x10000))},
		{"an offloaded root", house, with(bare(), func(f *Found) { f.Upload.Root.Qdisc = Qdisc{Kind: "htb", Handle: 0x10000, Offloaded: true} })},
		{"somebody's CAKE with other options", house, with(bare(), func(f *Found) {
			own("cake", 0x80010000)(f)
			f.Upload.Root.Settings = house.settings(link.Down)
		})},
		{"somebody's CAKE with the same options", house, with(bare(), func(f *Found) {
			own("cake", 0x80010000)(f)
			f.Upload.Root.Settings = house.settings(link.Up)
		})},
		{"another framing is wanted now, and acknowledgements filtered", acks, done()},
		{"a controller has set other rates", house, with(done(), func(f *Found) { f.Upload.Root.Bandwidth, f.Download.Root.Bandwidth = 8000, 16000 })},
		{"the ifb is down", house, with(done(), func(f *Found) { f.Download.Up = false })},
		{"somebody's own ifb", house, with(done(), func(f *Found) { f.Download.Alias = "" })},
		{"the ifb was taken away", house, with(done(), func(f *Found) { f.Download = Place{}; f.Upload.Filters[0].To = 0 })},
		{"clsact with somebody's filters", house, with(bare(), func(f *Found) {
			f.Upload.Ingress = kindClsact
			filter(Filter{Pref: 49152, Kind: "flower", Handle: 1})(f)
			filter(Filter{Pref: 10, Kind: "bpf", Handle: 1})(f)
		})},
		{"somebody redirects already", house, with(bare(), func(f *Found) {
			f.Upload.Ingress = kindIngress
			filter(Filter{Pref: 5, Kind: kindMatchall, Handle: 1, To: 9, Redirects: true})(f)
		})},
		{"somebody redirects to the same ifb", house, with(done(), func(f *Found) { f.Upload.Filters[0].Cookie, f.Upload.Filters[0].Pref = "", 5 })},
		{"somebody's u32 redirects", house, with(bare(), func(f *Found) {
			f.Upload.Ingress = kindIngress
			filter(Filter{Pref: 5, Kind: "u32", Handle: 0x80000800, Redirects: true})(f)
		})},
		{"a shared block of filters", house, with(bare(), func(f *Found) { f.Upload.Ingress, f.Upload.Shared = kindClsact, true })},
		{"the download is shaped towards the house", lan, with(bare(), func(f *Found) {
			f.Download = Place{Exists: true, Interface: Interface{Index: 3, Name: "br-lan"}, Up: true, Kind: "bridge"}
		})},
	} {
		fmt.Fprintf(&b, "== %s\napply\n%sremove\n%s\n", c.name, prose(PlanApply(c.setup, c.found)), prose(PlanRemove(c.setup, c.found)))
	}
	path := filepath.Join("testdata", "plans.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), b.String()); d != "" {
		t.Errorf("(-want +got, go test ./internal/cake -run Plans -update writes it anew):\n%s", d)
	}
}

func prose(p Plan) string {
	var b strings.Builder
	for _, s := range p.Steps {
		fmt.Fprintf(&b, "  %s\n", s)
		if s.Why != "" {
			fmt.Fprintf(&b, "      because: %s\n", s.Why)
		}
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	for _, n := range p.Problems {
		fmt.Fprintf(&b, "  problem: %s\n", n)
	}
	if b.Len() == 0 {
		return "  nothing\n"
	}
	return b.String()
}

// Whatever is there: carrying a plan out leaves nothing to plan, and taking away what was made leaves what was there.
func TestPropertyPlansEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := bare()
		f.Upload.Root.Kind = rapid.SampledFrom([]string{"fq_codel", "pfifo_fast", "noqueue", "mq", "htb", "cake", "cake_mq"}).Draw(t, "root")
		f.Upload.Root.Handle = Handle(rapid.SampledFrom([]uint32{0, 0x10000, uint32(OurHandle)}).Draw(t, "handle"))
		f.Upload.Root.Settings = house.settings(link.Direction(rapid.IntRange(0, 1).Draw(t, "options")))
		f.Upload.Ingress = rapid.SampledFrom([]string{"", kindIngress, kindClsact}).Draw(t, "ingress")
		if f.Upload.Ingress != "" && rapid.Bool().Draw(t, "filter") {
			f.Upload.Filters = append(f.Upload.Filters, Filter{
				Pref: uint16(rapid.IntRange(1, 65535).Draw(t, "pref")), Kind: "flower", Handle: 1, Redirects: rapid.Bool().Draw(t, "redirects"),
			})
		}
		if rapid.Bool().Draw(t, "ifb") {
			f.Download = Place{Exists: true, Interface: Interface{Index: 5, Name: "ifb4wan"}, Kind: kindIFB, Up: rapid.Bool().Draw(t, "up")}
		}
		s := house
		s.ReplaceMQ = rapid.Bool().Draw(t, "replace")
		p := PlanApply(s, f)
		if len(p.Problems) > 0 {
			if len(p.Steps) > 0 {
				t.Fatalf("steps in spite of problems: %+v", p)
			}
			return
		}
		there := after(s, f, p.Steps)
		if again := PlanApply(s, there); len(again.Steps)+len(again.Problems) > 0 {
			t.Fatalf("the second plan is not empty: %s", prose(again))
		}
		gone := after(s, there, PlanRemove(s, there).Steps)
		if again := PlanRemove(s, gone); len(again.Steps) > 0 {
			t.Fatalf("the second removal is not empty: %s", prose(again))
		}
		if f.Upload.Root.Handle != OurHandle && (gone.Upload.Ingress != f.Upload.Ingress || len(gone.Upload.Filters) != len(f.Upload.Filters) ||
			gone.Download.Exists != f.Download.Exists) {
			t.Fatalf("there was %+v, and there is %+v", f, gone)
		}
	})
}

// The redirection reads back as it was written.
func TestFilterRoundTrip(t *testing.T) {
	for _, cookie := range []string{ourCookie, ingressCookie} {
		f, ok, err := decodeFilter(message(func(x *exchange) {
			x.tcmsg(2, matchallHandle, filterParent, OurPref<<16|protocolAll)
			x.redirect(7, cookie)
		}))
		want := Filter{Pref: OurPref, Kind: kindMatchall, Handle: matchallHandle, To: 7, Cookie: cookie, Redirects: true}
		if err != nil || !ok || f != want || !f.ours() {
			t.Errorf("%s: %+v, %v, %v", cookie, f, ok, err)
		}
	}
	if len(ingressCookie) > 16 {
		t.Error("the cookie is longer than TC_COOKIE_MAX_SIZE")
	}
	f, ok, err := decodeFilter(message(func(x *exchange) {
		x.tcmsg(2, 1, filterParent, 10<<16|protocolAll)
		x.text(tcaKind, "u32")
		o := x.open(tcaOptions)
		acts := x.open(7)
		first := x.open(1)
		x.text(actKind, kindMirred)
		x.shut(first)
		x.shut(acts)
		x.shut(o)
	}))
	if err != nil || !ok || !f.Redirects || f.ours() {
		t.Errorf("somebody's u32 redirection: %+v, %v, %v", f, ok, err)
	}
	if _, ok, err := decodeFilter(message(func(x *exchange) { x.tcmsg(2, 0, filterParent, 10<<16); x.text(tcaKind, kindMatchall) })); ok || err != nil {
		t.Errorf("the head of a row of filters counts as one: %v", err)
	}
}

// Options are written as they are read.
func TestSettingsRoundTrip(t *testing.T) {
	for _, d := range directions {
		for _, f := range []Framing{{Raw: true}, {Overhead: 18, Mpu: 64}, {Overhead: -4, Atm: ATM}, {Overhead: 30, Atm: PTM}} {
			s := house
			s.Framing, s.AckFilter = f, true
			want := s.settings(d)
			var got Cake
			if err := decodeCake(message(func(x *exchange) { x.tcmsg(2, OurHandle, Root, 0); x.settings(want, true) }), &got); err != nil {
				t.Fatal(err)
			}
			if diff := got.differences(want); len(diff) > 0 || got.Bandwidth != want.Bandwidth {
				t.Errorf("%s %+v: %v", d, f, diff)
			}
		}
	}
}

func TestPlanAsJSON(t *testing.T) {
	b, err := json.Marshal(PlanApply(house, bare()))
	if err != nil || !strings.Contains(string(b), `{"command":"ip link add name ifb4wan type ifb","why":"what comes in is shaped`) {
		t.Errorf("%s, %v", b, err)
	}
}

// Every failure names what was tried and the way out.
func TestErrorsOfQueues(t *testing.T) {
	c := &Conn{}
	for _, e := range []struct {
		op   string
		err  error
		kind Kind
		want string
	}{
		{opSet, unix.EPERM, Permission, "needs CAP_NET_ADMIN"},
		{opMake, unix.EPERM, Permission, "needs CAP_NET_ADMIN"},
		{opMake, fmt.Errorf("%w: %w", errNoModule, unix.ENOENT), NoModule, "sch_cake"},
		{opReadLink, unix.ENODEV, NoSuchInterface, "`ip link`"},
		{opSet, unix.ENOENT, Gone, "wanctl qdisc plan"},
		{opSet, unix.EEXIST, Gone, "wanctl qdisc plan"},
		{opReadQdisc, errGone, Gone, "wanctl qdisc apply"},
		{opReadQdisc, errNotCake, NotCake, "wanctl qdisc plan"},
		{opSet, errReadBack, Mismatch, "does something else"},
		{opSet, errRate, Range, "from 1000 bit/s"},
		{opReadQdisc, unix.EIO, Other, "input/output error"},
	} {
		err := c.fail(e.op, "of wan", e.err)
		if kindOfError(err) != e.kind || !strings.Contains(err.Error(), e.want) || !strings.HasPrefix(err.Error(), e.op+" of wan: ") {
			t.Errorf("%s, %v: %s: %v", e.op, e.err, kindOfError(err), err)
		}
	}
	if Other.String() != "kernel error" || Kind(99).String() != "Kind(99)" {
		t.Error("kinds have no names")
	}
}

func kindOfError(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Other
}
