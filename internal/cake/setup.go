package cake

import (
	"fmt"
	"slices"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// How wanctl knows again what it made, so that it takes away that and nothing else. Whoever makes a qdisc chooses its
// handle, so ours is one that nobody gets by chance: the kernel gives handles from 8000: on, people write small numbers.
// An ingress qdisc's handle is always ffff:, so the filter's action carries a cookie that says whether the qdisc below
// it is ours, too. An interface has an alias.
const (
	// OurHandle is that of the CAKE qdiscs: "wa" in ASCII.
	OurHandle Handle = 0x7761 << 16
	// OurPref is the filter's preference, the same number. Filters that tc numbers by itself (from 49152 down) come after it.
	OurPref = 0x7761

	ourAlias       = "wanctl"
	ourCookie      = "wanctl"
	ingressCookie  = "wanctl+ingress" // at most 16 bytes, TC_COOKIE_MAX_SIZE of linux/pkt_cls.h
	defaultRTT     = 100_000          // microseconds: the internet at large (tc-cake(8), "rtt")
	matchallHandle = 1
)

// Framing is what a line adds to each packet.
type Framing struct {
	// Raw counts packets as Linux has them; the rest is then 0.
	Raw      bool
	Overhead int32
	Mpu      uint32
	Atm      Atm
}

// Setup is what a line's queues shall be.
type Setup struct {
	// Upload is the interface the line is on, Download an ifb or the interface towards the house.
	Upload, Download string
	// Rates are what the queues are made with. Those of queues that are there already stay.
	Rates link.Rates
	Framing
	// AckFilter drops superfluous acknowledgements on the upload.
	AckFilter bool
	// ReplaceMQ puts one CAKE in the place of the kernel's own multi-queue root.
	ReplaceMQ bool
}

// settings are one direction's options. Fairness is between the hosts of the house, which an address translation hides on
// the line's interface: nat looks them up. What has crossed the line already counts as passed even if it is dropped
// (ingress), and the provider's marks mean nothing in the house (wash).
func (s Setup) settings(d link.Direction) Settings {
	o := Settings{
		Bandwidth: wireRate(s.Rates.Get(d)), Diffserv: Diffserv3, Flow: DualSrcHost, Nat: true, RTT: defaultRTT, SplitGSO: true,
		Overhead: s.Overhead, Mpu: s.Mpu, Atm: s.Atm, Raw: s.Raw,
	}
	if d == link.Down {
		o.Flow, o.Ingress, o.Wash = DualDstHost, true, true
	} else if s.AckFilter {
		o.AckFilter = FilterAcks
	}
	return o
}

// differences names the options that differ, apart from the rate, which controllers own, and from what CAKE works out by
// itself.
func (o Settings) differences(want Settings) (names []string) {
	o.Bandwidth, o.Target, o.Memory, o.Fwmark = 0, 0, 0, 0
	want.Bandwidth, want.Target, want.Memory, want.Fwmark = 0, 0, 0, 0
	is, shall := o.words(), want.words()
	for i := range shall {
		if is[i] != shall[i] {
			names = append(names, fmt.Sprintf("%s instead of %s", is[i], shall[i]))
		}
	}
	return names
}

// Found is what there is.
type Found struct {
	Upload, Download Place
	// Names are the interfaces by index.
	Names map[int32]string
}

// Place is one interface with what hangs at it.
type Place struct {
	// Exists is false for an interface that is not there; the rest is then zero.
	Exists bool
	Interface
	Up bool
	// Kind is "ifb", "vlan", …, empty for hardware; Alias is what somebody wrote at it.
	Kind, Alias string
	// HasRoot says that Root was told: the kernel hides some of its own.
	HasRoot bool
	Root    Cake
	// Ingress is the kind of qdisc for what comes in: ingress, clsact or none. Shared says that its filters are a block
	// that several interfaces share.
	Ingress string
	Shared  bool
	Filters []Filter
}

// Filter is one filter of what comes in.
type Filter struct {
	Pref   uint16
	Kind   string
	Handle uint32
	// To is the index of the interface it redirects to, 0 for none; Cookie is its action's.
	To     int32
	Cookie string
	// Redirects says that it takes packets away, to an interface that may be gone.
	Redirects bool
}

func (f Filter) ours() bool { return f.Cookie == ourCookie || f.Cookie == ingressCookie }

// Plan is what has to be done.
type Plan struct {
	Steps []Step `json:"steps"`
	// Problems keep the plan from being carried out; each says what to do.
	Problems []string `json:"problems,omitempty"`
	// Notes are worth knowing.
	Notes []string `json:"notes,omitempty"`
}

func (p *Plan) step(s Step) { p.Steps = append(p.Steps, s) }

func (p *Plan) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// PlanApply returns the steps from what there is to what is wanted; none when it is so already. It only adds: what
// somebody else made is named as a problem and never replaced.
func PlanApply(s Setup, f Found) Plan {
	var p Plan
	if !f.Upload.Exists {
		p.problem("interfaces.upload: there is no interface %s (`ip link` lists those there are)", s.Upload)
		return p
	}
	redirect := true
	switch d := f.Download; {
	case !d.Exists:
		p.step(Step{Op: AddIFB, Dev: s.Download, Why: "what comes in is shaped where it leaves an ifb"})
		p.step(Step{Op: SetUp, Dev: s.Download, Alias: ourAlias, Why: "the alias says that wanctl made it"})
	case d.Kind == kindIFB:
		if !d.Up {
			p.step(Step{Op: SetUp, Dev: s.Download, Why: "an ifb that is down drops everything"})
		}
		if d.Alias != ourAlias {
			p.note("%s is somebody's own ifb: it is used, and wanctl qdisc remove leaves it", s.Download)
		}
	default:
		redirect = false
		p.note("%s is no ifb: the download is shaped where it leaves there, and nothing is redirected", s.Download)
	}
	p.root(s, link.Down, s.Download, f.Download)
	if redirect {
		p.redirect(s, f)
	}
	p.root(s, link.Up, s.Upload, f.Upload)
	if len(p.Problems) > 0 {
		p.Steps = nil // half of it would shape one direction alone
	}
	return p
}

// root plans one interface's own qdisc.
func (p *Plan) root(s Setup, d link.Direction, dev string, f Place) {
	want := s.settings(d)
	add := Step{Op: AddCake, Dev: dev, Settings: want, Why: d.String()}
	r := f.Root
	const leave = "`tc qdisc del dev %s root` takes it away, then apply again"
	switch {
	case !f.HasRoot:
		p.step(add)
	case r.Offloaded:
		p.problem("%s: hardware does the work of its %s (handle %s), which CAKE in the kernel would take away: switch the offload off "+
			"first, or shape on another host", dev, r.Kind, r.Handle)
	case r.Handle == 0 && (r.Kind == "mq" || r.Kind == "mqprio") && !s.ReplaceMQ:
		p.problem("%s: has several hardware queues (%s). One CAKE serves them all under one lock, which is fast enough for about a "+
			"gigabit: `wanctl qdisc apply --replace-mq` puts it there, and remove gives the kernel's own back", dev, r.Kind)
	case r.Kind == "cake_mq":
		p.problem("%s: its root is cake_mq (handle %s), a CAKE per hardware queue that share a rate. wanctl sets single CAKEs only: "+leave,
			dev, r.Handle, dev)
	case r.Handle == 0:
		p.step(add)
	case r.Kind != kindCake:
		p.problem("%s: its root is somebody's own %s (handle %s) and stays: "+leave+", or shape below it by hand", dev, r.Kind, r.Handle, dev)
	case r.Handle == OurHandle:
		if diff := r.differences(want); len(diff) > 0 {
			p.step(Step{Op: ChangeCake, Dev: dev, Settings: want, Why: "has " + strings.Join(diff, ", ")})
		}
	default:
		if diff := r.differences(want); len(diff) > 0 {
			p.problem("%s: its root is somebody's own CAKE (handle %s) with %s. Controllers work with it as it is; for wanctl's own, "+leave,
				dev, r.Handle, strings.Join(diff, ", "), dev)
			return
		}
		p.note("%s: its root is somebody's own CAKE (handle %s) with the same options: it is used, and wanctl qdisc remove leaves it", dev, r.Handle)
	}
}

// redirect plans the way of what comes in through the ifb.
func (p *Plan) redirect(s Setup, f Found) {
	cookie := ourCookie
	if f.Upload.Ingress == "" {
		cookie = ingressCookie
		p.step(Step{Op: AddIngress, Dev: s.Upload, Why: "filters for what comes in hang there"})
	}
	if f.Upload.Shared {
		p.problem("%s: its ingress filters are a block shared with other interfaces: redirecting there would redirect theirs, too", s.Upload)
		return
	}
	add := true
	for _, o := range f.Upload.Filters {
		switch {
		case o.ours() && f.Download.Exists && o.To == f.Download.Index:
			add = false
		case o.ours():
			cookie = o.Cookie
			p.step(Step{Op: DelRedirect, Dev: s.Upload, Why: "it leads elsewhere: " + f.name(o.To)})
		case o.Redirects && f.Download.Exists && o.To == f.Download.Index:
			add = false
			p.note("%s: somebody's own filter (pref %d, %s) redirects to %s already: it is used, and wanctl qdisc remove leaves it", s.Upload, o.Pref, o.Kind, s.Download)
		case o.Redirects:
			p.problem("%s: somebody's own filter (pref %d, %s) redirects what comes in to %s: remove it (`tc filter del dev %s ingress pref %d`), "+
				"or name that interface in interfaces.download", s.Upload, o.Pref, o.Kind, f.name(o.To), s.Upload, o.Pref)
		case o.Pref < OurPref:
			p.note("%s: somebody's own filter (pref %d, %s) comes before the redirection and may take packets away from it", s.Upload, o.Pref, o.Kind)
		default:
			p.note("%s: somebody's own filter (pref %d, %s) comes after the redirection and sees nothing any more", s.Upload, o.Pref, o.Kind)
		}
	}
	if add {
		p.step(Step{
			Op: AddRedirect, Dev: s.Upload, To: s.Download, Cookie: cookie,
			Why: "every protocol: IPv4, IPv6, PPPoE, tagged frames",
		})
	}
}

func (f Found) name(index int32) string {
	if n, ok := f.Names[index]; ok {
		return n
	}
	if index == 0 {
		return "another interface"
	}
	return "an interface that is gone"
}

// PlanRemove returns the steps that take away what wanctl made, and nothing else; none when there is nothing.
func PlanRemove(s Setup, f Found) Plan {
	var p Plan
	others := slices.ContainsFunc(f.Upload.Filters, func(o Filter) bool { return !o.ours() })
	for _, o := range f.Upload.Filters {
		if !o.ours() {
			continue
		}
		p.step(Step{Op: DelRedirect, Dev: s.Upload})
		switch {
		case o.Cookie != ingressCookie:
		case others:
			p.note("%s: the ingress qdisc stays, because somebody else's filters hang there by now", s.Upload)
		case f.Upload.Ingress == kindIngress:
			p.step(Step{Op: DelIngress, Dev: s.Upload})
		}
	}
	for _, at := range []struct {
		dev string
		Place
	}{{s.Upload, f.Upload}, {s.Download, f.Download}} {
		switch {
		case at.Exists && at.Kind == kindIFB && at.Alias == ourAlias:
			p.step(Step{Op: DelIFB, Dev: at.dev, Why: "with its CAKE"})
		case at.HasRoot && at.Root.Kind == kindCake && at.Root.Handle == OurHandle:
			p.step(Step{Op: DelCake, Dev: at.dev, Why: "the kernel puts its own back"})
		case at.HasRoot && at.Root.Kind == kindCake:
			p.note("%s: its CAKE (handle %s) is somebody's own and stays", at.dev, at.Root.Handle)
		}
	}
	return p
}

// tcRate writes a rate as tc does: "38Mbit".
func tcRate(r unit.Rate) string {
	switch {
	case r == 0:
		return "unlimited"
	case r%unit.Mbps == 0:
		return fmt.Sprintf("%dMbit", r/unit.Mbps)
	case r%unit.Kbps == 0:
		return fmt.Sprintf("%dKbit", r/unit.Kbps)
	}
	return fmt.Sprintf("%dbit", int64(r))
}
