package steer_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/steer"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

// story writes a transcript: one line per cycle, runs of cycles that differ in their figures only told once.
type story struct {
	*world
	t     *testing.T
	out   strings.Builder
	last  string // the shape of the cycle told last
	held  int    // cycles like it not told
	final string // the newest of those

	signals bool // tell what the confirmations say
	tell    bool // tell brakes, and transitions in full
}

func (s *story) flush() {
	switch {
	case s.held > 1:
		fmt.Fprintf(&s.out, "          … %d cycles like it, the last:\n", s.held)
		fallthrough
	case s.held == 1:
		s.out.WriteString(s.final)
	}
	s.held = 0
}

// say starts a paragraph.
func (s *story) say(format string, a ...any) {
	s.flush()
	s.last = ""
	fmt.Fprintf(&s.out, "\n# "+format+"\n", a...)
}

// run plays n cycles; each, where given, turns the world before every one of them.
func (s *story) run(n int, each ...func(*world)) {
	for range n {
		for _, f := range each {
			f(s.world)
		}
		at := s.now
		d := s.step()
		shape := d.Name + d.Congestion.String()
		if d.Rules[0].Write || !s.reachable || s.reading.Enabled != d.Rules[0].Wanted {
			shape += describe(d.Rules[0]) // a routine reading is no news
		}
		text := fmt.Sprintf("%8s  %s", at, steer.Line(d))
		if a := describe(d.Rules[0]); a != "" {
			text += "  rule:" + a
		}
		for i, wish := range d.Rules[1:] {
			if a := describe(wish); a != "" {
				text += fmt.Sprintf("  rule to %s:%s", s.cfg.Alternates[i+1].Name, a)
				if wish.Write || !s.reachable || s.others[i].reading.Enabled != wish.Wanted {
					shape += fmt.Sprint(i, a)
				}
			}
		}
		if s.tell {
			shape += strings.Join(brakeKinds(d.Reason.Brakes), ";")
		}
		if v := s.cfg.V3; v.Enabled {
			text += fmt.Sprintf("  score %d of %d", d.Reason.Score, d.Reason.Threshold)
			shape += fmt.Sprint(d.Reason.Score, d.Reason.Threshold)
		}
		if s.signals {
			r := d.Reason
			says := fmt.Sprintf("  drops %v, queue %v, controller %v", r.Drops, r.Queue, r.Controller)
			text, shape = text+says, shape+says
		}
		text += "\n"
		if t := d.Transition; t != nil {
			text += fmt.Sprintf("          -> %v to %v: %s\n", t.From, t.To, t.Why)
			if s.tell {
				text += "          " + d.Account.Text() + "\n"
			}
			shape = ""
		}
		if s.tell && shape != s.last {
			for _, b := range d.Reason.Brakes {
				text += "          brake: " + b + "\n"
			}
		}
		if d.WouldSteer != "" {
			text += "          " + d.WouldSteer + "\n"
			shape = ""
		}
		for _, n := range d.Notes {
			text += fmt.Sprintf("          %s %s: %s\n", n.Level, n.Key, n.Text)
			shape = ""
		}
		if shape != "" && shape == s.last {
			s.held++
			s.final = text
			continue
		}
		s.flush()
		s.last = shape
		s.out.WriteString(text)
	}
}

// brakeKinds are how brakes begin, before their figures.
func brakeKinds(all []string) (kinds []string) {
	for _, b := range all {
		kinds = append(kinds, strings.Join(strings.Fields(b)[:2], " "))
	}
	return kinds
}

func v3Config(dry bool) steer.Config {
	c := config()
	c.V3.Enabled, c.V3.DryRun = true, dry
	return c
}

func grow(w *world) { w.drop(w.queue.Dropped + 2) }

// tale is one evening.
type tale struct {
	title string
	cfg   func() steer.Config
	play  func(t *testing.T, s *story)
}

// TestStories plays evenings and compares their transcripts.
func TestStories(t *testing.T) {
	stories := map[string]tale{
		"confirmed": {"A confirmed congestion and the return", config, func(_ *testing.T, s *story) {
			s.say("A calm line. The rule is read once at start.")
			s.run(4)
			s.say("Somebody's upload fills the queue: delay and depth agree. Two RED steer; the state waits for the read-back.")
			s.run(5, (*world).congested)
			s.say("It is over. The averages fall, then fifteen GREEN in a row bring connections home.")
			s.calm()
			s.run(40)
		}},
		"lasting_yellow": {"A lasting YELLOW does not keep connections away for ever", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("A congestion.")
			s.run(4, (*world).congested)
			s.say("The queue empties but the delay stays: YELLOW, for ever. A minute without RED is enough.")
			s.run(45, (*world).yellow)
			s.say("Never RED again: nothing is steered.")
			s.run(20, (*world).yellow)
		}},
		"flapping": {"A line that comes and goes, against the flap brake", func() steer.Config {
			c := v3Config(false)
			c.V3.Sustain, c.V3.RecoverySustain, c.V3.HoldDown = 4*time.Second, 4*time.Second, 10*time.Second
			c.V3.Flap.MaxToggles, c.V3.Flap.PenaltyFor = 3, 5*time.Minute
			return c
		}, func(_ *testing.T, s *story) {
			bad := func(w *world) { w.congested(); w.rtt = 224; w.state = link.Red }
			s.run(2)
			for i := range 3 {
				s.say("It breaks down, time %d.", i+1)
				s.run(9, bad)
				s.say("It is well again.")
				s.run(24, (*world).calm)
			}
			s.say("The same again: 75 is no longer enough.")
			s.run(60, bad)
			s.say("Well for the rest of the penalty.")
			s.run(75, (*world).calm)
			s.say("The penalty is over: 75 steers again.")
			s.run(9, bad)
		}},
		"bulk": {"Bulk with a healthy delay", config, func(_ *testing.T, s *story) {
			s.say("A download keeps 200 packets in the queue, and CAKE drops to signal it: what it is there for. The delay is fine.")
			s.run(310, func(w *world) { w.rtt, w.queue.QueuedPackets = 26, 200; w.drop(3) })
			s.say("Ten minutes later the depth has no weight any more. Now a delay comes on top: these signals confirm nothing.")
			s.run(6, func(w *world) { w.rtt, w.queue.QueuedPackets = 60, 200; w.drop(3) })
			s.say("The queue empties once: a break. What stands over its mark afterwards counts again.")
			s.run(6, func(w *world) { w.rtt, w.queue.QueuedPackets = 60, 0 })
			s.run(4, func(w *world) { w.rtt, w.queue.QueuedPackets = 60, 200; w.drop(3) })
		}},
		"worn": {"A local signal that stands for ten minutes has no weight", config, func(_ *testing.T, s *story) {
			s.signals = true
			late := func(w *world) { w.congested(); w.rtt = 60 }
			s.run(2)
			s.say("A delay, and a queue that stands: steered. It goes on.")
			s.run(305, late)
			s.say("The depth is worn: what is left is a delay that nothing confirms. A minute without RED brings connections home.")
			s.run(35, late)
			s.say("Drops are another signal: fresh, they confirm, beside a depth that stays worn.")
			s.run(3, late, func(w *world) { w.drop(3) })
			s.say("They wear in their turn, ten minutes after they began.")
			s.run(300, late, func(w *world) { w.drop(3) })
			s.say("Without drops for a while: a break, the next ones count again.")
			s.run(40, late)
			s.run(3, late, func(w *world) { w.drop(3) })
			s.say("A reading that fails is no break: the depth is missing, then as worn as before.")
			s.run(2, late, func(w *world) { w.queueOK = false })
			s.run(2, late, func(w *world) { w.queueOK = true })
		}},
		"provider": {"The provider's congestion, our own queue empty", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("The delay rises, the queue is empty: no confirmation yet. The rate controller cuts, in vain.")
			s.run(6, func(w *world) { w.rtt, w.feedDelta, w.state = 124, 90, link.Red; w.cuts++ })
			s.say("For ten seconds now, the last of them on its floor: that confirms it.")
			s.run(4, func(w *world) { w.atFloor = true })
			s.say("The provider has repaired it.")
			s.run(34, (*world).calm, func(w *world) { w.atFloor = false })
		}},
		"dropped_zero": {"RouterOS, where dropped is always 0", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("CAKE drops, but RouterOS does not count it. The depth confirms alone.")
			s.run(5, (*world).congested)
			s.say("The same under vote all: never RED, as in the earlier Python system.")
			c := s.cfg
			c.Vote = steer.VoteAll
			if err := s.m.Reconfigure(c); err != nil {
				panic(err)
			}
			s.run(40, (*world).congested)
		}},
		"probes_gone": {"Probes gone while steered", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.run(4, (*world).congested)
			s.say("The primary's probes fall silent: UNKNOWN, and DOWN after ten seconds. The alternate answers: stay.")
			s.run(40, func(w *world) { w.rtt, w.feedAnswered = 0, false })
			s.say("Now the alternate is silent too: back after thirty seconds.")
			s.run(21, func(w *world) { w.altRTT = 0 })
			s.say("Both answer again.")
			s.run(4, (*world).calm, func(w *world) { w.feedAnswered, w.altRTT = true, 28 })
		}},
		"alternate_red": {"The alternate turns RED: back at once", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.run(4, (*world).congested)
			s.say("The calls fill the alternate. Back at once, although the primary is RED; one alert.")
			s.run(8, func(w *world) { w.altRTT = 100 })
			s.say("The alternate is well again, but it takes the margins, and two RED, to go there once more.")
			s.run(6, func(w *world) { w.altRTT = 28 })
			s.say("It falls silent while the primary answers: back, five seconds after its last reply.")
			s.run(6, func(w *world) { w.altRTT = 0 })
		}},
		"soft_red": {"SOFT_RED never steers by itself", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("Autorate is SOFT_RED and clamps for minutes: nothing confirms.")
			s.run(60, func(w *world) { w.rtt, w.feedDelta, w.state = 84, 60, link.SoftRed })
		}},
		"stale_feed": {"A stale feed", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("One RED, then autorate dies: no baseline, no judgement; the streak stands still.")
			s.run(2, (*world).congested)
			s.run(10, (*world).congested, func(w *world) { w.feed = false })
			s.say("It is back: the second RED in a row.")
			s.run(3, (*world).congested, func(w *world) { w.feed = true })
		}},
		"v3_dry": {"The confidence mode, dry", func() steer.Config { return v3Config(true) }, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("Autorate is RED with 200 ms on top: 75. The vote steers after two RED; v3 would after twenty seconds.")
			bad := func(w *world) { w.congested(); w.rtt, w.state = 224, link.Red }
			s.run(16, bad)
			s.say("Drops rise over three readings: 85.")
			s.run(6, bad, grow)
			s.say("Well again. The vote goes home after fifteen GREEN, v3 only a minute after its hold-down.")
			s.run(330, (*world).calm)
		}},
		"counters_reset": {"Counters reset", config, func(_ *testing.T, s *story) {
			s.queue.Packets, s.queue.Dropped = 5_000_000, 40_000
			s.say("The first reading is a baseline, whatever it holds.")
			s.run(2)
			s.run(1, func(w *world) { w.drop(7) })
			s.say("Somebody resets the counters: what they show is new.")
			s.run(1, func(w *world) { w.queue.Packets, w.queue.Dropped = 300, 2 })
			s.run(2)
			s.say("The statistics cannot be read: the vote goes on without them, said once.")
			s.run(4, func(w *world) { w.queueOK = false })
			s.say("Read again: the delta spans the gap.")
			s.run(2, func(w *world) { w.queueOK = true; w.drop(1) })
		}},
		"failed_write": {"A write whose outcome is unknown, and GREEN meanwhile", config, func(t *testing.T, s *story) {
			s.run(2)
			s.say("Two RED. The write is sent, then the router is gone: nobody knows whether it arrived.")
			s.loses = true
			s.run(4, (*world).congested, func(w *world) { w.reachable = w.pending == nil })
			s.say("The reason goes too: the wish is withdrawn, the rule must be read.")
			s.run(5, (*world).calm)
			s.say("The router is back, and the write had arrived after all. It is set right; no state has changed.")
			s.loses, s.reachable, s.rule = false, true, *s.pending
			s.run(30)
			if s.rule {
				t.Error("the rule was left enabled")
			}
		}},
		"foreign": {"Somebody else toggles the rule", config, func(_ *testing.T, s *story) {
			s.run(2)
			s.say("Somebody enables the rule by hand. The next reading shows it.")
			s.rule = true
			s.run(34)
			s.say("The same while steered.")
			s.run(4, (*world).congested)
			s.rule = false
			s.run(33, (*world).congested)
		}},
		"restart": {"A restart while steered", config, func(t *testing.T, s *story) {
			s.run(2)
			s.run(4, (*world).congested)
			s.say("A restart. The rule is read and found as stored.")
			s.restart(t)
			s.run(3, (*world).congested)
			s.say("A crash: the rule was released meanwhile. It is set as the stored state says, once the alternate answers.")
			s.rule = false
			s.restart(t)
			s.run(3, func(w *world) { w.altRTT = 0 })
			s.run(3, func(w *world) { w.altRTT = 28 })
			s.say("Stored GOOD, found enabled.")
			s.run(60, (*world).calm)
			s.rule = true
			s.restart(t)
			s.run(4)
		}},
		"no_check": {"A configuration that names no alternate to measure", func() steer.Config {
			c := config()
			c.Alternates[0].Checked = false
			return c
		}, func(_ *testing.T, s *story) {
			s.alternate = false
			s.run(2)
			s.run(4, (*world).congested)
			s.say("Probes gone: nothing measured is left, so back after thirty seconds.")
			s.run(20, func(w *world) { w.rtt, w.feedAnswered = 0, false })
		}},
		"rtt_only": {"RTT-only mode", func() steer.Config {
			c := config()
			c.CakeAware = false
			return c
		}, func(_ *testing.T, s *story) {
			s.queueOK = false
			s.run(2)
			s.say("Eight over 25 ms.")
			s.run(12, func(w *world) { w.rtt = 84 })
			s.say("Under 25 but over 12: YELLOW. Then fifteen under 12.")
			s.run(12, func(w *world) { w.rtt = 42 })
			s.run(22, (*world).calm)
		}},
	}
	maps.Copy(stories, severalStories())
	for name, st := range stories {
		t.Run(name, func(t *testing.T) {
			s := &story{world: newWorld(t, st.cfg()), t: t}
			fmt.Fprintf(&s.out, "%s\n%s\n", st.title, strings.Repeat("=", len(st.title)))
			st.play(t, s)
			s.flush()
			golden(t, filepath.Join("testdata", name+".golden"), s.out.String())
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; write it with go test -update and read it", err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}
