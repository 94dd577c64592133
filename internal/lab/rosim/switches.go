package rosim

import (
	"fmt"
	"strings"
)

// dialectSwitch is one field of a Dialect as people name it.
type dialectSwitch struct {
	name, help string
	values     []string // nil: on or off
	text       func(*Dialect) *string
	flag       func(*Dialect) *bool
}

var dialectSwitches = []dialectSwitch{
	{
		name: "exit-status", values: []string{string(ExitZero), string(ExitReflect), string(ExitMissing)},
		help: "what the exit status says of a command", text: func(d *Dialect) *string { return (*string)(&d.ExitStatus) },
	},
	{
		name: "empty-find", values: []string{string(EmptyFindExpected), string(EmptyFindNoSuchItem), string(EmptyFindSilent)},
		help: "what a command says to a find that found nothing", text: func(d *Dialect) *string { return (*string)(&d.EmptyFind) },
	},
	{
		name: "limit-readback", values: []string{string(LimitPlain), string(LimitSuffixed)},
		help: "how a rate is read back: 95500000 or 95500k", text: func(d *Dialect) *string { return (*string)(&d.LimitReadback) },
	},
	{
		name: "time-style", values: []string{string(TimeClock), string(TimeUnits)},
		help: "how a time is spelt: 1d02:03:04 or 1d2h3m4s", text: func(d *Dialect) *string { return (*string)(&d.TimeStyle) },
	},
	{
		name: "tracking", values: []string{string(TrackingOn), string(TrackingOff), string(TrackingAbsent), string(TrackingDenied)},
		help: "what is shown of connection tracking", text: func(d *Dialect) *string { return (*string)(&d.Tracking) },
	},
	{
		name: "rest-status", values: []string{string(RESTManual), string(RESTMeasured)},
		help: "what REST says of an addition and a removal: 201 and 204, or 200", text: func(d *Dialect) *string { return (*string)(&d.RESTStatus) },
	},
	{name: "dead-yes", help: "the API marks a removed item .dead=yes instead of true", flag: func(d *Dialect) *bool { return &d.DeadYes }},
	{name: "rest-needs-web", help: "REST refuses a user without the policy web", flag: func(d *Dialect) *bool { return &d.RESTNeedsWeb }},
	{name: "error-codes", help: "errors end in their internal number", flag: func(d *Dialect) *bool { return &d.ErrorCodes }},
	{name: "group-digits", help: "queue statistics group digits with blanks", flag: func(d *Dialect) *bool { return &d.GroupDigits }},
	{name: "lf", help: "lines end in LF instead of CRLF", flag: func(d *Dialect) *bool { return &d.LF }},
	{name: "reset-on-change", help: "a change of max-limit zeroes the queue's counters", flag: func(d *Dialect) *bool { return &d.ResetOnChange }},
	{name: "flush-on-change", help: "a change of max-limit empties the queue", flag: func(d *Dialect) *bool { return &d.FlushOnChange }},
	{name: "count-drops", help: "dropped is counted, which RouterOS does not do for CAKE", flag: func(d *Dialect) *bool { return &d.CountDrops }},
	{name: "allow-password-with-key", help: "a user with a key may log in with the password, too", flag: func(d *Dialect) *bool { return &d.AllowPasswordWithKey }},
}

// SwitchNames describes what [Dialect.Set] understands, a line each.
func SwitchNames() []string {
	out := make([]string, len(dialectSwitches))
	for i, s := range dialectSwitches {
		values := "on|off"
		if s.values != nil {
			values = strings.Join(s.values, "|")
		}
		out[i] = s.name + "=" + values + "  " + s.help
	}
	return out
}

// Set changes one switch that is given as text, such as "exit-status=missing"; [SwitchNames] lists them all.
func (d *Dialect) Set(setting string) error {
	name, value, given := strings.Cut(setting, "=")
	names := make([]string, len(dialectSwitches))
	for i, s := range dialectSwitches {
		names[i] = s.name
		switch {
		case s.name != name:
		case s.flag != nil && !given, s.flag != nil && value == "on":
			*s.flag(d) = true
			return nil
		case s.flag != nil && value == "off":
			*s.flag(d) = false
			return nil
		case s.flag != nil:
			return fmt.Errorf("rosim: %s wants on or off, got %q", name, value)
		case contains(s.values, value):
			*s.text(d) = value
			return nil
		default:
			return fmt.Errorf("rosim: %s wants one of %s, got %q", name, strings.Join(s.values, ", "), value)
		}
	}
	return fmt.Errorf("rosim: no switch %q (want one of %s)", name, strings.Join(names, ", "))
}
