package daemon

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"wanctl/internal/actuate"
	"wanctl/internal/config"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// switched is one alternate's rule.
type switched struct {
	steer.Rule
	// at is when it was read last, and renewed when it was enabled, or its list renewed, last.
	at, renewed unit.Time
	// wish is what the last decision wants of it and no operation was begun for.
	wish steer.RuleWish
	// pretend is the rule as a dry run would have it, nil until it would have set it; real is what was last read.
	pretend *bool
	real    bool
	// no is what a router that answers refuses of it.
	no trouble
}

// of is the trouble that an operation can have with a router that answers.
func (s *Steering) of(op SteerOp) *trouble {
	if op.Kind == OpReadQueue {
		return &s.queueNo
	}
	return &s.rules[op.Alternate].no
}

// may says whether an operation can begin now.
func (s *Steering) may(op SteerOp, now unit.Time) bool {
	return !s.busy && s.way.May(now) && s.of(op).May(now)
}

// next begins the operation that is due: the rule's before the counters, so that a slow router cannot starve it, and a
// queue that cannot be read does not either.
func (s *Steering) next(now unit.Time, o *Outcome[SteerOp]) {
	for _, due := range s.due(now) {
		if o.Op != nil || !s.may(due, now) {
			continue
		}
		s.ops++
		s.busy = true
		due.ID = s.ops
		o.Op = &due
		if due.Kind == OpReadQueue {
			s.counters = false
		} else {
			s.rules[due.Alternate].wish = steer.RuleWish{}
		}
	}
}

// due lists what is to be done, in the order in which it is: rules are disabled, then enabled, then read, then their
// lists renewed, then the counters.
// The machine wants a reading before each write but its first, because that may have been carried out. Where the newest
// reading stands and no write was begun since, there is nothing to find out.
func (s *Steering) due(now unit.Time) (all []SteerOp) {
	for _, enable := range []bool{false, true} {
		for i, r := range s.rules {
			if w := r.wish; w.Write && w.Wanted == enable && (!w.Read || r.Known) {
				all = append(all, SteerOp{Kind: OpSetRule, Alternate: i, Enable: enable})
			}
		}
	}
	for i, r := range s.rules {
		if w := r.wish; w.Read && (!w.Write || !r.Known) {
			all = append(all, SteerOp{Kind: OpReadRule, Alternate: i})
		}
	}
	all = append(all, s.renewing(now)...)
	if s.counters {
		all = append(all, SteerOp{Kind: OpReadQueue})
	}
	return all
}

// rehearse says what a dry run would have written, and goes on as if it had been: the rule is read and its form looked
// at as ever, and the way back can be told.
func (s *Steering) rehearse(i int) {
	r := &s.rules[i]
	if r.wish.Write && r.Known {
		on, verb := r.wish.Wanted, "disable"
		if on {
			verb = "enable"
		}
		r.pretend = &on
		r.Rule = readingOf(on, r.Seq+1)
		text := "dry run: would " + verb + " the steering rule"
		if len(s.rules) > 1 {
			text += " to " + s.opt.Steer.Alternates[i].Name
		}
		s.notes = append(s.notes, link.Note{Level: link.Info, Key: wouldSet, Text: text})
	}
	r.wish.Write = false
}

// pretended is a reading as a dry run goes on with it: as it would have left the rule, until somebody else sets it.
func (r *switched) pretended(is, dry bool) bool {
	if is != r.real {
		r.pretend = nil
	}
	r.real = is
	if dry && r.pretend != nil {
		return *r.pretend
	}
	return is
}

// What a status says of a rule, beside "disabled".
const (
	RuleUnread  = "not read yet"
	RuleEnabled = "enabled"
)

var onOff = map[bool]string{true: RuleEnabled, false: "disabled"}

// word is what was last read.
func (r *switched) word() string {
	if !r.Known {
		return "unknown"
	}
	return onOff[r.Enabled]
}

// unswitchable says that a rule that was read as disabled is not there, or must not be enabled as it stands.
func unswitchable(err error) bool {
	var router *routeros.Error
	return routeros.IsForm(err) || errors.As(err, &router) && router.Kind == routeros.NoSuchItem
}

// rulesText names the rules that are switched.
func rulesText(c *config.Steering) string {
	comments := ruleComments(c)
	for i, comment := range comments {
		comments[i] = strconv.Quote(comment)
	}
	if len(comments) == 1 {
		return "rule " + comments[0]
	}
	return "rules " + strings.Join(comments, ", ")
}

// disableRules disables the rules of that many alternates and verifies it, trying again for as long as a stop may take. What
// keeps one from being disabled, such as its absence, does not keep the others. A rule that is disabled already is read, not
// written: RouterOS saves every write to flash.
func disableRules(r Switch, alternates int) error {
	left := make([]int, alternates)
	for i := range left {
		left[i] = i
	}
	var final []error
	err := persist(func(ctx context.Context) error {
		var again []int
		var errs []error
		for _, i := range left {
			err := disableRule(ctx, r, i)
			if err == nil {
				continue
			}
			if class, _ := classify(err); class == actuate.Misconfigured {
				final = append(final, err)
				continue
			}
			again, errs = append(again, i), append(errs, err)
		}
		left = again
		return errors.Join(errs...)
	})
	return errors.Join(append(final, err)...)
}

func disableRule(ctx context.Context, r Switch, alternate int) error {
	is, err := r.Rule(ctx, alternate)
	switch {
	case !is && routeros.IsForm(err): // of whatever form: disabled it does nothing
		return nil
	case err != nil || !is:
		return err
	}
	is, err = r.SetRule(ctx, alternate, false)
	if err == nil && is {
		err = errors.New("the router reads the rule back as enabled")
	}
	return err
}
