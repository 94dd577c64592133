package scenario

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"wanctl/internal/document"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Options are what a caller decides about all scenarios.
type Options struct {
	// TracesDir is where recordings lie that scenarios name; when it is empty their synthetic twins are played.
	TracesDir string
	// Seed replaces the file's seed when it is not 0.
	Seed uint64
}

// MaxSize bounds a scenario file, in bytes. A larger one is refused without being read to its end.
const MaxSize = 1 << 18

var yamlForm = document.Form{
	Name: "scenario", MaxSize: MaxSize, TooLarge: "is it the right file? A recording belongs into a trace",
	Empty: "start from the five lines in docs/scenarios.md",
}

// Parse reads one scenario file. name is what the scenario is called (without its directory and .yaml) and appears in
// errors. The scenario is complete: defaults are filled in and capacities unfolded into steps. An error is a
// [Diagnostics] with everything that is wrong. At most [MaxSize] bytes are read; recordings are opened only below
// o.TracesDir.
func Parse(name string, r io.Reader, o Options) (*Scenario, error) {
	p := &parser{file: name, opt: o, phaseAt: map[string]pos{}}
	root := yamlForm.Root(r, p.tell)
	if root == nil {
		return nil, p.err()
	}
	s := p.scenario(p.section("", "", root))
	if err := p.err(); err != nil {
		return nil, err
	}
	s.Name = baseName(name)
	return s, nil
}

// baseName takes directory and extension off a file's name.
func baseName(name string) string {
	name = name[strings.LastIndexByte(name, '/')+1:]
	for _, ext := range []string{".yaml", ".yml"} {
		if base := strings.TrimSuffix(name, ext); base != "" {
			name = base
		}
	}
	return name
}

// scenario makes the scenario of the file. Findings among values are noted on the way.
func (p *parser) scenario(f *section) *Scenario {
	s := &Scenario{
		About: f.text("about"), Duration: f.dur("duration"), Seed: uint64(f.num("seed")), Untuned: f.flag("untuned"),
		CommandDelay: f.dur("command_delay"),
	}
	if f.bad("duration") {
		s.Duration = hour * time.Second // nothing can be too late
	}
	if p.opt.Seed != 0 {
		s.Seed = p.opt.Seed
	}
	if !f.mentions("links") {
		p.errorf(f.at, "links", "five lines are enough, see docs/scenarios.md", "is required")
	}
	for i, l := range f.sections("links") {
		s.Links = append(s.Links, p.link(s, i, l))
	}
	for _, sec := range f.sections("flows") {
		s.Flows = append(s.Flows, p.flow(s, sec))
	}
	s.Reflectors = p.reflectors(s, f)
	for _, sec := range f.sections("faults") {
		s.Faults = append(s.Faults, p.fault(s, sec))
	}
	sort.SliceStable(s.Faults, func(i, j int) bool { return s.Faults[i].At < s.Faults[j].At })
	for _, ph := range f.vals["phases"].spans {
		if ph.To > s.Duration {
			p.errorf(p.phaseAt[ph.Name], "phases."+ph.Name, "", "ends at %s, after the scenario's end at %s", short(ph.To), short(s.Duration))
		}
		s.Phases = append(s.Phases, ph)
	}
	sort.SliceStable(s.Phases, func(i, j int) bool { return s.Phases[i].From < s.Phases[j].From })
	return s
}

// link makes the i-th link.
func (p *parser) link(s *Scenario, i int, sec *section) Link {
	l := Link{Name: sec.text("name"), Delay: sec.dur("delay"), ICMP: ICMP(sec.text("icmp"))}
	if l.Name == "" {
		l.Name = fmt.Sprintf("wan%d", i+1)
	}
	for _, other := range s.Links {
		if other.Name == l.Name {
			p.errorf(sec.place("name"), join(sec.path, "name"), "every link has its own", "%q is the name of another link", l.Name)
		}
	}
	p.require(sec, "down", "up")
	for _, d := range []link.Direction{link.Down, link.Up} {
		name := "down"
		if d == link.Up {
			name = "up"
		}
		if v, ok := sec.vals[name]; ok {
			// Each direction of each link draws its own chance, whatever else the file holds.
			stream := uint64(i)*2 + uint64(d)
			*l.Path(d) = p.path(s, v.sec, sec.dur("fifo"), stream)
		}
	}
	return l
}

// path makes one direction of a link.
func (p *parser) path(s *Scenario, sec *section, fifo time.Duration, stream uint64) Path {
	path := Path{
		FIFO: sec.durOr("fifo", fifo), Loss: percent(sec.num("loss_percent")),
		LoadedDelay: sec.dur("loaded_delay"), LoadedShare: percent(sec.num("loaded_percent")),
	}
	path.Nominal, path.Steps = p.capacity(s, sec, stream)
	return path
}

// percent converts a share in % that was checked.
func percent(f float64) unit.PPM { return unit.PPM(f*1e4 + 0.5) }

// mbps converts a rate whose bounds were checked.
func mbps(f float64) unit.Rate {
	r, err := unit.FromMbps(f)
	if err != nil {
		return 0
	}
	return r
}

// linkOf finds the link that a flow or fault names.
func (p *parser) linkOf(s *Scenario, sec *section) int {
	if !sec.mentions("link") {
		if len(s.Links) > 1 {
			p.errorf(sec.at, join(sec.path, "link"), "the links are "+linkNames(s), "is required with several links")
		}
		return 0
	}
	if sec.bad("link") {
		return 0
	}
	want := sec.text("link")
	for i, l := range s.Links {
		if l.Name == want {
			return i
		}
	}
	if len(s.Links) > 0 {
		p.errorf(sec.place("link"), join(sec.path, "link"), "the links are "+linkNames(s), "no link is called %q", want)
	}
	return 0
}

func linkNames(s *Scenario) string {
	var names []string
	for _, l := range s.Links {
		names = append(names, l.Name)
	}
	return strings.Join(names, ", ")
}

// flow makes one flow.
func (p *parser) flow(s *Scenario, sec *section) Flow {
	f := Flow{
		Kind: Kind(sec.text("kind")), Link: p.linkOf(s, sec), Count: int(sec.num("count")),
		From: sec.durOr("from", min(5*time.Second, s.Duration/10)), To: sec.durOr("to", s.Duration),
		Size: unit.Bytes(sec.num("size")), Every: sec.dur("every"), Rate: mbps(sec.num("mbps")),
	}
	if sec.text("dir") == "up" {
		f.Dir = link.Up
	}
	if !sec.bad("from") && !sec.bad("to") {
		switch {
		case f.To > s.Duration:
			p.errorf(sec.place("to"), join(sec.path, "to"), "", "%s is after the scenario's end at %s", short(f.To), short(s.Duration))
		case f.From >= f.To:
			p.errorf(sec.place("from"), join(sec.path, "from"), "", "%s is not before the flow's end at %s", short(f.From), short(f.To))
		}
	}
	if sec.bad("kind") {
		return f
	}
	size := map[Kind]unit.Bytes{Video: 2_500_000, Web: 200_000, Call: 160, Steady: 1200}
	every := map[Kind]time.Duration{Video: 4 * time.Second, Web: time.Second, Call: 20 * time.Millisecond}
	if !sec.has("size") {
		f.Size = size[f.Kind]
	}
	if !sec.has("every") {
		f.Every = every[f.Kind]
	}
	none := func(names ...string) {
		for _, name := range names {
			if sec.mentions(name) {
				p.errorf(sec.place(name), join(sec.path, name), "remove the key", "a %s flow has none", f.Kind)
			}
		}
	}
	datagram := func() {
		f.Congestion = ""
		if f.Size > maxDatagram {
			p.errorf(sec.place("size"), join(sec.path, "size"), "", "%dB does not fit into one datagram of %dB", f.Size, maxDatagram)
		}
	}
	f.Congestion = sec.text("congestion")
	switch f.Kind {
	case Bulk:
		none("size", "every", "mbps")
	case Video:
		none("mbps")
	case Web:
		none("mbps")
		if f.Dir == link.Up {
			p.errorf(sec.place("dir"), join(sec.path, "dir"), "remove the key; video takes dir: up", "a web flow loads the download")
		}
	case Call:
		none("mbps", "dir", "congestion")
		datagram()
	case Steady:
		none("every", "congestion")
		p.require(sec, "mbps")
		datagram()
	}
	return f
}

// maxDatagram is what fits into an Ethernet frame behind the headers of IPv4 and UDP, in bytes.
const maxDatagram = 1472

// reflectors makes the hosts that answer probes.
func (p *parser) reflectors(s *Scenario, f *section) []Reflector {
	if !f.mentions("reflectors") {
		var out []Reflector
		// Their distances differ so that a controller that mixes them up is found out.
		for _, ms := range []int{0, 2, 5, 10, 15} {
			out = append(out, Reflector{Extra: time.Duration(ms) * time.Millisecond})
		}
		return out
	}
	var out []Reflector
	for _, sec := range f.sections("reflectors") {
		r := Reflector{Extra: sec.dur("extra"), PerSecond: int(sec.num("per_second"))}
		last, known := ReflectorChange{Extra: r.Extra}, true
		for _, c := range sec.sections("changes") {
			known = p.require(c, "at") && known
			if !c.mentions("dead") && !c.mentions("extra") {
				p.errorf(c.at, c.path, "say dead: true, or extra: 40ms", "changes nothing")
			}
			next := ReflectorChange{At: c.dur("at"), Dead: last.Dead, Extra: c.durOr("extra", last.Extra)}
			if c.has("dead") {
				next.Dead = c.flag("dead")
			}
			if known {
				p.inOrder(s, c, last.At, len(r.Changes) == 0)
			}
			last = next
			r.Changes = append(r.Changes, next)
		}
		out = append(out, r)
	}
	return out
}

// inOrder reports an instant that is not after the one before, or not before the scenario's end.
func (p *parser) inOrder(s *Scenario, c *section, before time.Duration, first bool) {
	at := c.dur("at")
	switch {
	case !first && at <= before:
		p.errorf(c.place("at"), join(c.path, "at"), "write them in order", "%s is not after the one before it at %s", short(at), short(before))
	case at >= s.Duration:
		p.errorf(c.place("at"), join(c.path, "at"), "", "%s never comes: the scenario ends at %s", short(at), short(s.Duration))
	}
}

// fault makes one fault.
func (p *parser) fault(s *Scenario, sec *section) Fault {
	f := Fault{At: sec.dur("at"), Kind: FaultKind(sec.text("kind")), For: sec.dur("for")}
	if !p.require(sec, "at", "kind") {
		return f
	}
	p.inOrder(s, sec, 0, true)
	switch f.Kind {
	case LinkDown, QdiscGone:
		f.Link = p.linkOf(s, sec)
	case KillController, RouterReboot:
		if sec.mentions("link") {
			p.errorf(sec.place("link"), join(sec.path, "link"), "remove the key", "%s concerns no link", f.Kind)
		}
	}
	return f
}
