package replay

import (
	"fmt"
	"math"
	"strconv"

	"wanctl/internal/actuate"
	"wanctl/internal/journal"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// compare finds the first part of an answer that is not as it was; what is empty when all is.
func compare(kind journal.CallKind, was, is *journal.Output) (what, recorded, replayed string) {
	if kind == journal.Tick {
		if what, a, b := compareDecisions(&was.Decision, &is.Decision); what != "" {
			return what, a, b
		}
	}
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		if a, b := was.Wanted.Get(d), is.Wanted.Get(d); a != b {
			return "the wanted " + d.String() + " rate", exactly(a), exactly(b)
		}
		if a, b := was.Law.Capacity.Get(d), is.Law.Capacity.Get(d); a != b {
			return "the " + d.String() + "'s measured capacity", exactly(a), exactly(b)
		}
		if a, b := was.Law.Cause.Get(d), is.Law.Cause.Get(d); a != b {
			return "the " + d.String() + " law's cause", a.String(), b.String()
		}
		if a, b := was.Law.Queue.Get(d), is.Law.Queue.Get(d); a != b {
			return "that a " + d.String() + " queue is drained", strconv.FormatBool(a), strconv.FormatBool(b)
		}
	}
	if was.HasOp != is.HasOp || was.HasOp && was.Op != is.Op {
		return "the router operation", operation(was), operation(is)
	}
	if was.Wake != is.Wake {
		return "the next wake", instant(was.Wake), instant(is.Wake)
	}
	for i := range max(len(was.Notes), len(is.Notes)) {
		if a, b := noteAt(was.Notes, i), noteAt(is.Notes, i); a != b {
			return "a note", a, b
		}
	}
	return "", "", ""
}

func compareDecisions(was, is *link.Decision) (what, recorded, replayed string) {
	if was.Measured != is.Measured {
		return "that the cycle was measured", strconv.FormatBool(was.Measured), strconv.FormatBool(is.Measured)
	}
	for _, f := range [...]struct {
		what    string
		was, is unit.Millis
	}{
		{"RTT", was.RTT, is.RTT},
		{"load", was.Load, is.Load},
		{"baseline", was.Baseline, is.Baseline},
		{"delta", was.Delta, is.Delta},
	} {
		if math.Float64bits(float64(f.was)) != math.Float64bits(float64(f.is)) {
			return f.what, delay(f.was), delay(f.is)
		}
	}
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		if a, b := was.State.Get(d), is.State.Get(d); a != b {
			return "the " + d.String() + " state", a.String(), b.String()
		}
		if a, b := was.Rates.Get(d), is.Rates.Get(d); a != b {
			return "the decided " + d.String() + " rate", exactly(a), exactly(b)
		}
		if a, b := was.Reason.Get(d), is.Reason.Get(d); a != b {
			return "the " + d.String() + "'s reason", reason(a), reason(b)
		}
	}
	return "", "", ""
}

// cycleDiffers says whether the state or the rates of a cycle are not as they were.
func cycleDiffers(was, is *journal.Output) bool {
	a, b := &was.Decision, &is.Decision
	return a.Measured != b.Measured || a.State != b.State || a.Rates != b.Rates
}

// exactly prints a rate to the bit.
func exactly(r unit.Rate) string { return strconv.FormatInt(int64(r), 10) + " bit/s" }

// delay prints a delay to the last digit.
func delay(m unit.Millis) string { return strconv.FormatFloat(float64(m), 'g', -1, 64) + " ms" }

// instant prints when something is due to the nanosecond.
func instant(t unit.Time) string {
	if t == 0 {
		return "never"
	}
	return strconv.FormatInt(int64(t), 10) + " ns"
}

func reason(r link.Reason) string {
	return fmt.Sprintf("%s from %s to %s", r.Cause, exactly(r.From), exactly(r.To))
}

func operation(o *journal.Output) string {
	if !o.HasOp {
		return "none"
	}
	return opText(o.Op)
}

func opText(o actuate.Op) string {
	if !o.Write {
		return fmt.Sprintf("read %d", o.ID)
	}
	return fmt.Sprintf("write %d of %s and %s", o.ID, exactly(o.Want.Down), exactly(o.Want.Up))
}

func noteAt(notes []link.Note, i int) string {
	if i >= len(notes) {
		return "none"
	}
	n := notes[i]
	return fmt.Sprintf("%q (%s)", n.Text, n.Level)
}
