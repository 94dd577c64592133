// Package checkup judges whether what a set-up rests on is so: a graph of checks over facts that others gathered, in which
// a failed check explains those that rest on it.
package checkup

import (
	"fmt"
	"slices"
)

// Status is how a check ended.
type Status uint8

// The statuses, from good to bad. Skipped comes first: it is said for another check's sake.
const (
	// Skipped was not looked at: what it rests on failed, or is not known.
	Skipped Status = iota
	// Passed is as it should be.
	Passed
	// Hint is no fault, and worth knowing.
	Hint
	// Warned works, and will cost something some day.
	Warned
	// Failed does not work.
	Failed
)

var statusNames = [...]string{Skipped: "skipped", Passed: "ok", Hint: "hint", Warned: "warning", Failed: "failed"}

// String returns the status as it is printed.
func (s Status) String() string {
	if int(s) < len(statusNames) {
		return statusNames[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// MarshalText writes the status as String does.
func (s Status) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Finding is what a check found.
type Finding struct {
	// ID is stable: "router.reach", "Spectrum.queues".
	ID     string `json:"id"`
	Status Status `json:"status"`
	// Text is the finding in a sentence, with its numbers.
	Text string `json:"text"`
	// Why says why it matters, and Fix what puts it right, a command where there is one; both are empty for what passed.
	Why string `json:"why,omitempty"`
	Fix string `json:"fix,omitempty"`
	// Because is the id of the check that explains a skipped one; empty where nothing is known to look at.
	Because string `json:"because,omitempty"`
}

// verdict is a check's answer.
type verdict struct {
	status         Status
	text, why, fix string
}

func pass(format string, a ...any) verdict {
	return verdict{status: Passed, text: fmt.Sprintf(format, a...)}
}

// unknown is the answer where there is nothing to look at.
func unknown(format string, a ...any) verdict {
	return verdict{status: Skipped, text: fmt.Sprintf(format, a...)}
}

// check is one node of the graph.
type check struct {
	id string
	// after are the checks that it rests on: when one of them failed, it is skipped.
	after []string
	run   func() verdict
}

// Run judges the facts. The findings come in an order in which each stands behind what it rests on.
func Run(f *Facts) []Finding {
	var found []Finding
	at := map[string]int{}
	for _, c := range graph(f) {
		fd := Finding{ID: c.id}
		if root := blamed(c.after, found, at); root != "" {
			fd.Status, fd.Because, fd.Text = Skipped, root, "not looked at"
		} else {
			v := c.run()
			fd.Status, fd.Text, fd.Why, fd.Fix = v.status, v.text, v.why, v.fix
		}
		at[c.id] = len(found)
		found = append(found, fd)
	}
	return found
}

// IDs are the ids of all checks there are, those of a line called "LINE", in the order of [Run].
func IDs() []string {
	everything := []*Facts{
		{Router: &Router{}, Lines: []Line{{Name: "LINE"}}, Steering: &Steering{}},
		{Linux: &Linux{}, Steering: &Steering{Host: &SteeringHost{Gateways: []Gateway{{Line: "LINE"}}}, Light: true}},
	}
	var ids []string
	for _, f := range everything {
		for _, c := range graph(f) {
			if !slices.Contains(ids, c.id) {
				ids = append(ids, c.id)
			}
		}
	}
	return ids
}

// blamed is the first of the checks that failed, or that was skipped because of one that did.
func blamed(after []string, found []Finding, at map[string]int) string {
	for _, id := range after {
		i, ok := at[id]
		if !ok {
			continue
		}
		switch {
		case found[i].Status == Failed:
			return id
		case found[i].Because != "":
			return found[i].Because
		}
	}
	return ""
}

// Worst is the worst status of some findings.
func Worst(found []Finding) Status {
	worst := Skipped
	for _, f := range found {
		worst = max(worst, f.Status)
	}
	return worst
}

// graph are the checks that the facts are about.
func graph(f *Facts) []check {
	var all []check
	if f.Router != nil {
		all = f.Router.checks(f)
	}
	if f.Linux != nil {
		all = append(all, f.Linux.checks()...)
	}
	for i := range f.Lines {
		all = append(all, f.Lines[i].checks(f)...)
	}
	if f.Steering != nil {
		all = append(all, f.Steering.checks(f)...)
	}
	return slices.Clip(all)
}
