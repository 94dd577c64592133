package shaper

import (
	"math"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Snapshot is everything a controller would otherwise forget in a restart. Its instants are of the clock of the Steps;
// a snapshot of another boot is brought to this one's clock by [Snapshot.Rebase].
type Snapshot struct {
	// Now is the instant of the last Step and Period the one the streaks are counted in.
	Now    unit.Time     `json:"now"`
	Period time.Duration `json:"period"`
	// Baseline, Load and RTT are the averages and the newest sample in ms; 0 before the first sample.
	Baseline unit.Millis `json:"baseline_rtt"`
	Load     unit.Millis `json:"load_rtt"`
	RTT      unit.Millis `json:"rtt"`
	// Sides is the state of each direction.
	Sides link.Pair[Side] `json:"sides"`
	// Path is the watch for a path change.
	Path Path `json:"path"`
}

// Side is the state of one direction in a [Snapshot].
type Side struct {
	State link.State `json:"state"`
	// Rate is the decided rate, without a test dip.
	Rate unit.Rate `json:"rate"`
	// Green and SoftRed count the samples in a row that were GREEN, or between warn and critical.
	Green   int `json:"green_streak"`
	SoftRed int `json:"soft_red_streak"`
	// Rest is the part of a step up too small for a whole bit/s, in bit/s × µs per 2 s.
	Rest int64 `json:"rest,omitempty"`
	// LastCut is when RED last lowered the rate, 0 for never; Cuts is how often it has.
	LastCut unit.Time `json:"last_cut,omitempty"`
	Cuts    uint64    `json:"cuts"`
}

// Path is the watch for a path change in a [Snapshot].
type Path struct {
	// Seen is when the last valid sample came, and High whether the delay was high then, for HighFor by now.
	Seen    unit.Time     `json:"seen"`
	High    bool          `json:"high"`
	HighFor time.Duration `json:"high_for,omitempty"`
	// Open is the stretch of high delay on an idle line in progress, if any; Blocks are the finished ones in order.
	Open   *Block  `json:"open,omitempty"`
	Blocks []Block `json:"blocks,omitempty"`
	// LastDip is when the last test dip began, 0 for never; Dip is the one in progress, if any.
	LastDip unit.Time `json:"last_dip,omitempty"`
	Dip     *Dip      `json:"dip,omitempty"`
}

// Block is a stretch of high delay on an idle line and its least sample.
type Block struct {
	Start unit.Time   `json:"start"`
	End   unit.Time   `json:"end"`
	Min   unit.Millis `json:"min"`
}

// Dip is a test dip in progress.
type Dip struct {
	Start unit.Time `json:"start"`
	// End is when the rates returned, 0 while they are still lowered.
	End unit.Time `json:"end,omitempty"`
	// Sides are the directions that were lowered.
	Sides link.Pair[bool] `json:"sides"`
	// Void says that it will not be judged.
	Void bool `json:"void,omitempty"`
	// Level and Delta are the load average and its distance from the baseline at the start, Hosts the reflectors then.
	Level unit.Millis `json:"level"`
	Delta unit.Millis `json:"delta"`
	Hosts int         `json:"hosts"`
	// Min is the least round trip per host among the probes sent in the dip, 0 for none.
	Min []unit.Millis `json:"min,omitempty"`
}

// Rebase returns the snapshot as if it had been taken at now: every instant keeps its age. Use it for a snapshot of
// another boot, whose clock started elsewhere.
func (s Snapshot) Rebase(now unit.Time) Snapshot {
	by := now.Sub(s.Now)
	move := func(t *unit.Time) {
		if *t != 0 {
			// An instant that would fall on or before the clock's zero is as old as the clock.
			*t = max(t.Add(by), 1)
		}
	}
	s.Now = now
	for _, t := range []*unit.Time{&s.Sides.Down.LastCut, &s.Sides.Up.LastCut, &s.Path.Seen, &s.Path.LastDip} {
		move(t)
	}
	blocks := make([]Block, len(s.Path.Blocks))
	for i, b := range s.Path.Blocks {
		move(&b.Start)
		move(&b.End)
		blocks[i] = b
	}
	s.Path.Blocks = blocks
	if s.Path.Open != nil {
		b := *s.Path.Open
		move(&b.Start)
		move(&b.End)
		s.Path.Open = &b
	}
	if s.Path.Dip != nil {
		d := *s.Path.Dip
		move(&d.Start)
		move(&d.End)
		s.Path.Dip = &d
	}
	return s
}

// Snapshot returns the controller's state. It shares nothing with the controller.
func (c *Controller) Snapshot() Snapshot {
	s := Snapshot{
		Now: c.now, Period: c.cfg.Period, RTT: c.rtt,
		Path: Path{Seen: c.path.seen, High: c.path.high, HighFor: c.path.highFor, LastDip: c.path.lastDip},
	}
	if c.primed {
		s.Baseline, s.Load = c.baseline, c.load
	}
	for _, dir := range directions {
		d := c.get(dir)
		s.Sides.Set(dir, Side{
			State: d.state, Rate: d.rate, Green: d.green, SoftRed: d.soft, Rest: d.rest, LastCut: d.lastCut, Cuts: d.cuts,
		})
	}
	p := &c.path
	if p.isOpen {
		s.Path.Open = &Block{Start: p.open.start, End: p.open.end, Min: p.open.min}
	}
	for i := range p.n {
		b := p.blocks[(p.head+i)%blockRoom]
		s.Path.Blocks = append(s.Path.Blocks, Block{Start: b.start, End: b.end, Min: b.min})
	}
	if d := &p.dip; d.phase != noDip {
		s.Path.Dip = &Dip{
			Start: d.start, End: d.end, Sides: d.sides, Void: d.void, Level: d.level, Delta: d.delta, Hosts: d.hosts,
			Min: append([]unit.Millis(nil), d.min[:]...),
		}
	}
	return s
}

// Restore takes over a snapshot. Rates are clamped to the configuration in force and the baseline to its bounds;
// streaks counted in another period keep their time. What cannot be true (a figure that is not a number, an instant
// after the snapshot's own) is discarded and the controller keeps what it has. The next Step may be earlier than
// the snapshot: every instant then keeps its age.
func (c *Controller) Restore(s Snapshot) {
	now := max(s.Now, 0)
	c.now, c.restored, c.started = now, true, true
	if believable(s.Load) && believable(s.Baseline) {
		c.load, c.baseline, c.primed = s.Load, s.Baseline, true
	}
	if believable(s.RTT) {
		c.rtt = s.RTT
	}
	for _, dir := range directions {
		from, to := s.Sides.Get(dir), c.get(dir)
		if from.State <= link.Red {
			to.state = from.State
		}
		if from.Rate > 0 {
			to.rate = from.Rate
		}
		to.green, to.soft = min(max(from.Green, 0), maxStreak), min(max(from.SoftRed, 0), maxStreak)
		to.rest = max(from.Rest, 0) % stepScale
		to.lastCut, to.cuts = past(from.LastCut, now), from.Cuts
	}
	c.path = path{
		seen: past(s.Path.Seen, now), high: s.Path.High, highFor: max(s.Path.HighFor, 0), lastDip: past(s.Path.LastDip, now),
	}
	c.restoreBlocks(s.Path, now)
	c.restoreDip(s.Path.Dip, now)
	c.settle(s.Period)
}

func (c *Controller) restoreBlocks(s Path, now unit.Time) {
	p := &c.path
	ok := func(b Block) bool {
		return believable(b.Min) && b.Start >= 0 && b.Start <= b.End && b.End <= now
	}
	last := unit.Time(0)
	for _, b := range s.Blocks[max(len(s.Blocks)-blockRoom, 0):] {
		if ok(b) && b.Start >= last && b.End.Sub(b.Start) >= blockLeast {
			p.blocks[p.n] = block{start: b.Start, end: b.End, min: b.Min}
			p.n++
			last = b.End
		}
	}
	if b := s.Open; b != nil && ok(*b) && b.Start >= last {
		p.open, p.isOpen = block{start: b.Start, end: b.End, min: b.Min}, true
	}
}

func (c *Controller) restoreDip(s *Dip, now unit.Time) {
	if s == nil || s.Start <= 0 || s.Start > now || s.End < 0 || s.End > now || s.End != 0 && s.End < s.Start ||
		!believable(s.Level) || !believable(s.Delta) || s.Hosts < 1 || s.Hosts > dipHosts {
		return
	}
	d := dip{
		phase: inDip, start: s.Start, end: s.End, sides: s.Sides, void: s.Void, level: s.Level, delta: s.Delta, hosts: s.Hosts,
	}
	if s.End != 0 {
		d.phase = judging
	}
	for h, m := range s.Min[:min(len(s.Min), dipHosts)] {
		if believable(m) {
			d.min[h] = m
		}
	}
	c.path.dip = d
}

// believable reports whether a figure can be a round trip or a delay.
func believable(m unit.Millis) bool {
	return !math.IsNaN(float64(m)) && m > 0 && m <= maxRTT
}

// past returns an instant that is not after now, and 0 for one that cannot be true.
func past(t, now unit.Time) unit.Time {
	if t < 0 || t > now {
		return 0
	}
	return t
}
