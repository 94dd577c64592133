package actuate

import (
	"fmt"
	"strconv"
	"strings"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func (a *Actuator) note(level link.Level, key, format string, args ...any) {
	a.notes = append(a.notes, link.Note{Level: level, Key: key, Text: fmt.Sprintf(format, args...)})
}

// say prints a rate exactly, as people configure it.
func say(r unit.Rate) string {
	if r == 0 {
		return "unlimited"
	}
	return strconv.FormatFloat(r.Mbps(), 'f', -1, 64) + " Mbit/s"
}

// longestError bounds what is kept and told of an error, in bytes: a router's reply may be long.
const longestError = 600

func clip(s string) string {
	if len(s) <= longestError {
		return s
	}
	return strings.ToValidUTF8(s[:longestError], "") + "…"
}

// take judges the result of the operation in flight. Results of any other operation are ignored.
func (a *Actuator) take(r Result, jitter float64) {
	if a.op == nil || r.Op.ID != a.op.ID {
		return
	}
	op := *a.op
	a.op = nil
	if op.Write && r.Report.Unwritten { // the connection was made anew, so this is a reading
		op.Write, op.Want = false, link.Rates{}
		a.counts.writes--
		a.budget.refund()
	}
	class, why := r.Class, "the operation failed and its error was not kept"
	if r.Err != nil {
		why = clip(r.Err.Error())
		if class == None {
			class = Transient
		}
	}
	if class == Transient && op.Write && r.Sent {
		class = Unknown
	}
	if class == Unknown && !op.Write {
		class = Transient // a read changes nothing, whatever became of it
	}
	if (class == Transient || class == Unknown) && r.Read.Down && r.Read.Up {
		class = None
	}
	if class == None {
		a.answered()
		a.read(op, r, link.Pair[bool]{Down: true, Up: true}, "", jitter)
		return
	}
	a.counts.errors++
	a.counts.lastError, a.counts.lastClass, a.counts.lastAt = why, class, a.now
	if class == Misconfigured && (op.Write || r.Read.Down || r.Read.Up) {
		a.answered()
		a.misconfigured(op, r, why, jitter)
		return
	}
	a.fail(op, class, why, jitter)
}

// answered books that the router's command line is there.
func (a *Actuator) answered() {
	if a.path.since > 0 && !a.writesFail() {
		a.note(link.Info, "router_back", "The router answers again after %s; its rates are compared before the next write.",
			age(a.now.Sub(a.path.since)))
	}
	if a.path.since > 0 || a.path.upSince == 0 {
		a.path = path{upSince: a.now}
	}
}

// writesFail says that writes fail while reads work.
func (a *Actuator) writesFail() bool { return a.writing.fails >= 2 }

// wrote ends a row of failed writes: one was carried out.
func (a *Actuator) wrote() {
	if a.writesFail() {
		a.note(link.Info, "writes_back", "Writes reach the router again.")
	}
	a.writing.Succeeded()
}

// fail books that the router could not be used at all.
func (a *Actuator) fail(op Op, class ErrClass, why string, jitter float64) {
	if a.path.since == 0 {
		a.path.since = a.now
	}
	a.path.Failed(a.now, class, jitter)
	if op.Write { // some of it may have been done; a later read tells
		a.maybe = op.Want
		a.writing.Failed(a.now, class, jitter)
		if a.writing.fails == 2 && class != Fatal {
			a.note(link.Alert, "writes_fail", "The router answers reads, yet two writes in a row failed: %s; trying again with growing pauses. "+
				"Look at the router's load and log.", why)
		}
	}
	a.known = link.Pair[bool]{}
	if a.path.noted&(1<<class) != 0 || (a.writesFail() && class != Fatal) {
		return
	}
	a.path.noted |= 1 << class
	if class == Misconfigured && (a.refused.Down.on() || a.refused.Up.on()) {
		return // said when the refusal began
	}
	switch class {
	case Fatal:
		a.note(link.Alert, "router_refused", "%s; not trying again until a reload or restart, because more tries could lock "+
			"the account or tell a stranger our secret; measuring goes on and the rates on the router stay as they are.", why)
	case Misconfigured:
		a.note(link.Alert, "router_config", "%s; trying again slowly, measuring goes on.", why)
	case Unknown:
		a.note(link.Warning, "router_lost", "%s; whether it was carried out is read from the router before the next write.", why)
	case None, Transient:
		a.note(link.Warning, "router_lost", "%s; trying again with growing pauses, measuring goes on.", why)
	}
}

// misconfigured books an answer that refuses: what the report covers is taken, the rest is tried again slowly.
func (a *Actuator) misconfigured(op Op, r Result, why string, jitter float64) {
	before := a.refused
	switch {
	case r.Read.Down || r.Read.Up:
		a.read(op, r, r.Read, why, jitter)
		for _, d := range both {
			if !r.Read.Get(d) {
				a.refuse(d, refusal{unread: true}, jitter)
				a.known.Set(d, false)
			}
		}
	default:
		a.maybe = op.Want
		a.known = link.Pair[bool]{}
		for _, d := range both {
			if w := op.Want.Get(d); w > 0 {
				a.refuse(d, refusal{want: w}, jitter)
			}
		}
	}
	if !before.Down.on() && !before.Up.on() {
		a.note(link.Alert, "router_config", "%s; trying again slowly, measuring goes on.", why)
	}
}

// refuse books that direction d was not taken. Every write is a try; a queue that cannot be read is seen again by each
// reading, and one before the retry is due does not lengthen the pause.
func (a *Actuator) refuse(d link.Direction, r refusal, jitter float64) {
	old := a.refused.Get(d)
	r.Backoff = old.Backoff
	if !r.unread || !old.on() || a.now >= old.due(a.cutWaits()) {
		r.Failed(a.now, Misconfigured, jitter)
	}
	a.refused.Set(d, r)
}

// read takes a report over for the directions it covers. why is the error that came with it, empty for none.
func (a *Actuator) read(op Op, r Result, covers link.Pair[bool], why string, jitter float64) {
	rep := r.Report
	a.counts.reads++
	rebooted := a.meter.rebooted(rep)
	if rebooted {
		a.counts.reboots++
		a.note(link.Info, "router_rebooted", "The router has restarted (up for %s); its counters begin anew and its rates are compared.", age(rep.Uptime))
	}
	if covers.Down && covers.Up {
		a.meter.add(rep)
	}
	differs := false
	ended := false
	var moved link.Pair[bool] // by somebody else
	last := a.applied
	if op.Write {
		a.wrote()
	}
	for _, d := range both {
		if !covers.Get(d) {
			continue
		}
		got, wrote := rep.Get(d).MaxLimit, unit.Rate(0)
		if op.Write {
			wrote = op.Want.Get(d)
		}
		switch {
		case wrote > 0 && got != wrote:
			// Routers keep plain numbers: who reads another one than was just written has somebody else who writes.
			a.mismatch(d, wrote, got, why, jitter)
			differs = differs || why == ""
		case wrote == 0 && got != 0 && got == a.maybe.Get(d): // the write whose answer was lost was carried out
			a.wrote()
		case wrote == 0 && a.strange(d, got):
			moved.Set(d, true)
			differs = true
			if a.refused.Get(d).readBack { // it moved, so our rate may be taken now
				a.refused.Set(d, refusal{})
			}
		}
		if a.cfg.DryRun && got != a.applied.Get(d) {
			a.pretend.Set(d, 0)
		}
		a.applied.Set(d, got)
		a.seen.Set(d, true)
		a.known.Set(d, true)
		a.maybe.Set(d, 0)
		if ref := a.refused.Get(d); ref.on() && (ref.unread || got == ref.want || got == a.want.Get(d)) {
			a.refused.Set(d, refusal{})
			ended = true
		}
	}
	if a.appliedAt = rep.At; rep.At <= 0 {
		a.appliedAt = a.now
	}
	if ended && !a.refused.Down.on() && !a.refused.Up.on() {
		a.note(link.Info, "router_accepts", "The router takes our rates again.")
	}
	if differs {
		a.watchUntil = a.now.Add(watchFor)
		known := a.now < a.foreignUntil
		declared := a.met && !rebooted && a.judgeForeign() // first: what becomes of a difference depends on it
		for _, d := range both {
			if moved.Get(d) {
				a.difference(d, last.Get(d), rep.Get(d).MaxLimit, rebooted, known)
			}
		}
		if declared {
			a.accuse()
		}
	}
	if !a.met {
		a.met = true
		a.note(link.Info, "router_found", "The router answers: download %s, upload %s.",
			found(covers.Down, rep.Down), found(covers.Up, rep.Up))
	}
}

func found(ok bool, q link.Queue) string {
	if !ok {
		return "not readable"
	}
	return say(q.MaxLimit)
}

// strange says whether a rate read is one that we did not leave there.
func (a *Actuator) strange(d link.Direction, got unit.Rate) bool {
	return !a.cfg.DryRun && !a.yielded && a.seen.Get(d) && got != a.applied.Get(d)
}

// difference logs a rate that somebody else set, from last to got. Its correction follows from the next plan. muted says
// that a foreign writer is known.
func (a *Actuator) difference(d link.Direction, last, got unit.Rate, rebooted, muted bool) {
	a.counts.differences++
	stays := a.now < a.foreignUntil && !over(got, a.want.Get(d))
	switch {
	case !a.met:
		a.note(link.Info, "rate_differs", "The %s queue is at %s, our last record says %s: it was changed while we were away, or we "+
			"were ended before our last write was recorded.", d, say(got), say(last))
	case rebooted && !stays:
		a.note(link.Info, "rate_differs", "The %s queue is at %s after the restart, we had left it at %s; correcting it.", d, say(got), say(last))
	case rebooted:
		a.note(link.Info, "rate_differs", "The %s queue is at %s after the restart, we had left it at %s.", d, say(got), say(last))
	case muted:
		a.muted++
	case stays:
		a.note(link.Warning, "rate_differs", "The %s queue is at %s, we had left it at %s: something else writes it; it stays there, because "+
			"raising it again is what stops now.", d, say(got), say(last))
	default:
		a.note(link.Warning, "rate_differs", "The %s queue is at %s, we had left it at %s: something else writes it; correcting it "+
			"and watching for a minute.", d, say(got), say(last))
	}
}

// judgeForeign counts a reading with differences and says whether it is the third within a minute, which makes a foreign
// writer of whoever it is.
func (a *Actuator) judgeForeign() bool {
	copy(a.diffs[1:], a.diffs[:foreignAfter-1])
	a.diffs[0] = a.now
	first := a.diffs[foreignAfter-1]
	if a.now < a.foreignUntil || first == 0 || a.now.Sub(first) > watchFor {
		return false
	}
	a.foreignUntil = a.now.Add(foreignFor)
	return true
}

// accuse says that raises stop.
func (a *Actuator) accuse() {
	a.note(link.Alert, "foreign_writer", "Something else keeps changing our queues: raises stop for %s, cuts and the ceiling are still "+
		"enforced; find the script, scheduler or second controller that sets max-limit and stop it. The router may tell who it was: "+
		"/system/history/print and its log.", foreignFor)
}

// endForeign lets raises go on when the time is over.
func (a *Actuator) endForeign() {
	if a.foreignUntil == 0 || a.now < a.foreignUntil {
		return
	}
	a.note(link.Info, "foreign_writer_over", "Raises go on: %d further differences were seen in the %s they had stopped.", a.muted, foreignFor)
	a.foreignUntil, a.muted = 0, 0
}

// mismatch books a write that was answered but reads back as another rate.
func (a *Actuator) mismatch(d link.Direction, wrote, got unit.Rate, why string, jitter float64) {
	fresh := !a.refused.Get(d).on()
	a.refuse(d, refusal{want: wrote, readBack: why == ""}, jitter)
	if why != "" { // the error that came with it is said by the caller
		return
	}
	a.counts.errors++
	a.counts.differences++
	if a.now < a.foreignUntil {
		a.muted++
	}
	a.counts.lastClass, a.counts.lastAt = Misconfigured, a.now
	a.counts.lastError = fmt.Sprintf("the %s queue reads %s after %s was written", d, say(got), say(wrote))
	if fresh {
		a.note(link.Warning, "readback_differs", "The %s queue reads %s after %s was written to it; trying again and watching "+
			"for a minute. Look for a script that writes at the same time, or a limit the router sets itself.", d, say(got), say(wrote))
	}
}
