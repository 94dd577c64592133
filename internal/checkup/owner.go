package checkup

import (
	"strings"

	"wanctl/internal/blueprint"
)

// owner looks whether other controllers are at work on the same things.
func owner(f *Facts) verdict {
	var who []string
	for i := range f.Lines {
		if h := f.Lines[i].Holder; h != "" {
			who = append(who, f.Lines[i].Name+" by "+h)
		}
	}
	if f.Steering != nil && f.Steering.Holder != "" {
		who = append(who, "steering by "+f.Steering.Holder)
	}
	if who != nil {
		return verdict{
			Warned, "others control what the files name: " + strings.Join(who, ", "), "a second controller of the same queues or rule writes nothing; it only measures",
			"stop the one that is not wanted; the other goes on at once after a clean stop, and three minutes after a crash",
		}
	}
	return pass("no other controller has left its mark on the router")
}

// heartbeat looks at the schedulers that give the router back when a controller has gone.
func (r *Router) heartbeat() verdict {
	changes, foreign := r.Plan.Heartbeats()
	const why = "when this host dies the router keeps the last rates, or goes on steering, or is given back otherwise than the files say"
	switch {
	case foreign != nil:
		return verdict{Failed, foreign[0].What, why, foreign[0].Way}
	case len(changes) == 0 && !r.Heartbeat:
		return pass("no file asks for a heartbeat (router.heartbeat)")
	case len(changes) == 0:
		return pass("the router watches the controllers' marks")
	}
	word := map[blueprint.Verb]string{blueprint.Add: "is missing", blueprint.Set: "differs from what the files ask for", blueprint.Remove: "is there, and no file asks for it"}
	return verdict{Warned, "the " + changes[0].Item + " " + word[changes[0].Verb], why, "wanctl router apply"}
}
