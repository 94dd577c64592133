package cli

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/document"
	"wanctl/internal/flow"
	"wanctl/internal/policy"
	"wanctl/internal/unit"
)

type steerExplainCmd struct {
	File   string   `arg:"" help:"Steering configuration file."`
	Flow   []string `arg:"" help:"PROTOCOL FROM TO, as udp 192.168.1.10:50000 203.0.113.7:3478; several after each other."`
	DSCP   int      `name:"dscp" placeholder:"N" help:"The code point that the host sets, 0 to 63."`
	Target string   `placeholder:"LINE" help:"The line that is steered to; none: nothing is steered. Without it: what the running process says."`
	Bulk   bool     `help:"As between hosts that have just moved much."`
	JSON   bool     `help:"Print it as JSON."`
	RunDir string   `name:"run-dir" placeholder:"DIR" help:"Run directory of the process."`
}

// Help says what is known and what is not.
func (steerExplainCmd) Help() string {
	return `Says by which line a new connection would leave now, and why: its class, the override that counts, and where it would go
otherwise. It asks the running process what is steered. Where this host steers it asks the kernel, too, whether the two
hosts have a call now, and have moved much; of routes to networks of your own (a VPN's) it does not know. A router is asked nothing:
there it does not know of the connections that hosts have, nor of the router's own address lists.

Example:

    wanctl steer explain /etc/wanctl/steering.yaml udp 192.168.1.10:50000 203.0.113.7:3478 --target ATT`
}

// Validate checks what kong does not.
func (c steerExplainCmd) Validate() error {
	if len(c.Flow)%3 != 0 {
		return fmt.Errorf("a flow is three words, PROTOCOL FROM TO, and here are %d: udp 192.168.1.10:50000 203.0.113.7:3478", len(c.Flow))
	}
	if c.DSCP < 0 || c.DSCP > 63 {
		return fmt.Errorf("--dscp %d: a code point is 0 to 63", c.DSCP)
	}
	return nil
}

// explained is what is said of one flow.
type explained struct {
	Flow string `json:"flow"`
	// Line is empty where the router's main table decides, Otherwise the line that nothing steered would have it take.
	Line      string `json:"line"`
	Otherwise string `json:"otherwise"`
	Cause     string `json:"cause"`
	Why       string `json:"why"`
	// Class is the first class that has it, Order that class's place among those that are switched on, from 1.
	Class    string   `json:"class,omitempty"`
	Order    int      `json:"order,omitempty"`
	Override string   `json:"override,omitempty"`
	Light    bool     `json:"light,omitempty"`
	Bulk     bool     `json:"bulk,omitempty"`
	IPv6     bool     `json:"ipv6,omitempty"`
	Notes    []string `json:"notes,omitempty"`
}

// Run explains.
func (c steerExplainCmd) Run(app *App) error {
	s, err := app.steeringOf(c.File, c.RunDir)
	if err != nil {
		return err
	}
	var packets []flow.Packet
	for i := 0; i < len(c.Flow); i += 3 {
		k, err := parseFlow(c.Flow[i], c.Flow[i+1], c.Flow[i+2])
		if err != nil {
			return err
		}
		k.DSCP = c.DSCP
		packets = append(packets, k)
	}
	target, by, err := c.target(app, s)
	if err != nil {
		return err
	}
	all := make([]explained, 0, len(packets))
	for _, k := range packets {
		all = append(all, explain(s, k, target, app.knownOf(s, k, c.Bulk)))
	}
	if c.JSON {
		return app.printJSON("explain", struct {
			Target string      `json:"target"`
			By     string      `json:"target_by"`
			Flows  []explained `json:"flows"`
		}{target, by, all})
	}
	if target == "" {
		fmt.Fprintf(app.Stdout, "nothing is steered now (%s)\n", by)
	} else {
		fmt.Fprintf(app.Stdout, "new connections of the classes are steered to %s now (%s)\n", target, by)
	}
	for _, e := range all {
		printExplained(app.Stdout, e)
	}
	return nil
}

// target is the line that is steered to, and who says so.
func (c steerExplainCmd) target(app *App, s *config.Steering) (line, by string, err error) {
	switch {
	case c.Target == "none":
		return "", "by --target", nil
	case c.Target != "":
		for _, l := range s.Policy.Alternates {
			if strings.EqualFold(l, c.Target) {
				return l, "by --target", nil
			}
		}
		way := "the lines are " + strings.Join(s.Policy.Alternates, ", ") + ", or none"
		if n, ok := document.Nearest(c.Target, s.Policy.Alternates); ok {
			way = "did you mean " + n + "?"
		}
		return "", "", fmt.Errorf("--target %s: steering has no such other line (%s)", c.Target, way)
	}
	running, _, err := daemon.ReadStatus(app.dirs(c.RunDir).Run)
	for _, st := range running {
		if st.Name != daemon.SteeringID(s) || st.Steer == nil {
			continue
		}
		if st.Steer.Rule == daemon.RuleUnread {
			return "", "", errors.New("the running process has not read the rule yet: ask again, or say --target")
		}
		for _, a := range st.Steer.Alternates {
			if a.Rule == daemon.RuleEnabled {
				return a.Name, "says process " + fmt.Sprint(st.PID), nil
			}
		}
		if len(st.Steer.Alternates) == 0 && st.Steer.Rule == daemon.RuleEnabled {
			return s.Policy.Alternates[0], "says process " + fmt.Sprint(st.PID), nil
		}
		return "", "says process " + fmt.Sprint(st.PID), nil
	}
	if err != nil {
		return "", "", fmt.Errorf("%w (or say --target LINE, or --target none)", err)
	}
	if s.Linux != nil {
		if line, err := app.policiesOf(s).Steered(); err == nil {
			return line, "says the kernel: no process of that name runs here", nil
		}
	}
	return "", "no process of that name runs here; --target says otherwise", nil
}

// known is what is known of two hosts.
type known struct {
	policy.Pair
	// asked says that somebody was asked; no is why that told nothing.
	asked bool
	no    error
}

// knownOf asks the kernel, where this host steers. Where nothing was made yet, nobody has a call.
func (a *App) knownOf(s *config.Steering, k flow.Packet, bulk bool) (is known) {
	if is.asked = s.Linux != nil; is.asked {
		if is.Pair, is.no = a.policiesOf(s).Pair(k.From.Addr(), k.To.Addr()); policy.IsMissing(is.no) {
			is.no = nil
		}
	}
	if bulk {
		is.Heavy = max(is.Heavy, flow.HeavyFor)
	}
	return is
}

// parseFlow reads one flow.
func parseFlow(protocol, from, to string) (k flow.Packet, err error) {
	if k.Protocol, err = flow.ParseProtocol(protocol); err != nil || k.Protocol == flow.Any {
		return k, fmt.Errorf("%s %s %s: the protocol is %q, want tcp, udp or icmp", protocol, from, to, protocol)
	}
	ports := k.Protocol == flow.TCP || k.Protocol == flow.UDP
	end := func(s string, must bool) (netip.AddrPort, error) {
		if a, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil && (!must || !ports) {
			return netip.AddrPortFrom(a, 0), nil
		} else if err == nil {
			return netip.AddrPort{}, fmt.Errorf("%s: %q has no port: write %s", protocol, s, netip.AddrPortFrom(a, 443))
		}
		a, err := netip.ParseAddrPort(s)
		if err != nil {
			return a, fmt.Errorf("%s: %q is no ADDRESS:PORT; a name has to be looked up first, and [2001:db8::1]:443 needs its brackets", protocol, s)
		}
		return a, nil
	}
	if k.From, err = end(from, false); err != nil {
		return k, err
	}
	if k.To, err = end(to, true); err != nil {
		return k, err
	}
	if k.From.Addr().Is4() != k.To.Addr().Is4() {
		return k, fmt.Errorf("%s and %s are not of one kind of address", from, to)
	}
	return k, nil
}

// explain asks the meaning of the rules.
func explain(s *config.Steering, k flow.Packet, target string, is known) explained {
	p := s.Policy
	p.Elsewhere = blueprint.Private()
	now := unit.Time(1)
	place := func(target string) flow.Placement {
		h := flow.NewHouse(p)
		if is.Heavy > 0 {
			first := h.Place(now, k)
			h.Seen(now, k, first, flow.HeavyBytes+1)
			now = now.Add(p.Idle) // the call is over, and its hosts are heavy still
		}
		if is.Line != "" {
			h.Join(now, k, is.Line)
		}
		h.Steer(target)
		return h.Place(now, k)
	}
	at, without := place(target), place("")
	e := explained{
		Flow: fmt.Sprintf("%s %s → %s", k.Protocol, endText(k.From), endText(k.To)), Line: at.Line, Otherwise: without.Line, Cause: at.Cause.String(),
		Class: at.Class, Bulk: at.Heavy, IPv6: k.To.Addr().Is6(),
	}
	for i, c := range p.Classes {
		if c.Name == at.Class {
			e.Order, e.Light = i+1, c.Light
		}
	}
	if at.Override != nil {
		e.Override = at.Override.String()
	}
	e.Why = why(at, p, target)
	if at.Cause == flow.Together {
		e.Why = fmt.Sprintf("%s and %s have a call by it, and for %v more without a packet", k.From.Addr(), k.To.Addr(), is.Left.Round(time.Second))
	}
	for _, o := range p.Overrides {
		if _, known := p.Lists[o.Hosts.List]; o.Hosts.List != "" && !known {
			e.Notes = append(e.Notes, fmt.Sprintf("whether %s is on the router's own list %s is not known here, and %q counts for those that are", k.From.Addr(), o.Hosts.List, o))
		}
	}
	if is.no != nil {
		e.Notes = append(e.Notes, fmt.Sprintf("whether these two have a call now is not known: %v", is.no))
	}
	if (!is.asked || is.no != nil) && p.Idle > 0 && at.Line != "" && at.Cause != flow.Always && at.Cause != flow.Probe && !at.Heavy {
		e.Notes = append(e.Notes, fmt.Sprintf("a call that goes on with %s holds it on that call's line", k.To.Addr()))
	}
	if e.Light && !at.Heavy {
		e.Notes = append(e.Notes, "only while nothing much was fetched from there: what moves a megabyte and more in a connection stays on the primary for ten minutes")
	}
	return e
}

func endText(a netip.AddrPort) string {
	if a.Port() == 0 {
		return a.Addr().String()
	}
	return a.String()
}

// why is a cause in a sentence.
func why(at flow.Placement, p flow.Policy, target string) string {
	switch at.Cause {
	case flow.OtherFamily:
		return "IPv6 is not steered: a host's address belongs to one provider"
	case flow.Probe:
		return "this address measures " + at.Line
	case flow.OtherWay:
		return "no line of the internet leads there: the router's main table decides"
	case flow.Always:
		return "your configuration says so: " + at.Override.String()
	case flow.Steered:
		return "it is of the class " + at.Class + ", and that is steered"
	case flow.Barred:
		if at.Line != p.Primary || at.Override.Line == p.Primary {
			return "your configuration says so: " + at.Override.String()
		}
		return "it is of the class " + at.Class + ", and your configuration says: " + at.Override.String()
	case flow.Inbound, flow.Together, flow.Ordinary:
	}
	switch {
	case at.Heavy:
		return "it is of the class " + at.Class + ", but its hosts have just moved much"
	case at.Class == "":
		return "it is of no class, so it never moves"
	case target == "":
		return "it is of the class " + at.Class + ", and nothing is steered"
	}
	return "that is where everything goes that nothing else is said of"
}

func printExplained(w io.Writer, e explained) {
	line := e.Line
	if line == "" {
		line = "the main table's way"
	}
	fmt.Fprintf(w, "%s\n  line:      %s: %s\n", e.Flow, line, e.Why)
	if e.Line != e.Otherwise {
		fmt.Fprintf(w, "  otherwise: %s\n", e.Otherwise)
	}
	switch {
	case e.Class == "":
	case e.Light:
		fmt.Fprintf(w, "  class:     %s (light), number %d in the order of admission\n", e.Class, e.Order)
	default:
		fmt.Fprintf(w, "  class:     %s, number %d in the order of admission\n", e.Class, e.Order)
	}
	for _, n := range e.Notes {
		fmt.Fprintf(w, "  note:      %s\n", n)
	}
}
