package blueprint

import (
	"fmt"
	"slices"
	"strings"

	"wanctl/internal/link"
)

// Scheduler is the menu of what a router does by itself.
const Scheduler = "/system/scheduler"

// heartbeatName begins the names of the schedulers that give the router back when a controller's mark has gone.
const heartbeatName = Prefix + "heartbeat-"

// heartbeatKeys are the properties of a scheduler that are read.
var heartbeatKeys = []string{".id", "name", "interval", "start-time", "policy", "on-event", "disabled", "comment"}

// heartbeats asks for a scheduler for each controller that wants one, and takes those away that are not wanted any more.
func (p *planner) heartbeats() {
	for i := range p.want.Lines {
		l := &p.want.Lines[i]
		if l.Heartbeat && (l.Limits.Down <= 0 || l.Limits.Up <= 0) {
			p.noHeartbeat("the heartbeat of "+l.Name+" does not know what to restore", "give base_mbps for both directions")
			return
		}
		things, mend := l.mend()
		p.heartbeat(l.Heartbeat, l.Name, things, mend)
	}
	s := p.want.Steering
	if s == nil {
		return
	}
	var things, mend []string
	for _, c := range s.Comments {
		things = append(things, link.RuleThing(c))
		mend = append(mend, ":foreach i in=[/ip/firewall/mangle/find where comment="+scriptText(c)+
			" dynamic=no disabled=no] do={/ip/firewall/mangle/disable $i}")
	}
	p.heartbeat(s.Heartbeat && !s.ByList, "steering "+s.Policy.Primary, things, mend)
}

// mend is what a line's controller writes, and the statements that put its limits back where they differ.
func (l *Line) mend() (things, mend []string) {
	put := func(menu, queue, limit string) {
		mend = append(mend, fmt.Sprintf(":foreach i in=[%s/find where name=%s max-limit!=%s] do={%s/set $i max-limit=%s}",
			menu, scriptText(queue), limit, menu, limit))
	}
	if l.Simple != "" {
		put(QueueSimple, l.Simple, number(l.Limits.Up)+"/"+number(l.Limits.Down))
		return []string{link.SimpleThing(l.Simple)}, mend
	}
	for _, d := range []link.Direction{link.Down, link.Up} {
		things = append(things, link.QueueThing(l.Queues.Get(d)))
		put(QueueTree, l.Queues.Get(d), number(l.Limits.Get(d)))
	}
	return things, mend
}

func (p *planner) noHeartbeat(what, way string) {
	p.plan.Problems = append(p.plan.Problems, Problem{Severity: Blocker, Heartbeat: true, What: what, Way: way})
}

// heartbeat asks for one scheduler, or that there is none.
func (p *planner) heartbeat(wanted bool, of string, things, mend []string) {
	it := item{
		menu: Scheduler, name: "heartbeat of " + of, is: named(heartbeatName + of),
		why: "gives the router back when its controller has shown no sign of life for " + spelled(link.MarkLife.String()),
		args: []Arg{
			{"name", heartbeatName + of},
			{"interval", "1m"},
			{"start-time", "startup"},
			{"policy", "read,write"},
			{"on-event", heartbeatScript(things, mend)},
			comment("heartbeat of " + of),
		},
	}
	i := it.at(p.inv[Scheduler])
	switch {
	case i >= 0 && !Owned(Scheduler, p.inv[Scheduler][i]):
		if wanted {
			p.noHeartbeat(fmt.Sprintf("the scheduler %q is not wanctl's, and has the name of its heartbeat", heartbeatName+of), "rename it, or remove it")
		}
	case wanted:
		p.need(it)
	case i >= 0:
		p.plan.Changes = append(p.plan.Changes, Change{
			Verb: Remove, Menu: Scheduler, ID: p.inv[Scheduler][i][".id"], Item: it.name, Why: "router.heartbeat is false",
		})
	}
}

// heartbeatScript is what a scheduler does: where the controllers' mark is gone, and not only because the router has just
// started, it mends what differs. Nothing is written where nothing differs, because each write wears the flash.
func heartbeatScript(things, mend []string) string {
	return fmt.Sprintf(":if ([/system/resource/get uptime]>%s && [:len [/ip/firewall/address-list/find where list=%s address=%s]]=0) do={%s}",
		spelled(link.MarkLife.String()), scriptText(link.MarkList), link.MarkAddress(things...), strings.Join(mend, ";"))
}

// spelled is a time of whole minutes as RouterOS writes it: Go's ends in seconds.
func spelled(d string) string { return strings.TrimSuffix(d, "0s") }

// scriptText is a text in a script of RouterOS.
func scriptText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// Heartbeats says whether anything asks for one.
func (w Wanted) Heartbeats() bool {
	return w.Steering != nil && w.Steering.Heartbeat || slices.ContainsFunc(w.Lines, func(l Line) bool { return l.Heartbeat })
}

// Heartbeats are the changes of a plan that concern schedulers, and the problems with them.
func (p Plan) Heartbeats() (changes []Change, foreign []Problem) {
	for _, c := range p.Changes {
		if c.Menu == Scheduler {
			changes = append(changes, c)
		}
	}
	for _, q := range p.Problems {
		if q.Heartbeat {
			foreign = append(foreign, q)
		}
	}
	return changes, foreign
}
