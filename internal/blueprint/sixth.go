package blueprint

import "strings"

// sixthNote begins the comments of the rules that count new connections over IPv6.
const sixthNote = "IPv6 "

// countSixth asks for rules that count new connections of the classes over IPv6, and change nothing: they say how much
// steering cannot move.
func (p *planner) countSixth(s *Steering, lan string) {
	var rules []item
	for _, c := range s.Policy.Classes {
		for i, m := range c.Matches {
			if m.To.IsValid() { // an address of IPv4
				continue
			}
			note := sixthNote + classNote(c, i)
			cm := comment(note)
			args := append([]Arg{{"chain", "prerouting"}, {"connection-state", "new"}, {"in-interface", lan}}, matchArgs(m)...)
			rules = append(rules, item{
				menu: Mangle6, name: "counter of " + note, is: commented(cm.Value), args: append(args, Arg{"action", "passthrough"}, cm),
				why: "it counts what cannot be steered, and changes nothing",
			})
		}
	}
	if len(rules) == 0 {
		return
	}
	p.ordered(rules)
	p.stale(Mangle6, []string{sixthNote}, rules)
}

// CountsClass says whether a mangle rule of a plan's counts new connections of a class that steering is for, and over which
// protocol: its comment is that of a class's rule.
func CountsClass(r Row) (class string, sixth, is bool) {
	note, ours := strings.CutPrefix(r["comment"], Owner)
	if !ours || !Enabled(r) {
		return "", false, false
	}
	note, sixth = strings.CutPrefix(note, sixthNote)
	class, is = strings.CutPrefix(note, "class ")
	return class, sixth, is
}
