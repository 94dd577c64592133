package steer_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// town is a primary and several alternates, a router with a rule for each, and a hand that does one thing at a time: what the
// machine sees, drawn from one seed.
type town struct {
	cfg steer.Config
	m   *steer.Machine
	rng *rand.Rand
	now unit.Time

	rtt, feedDelta float64
	feed, answered bool
	atFloor        bool
	cuts           uint64
	heard          unit.Time
	queue          link.Queue
	queueOK        bool
	alts           []neighbour

	seq       uint64
	readings  []steer.Rule
	reachable bool
}

// neighbour is an alternate with its rule on the router.
type neighbour struct {
	rtt     float64 // 0 is no reply
	carried unit.Rate
	known   bool // the load is
	rule    bool
	// foreign says that somebody else enabled it, since when.
	foreign unit.Time
	// late is a write whose outcome was lost, and when it arrives.
	late   *bool
	lateAt unit.Time
}

const (
	townBase = 24.0 // every line's baseline, in ms
	townRate = 100 * unit.Mbps
)

// newTown draws a configuration with short times, and a calm start.
func newTown(seed uint64) *town {
	w := &town{rng: rand.New(rand.NewPCG(seed, 7)), now: unit.Time(100 * time.Second), rtt: townBase, feed: true, answered: true, queueOK: true, reachable: true}
	c := steer.Default()
	c.Primary = "spectrum"
	c.Alternates = nil
	for i := range 1 + w.rng.IntN(3) {
		a := steer.Candidate{Name: fmt.Sprintf("alt%d", i), Checked: true, MarginMS: 10, MarginShare: 200_000}
		if w.coin(2) {
			a.MaxLoad = 800_000
		}
		if w.coin(3) {
			a.Room = 30 * unit.Mbps
		}
		c.Alternates = append(c.Alternates, a)
		w.alts = append(w.alts, neighbour{rtt: townBase})
	}
	c.Thresholds.RedSamples = 1 + w.rng.IntN(3)
	c.V3.Enabled, c.V3.DryRun = w.coin(3), w.coin(2)
	shorten(&c)
	if w.coin(2) {
		c.Limits.HoldDown = 30 * time.Second
	}
	if w.coin(3) {
		c.Limits.Grace = 6 * time.Second
	}
	if w.coin(3) {
		c.Limits.SteeredMax, c.Limits.Cap = 2*time.Minute, steer.CapReturn
	}
	if w.coin(2) {
		c.Herd.Enabled = true
	}
	if w.coin(2) {
		c.Flap.Enabled, c.Flap.MaxToggles, c.Flap.RedFactor = true, 2+w.rng.IntN(3), 100
		c.Flap.Window, c.Flap.PenaltyFor = 20*time.Minute, 20*time.Minute
		c.V3.Enabled = false
	}
	w.cfg = c
	w.readings = make([]steer.Rule, len(w.alts))
	var err error
	if w.m, err = steer.New(c); err != nil {
		panic(err)
	}
	return w
}

// coin is true once in n times.
func (w *town) coin(n int) bool { return w.rng.IntN(n) == 0 }

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

// turn draws what the world does next.
func (w *town) turn() {
	w.rtt = pick(w.rng, 0, townBase, townBase, 45, 104, 104, 104, 224)
	w.queue.QueuedPackets = pick[int64](w.rng, 0, 20, 80, 80)
	w.queue.Dropped += pick[int64](w.rng, 0, 0, 1, 50)
	w.feedDelta, w.atFloor = pick(w.rng, 0.0, 30, 90, 90), w.coin(2)
	w.cuts += uint64(w.rng.IntN(2))
	w.feed, w.answered, w.queueOK = !w.coin(10), !w.coin(6), !w.coin(10)
	for i := range w.alts {
		a := &w.alts[i]
		a.rtt = pick(w.rng, 0, townBase, townBase, townBase+3, 36, 60, 100)
		a.known, a.carried = !w.coin(4), pick(w.rng, 0, 30*unit.Mbps, 75*unit.Mbps, 95*unit.Mbps)
		if w.coin(40) {
			if a.rule = !a.rule; a.rule {
				a.foreign = w.now
			}
		}
	}
	w.reachable = !w.coin(6)
}

// calm ends all trouble.
func (w *town) calm() {
	w.rtt, w.feedDelta, w.atFloor, w.queue.QueuedPackets = townBase, 0, false, 0
	w.feed, w.answered, w.queueOK, w.reachable = true, true, true, true
	for i := range w.alts {
		w.alts[i].rtt = townBase
	}
}

func (w *town) input() steer.Input {
	if w.feed && w.answered {
		w.heard = w.now
	}
	in := steer.Input{Now: w.now, RTT: reply(w.rtt, w.now), Autorate: steer.Autorate{Known: true, Fresh: w.feed, Feed: link.Feed{
		At: w.now, Period: 2 * time.Second, Measured: w.answered, AnsweredAt: w.heard, Baseline: townBase, Delta: unit.Millis(w.feedDelta),
		State: link.Pair[link.State]{Down: link.State(min(3, w.feedDelta/30))}, DownAtFloor: w.atFloor, DownCuts: w.cuts, Warn: 45,
	}}}
	in.Queue = steer.QueueReading{OK: w.queueOK, Fresh: true, At: w.now, Queue: w.queue}
	for _, a := range w.alts {
		in.Alternates = append(in.Alternates, steer.Alternate{RTT: reply(a.rtt, w.now), Autorate: steer.Autorate{Known: true, Fresh: true, Feed: link.Feed{
			Baseline: townBase, Rates: link.Rates{Down: townRate, Up: townRate},
			Carried: link.Load{Known: a.known, Rates: link.Rates{Down: a.carried, Up: unit.Mbps}},
		}}})
	}
	in.Rules = append([]steer.Rule(nil), w.readings...)
	return in
}

// arrive lets late writes reach the router.
func (w *town) arrive() {
	for i := range w.alts {
		if a := &w.alts[i]; a.late != nil && w.now >= a.lateAt {
			a.rule, a.late = *a.late, nil
		}
	}
}

// hand carries out a cycle's wishes as the daemon does: rules are disabled first, then enabled, then read; a wish to enable is
// void once another result has come.
func (w *town) hand(wishes []steer.RuleWish) {
	if !w.reachable {
		return
	}
	void := false
	for _, enable := range []bool{false, true} {
		for i, wish := range wishes {
			if !wish.Write || wish.Wanted != enable || wish.Read && w.readings[i].Known || enable && void {
				continue
			}
			void = true
			a := &w.alts[i]
			if w.coin(6) { // the outcome is lost; the write arrives at once, later or never
				w.readings[i].Known = false
				on := wish.Wanted
				if a.late, a.lateAt = &on, w.now.Add(time.Duration(w.rng.IntN(50))*time.Second); w.coin(3) {
					a.late = nil
				}
				continue
			}
			a.rule, a.late = wish.Wanted, nil
			if !a.rule {
				a.foreign = 0
			}
			w.read(i)
		}
	}
	for i, wish := range wishes {
		if wish.Read && !w.coin(8) {
			w.read(i)
		}
	}
}

func (w *town) read(i int) {
	w.seq++
	w.readings[i] = steer.Rule{Known: true, Enabled: w.alts[i].rule, Seq: w.seq}
}

// step plays one cycle.
func (w *town) step() (steer.Input, steer.Decision) {
	w.arrive()
	in := w.input()
	d := w.m.Step(in)
	w.hand(d.Rules)
	w.now = w.now.Add(w.cfg.Interval)
	w.queue.Packets += 1000
	return in, d
}

// restart is a process that has only its stored memory; writes of the old one are lost with its connection.
func (w *town) restart() error {
	text, err := json.Marshal(w.m.Snapshot())
	if err != nil {
		return err
	}
	var s steer.Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	m, err := steer.New(w.cfg)
	if err != nil {
		return err
	}
	m.Restore(s)
	w.m, w.readings = m, make([]steer.Rule, len(w.alts))
	for i := range w.alts {
		w.alts[i].late = nil
	}
	return nil
}

// judge holds a run to what steering promises, by definitions of its own.
type judge struct {
	w       *town
	ewma    []float64
	set     []bool
	heard   []unit.Time
	wanted  int
	state   steer.State
	changes []unit.Time
	since   unit.Time // of the state
}

func newJudge(w *town) *judge {
	n := len(w.alts)
	j := &judge{w: w, ewma: make([]float64, n), set: make([]bool, n), heard: make([]unit.Time, n), wanted: steer.None}
	for i := range j.heard {
		j.heard[i] = w.now
	}
	return j
}

// look judges one cycle.
func (j *judge) look(in steer.Input, d steer.Decision) error {
	const hair = 1e-9
	for i, a := range in.Alternates {
		switch delta := max(0, float64(a.RTT.Value)-townBase); {
		case !a.RTT.OK:
			j.set[i] = false
		case !j.set[i]:
			j.ewma[i], j.set[i] = delta, true
		default:
			j.ewma[i] += 0.3 * (delta - j.ewma[i])
		}
		if a.RTT.OK {
			j.heard[i] = in.Now
		}
	}
	red := float64(j.w.cfg.Thresholds.RedRTT)
	if t := d.Wanted; t != steer.None && j.wanted == steer.None {
		c, feed := j.w.cfg.Alternates[t], in.Alternates[t].Autorate.Feed
		lead := float64(d.EWMA) - j.ewma[t]
		load := float64(feed.Carried.Down) / float64(townRate)
		switch {
		case !j.set[t] || j.ewma[t] > red+hair || lead < 10-hair || lead < 0.2*float64(d.EWMA)-hair:
			return fmt.Errorf("steering begins to alternate %d: measured %v, %.3f ms, primary %v", t, j.set[t], j.ewma[t], d.EWMA)
		case feed.Carried.Known && (c.MaxLoad > 0 && load >= c.MaxLoad.Factor() || townRate-feed.Carried.Down < c.Room):
			return fmt.Errorf("steering begins to alternate %d without room: %.2f loaded", t, load)
		case d.State == steer.Degraded && d.Target != t:
			return fmt.Errorf("steering begins to alternate %d before the way home from %d is done", t, d.Target)
		}
		for i := range in.Alternates {
			if v := d.Reason.Alternates[i]; v.Verdict == steer.Better && v.EWMA < d.Reason.Alternates[t].EWMA && d.State == steer.Good {
				return fmt.Errorf("steering begins to alternate %d (%.3f ms) although %d has %.3f ms", t, j.ewma[t], i, j.ewma[i])
			}
		}
	}
	if t := d.Wanted; t != steer.None && d.Measured && (j.set[t] && j.ewma[t] > red+hair || in.Now.Sub(j.heard[t]) > 5*time.Second) {
		return fmt.Errorf("stays on alternate %d: measured %v, %.3f ms, heard at %v", t, j.set[t], j.ewma[t], j.heard[t])
	}
	if j.wanted != steer.None && d.Wanted != steer.None && d.Wanted != j.wanted {
		return fmt.Errorf("goes from alternate %d to %d without coming home", j.wanted, d.Wanted)
	}
	j.wanted = d.Wanted
	enabling := 0
	for i, r := range d.Rules {
		if r.Wanted != (i == d.Wanted) {
			return fmt.Errorf("rule %d is wanted %v, the wanted one is %d", i, r.Wanted, d.Wanted)
		}
		if r.Write && r.Wanted {
			enabling++
		}
	}
	if enabling > 1 {
		return fmt.Errorf("%d rules are to be enabled", enabling)
	}
	return j.changed(in, d)
}

// restarted starts over where a new process does: it wants what is stored, and waits for the first replies.
func (j *judge) restarted() {
	j.wanted = steer.None
	for i, c := range j.w.cfg.Alternates {
		j.heard[i] = j.w.now
		if s := j.w.m.Snapshot(); s.State == steer.Degraded && s.Target == c.Name {
			j.wanted = i
		}
	}
}

// changed judges a change of state.
func (j *judge) changed(in steer.Input, d steer.Decision) error {
	if (d.State != j.state) != (d.Transition != nil) || (d.Transition != nil) != (d.Account != nil) {
		return fmt.Errorf("%v after %v with the transition %+v", d.State, j.state, d.Transition)
	}
	if d.State == j.state {
		return nil
	}
	j.state, j.since = d.State, in.Now
	j.changes = append(j.changes, in.Now)
	f, n := j.w.cfg.Flap, 0
	for _, at := range j.changes {
		if in.Now.Sub(at) < f.Window {
			n++
		}
	}
	if f.Enabled && n > f.MaxToggles+2 {
		return fmt.Errorf("%d changes of state within %v, allowed %d", n, f.Window, f.MaxToggles)
	}
	if a := d.Account; a.Decided != 0 && (len(a.Votes) == 0 || len(a.Alternates) != len(in.Alternates) || a.Why == "") {
		return fmt.Errorf("the account does not tell all: %+v", a)
	}
	return nil
}

// router judges the rules as they are on the router.
func (j *judge) router() error {
	on, foreign := 0, false
	for _, a := range j.w.alts {
		if a.rule {
			on++
			foreign = foreign || a.foreign != 0
		}
	}
	if on > 1 && !foreign {
		return fmt.Errorf("%d rules are enabled", on)
	}
	return nil
}

// history runs one history and returns what is wrong with it; restarts interrupt it at random.
func history(seed uint64, restarts bool) (lines []string, steered bool, err error) {
	w := newTown(seed)
	j := newJudge(w)
	cycle := func() error {
		in, d := w.step()
		lines = append(lines, steer.Line(d))
		if err := j.look(in, d); err != nil {
			return fmt.Errorf("%v: %w", in.Now, err)
		}
		if err := j.router(); err != nil {
			return fmt.Errorf("%v: %w", in.Now, err)
		}
		steered = steered || d.State == steer.Degraded
		return nil
	}
	for range 25 {
		w.turn()
		for range 1 + w.rng.IntN(8) {
			if err := cycle(); err != nil {
				return lines, steered, err
			}
		}
		if restarts && w.coin(8) {
			if err := w.restart(); err != nil {
				return lines, steered, err
			}
			j.restarted()
		}
	}
	w.calm()
	// A minute without RED, or fifteen GREEN and the averages before; the hold-down; and the exchanges with the router, with
	// a row of failures.
	patience := time.Minute + w.cfg.Limits.HoldDown + w.cfg.V3.HoldDown + w.cfg.V3.RecoverySustain + 90*time.Second
	for until := w.now.Add(patience); w.now < until; {
		if err := cycle(); err != nil {
			return lines, steered, err
		}
	}
	for i, a := range w.alts {
		if a.rule || j.state != steer.Good || j.wanted != steer.None {
			return lines, steered, fmt.Errorf("%v of calm later: state %v, wanted %d, rule %d is %v", patience, j.state, j.wanted, i, a.rule)
		}
	}
	return lines, steered, nil
}

// histories is how many random histories are played.
func histories() uint64 {
	switch {
	case os.Getenv("WANCTL_LONG") != "":
		return 10_000
	case testing.Short():
		return 300
	}
	return 2_000
}

// TestHistories holds random histories to what steering promises: nothing goes to a line that is not usable and has no room, or
// stays there; never are two rules enabled; the brake limits the changes; and when the last cause is gone, everything comes home
// within the failback time and the hold-down. Restarts in between change none of it, and the same history gives the same lines.
func TestHistories(t *testing.T) {
	moved, n := 0, histories()
	for seed := range n {
		restarts := seed%2 == 1
		lines, steered, err := history(seed, restarts)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if steered {
			moved++
		}
		if seed%50 == 0 {
			again, _, _ := history(seed, restarts)
			for i := range lines {
				if lines[i] != again[i] {
					t.Fatalf("seed %d, cycle %d: %s, the second time %s", seed, i, lines[i], again[i])
				}
			}
		}
	}
	if moved < int(n)/4 {
		t.Errorf("only %d of %d histories ever steered", moved, n)
	}
}
