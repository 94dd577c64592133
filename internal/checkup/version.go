package checkup

import (
	"slices"
	"strconv"
	"strings"
)

// version is a RouterOS release: 7.22.3 is {7, 22, 3}; what follows (beta3, rc1) is cut off and makes it older.
type version struct {
	n     [3]int
	early bool
}

// parseVersion reads one, as "7.22.3 (stable)".
func parseVersion(s string) (v version, ok bool) {
	s, _, _ = strings.Cut(s, " ")
	for _, mark := range []string{"alpha", "beta", "rc"} {
		if i := strings.Index(s, mark); i > 0 {
			s, v.early = s[:i], true
		}
	}
	parts := strings.Split(s, ".")
	if len(parts) > len(v.n) {
		return v, false
	}
	for i, p := range parts {
		n, err := strconv.Atoi(p)
		if err != nil || n < 0 {
			return v, false
		}
		v.n[i] = n
	}
	return v, len(parts) > 1
}

func (v version) less(w version) bool {
	if c := slices.Compare(v.n[:], w.n[:]); c != 0 {
		return c < 0
	}
	return v.early && !w.early
}

// fixedIn says whether a release has a fix that came in these, one per line of releases, oldest first: 7.23.4 and 7.24.2
// mean that 7.23 has it from .4 on, 7.24 from .2 on, and everything newer.
func (v version) fixedIn(releases ...version) bool {
	for _, r := range releases {
		if v.n[0] == r.n[0] && v.n[1] == r.n[1] {
			return !v.less(r)
		}
	}
	return !v.less(releases[len(releases)-1])
}

// flaw is a published fault of some releases.
type flaw struct {
	id, what string
	// since is the first release that has it; zero is all.
	since version
	fixed []version
	// door is the service that it is in; empty is any.
	door   string
	status Status
}

// flaws are those that matter to a router whose services wanctl uses. Sources: the CVE records, and RouterOS's changelog
// lines of the releases named.
var flaws = []flaw{
	{
		id: "SSH server, advisory of September 2026", what: "rights can be forged through the user name", door: "ssh", status: Warned,
		fixed: []version{{n: [3]int{7, 23, 4}}, {n: [3]int{7, 24, 2}}},
	},
	{id: "CVE-2023-41570", what: "REST bypasses the access restrictions", door: "rest", status: Failed, fixed: []version{{n: [3]int{7, 12, 0}}}},
	{id: "CVE-2025-10948", what: "REST overflows a buffer for whoever is logged in", door: "rest", status: Warned, fixed: []version{{n: [3]int{7, 20, 1}}}},
	{id: "CVE-2023-30799", what: "the policy right becomes everything", status: Warned, fixed: []version{{n: [3]int{7, 7, 0}}}},
	{id: "many simple queues, 7.17", what: "the router is unstable with many simple queues", since: version{n: [3]int{7, 17, 0}}, status: Hint, fixed: []version{{n: [3]int{7, 18, 0}}}},
}
