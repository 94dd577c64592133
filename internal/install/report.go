package install

import "encoding/json"

// State is how a step ended.
type State string

// The states of a step.
const (
	Done    State = "done"
	Note    State = "note"
	Warning State = "warning"
	Failed  State = "failed"
)

// Event is one step, as it happens.
type Event struct {
	Step  string `json:"step"`
	State State  `json:"state"`
	Text  string `json:"text"`
}

// Outcome is how a deployment on one host ended.
type Outcome string

// The outcomes.
const (
	// Installed: the new version runs, and is healthy.
	Installed Outcome = "installed"
	// Unchanged: it ran already.
	Unchanged Outcome = "unchanged"
	// Remains: everything is in place, and the steps in Remaining are somebody else's.
	Remains Outcome = "remains"
	// RolledBack: the new version was not healthy, or --rollback was asked for; the one before runs.
	RolledBack Outcome = "rolled back"
	// Refused: nothing was changed.
	Refused Outcome = "refused"
	// Broken: neither the new nor the old version is known to be well.
	Broken Outcome = "broken"
)

// Result is the summary of one host.
type Result struct {
	Outcome Outcome `json:"outcome"`
	// From and To are versions as the host keeps them; From is empty where there was none.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Error is what went wrong, Hint the way out.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
	// Remaining are commands for the host's root.
	Remaining []string `json:"remaining,omitempty"`
	// Running are the controllers that answer, with their health.
	Running []Running `json:"running,omitempty"`
	// Doctor is what `wanctl doctor --json` said on the host.
	Doctor json.RawMessage `json:"doctor,omitempty"`
}

// Running is one controller.
type Running struct {
	Name    string   `json:"name"`
	Version string   `json:"version"`
	PID     int      `json:"pid"`
	Healthy bool     `json:"healthy"`
	Why     []string `json:"why,omitempty"`
}

// Line is one line of a deployment's log: an event, or at the end the result.
type Line struct {
	*Event
	Result *Result `json:"result,omitempty"`
}
