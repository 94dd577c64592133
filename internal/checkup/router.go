package checkup

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wanctl/internal/blueprint"
)

// The checks that others rest on.
const (
	reach  = "router.reach"
	trust  = "router.trust"
	login  = "router.login"
	read   = "router.read"
	plans  = "router.plan"
	queues = ".queues"
)

// mostSkew is how far the router's clock may be off: its log is compared with ours, and certificates have dates.
const mostSkew = 2 * time.Minute

// busy is the CPU load, in percent, above which a router has no room left to shape.
const busy = 85

func (r *Router) checks(f *Facts) []check {
	stage := func(s Stage, what, why string) func() verdict {
		return func() verdict {
			if r.Stage <= s {
				return verdict{Failed, r.Err, why, r.Way}
			}
			return pass("%s", what)
		}
	}
	return []check{
		{reach, nil, stage(NotReached, r.Name+" answers", "without the router nothing is set; measuring goes on")},
		{trust, []string{reach}, r.trust},
		{login, []string{trust}, stage(NotAdmitted, "the login works", "RouterOS locks out who tries often; wanctl stops after the first refusal")},
		{read, []string{login}, stage(NotReadable, "its configuration can be read", "what cannot be read cannot be checked or confirmed")},
		{"router.version", []string{read}, r.version},
		{"router.rights", []string{read}, r.rights},
		{"router.clock", []string{read}, r.clock},
		{"router.load", []string{read}, r.load},
		{"router.fasttrack", []string{read}, func() verdict { return r.fastTrack(f) }},
		{"router.offload", []string{read}, r.offload},
		{"router.shapers", []string{read}, r.shapers},
		{"router.writers", []string{read}, func() verdict { return r.writers(f) }},
		{"router.owner", []string{read}, func() verdict { return owner(f) }},
		{"router.heartbeat", []string{read}, r.heartbeat},
		{plans, []string{read}, r.plan},
		{"router.flash", []string{read}, r.flash},
	}
}

// trust looks whether it is the router.
func (r *Router) trust() verdict {
	const why = "somebody else could take its place, and would be told the password"
	switch {
	case r.Stage <= NotTrusted:
		return verdict{Failed, r.Err, why, r.Way}
	case r.Unproved != "" && !r.Near:
		return verdict{Warned, "nothing proves that it is the router: " + r.Unproved, why, "docs/routeros.md, \"Certificate\""}
	case r.Unproved != "":
		return pass("it is on this host (%s)", r.Unproved)
	case r.Door == "ssh":
		return pass("its host key is the recorded one")
	case r.Door == "auto":
		return pass("its host key or certificate is as it should be")
	}
	return pass("its certificate is the pinned one, or an authority of this host vouches for it")
}

func (r *Router) version() verdict {
	v, ok := parseVersion(r.Version)
	if !ok {
		return verdict{
			Hint, fmt.Sprintf("the version %q is not one that can be judged", r.Version), "known faults cannot be looked up",
			"/system/resource/print shows it",
		}
	}
	if v.n[0] < 7 {
		return verdict{Failed, "RouterOS " + r.Version + " has no CAKE", "CAKE came with version 7", "/system/package/update/set channel=stable, then install"}
	}
	worst, texts := Passed, []string(nil)
	for _, fl := range flaws {
		if v.less(fl.since) || v.fixedIn(fl.fixed...) || fl.door != "" && fl.door != r.Door && r.Door != "auto" {
			continue
		}
		worst = max(worst, fl.status)
		texts = append(texts, fl.id+" ("+fl.what+")")
	}
	if len(texts) == 0 {
		return pass("RouterOS %s has no fault that is known here", r.Version)
	}
	return verdict{
		worst, fmt.Sprintf("RouterOS %s has known faults: %s", r.Version, strings.Join(texts, "; ")),
		"who reaches the router's services could take it over, or it may fail", "/system/package/update/install, and limit the service to this host: /ip/service/set " + services[r.Door] + " address=ADDRESS",
	}
}

// services are the doors' names in /ip/service.
var services = map[string]string{"ssh": "ssh", "api": "api-ssl", "rest": "www-ssl", "auto": "ssh,api-ssl,www-ssl"}

// dangerous are rights that a controller never needs and that open the router to whoever steals its key.
var dangerous = []string{"policy", "sensitive", "ftp", "sniff", "reboot", "password", "winbox", "romon", "local", "telnet", "test"}

func (r *Router) rights() verdict {
	if r.Rights == nil {
		return unknown("the rights of our user cannot be read")
	}
	var lacks, has []string
	for _, n := range r.Needs {
		if !slices.Contains(r.Rights, n) {
			lacks = append(lacks, n)
		}
	}
	for _, d := range dangerous {
		if slices.Contains(r.Rights, d) && !slices.Contains(r.Needs, d) {
			has = append(has, d)
		}
	}
	switch {
	case lacks != nil:
		return verdict{
			Failed, "our user lacks " + strings.Join(lacks, ", "), "rates cannot be read or set without them",
			r.regroup(strings.Join(lacks, ",")) + "; then end its sessions: /user/active",
		}
	case has != nil:
		return verdict{
			Warned, "our user has rights it does not need: " + strings.Join(has, ", "), "who gets hold of its key gets these, too",
			r.regroup("!"+strings.Join(has, ",!")) + "; then end its sessions: /user/active",
		}
	}
	return pass("our user has %s and nothing more that matters", strings.Join(r.Needs, ", "))
}

// regroup are the commands that change our user's rights: those of its group, or another group where that one is RouterOS's
// own, which others may be in and which cannot be changed.
func (r *Router) regroup(policy string) string {
	if !slices.Contains([]string{"full", "read", "write"}, r.Group) {
		return "/user/group/set [find name=" + quoted(r.Group) + "] policy=" + policy
	}
	const own = blueprint.Prefix + "group"
	first := "/user/group/add name=" + own + " policy=" + strings.Join(r.Needs, ",")
	if slices.ContainsFunc(r.Inventory[blueprint.Group], func(g blueprint.Row) bool { return g["name"] == own }) {
		first = "/user/group/set [find name=" + own + "] policy=" + strings.Join(r.Needs, ",")
	}
	return first + "; /user/set [find name=" + quoted(r.User) + "] group=" + own
}

// quoted is a text as RouterOS's command line takes it.
func quoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "$", `\$`).Replace(s) + `"`
}

func (r *Router) clock() verdict {
	if !r.HasSkew {
		return unknown("the router's clock cannot be read")
	}
	if off := r.Skew.Abs(); off > mostSkew {
		return verdict{
			Warned, fmt.Sprintf("the router's clock is %v off", off.Round(time.Second)), "its log cannot be compared with wanctl's, and certificates may pass for expired",
			"/system/ntp/client/set enabled=yes servers=pool.ntp.org",
		}
	}
	return pass("the router's clock is right")
}

func (r *Router) load() verdict {
	switch {
	case r.Load < 0:
		return unknown("the load of its CPU cannot be read")
	case r.Load >= busy:
		return verdict{
			Warned, fmt.Sprintf("the CPU of the %s is at %d %%", r.Model, r.Load), "a router without room delays packets itself, in a queue that CAKE does not see",
			"lower the ceilings, or let less traffic pass firewall rules; /tool/profile shows what takes the time",
		}
	}
	return pass("the CPU of the %s is at %d %%", r.Model, r.Load)
}

// fastTrack looks whether connections can pass the lines' queues by.
func (r *Router) fastTrack(f *Facts) verdict {
	for _, row := range slices.Concat(r.Inventory[blueprint.Filter], r.Inventory[blueprint.Filter6]) {
		if row["action"] != "fasttrack-connection" || !blueprint.Enabled(row) || blueprint.Truth(row["dynamic"]) {
			continue
		}
		simple := slices.ContainsFunc(f.Lines, func(l Line) bool { return l.Simple })
		if f.Steering == nil && len(f.Lines) < 2 && !simple {
			return verdict{
				Hint, "FastTrack is on; queues under an interface meet its packets on most routers, and not on all", "FastTracked packets skip mangle, simple queues and queues under global",
				"the checks that end in .carries tell, while something is downloaded; where they fail: /ip/firewall/filter/disable [find action=fasttrack-connection]",
			}
		}
		missing := 0
		for _, c := range r.Plan.Changes {
			if c.Menu == blueprint.Filter || c.Menu == blueprint.Filter6 {
				missing++
			}
		}
		if missing > 0 {
			return verdict{
				Failed, "FastTrack takes the lines' connections away from their marks and simple queues", "FastTracked packets skip mangle and simple queues, so the line's queue and steering never see them",
				"wanctl router apply adds the exclusions that wanctl router plan shows",
			}
		}
	}
	return pass("FastTrack leaves the lines' connections alone")
}

func (r *Router) offload() verdict {
	for _, row := range r.Inventory[Switch] {
		if blueprint.Truth(row["l3-hw-offloading"]) {
			return verdict{
				Warned, "the switch chip " + row["name"] + " routes in hardware", "what it routes never meets a queue",
				"/interface/ethernet/switch/set [find name=" + quoted(row["name"]) + "] l3-hw-offloading=no",
			}
		}
	}
	return pass("nothing is routed in hardware")
}

// shapers looks for what shapes a second time.
func (r *Router) shapers() verdict {
	for _, row := range r.Inventory[blueprint.QueueType] {
		if row["kind"] != "cake" {
			continue
		}
		if bw := row["cake-bandwidth"]; bw != "" && bw != "0" && r.uses(row["name"]) {
			return verdict{
				Warned, fmt.Sprintf("the queue type %q has cake-bandwidth=%s beside the queue's max-limit", row["name"], bw), "two shapers act, or the wrong one does",
				"/queue/type/set [find name=" + quoted(row["name"]) + "] cake-bandwidth=0",
			}
		}
		if blueprint.Truth(row["cake-autorate-ingress"]) {
			return verdict{
				Warned, fmt.Sprintf("the queue type %q has cake-autorate-ingress on", row["name"]), "it changes CAKE's own shaper, against the rates that wanctl sets",
				"/queue/type/set [find name=" + quoted(row["name"]) + "] cake-autorate-ingress=no",
			}
		}
	}
	for _, p := range r.Plan.Problems {
		if p.Shapes {
			return verdict{Warned, p.What, "the lower of the two limits holds, and it is not the one that is controlled", p.Way}
		}
	}
	return pass("max-limit is the only shaper")
}

// uses says whether a queue has this type.
func (r *Router) uses(typ string) bool {
	if slices.ContainsFunc(r.Inventory[blueprint.QueueSimple], func(q blueprint.Row) bool {
		return slices.Contains(strings.Split(q["queue"], "/"), typ)
	}) {
		return true
	}
	return slices.ContainsFunc(r.Inventory[blueprint.QueueTree], func(q blueprint.Row) bool { return q["queue"] == typ })
}

// writers looks for scripts that change what wanctl changes.
func (r *Router) writers(f *Facts) verdict {
	var names []string
	for i := range f.Lines {
		names = append(names, f.Lines[i].Queues.Down.Name, f.Lines[i].Queues.Up.Name)
	}
	touches := func(text string) bool {
		if strings.Contains(text, "/queue") && strings.Contains(text, "max-limit") {
			return true
		}
		return slices.ContainsFunc(names, func(n string) bool { return n != "" && strings.Contains(text, n) })
	}
	var who []string
	for _, m := range []struct {
		menu, word string
		texts      []string
	}{{Netwatch, "netwatch", []string{"up-script", "down-script"}}, {Scheduler, "scheduler", []string{"on-event"}}, {Script, "script", []string{"source"}}} {
		for _, row := range r.Inventory[m.menu] {
			if !blueprint.Enabled(row) || strings.HasPrefix(row["comment"], blueprint.Owner) {
				continue
			}
			for _, key := range m.texts {
				if touches(row[key]) {
					name := row["name"]
					if name == "" {
						name = row["host"]
					}
					who = append(who, m.word+" "+name)
					break
				}
			}
		}
	}
	if who == nil {
		return pass("no script, scheduler or netwatch touches the queues")
	}
	return verdict{
		Warned, "others write what wanctl writes: " + strings.Join(who, ", "), "the queue then has the rate of whoever wrote last; after three differences wanctl stops raising",
		"disable them, or leave the queues out of them",
	}
}

func (r *Router) plan() verdict {
	var fails []string
	for _, p := range r.Plan.Problems {
		if p.Severity == blueprint.Blocker {
			fails = append(fails, p.What+" ("+p.Way+")")
		}
	}
	n := 0
	for _, c := range r.Plan.Changes {
		if !c.Privileged {
			n++
		}
	}
	switch {
	case fails != nil:
		return verdict{Failed, strings.Join(fails, "; "), "the set-up cannot be made as the files ask for it", "mend that, then wanctl router plan"}
	case n > 0:
		return verdict{
			Warned, fmt.Sprintf("%d settings of the router are not what the files ask for", n), "each is one that latency or steering rests on",
			"wanctl router plan shows them, and wanctl router apply makes them",
		}
	}
	return pass("the router is set up as the files ask for it")
}

func (r *Router) flash() verdict {
	if !r.HasSectors {
		return unknown("how many sectors of its flash a rate change writes was not measured")
	}
	if r.Sectors > 1 {
		return verdict{
			Warned, fmt.Sprintf("a rate change writes %.1f sectors of the router's flash", r.Sectors), "flash wears: 5 000 changes a day are then many",
			"fewer changes: all lines in one process (wanctl run) share one budget, and under policy steps a greater step_up_mbps needs fewer",
		}
	}
	return pass("a rate change writes %.1f sectors of the router's flash", r.Sectors)
}
