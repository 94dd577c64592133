package checkup

import "fmt"

// muchIPv6 is the share of connections over IPv6 from which steering misses what it is for.
const muchIPv6 = 0.3

func (s *Steering) checks(f *Facts) []check {
	if s.Host != nil {
		return append(s.Host.checks(s.Light), s.common()...)
	}
	var root []string
	if f.Router != nil {
		root = []string{read}
	}
	return append([]check{
		{"steering.rule", root, func() verdict {
			if !s.HasRule {
				return unknown("the rule that is switched was not looked at: its router was not among the files")
			}
			if s.Rule != "" {
				return verdict{Failed, s.Rule, "wanctl switches no rule of another form: it would break connections", "wanctl router plan FILE… shows the rule it needs"}
			}
			return pass("the rule that is switched is there, and marks new connections")
		}},
	}, s.common()...)
}

// common are the checks of every router.
func (s *Steering) common() []check {
	ways := `docs/routeros.md, "IPv6", lists the ways out`
	if s.Host != nil {
		ways = "docs/linux.md, \"IPv6\", lists the ways out"
	}
	return []check{
		{"steering.alternate", nil, func() verdict {
			switch {
			case s.Sent == 0:
				return unknown("%s was not probed: alternate.ping_source_ip is not set", s.Alternate)
			case s.Answered == 0:
				return verdict{
					Failed, fmt.Sprintf("nothing answers over %s", s.Alternate), "new connections move only to a line that was measured in the last seconds",
					"is the line up, and does the router send alternate.ping_source_ip through it?",
				}
			}
			return pass("%s answers in %v", s.Alternate, s.Least)
		}},
		{"steering.ipv6", nil, func() verdict {
			switch {
			case s.ShareIPv6 < 0:
				return unknown("how many of the connections use IPv6 is not known")
			case s.ShareIPv6 >= muchIPv6:
				return verdict{
					Hint, fmt.Sprintf("%.0f %% of the new latency-sensitive connections use IPv6, and are not steered", 100*s.ShareIPv6),
					"a host's IPv6 address belongs to one provider", ways,
				}
			}
			return pass("%.0f %% of the new latency-sensitive connections use IPv6", 100*s.ShareIPv6)
		}},
	}
}
