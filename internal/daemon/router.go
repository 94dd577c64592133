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

// Switch is steering's hand: the primary's download queue, and one rule per alternate. A rule is known by its alternate's
// place in config.Steering.Alternates, 0 being the first. Enabled, it sends new connections there; with all disabled they
// stay on the primary. One operation is under way at a time, and it is bounded by ctx. An implementation is a pointer: hands
// are compared.
type Switch interface {
	// Queue reads the primary's download queue.
	Queue(ctx context.Context) (link.Queue, error)
	// Rule reads whether an alternate's rule is enabled. A disabled rule that must not be enabled as it stands is an error.
	Rule(ctx context.Context, alternate int) (enabled bool, err error)
	// SetRule changes that one rule and reads it back; it leaves the others alone. That never two are enabled is its
	// caller's concern: steering enables a rule only after all others were read as disabled. After an error the outcome is
	// unknown, and is read before the next change. Disabling must work whatever the rule looks like.
	SetRule(ctx context.Context, alternate int, enabled bool) (is bool, err error)
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

// rosQueue is the primary's download queue, whose counters steering votes by.
type rosQueue struct {
	*routeros.Client
	// tree is its name in the tree; simple, where not empty, that of the simple queue in its place.
	tree, simple string
}

func (r rosQueue) Queue(ctx context.Context) (link.Queue, error) {
	if r.simple != "" {
		both, err := r.SimpleQueue(ctx, r.simple)
		return both.Down, err
	}
	return r.Client.Queue(ctx, r.tree)
}

// rosSwitch is steering's router.
type rosSwitch struct {
	rosQueue
	// comments are the rules', as config.Steering.Alternates has them.
	comments []string
	// legacy allows a rule of another form than the one that keeps established connections on their WAN.
	legacy bool
}

// Rule reads the rule. A disabled one of the wrong form is an error already here, at start, and not only when
// congestion asks for it; an enabled one is a reading, because disabling it must stay possible.
func (r *rosSwitch) Rule(ctx context.Context, alternate int) (bool, error) {
	rule, err := r.Client.Rule(ctx, r.comments[alternate])
	if err == nil && !rule.Enabled {
		err = r.form(rule)
	}
	return rule.Enabled, err
}

// form says why the rule must not be enabled.
func (r *rosSwitch) form(rule routeros.Rule) error {
	if r.legacy {
		return nil
	}
	if err := rule.Steerable(); err != nil {
		return fmt.Errorf("%w (or set allow_legacy_rule: true to toggle it as it is)", err)
	}
	return nil
}

func (r *rosSwitch) SetRule(ctx context.Context, alternate int, enabled bool) (bool, error) {
	// A rule can be edited while we run, so its form is looked at before each enabling. Disabling is always allowed:
	// it gives the router its normal routing back.
	if enabled {
		if _, err := r.Rule(ctx, alternate); err != nil {
			return false, err
		}
	}
	rule, err := r.Client.SetRule(ctx, r.comments[alternate], enabled)
	return rule.Enabled, err
}

// readingOf is a rule reading as steering's input has it.
func readingOf(enabled bool, seq uint64) steer.Rule {
	return steer.Rule{Known: true, Enabled: enabled, Seq: seq}
}
