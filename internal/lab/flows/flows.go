// Package flows makes up houses with several lines and what happens in them, and plays it on something that carries a
// house's rules out, beside the meaning of those rules.
package flows

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"wanctl/internal/flow"
	"wanctl/internal/unit"
)

// Backend carries a house's rules out: a router, an emulator, a kernel. It tells by which line a packet leaves; "" is by
// whatever way the main table knows.
type Backend interface {
	// Steer sends new connections of the classes to an alternate; "" ends that.
	Steer(alternate string) error
	// Open passes a connection's first packet, and More a further one of the same end after the connection has moved
	// that many bytes both ways together. Connections are numbered from 0.
	Open(connection int, k flow.Packet) (line string, err error)
	More(connection int, k flow.Packet, moved int64) (line string, err error)
	// Wait lets time pass.
	Wait(d time.Duration) error
}

// Step is one thing that happens; the first of its fields that is set says what.
type Step struct {
	// Wait is time that passes.
	Wait time.Duration
	// Toggle steers to Target, or ends steering where that is empty.
	Toggle bool
	Target string
	// Again is a further packet of an earlier connection, after Moved bytes.
	Again      bool
	Connection int
	Moved      int64
	// Packet opens the next connection.
	Packet flow.Packet
}

// String tells the step.
func (s Step) String() string {
	switch {
	case s.Wait > 0:
		return "wait " + s.Wait.String()
	case s.Toggle && s.Target == "":
		return "steer no more"
	case s.Toggle:
		return "steer to " + s.Target
	case s.Again:
		return fmt.Sprintf("packet of connection %d after %d bytes", s.Connection, s.Moved)
	}
	k := s.Packet
	text := fmt.Sprintf("open %s %s → %s", k.Protocol, k.From, k.To)
	if k.DSCP > 0 {
		text += fmt.Sprintf(" dscp %d", k.DSCP)
	}
	if k.In != "" {
		text += " in by " + k.In
	}
	if k.Pickup {
		text += " picked up"
	}
	return text
}

// Story is a house and what happens in it.
type Story struct {
	Policy flow.Policy
	Steps  []Step
}

// String tells the policy and every step, one a line.
func (s Story) String() string {
	var b strings.Builder
	p := s.Policy
	fmt.Fprintf(&b, "lines %v, idle %v\n", p.Lines(), p.Idle)
	for _, c := range p.Classes {
		fmt.Fprintf(&b, "class %s light=%t %v\n", c.Name, c.Light, c.Matches)
	}
	for _, o := range p.Overrides {
		fmt.Fprintf(&b, "override %s\n", o)
	}
	fmt.Fprintf(&b, "lists %v, sources %v, elsewhere %v\n", p.Lists, p.Sources, p.Elsewhere)
	for i, st := range s.Steps {
		fmt.Fprintf(&b, "%3d %s\n", i, st)
	}
	return b.String()
}

// connection is one that a story has opened.
type connection struct {
	packet flow.Packet
	at     flow.Placement
	line   string
}

// Play plays a story on a backend and in a house that follows its policy, from a time on. The error names the first step at
// which the backend takes another line than the house, or at which a connection changes its line.
func Play(s Story, h *flow.House, b Backend, now unit.Time) error {
	var open []connection
	for i, st := range s.Steps {
		wrong := func(line, want string, why any) error {
			return fmt.Errorf("the backend takes %q instead of %q (%v)", line, want, why)
		}
		var err error
		switch {
		case st.Wait > 0:
			now = now.Add(st.Wait)
			err = b.Wait(st.Wait)
		case st.Toggle:
			h.Steer(st.Target)
			err = b.Steer(st.Target)
		case st.Again:
			c := open[st.Connection]
			var line string
			if line, err = b.More(st.Connection, c.packet, st.Moved); err == nil && line != c.line {
				err = wrong(line, c.line, "where the connection began")
			}
			h.Seen(now, c.packet, c.at, st.Moved)
		default:
			c := connection{packet: st.Packet}
			if c.line, err = b.Open(len(open), st.Packet); err != nil {
				break
			}
			if c.at = h.Place(now, st.Packet); c.at.Line != c.line {
				err = wrong(c.line, c.at.Line, c.at.Cause)
			}
			open = append(open, c)
		}
		if err != nil {
			return fmt.Errorf("step %d, %s: %w", i, st, err)
		}
	}
	return nil
}

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
