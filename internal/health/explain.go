package health

import (
	"fmt"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Part is a node of the graph of causes. Order is from cause to effect.
type Part uint8

// The parts.
const (
	// RouterLink is our way to the router's command line.
	RouterLink Part = iota
	// QueueParts are the two queues: whether they shape.
	QueueParts
	// Writes is whether the decided rates are on the router.
	Writes
	// ProbePart is whether reflectors answer.
	ProbePart
	// StatePart is the congestion state of the line.
	StatePart
	parts
)

// String returns the part's name in status.
func (p Part) String() string {
	switch p {
	case RouterLink:
		return "router link"
	case QueueParts:
		return "queues"
	case Writes:
		return "writes"
	case ProbePart:
		return "probes"
	case StatePart:
		return "state"
	case parts:
	}
	return "invalid"
}

// needs are the edges: the parts whose failure explains a part's own, nearest cause first.
var needs = [parts][]Part{
	RouterLink: nil,
	QueueParts: {RouterLink},
	Writes:     {RouterLink, QueueParts},
	ProbePart:  nil,
	StatePart:  {ProbePart, QueueParts, Writes, RouterLink},
}

// Facts are what a line's status is explained from. Ages that are not known are 0.
type Facts struct {
	// RouterUp says that the last operation was answered; RouterError is why not, RouterFor since how long.
	RouterUp    bool
	RouterError string
	RouterFor   time.Duration
	// Findings are those of [Shaping].
	Findings []Finding
	// Waiting says that a decided rate has not been on the router for WaitingFor, and WaitingWhy why.
	Waiting    bool
	WaitingFor time.Duration
	WaitingWhy string
	// Answering is how many of Hosts reflectors answer; SilentFor how long none does.
	Answering, Hosts int
	SilentFor        time.Duration
	// State is the line's, as last measured.
	State link.Pair[link.State]
	Delta unit.Millis
}

// Line is one part that is not well.
type Line struct {
	Part  Part
	Level link.Level
	Text  string
	// Explained says that Because, which has a line of its own, is the cause.
	Explained bool
	Because   Part
}

// String returns the text, with its cause behind it.
func (l Line) String() string {
	if l.Explained {
		return fmt.Sprintf("%s: %s (because of: %s)", l.Part, l.Text, l.Because)
	}
	return fmt.Sprintf("%s: %s", l.Part, l.Text)
}

// settleFor is how long a decided rate may be on its way before it counts as not well: a raise waits 60 s at most.
const settleFor = 65 * time.Second

// Explain returns a line for each part that is not well, causes before effects; none means that all is well. A part
// whose cause is another part that failed names it, so the lines without one are where to look.
func Explain(f Facts) []Line {
	var why [parts]string
	var level [parts]link.Level
	set := func(p Part, l link.Level, format string, args ...any) {
		if why[p] != "" {
			why[p] += " "
		}
		why[p] += fmt.Sprintf(format, args...)
		level[p] = max(level[p], l)
	}
	if !f.RouterUp {
		reason := f.RouterError
		if reason == "" {
			reason = "it has not answered yet"
		}
		set(RouterLink, link.Alert, "no answer for %s: %s", seconds(f.RouterFor), reason)
	}
	for _, x := range f.Findings {
		l := link.Alert
		if x.Cause == CPU {
			l = link.Warning
		}
		set(QueueParts, l, "%s", x.Text)
	}
	if f.Waiting && (f.WaitingFor > settleFor || !f.RouterUp) {
		set(Writes, link.Warning, "the decided rate has waited for %s (%s)", seconds(f.WaitingFor), f.WaitingWhy)
	}
	switch {
	case f.Hosts > 0 && f.Answering == 0:
		set(ProbePart, link.Alert, "none of %d reflectors has answered for %s; rates stay as they are", f.Hosts, seconds(f.SilentFor))
	case f.Answering < f.Hosts && f.Answering*2 <= f.Hosts:
		set(ProbePart, link.Warning, "only %d of %d reflectors answer: one of them alone can mislead", f.Answering, f.Hosts)
	}
	if worst := max(f.State.Down, f.State.Up); worst >= link.SoftRed {
		set(StatePart, link.Warning, "[%s/%s], %s of added delay", f.State.Down, f.State.Up, f.Delta)
	}
	var out []Line
	for p := range parts {
		if why[p] == "" {
			continue
		}
		l := Line{Part: p, Level: level[p], Text: why[p]}
		for _, n := range needs[p] {
			if why[n] != "" {
				l.Explained, l.Because = true, n
				break
			}
		}
		out = append(out, l)
	}
	return out
}

func seconds(d time.Duration) time.Duration { return d.Round(time.Second) }
