package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/unit"
)

// emulatorEvent is one line of the emulator's journal: a request, or a change it made.
type emulatorEvent struct {
	// Kind is "command", "limit" or "rule".
	Kind string `json:"kind"`
	// At is seconds since the emulator started.
	At float64 `json:"at"`
	By string  `json:"by"`
	// Door, Line, Reply and Outcome belong to a command.
	Door    string `json:"door,omitempty"`
	Line    string `json:"line,omitempty"`
	Reply   string `json:"reply,omitempty"`
	Outcome string `json:"outcome,omitempty"`
	// Name is the queue or the rule's comment.
	Name string `json:"name,omitempty"`
	// Limit is the queue's max-limit after the change, in bit/s; Enabled whether the rule is enabled after it.
	Limit   *unit.Rate `json:"limit,omitempty"`
	Enabled *bool      `json:"enabled,omitempty"`
}

// seconds converts the router's clock.
func seconds(t unit.Time) float64 { return float64(t) / 1e9 }

// journalEmulator writes every request and change to w until ctx ends. It ends by itself, without an error, where the
// router's own bounded histories would begin to forget.
func journalEmulator(ctx context.Context, r *rosim.Router, w io.Writer) error {
	const most = 19_000
	enc := json.NewEncoder(w)
	var limits, rules, commands int
	for limits < most && rules < most && commands < most {
		var out []emulatorEvent
		err := r.Await(ctx, func() bool {
			ls, rs, cs := r.LimitHistory(), r.RuleHistory(), r.Commands()
			for ; limits < len(ls); limits++ {
				c := ls[limits]
				out = append(out, emulatorEvent{Kind: "limit", At: seconds(c.At), By: c.By, Name: c.Queue, Limit: &c.To})
			}
			for ; rules < len(rs); rules++ {
				c := rs[rules]
				out = append(out, emulatorEvent{Kind: "rule", At: seconds(c.At), By: c.By, Name: c.Comment, Enabled: &c.To})
			}
			for ; commands < len(cs) && cs[commands].Outcome != rosim.OutcomePending; commands++ {
				c := cs[commands]
				out = append(out, emulatorEvent{
					Kind: "command", At: seconds(c.At), By: c.User, Door: c.Door, Line: c.Line, Reply: c.Reply, Outcome: string(c.Outcome),
				})
			}
			return len(out) > 0
		})
		for _, e := range out {
			if err := enc.Encode(e); err != nil {
				return fmt.Errorf("write the journal: %w", err)
			}
		}
		if err != nil {
			return nil //nolint:nilerr // the router was stopped
		}
	}
	return nil
}
