package rosim

import (
	"fmt"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// TimedFault is a fault that happens by itself some time after Serve began.
type TimedFault struct {
	After time.Duration
	Fault string
}

// ParseTimedFault reads "60s:reboot=30s": a time, a colon, and a fault as [Router.Inject] takes it.
func ParseTimedFault(s string) (TimedFault, error) {
	when, fault, ok := strings.Cut(s, ":")
	if !ok {
		return TimedFault{}, fmt.Errorf("rosim: fault %q is not of the form 60s:reboot=30s", s)
	}
	d, err := time.ParseDuration(when)
	if err != nil || d < 0 {
		return TimedFault{}, fmt.Errorf("rosim: fault %q: %q is no time", s, when)
	}
	if _, err := parseFault(fault); err != nil {
		return TimedFault{}, err
	}
	return TimedFault{After: d, Fault: fault}, nil
}

// FaultNames describes what [Router.Inject] understands, a line each.
func FaultNames() []string {
	out := make([]string, len(faultTable))
	for i, f := range faultTable {
		out[i] = f.usage + "  " + f.help
	}
	return out
}

type faultSpec struct {
	name, usage, help string
	read              func(arg string) (func(*Router) error, error)
}

// plainFault is a fault without a value that always comes about.
func plainFault(f func(*Router)) func(string) (func(*Router) error, error) {
	return failingFault(func(r *Router) error { f(r); return nil })
}

// failingFault is a fault without a value that may not come about.
func failingFault(f func(*Router) error) func(string) (func(*Router) error, error) {
	return func(arg string) (func(*Router) error, error) {
		if arg != "" {
			return nil, fmt.Errorf("takes no value, got %q", arg)
		}
		return f, nil
	}
}

func switchFault(f func(*Router, bool)) func(string) (func(*Router) error, error) {
	return func(arg string) (func(*Router) error, error) {
		on, ok := parseBool(map[string]string{"": "yes", "on": "yes", "off": "no"}[arg])
		if !ok {
			return nil, fmt.Errorf("wants on or off, got %q", arg)
		}
		return func(r *Router) error { f(r, on); return nil }, nil
	}
}

func textFault(f func(*Router, string) error) func(string) (func(*Router) error, error) {
	return func(arg string) (func(*Router) error, error) {
		if arg == "" {
			return nil, fmt.Errorf("wants a value")
		}
		return func(r *Router) error { return f(r, arg) }, nil
	}
}

func pairFault(f func(*Router, string, string) error) func(string) (func(*Router) error, error) {
	return func(arg string) (func(*Router) error, error) {
		a, b, ok := strings.Cut(arg, "=")
		if !ok || a == "" || b == "" {
			return nil, fmt.Errorf("wants NAME=VALUE, got %q", arg)
		}
		return func(r *Router) error { return f(r, a, b) }, nil
	}
}

func rateFault(f func(*Router, string, unit.Rate) error) func(string) (func(*Router) error, error) {
	return func(arg string) (func(*Router) error, error) {
		name, rate, _ := strings.Cut(arg, "=")
		n, ok := parseRate(rate)
		if !ok || name == "" {
			return nil, fmt.Errorf("wants QUEUE=RATE such as WAN-Download=50M, got %q", arg)
		}
		return func(r *Router) error { return f(r, name, unit.Rate(n)) }, nil
	}
}

var faultTable = []faultSpec{
	{"reboot", "reboot[=30s]", "restart: uptime and counters drop, connections refused meanwhile", func(arg string) (func(*Router) error, error) {
		down := 30 * time.Second
		if arg != "" {
			d, err := time.ParseDuration(arg)
			if err != nil || d < 0 {
				return nil, fmt.Errorf("wants a time, got %q", arg)
			}
			down = d
		}
		return func(r *Router) error { r.Reboot(down); return nil }, nil
	}},
	{"slow", "slow=200ms[+50ms]", "each command takes this long, plus up to the second figure", func(arg string) (func(*Router) error, error) {
		a, b, both := strings.Cut(arg, "+")
		fixed, err := time.ParseDuration(a)
		if err != nil || fixed < 0 {
			return nil, fmt.Errorf("wants a time such as 200ms+50ms, got %q", arg)
		}
		var jitter time.Duration
		if both {
			if jitter, err = time.ParseDuration(b); err != nil || jitter < 0 {
				return nil, fmt.Errorf("wants a time such as 200ms+50ms, got %q", arg)
			}
		}
		return func(r *Router) error { r.Slow(fixed, jitter); return nil }, nil
	}},
	{"stall", "stall", "commands are accepted and not answered", plainFault((*Router).Stall)},
	{"unstall", "unstall", "ends a stall", plainFault((*Router).Unstall)},
	{"half-open", "half-open[=on|off]", "connections are accepted and stay silent", switchFault((*Router).HalfOpen)},
	{"full", "full[=on|off]", "new connections are turned away", switchFault((*Router).Full)},
	{"refuse", "refuse", "nothing listens any more", plainFault(func(r *Router) { r.Refuse() })},
	{"return", "return", "ends refuse", failingFault((*Router).Return)},
	{"disconnect", "disconnect", "closes every connection", plainFault((*Router).Disconnect)},
	{"cut", "cut=before|after|reply|silent", "closes the connection in the middle of the next command, or falls silent in its reply", func(arg string) (func(*Router) error, error) {
		c := map[string]Cut{"before": CutBefore, "after": CutAfter, "reply": CutReply, "silent": CutSilent}[arg]
		if c == CutNone {
			return nil, fmt.Errorf("wants before, after, reply or silent, got %q", arg)
		}
		return func(r *Router) error { r.CutNext(c); return nil }, nil
	}},
	{"garble", "garble=html|shape|bytes", "answers the next command with a web page, the wrong shape, or bytes that mean nothing", func(arg string) (func(*Router) error, error) {
		how := Garble(arg)
		if how != GarbleHTML && how != GarbleShape && how != GarbleBytes {
			return nil, fmt.Errorf("wants html, shape or bytes, got %q", arg)
		}
		return func(r *Router) error { r.GarbleNext(how); return nil }, nil
	}},
	{"fail", "fail=TEXT", "answers the next command with an error", textFault(func(r *Router, s string) error { r.FailNext(s); return nil })},
	{"wrong-key", "wrong-key", "the host key changes", failingFault(func(r *Router) error { _, err := r.RotateHostKey(); return err })},
	{"wrong-certificate", "wrong-certificate", "the certificate changes", failingFault((*Router).RotateCertificate)},
	{"expired-certificate", "expired-certificate", "the certificate changes to one that has expired", failingFault((*Router).ExpireCertificate)},
	{"group", "group=USER=GROUP", "puts a user into another group", pairFault((*Router).SetGroup)},
	{"wrong-password", "wrong-password=USER", "refuses a user's password and keys from the next login on", textFault(func(r *Router, s string) error { return r.SetLocked(s, true) })},
	{"right-password", "right-password=USER", "accepts them again", textFault(func(r *Router, s string) error { return r.SetLocked(s, false) })},
	{"read-only", "read-only=USER", "takes the write policy from a user", textFault(func(r *Router, s string) error { return r.SetReadOnly(s, true) })},
	{"read-write", "read-write=USER", "gives the write policy back", textFault(func(r *Router, s string) error { return r.SetReadOnly(s, false) })},
	{"rename", "rename=QUEUE=NAME", "renames a queue", pairFault((*Router).RenameQueue)},
	{"remove", "remove=QUEUE", "removes a queue", textFault((*Router).RemoveQueue)},
	{"second-rule", "second-rule=COMMENT", "adds a second rule with the same comment", textFault((*Router).DuplicateRule)},
	{"no-rule", "no-rule=COMMENT", "removes the rules with that comment", textFault((*Router).RemoveRules)},
	{"rule-on", "rule-on=COMMENT", "somebody else enables the rule", textFault(func(r *Router, s string) error { return r.ForeignRule(s, true) })},
	{"rule-off", "rule-off=COMMENT", "somebody else disables the rule", textFault(func(r *Router, s string) error { return r.ForeignRule(s, false) })},
	{"reset-counters", "reset-counters", "every counter starts from zero", plainFault((*Router).ResetCounters)},
	{"foreign", "foreign=QUEUE=RATE", "somebody else changes a max-limit", rateFault((*Router).ForeignSet)},
	{"track", "track=FROM,TO,INTERFACE", "connection tracking shows echoes leaving through an interface", func(arg string) (func(*Router) error, error) {
		parts := strings.Split(arg, ",")
		if len(parts) != 3 {
			return nil, fmt.Errorf("wants FROM,TO,INTERFACE, got %q", arg)
		}
		return func(r *Router) error { return r.Track(parts[0], parts[1], parts[2]) }, nil
	}},
	{"pass", "pass=10m", "the router's clock jumps ahead, and what was due meanwhile happens", func(arg string) (func(*Router) error, error) {
		d, err := time.ParseDuration(arg)
		if err != nil || d <= 0 || d > longestPass {
			return nil, fmt.Errorf("wants a time of at most %v, got %q", longestPass, arg)
		}
		return func(r *Router) error { r.Pass(d); return nil }, nil
	}},
	{"offer", "offer=QUEUE=RATE", "changes the traffic that wants to pass", rateFault((*Router).SetOffered)},
}

func parseFault(s string) (func(*Router) error, error) {
	name, arg, _ := strings.Cut(s, "=")
	for _, f := range faultTable {
		if f.name == name {
			do, err := f.read(arg)
			if err != nil {
				return nil, fmt.Errorf("rosim: fault %s: %w", name, err)
			}
			return do, nil
		}
	}
	names := make([]string, len(faultTable))
	for i, f := range faultTable {
		names[i] = f.name
	}
	return nil, fmt.Errorf("rosim: no fault %q (want one of %s)", name, strings.Join(names, ", "))
}

// Inject makes a fault happen that is given as text, such as "slow=200ms+50ms" or "cut=after"; [FaultNames] lists
// them all.
func (r *Router) Inject(fault string) error {
	do, err := parseFault(fault)
	if err != nil {
		return err
	}
	return do(r)
}
