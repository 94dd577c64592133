package daemon

import (
	"context"
	"fmt"

	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/steer"
)

// Shaper is the hand on one line's two queues.
type Shaper interface {
	// Exchange sets the rates that are not zero (decreases first) and reads both queues, the WAN interface and the
	// router's uptime back, in one round trip. A nil want only reads.
	Exchange(ctx context.Context, want *link.Rates) (link.Report, error)
	Close() error
}

// Switch is steering's hand: the primary's download queue and the one rule.
type Switch interface {
	Queue(ctx context.Context) (link.Queue, error)
	// Rule reads whether the rule is enabled; SetRule changes it and reads it back.
	Rule(ctx context.Context) (enabled bool, err error)
	SetRule(ctx context.Context, enabled bool) (is bool, err error)
	Close() error
}

// rosShaper is one line on a RouterOS router.
type rosShaper struct {
	*routeros.Client
	queues routeros.Queues
}

func (r rosShaper) Exchange(ctx context.Context, want *link.Rates) (link.Report, error) {
	return r.Client.Exchange(ctx, r.queues, want)
}

// rosSwitch is steering's router.
type rosSwitch struct {
	*routeros.Client
	// queue is the primary's download queue in the tree; simple, where not empty, the simple queue in its place.
	queue, simple, comment string
	// legacy allows a rule of another form than the one that keeps established connections on their WAN.
	legacy bool
}

func (r rosSwitch) Queue(ctx context.Context) (link.Queue, error) {
	if r.simple != "" {
		both, err := r.SimpleQueue(ctx, r.simple)
		return both.Down, err
	}
	return r.Client.Queue(ctx, r.queue)
}

// Rule reads the rule. A disabled one of the wrong form is an error already here, at start, and not only when
// congestion asks for it; an enabled one is a reading, because disabling it must stay possible.
func (r rosSwitch) Rule(ctx context.Context) (bool, error) {
	rule, err := r.Client.Rule(ctx, r.comment)
	if err == nil && !rule.Enabled {
		err = r.form(rule)
	}
	return rule.Enabled, err
}

// form says why the rule must not be enabled.
func (r rosSwitch) form(rule routeros.Rule) error {
	if r.legacy {
		return nil
	}
	if err := rule.Steerable(); err != nil {
		return fmt.Errorf("%w (or set allow_legacy_rule: true to toggle it as it is)", err)
	}
	return nil
}

func (r rosSwitch) SetRule(ctx context.Context, enabled bool) (bool, error) {
	// A rule can be edited while we run, so its form is looked at before each enabling. Disabling is always allowed:
	// it gives the router its normal routing back.
	if enabled {
		if _, err := r.Rule(ctx); err != nil {
			return false, err
		}
	}
	rule, err := r.Client.SetRule(ctx, r.comment, enabled)
	return rule.Enabled, err
}

// readingOf is a rule reading as steering's input has it.
func readingOf(enabled bool, seq uint64) steer.Rule {
	return steer.Rule{Known: true, Enabled: enabled, Seq: seq}
}
