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
		var mend []string
		for _, d := range []link.Direction{link.Down, link.Up} {
			rate := number(l.Limits.Get(d))
			mend = append(mend, fmt.Sprintf(":foreach i in=[/queue/tree/find where name=%s max-limit!=%s] do={/queue/tree/set $i max-limit=%s}",
				scriptText(l.Queues.Get(d)), rate, rate))
			if l.Heartbeat && l.Limits.Get(d) <= 0 {
				p.block("the heartbeat of "+l.Name+" does not know what to restore on the "+d.String(), "give base_mbps there")
				return
			}
		}
		p.heartbeat(l.Heartbeat, l.Name, []string{link.QueueThing(l.Queues.Down), link.QueueThing(l.Queues.Up)}, mend)
	}
	if s := p.want.Steering; s != nil {
		p.heartbeat(s.Heartbeat, "steering "+s.Primary, []string{link.RuleThing(s.Comment)}, []string{
			":foreach i in=[/ip/firewall/mangle/find where comment=" + scriptText(s.Comment) + " dynamic=no disabled=no] do={/ip/firewall/mangle/disable $i}",
		})
	}
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
			p.block(fmt.Sprintf("the scheduler %q is not wanctl's, and has the name of its heartbeat", heartbeatName+of), "rename it, or remove it")
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
		if q.Severity == Blocker && strings.Contains(q.What, "heartbeat") {
			foreign = append(foreign, q)
		}
	}
	return slices.Clip(changes), foreign
}
