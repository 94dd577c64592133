package daemon

import (
	"context"
	"fmt"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// A rule that a list switches is renewed a few times while the list lasts: one renewal that is late, or that a router
// which is just busy refuses, does not end the steering.
const (
	holdFor  = time.Minute
	renewals = 3
)

// listSwitch is steering's router where address lists switch the rules: a daemon that is gone leaves normal routing behind
// within the time that a list lasts.
type listSwitch struct {
	rosQueue
	// comments are the rules', as config.Steering.Alternates has them, and lists what switches them.
	comments, lists []string
	lasts           time.Duration
	// standing says of each list that the last operation held it.
	standing []bool
}

func newListSwitch(q rosQueue, c *config.Steering) *listSwitch {
	l := &listSwitch{rosQueue: q, comments: ruleComments(c), lasts: holdTime(c)}
	for _, a := range c.Alternates {
		l.lists = append(l.lists, link.SteerList(a.Name))
	}
	l.standing = make([]bool, len(l.lists))
	return l
}

// holdTime is how long a list, or a host's own steering, lasts: a minute, or longer where a cycle is.
func holdTime(c *config.Steering) time.Duration {
	return max(holdFor, renewals*c.Steer.Interval).Truncate(time.Second)
}

// renewTime is how often a list is renewed; 0 where rules are switched by themselves.
func renewTime(c *config.Steering) time.Duration {
	if c.Switch != config.SwitchList {
		return 0
	}
	return holdTime(c) / renewals
}

// steers says whether new connections move. A rule that does not ask the list, and is enabled, moves them for good.
func (l *listSwitch) steers(rule routeros.Rule, held bool, alternate int) bool {
	return rule.Enabled && (held || rule.SrcAddressList != l.lists[alternate])
}

// Rule reads the rule and its list. As with rules that are switched by themselves, a wrong form is an error already here.
func (l *listSwitch) Rule(ctx context.Context, alternate int) (bool, error) {
	rule, held, err := l.RuleByList(ctx, l.comments[alternate], l.lists[alternate])
	on := l.steers(rule, held, alternate)
	if err == nil && !on {
		err = l.form(rule, alternate)
	}
	return on, err
}

func (l *listSwitch) form(rule routeros.Rule, alternate int) error {
	if err := rule.SteerableBy(l.lists[alternate]); err != nil {
		return fmt.Errorf("%w (wanctl router plan makes that form; mangle_rule.switch: rule needs none)", err)
	}
	return nil
}

// SetRule holds the list, or empties it. Holding what is held renews it.
func (l *listSwitch) SetRule(ctx context.Context, alternate int, enabled bool) (bool, error) {
	comment, list, standing := l.comments[alternate], l.lists[alternate], l.standing[alternate]
	l.standing[alternate] = false
	if enabled {
		// A rule can be edited while we run, so its form is looked at before anything is written, and of a list that stands in
		// the answer to its renewal.
		if !standing {
			if on, err := l.Rule(ctx, alternate); err != nil {
				return on, err
			}
		}
		rule, held, err := l.Hold(ctx, comment, list, l.lasts)
		if err == nil {
			err = l.form(rule, alternate)
		}
		l.standing[alternate] = err == nil
		return l.steers(rule, held, alternate), err
	}
	rule, held, err := l.Drop(ctx, comment, list)
	if err == nil && l.steers(rule, held, alternate) { // it does not ask the list
		rule, err = l.Client.SetRule(ctx, comment, false)
	}
	return l.steers(rule, held, alternate), err
}

// renewing are the lists that stand, are still wanted, and are due.
func (s *Steering) renewing(now unit.Time) (all []SteerOp) {
	for i, r := range s.rules {
		if s.opt.Renew > 0 && !s.opt.DryRun && r.Known && r.Enabled && !r.wish.Write && !r.wish.Read && i < len(s.last.Rules) && s.last.Rules[i].Wanted &&
			now.Sub(r.renewed) >= s.opt.Renew {
			all = append(all, SteerOp{Kind: OpSetRule, Alternate: i, Enable: true})
		}
	}
	return all
}
