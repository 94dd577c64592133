package checkup

import (
	"strings"
	"testing"

	"wanctl/internal/blueprint"
	"wanctl/internal/link"
)

// simply is a house whose one line has a simple queue.
func simply() *Facts {
	f := well()
	f.Lines, f.Steering = f.Lines[:1], nil
	l := &f.Lines[0]
	l.Simple = true
	l.Queues.Down.Name, l.Queues.Up.Name = "WAN-ATT", "WAN-ATT"
	f.Router.Inventory[blueprint.QueueTree] = nil
	f.Router.Inventory[blueprint.QueueSimple] = []blueprint.Row{{"name": "WAN-ATT", "queue": "wanctl-ATT-upload/wanctl-ATT-download"}}
	return f
}

// The checks of a line with a simple queue, each well and each broken.
func TestSimpleQueue(t *testing.T) {
	for _, k := range []struct {
		id, text, fix string
		status        Status
		spoil         func(*Facts)
	}{
		{"ATT.queues", "the simple queue is there", "", Passed, nil},
		{"ATT.cake", "CAKE", "", Passed, nil},
		{"ATT.carries", "the download of WAN-ATT passes 98 %", "", Passed, nil},
		{"router.fasttrack", "leaves the lines' connections alone", "", Passed, nil},
		{"router.shapers", "only shaper", "", Passed, nil},
		{"ATT.queues", "there is no queue WAN-ATT", "wanctl router plan", Failed, func(f *Facts) {
			f.Lines[0].Queues = link.Pair[Queue]{Down: Queue{Name: "WAN-ATT"}, Up: Queue{Name: "WAN-ATT"}}
		}},
		{"ATT.queues", "WAN-ATT is switched off", `/queue/simple/enable [find name="WAN-ATT"]`, Failed, func(f *Facts) { f.Lines[0].Queues.Down.Off = true }},
		{"ATT.cake", "the upload of WAN-ATT is not CAKE", "wanctl router plan", Failed, func(f *Facts) { f.Lines[0].Queues.Up.Cake = false }},
		{"ATT.carries", "the upload of WAN-ATT passes 0 %", "a simple queue that stands before it", Failed, func(f *Facts) { f.Lines[0].Queues.Up.Passed = 0 }},
		{"router.fasttrack", "and simple queues", "wanctl router apply", Failed, func(f *Facts) { f.Router.Plan.Changes = []blueprint.Change{{Menu: blueprint.Filter}} }},
		{"router.shapers", "cake-bandwidth=18M", "cake-bandwidth=0", Warned, func(f *Facts) { f.Router.Inventory[blueprint.QueueType][0]["cake-bandwidth"] = "18M" }},
	} {
		f := simply()
		if k.spoil != nil {
			k.spoil(f)
		}
		got := find(t, Run(f), k.id)
		if got.Status != k.status || !strings.Contains(got.Text, k.text) || !strings.Contains(got.Fix, k.fix) {
			t.Errorf("%s: %+v", k.id, got)
		}
		if k.id == "ATT.queues" && strings.Contains(got.Text, "and no") {
			t.Errorf("one queue is named twice: %s", got.Text)
		}
	}
}
