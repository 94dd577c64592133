// Package health says why a line is not well: it proves from counters that the queues shape, and orders causes so
// that a failed parent explains its children.
package health

import (
	"fmt"
	"strconv"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// What proof of shaping takes.
const (
	// ProofShare is the least share of the interface's bytes that must pass the queue. The rest allows for the
	// router's own traffic and for headers that one counter includes and the other does not.
	ProofShare unit.PPM = 900_000
	// ProofTime is how much time with traffic a verdict rests on, and how long a queue must stand.
	ProofTime = 10 * time.Second
	// LeastTraffic is the mean rate below which an interval says nothing: probes and keep-alives of the router itself
	// are then a large part of it.
	LeastTraffic = 100 * unit.Kbps
	// KeepUpShare is the least share of its rate that a queue with a backlog must deliver.
	KeepUpShare unit.PPM = 800_000
	// SteadyShare is the least share of the mean that each slice of such a window must deliver, and LeastDelivered the
	// least share of the rate that the whole must: below them the line has stalled or is dead, which is no limit of the
	// router's.
	SteadyShare    unit.PPM = 500_000
	LeastDelivered unit.PPM = 100_000
	// CapFor is how long a measured limit stays in force after it was last seen; then the rate is tried again.
	CapFor = 10 * time.Minute

	nothing      unit.PPM = 10_000          // up to 1 % counts as none: stray packets
	resemble     unit.PPM = 100_000         // 10 %: the queue's bytes are the other direction's
	slice                 = ProofTime / 20  // readings closer together are joined, so that a window has a fixed size
	steadySlices          = 4               // fewer show no steadiness
	window                = 32              // slices kept: ProofTime of them and some to spare
	longestGap            = 2 * time.Minute // a longer time between readings is a hole, not an interval
	tellEvery             = 10 * time.Minute
	stale                 = 5 * time.Minute // traffic seen longer ago proves nothing about now
)

// Place is where a line's queues are: it decides what can keep packets from them.
type Place uint8

// The places.
const (
	// RouterOS is a MikroTik router.
	RouterOS Place = iota
	// Linux is this host's own kernel: the download's queue is an ifb's, or that of the interface towards the house.
	Linux
)

// Cause is a named reason why a queue does not do its work.
type Cause uint8

// The causes.
const (
	// FastTrack: established connections bypass simple queues and queue trees under "global".
	FastTrack Cause = iota
	// WrongParent: the queue hangs where this direction's packets do not leave.
	WrongParent
	// WrongMark: the queue selects packets by a mark that this direction's packets do not carry.
	WrongMark
	// Offload: packets are forwarded in hardware and never meet a queue.
	Offload
	// CPU: the queue has a backlog and its rate is not reached: the router is the limit.
	CPU
	// NotRedirected: what comes in does not reach the ifb (Linux).
	NotRedirected
	// WrongInterface: the queue is at an interface that this direction's packets do not leave by (Linux).
	WrongInterface
	// WrongTarget: target and dst of a simple queue are not this line's, or another before it takes the packets.
	WrongTarget
)

var causeNames = [...]string{
	FastTrack: "fasttrack", WrongParent: "wrong_parent", WrongMark: "wrong_mark", Offload: "offload", CPU: "router_cpu",
	NotRedirected: "not_redirected", WrongInterface: "wrong_interface", WrongTarget: "wrong_target",
}

var causeWords = [...]string{
	FastTrack:   "FastTrack lets connections bypass it (exclude them: connection-mark=no-mark on the fasttrack rule, or disable the rule)",
	WrongParent: "a wrong parent (it must hang on the interface this direction leaves by)",
	WrongMark:   "a wrong packet mark (the mangle rule that sets it misses this traffic; IPv6 needs its own)",
	Offload:     "hardware offload (bridge hw=no, L3 hardware offloading off)",
	CPU:         "the router's CPU",
	NotRedirected: "packets that are not redirected to it (the ingress filter is missing, or another takes them before it: " +
		"`wanctl qdisc plan FILE` shows it)",
	WrongTarget: "a simple queue that stands before it, or a target and dst that are not this line's (the target is the house, the dst " +
		"the line's interface, and the first queue that matches takes a packet)",
	WrongInterface: "a wrong interface (packets of this direction leave by another one)",
}

// Linux calls two causes by other names.
var linuxWords = map[Cause]string{
	Offload: "hardware offload (a flowtable with flags offload, or the interface's hw-tc-offload; ethtool -K IF hw-tc-offload off)",
	CPU:     "this host's CPU",
}

func (p Place) words(c Cause) string {
	if w, ok := linuxWords[c]; ok && p == Linux {
		return w
	}
	return causeWords[c]
}

// String returns the cause's name in status, metrics and files.
func (c Cause) String() string {
	if int(c) < len(causeNames) {
		return causeNames[c]
	}
	return "invalid"
}

// MarshalText writes the cause's name.
func (c Cause) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Finding is one thing wrong with one direction's queue.
type Finding struct {
	Direction link.Direction
	// Cause is the likeliest; Or are those that the counters cannot tell from it.
	Cause Cause
	Or    []Cause
	// Share is queue bytes ÷ interface bytes, or for CPU delivered ÷ rate.
	Share unit.PPM
	// Cap is the rate the router was measured to deliver; 0 unless the cause is CPU.
	Cap unit.Rate
	// At is when it was last seen.
	At unit.Time
	// Text is one sentence with the numbers and the way out.
	Text string
}

// Verdict is what is known about one direction's queue.
type Verdict uint8

// The verdicts.
const (
	// Unproved: not enough traffic yet, or no interface counters to compare with.
	Unproved Verdict = iota
	// Proved: the interface's bytes pass the queue.
	Proved
	// Bypassed: they do not; a finding says why.
	Bypassed
)

// String returns "unproved", "proved" or "bypassed".
func (v Verdict) String() string {
	switch v {
	case Unproved:
		return "unproved"
	case Proved:
		return "proved"
	case Bypassed:
		return "bypassed"
	}
	return "invalid"
}

// interval is what moved between two readings, one direction's view.
type interval struct {
	at            unit.Time // its end
	long          time.Duration
	queue         unit.Bytes // through the queue
	arrived       unit.Bytes // into it: what it dropped has met it, too
	wan, otherWAN unit.Bytes // through the interface, this direction and the opposite one
	hasWAN        bool
	standing      bool       // the queue held bytes at both ends and all readings between
	rate          unit.Rate  // the least rate in force at its ends; 0: unlimited
	counter       unit.Bytes // the queue's counter at its end
}

// restarted says whether the queue's counter may have been reset within the interval and have passed its old value
// since, which no reading shows: it then holds no more than the interface carried, and a quarter for headers.
func (iv interval) restarted() bool { return iv.counter <= iv.wan+iv.wan/4 }

// short says that the queue carried so little of what the interface did that it would be accused. Of one interval alone it accuses
// nobody: queue and interface are not read at one instant, so what passes between the two readings is in one interval of the one and
// in the next of the other. Of an interval as long as the proof that is little.
func (iv interval) short() bool { return iv.long < ProofTime && iv.share() < ProofShare }

// lend gives an interval what it lacks of excess, and returns what is left of that.
func (iv *interval) lend(excess unit.Bytes) unit.Bytes {
	n := max(min(iv.wan-iv.arrived, excess), 0)
	iv.arrived, iv.queue = iv.arrived+n, iv.queue+n
	return excess - n
}

// share is queue bytes ÷ interface bytes.
func (iv interval) share() unit.PPM { return unit.ShareOf(int64(iv.arrived), int64(iv.wan)) }

// dropped estimates the bytes that a queue which counts its drops has thrown away, in packets of the mean size it sent:
// under a flood that does not yield they are more than what it let through, and the shaping is proved all the same.
func dropped(a, b link.Queue) unit.Bytes {
	n, packets, sent := b.Dropped-a.Dropped, b.Packets-a.Packets, b.Bytes-a.Bytes
	if n <= 0 || packets <= 0 || sent <= 0 {
		return 0
	}
	return unit.Bytes(float64(n) * (float64(sent) / float64(packets)))
}

// watch is one direction's evidence.
type watch struct {
	place Place
	open  interval         // readings not yet long enough for a slice
	ring  [window]interval // slices with traffic, newest at next-1
	next  int
	n     int
	// early is what the queue carried more than the interface in a slice without traffic, right before now: the interface counted
	// it later.
	early   unit.Bytes
	verdict Verdict
	finding *Finding
	told    bool      // the finding was said
	toldAt  unit.Time // when one was last said; 0: never

	stood standing
	cpu   *Finding
}

// standing is the time that a queue has stood without a break.
type standing struct {
	long      time.Duration
	delivered unit.Bytes // in that time
	allowed   unit.Bytes // what the rate would have let through
	// The slice in progress, those complete and the least rate that one delivered.
	sliceLong time.Duration
	slice     unit.Bytes
	slices    int
	least     unit.Rate
}

// add takes an interval in and reports whether the time is long enough to judge.
func (s *standing) add(iv interval) bool {
	s.long += iv.long
	s.delivered += iv.queue
	s.allowed += iv.rate.Over(iv.long)
	s.sliceLong += iv.long
	s.slice += iv.queue
	if s.sliceLong >= slice {
		if r := s.slice.Per(s.sliceLong); s.slices == 0 || r < s.least {
			s.least = r
		}
		s.slices++
		s.slice, s.sliceLong = 0, 0
	}
	return s.long >= ProofTime && s.slices >= steadySlices
}

// limit returns the rate that was delivered and its share of the rate in force, and whether that is the router's
// limit: short of the rate, yet steady.
func (s *standing) limit() (unit.Rate, unit.PPM, bool) {
	rate, share := s.delivered.Per(s.long), unit.ShareOf(int64(s.delivered), int64(s.allowed))
	return rate, share, share < KeepUpShare && share >= LeastDelivered && s.least >= rate.Scale(SteadyShare)
}

// Shaping watches one line's reports for proof that its queues shape. The zero value is not ready; use [NewShaping].
type Shaping struct {
	place Place
	have  bool
	last  link.Report
	dirs  link.Pair[*watch]
}

// NewShaping returns a watch that has seen nothing.
func NewShaping(at Place) *Shaping {
	return &Shaping{place: at, dirs: link.Pair[*watch]{Down: &watch{place: at}, Up: &watch{place: at}}}
}

// Step takes the next reading and returns what is wrong now, and a note for each finding that began or ended with it.
func (s *Shaping) Step(r link.Report) (findings []Finding, notes []link.Note) {
	last, have := s.last, s.have
	s.last, s.have = r, true
	long := r.At.Sub(last.At)
	if have && long <= 0 { // not newer: nothing to learn
		s.last = last
		return s.Findings(), nil
	}
	hole := !have || long > longestGap || r.Uptime < last.Uptime
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		w := s.dirs.Get(d)
		iv, ok := between(d, last, r)
		if hole || !ok {
			w.broken()
			continue
		}
		notes = w.add(d, iv, r.Get(d).Parent, notes)
	}
	return s.Findings(), notes
}

// Findings returns what is wrong now: at most a bypass and a CPU limit per direction.
func (s *Shaping) Findings() []Finding {
	var out []Finding
	for _, w := range [...]*watch{s.dirs.Down, s.dirs.Up} {
		for _, f := range [...]*Finding{w.finding, w.cpu} {
			if f != nil {
				out = append(out, *f)
			}
		}
	}
	return out
}

// Verdicts returns what is known about each queue.
func (s *Shaping) Verdicts() link.Pair[Verdict] {
	return link.Pair[Verdict]{Down: s.dirs.Down.verdict, Up: s.dirs.Up.verdict}
}

// Caps returns the rates the router was measured to be able to deliver; 0 is no limit found.
func (s *Shaping) Caps() link.Rates {
	var out link.Rates
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		if f := s.dirs.Get(d).cpu; f != nil {
			out.Set(d, f.Cap)
		}
	}
	return out
}

// between returns what moved from a to b; ok is false when a counter went down.
func between(d link.Direction, a, b link.Report) (iv interval, ok bool) {
	qa, qb := a.Get(d), b.Get(d)
	iv = interval{at: b.At, long: b.At.Sub(a.At), queue: qb.Bytes - qa.Bytes, hasWAN: a.HasWAN && b.HasWAN}
	if iv.hasWAN {
		iv.wan, iv.otherWAN = b.WANRx-a.WANRx, b.WANTx-a.WANTx
		if d == link.Up {
			iv.wan, iv.otherWAN = iv.otherWAN, iv.wan
		}
	}
	iv.counter = qb.Bytes
	iv.arrived = iv.queue + dropped(qa, qb)
	iv.standing = qa.QueuedBytes > 0 && qb.QueuedBytes > 0
	if qa.MaxLimit > 0 && qb.MaxLimit > 0 {
		iv.rate = min(qa.MaxLimit, qb.MaxLimit)
	}
	return iv, iv.queue >= 0 && iv.wan >= 0 && iv.otherWAN >= 0
}

// broken forgets what a hole in the readings makes worthless; slices already complete keep their worth.
func (w *watch) broken() {
	w.open, w.early = interval{}, 0
	w.stood = standing{}
}

// add takes an interval in.
func (w *watch) add(d link.Direction, iv interval, parent string, notes []link.Note) []link.Note {
	notes = w.keepsUp(d, iv, notes)
	w.open.at = iv.at
	w.open.long += iv.long
	w.open.queue += iv.queue
	w.open.arrived += iv.arrived
	w.open.wan += iv.wan
	w.open.otherWAN += iv.otherWAN
	w.open.counter = iv.counter
	if !iv.hasWAN {
		w.open = interval{}
		return notes
	}
	if w.open.long < slice {
		return notes
	}
	done, early := w.open, w.early
	w.open, w.early = interval{}, 0
	if done.wan.Per(done.long) < LeastTraffic {
		late := max(done.arrived-done.wan, 0)
		last := &w.ring[(w.next-1+window)%window]
		if w.n == 0 || last.at != done.at.Add(-done.long) {
			w.early = late
			return notes
		}
		w.early = last.lend(late)
		return w.judge(d, parent, done.at, 0, notes)
	}
	done.lend(early)
	w.ring[w.next] = done
	w.next = (w.next + 1) % window
	w.n = min(w.n+1, window)
	unsettled := 0
	if done.short() { // the rest may come with the next reading
		unsettled = 1
	}
	return w.judge(d, parent, done.at, unsettled, notes)
}

// judge compares the newest ProofTime of traffic, but for the slices that are not settled yet. One slice in which the queue's
// counter may have restarted is left out, the one with the least share. No other is: what bypasses the queue may do so in a single
// burst. While the oldest is short, the one before it counts as well.
func (w *watch) judge(d link.Direction, parent string, now unit.Time, unsettled int, notes []link.Note) []link.Note {
	var sum, worst interval
	edge := false // the oldest so far lacks what the one before it may have had too much
	for i := 1 + unsettled; i <= w.n && (sum.long < ProofTime || edge); i++ {
		iv := w.ring[(w.next-i+window)%window]
		edge = iv.short()
		if now.Sub(iv.at) > stale {
			break
		}
		if iv.restarted() && (worst.long == 0 || iv.share() < worst.share()) {
			iv, worst = worst, iv
		}
		sum.long += iv.long
		sum.queue += iv.queue
		sum.arrived += iv.arrived
		sum.wan += iv.wan
		sum.otherWAN += iv.otherWAN
	}
	if sum.long < ProofTime {
		return notes
	}
	share := sum.share()
	if share >= ProofShare {
		if w.told {
			notes = append(notes, link.Note{Level: link.Info, Key: "shaping_proved", Text: fmt.Sprintf(
				"The %s queue carries the interface's bytes again (%s over %s of traffic).", d, share, ProofTime)})
		}
		w.verdict, w.finding, w.told = Proved, nil, false
		return notes
	}
	f := name(w.place, d, parent, sum, share)
	f.At = now
	// A share that swings around the limit would begin and end a finding every few seconds: said once in ten minutes.
	if w.finding == nil && (w.toldAt == 0 || now.Sub(w.toldAt) >= tellEvery) {
		w.told, w.toldAt = true, now
		notes = append(notes, link.Note{Level: link.Alert, Key: "not_shaping", Text: f.Text})
	}
	w.verdict, w.finding = Bypassed, &f
	return notes
}

// name finds the cause of a bypass, as far as counters tell.
func name(at Place, d link.Direction, parent string, sum interval, share unit.PPM) Finding {
	f := Finding{Direction: d, Share: share}
	swapped := like(sum.queue, sum.otherWAN) && !like(sum.wan, sum.otherWAN) // its bytes are the opposite direction's
	switch at {
	case RouterOS:
		f.nameRouterOS(parent, share, swapped)
	case Linux:
		f.nameLinux(swapped)
	}
	queue := d.String()
	if parent != "" {
		queue += " queue (parent " + strconv.QuoteToASCII(parent) + ")"
	} else {
		queue += " queue"
	}
	f.Text = fmt.Sprintf("The %s saw %s of the %d kB that the WAN interface carried in %s of traffic, so it does not shape the line; "+
		"likely %s", queue, round(share), sum.wan/1000, ProofTime, at.words(f.Cause))
	for _, c := range f.Or {
		f.Text += ", or " + at.words(c)
	}
	f.Text += "."
	return f
}

func (f *Finding) nameRouterOS(parent string, share unit.PPM, swapped bool) {
	simple, global := parent == "", parent == "global" // FastTrack bypasses both
	switch {
	case simple && swapped: // the line is its target
		f.Cause = WrongTarget
	case simple:
		f.Cause, f.Or = FastTrack, []Cause{WrongTarget, Offload}
	case swapped: // it hangs on the wrong interface
		f.Cause = WrongParent
	case share <= nothing && global:
		f.Cause, f.Or = FastTrack, []Cause{WrongMark, Offload}
	case share <= nothing:
		f.Cause, f.Or = WrongMark, []Cause{WrongParent, Offload}
	case global:
		f.Cause, f.Or = FastTrack, []Cause{WrongMark}
	default: // FastTrack does not bypass a tree on an interface
		f.Cause, f.Or = WrongMark, []Cause{Offload}
	}
}

func (f *Finding) nameLinux(swapped bool) {
	switch {
	case swapped:
		f.Cause = WrongInterface
	case f.Direction == link.Down:
		f.Cause, f.Or = NotRedirected, []Cause{WrongInterface, Offload}
	default:
		f.Cause, f.Or = Offload, []Cause{WrongInterface}
	}
}

// like says whether a is within a tenth of b.
func like(a, b unit.Bytes) bool {
	if b <= 0 {
		return false
	}
	s := unit.ShareOf(int64(a), int64(b))
	return s >= unit.One-resemble && s <= unit.One+resemble
}

func round(p unit.PPM) string { return strconv.FormatFloat(float64(p)/1e4, 'f', 1, 64) + " %" }

// keepsUp looks for a queue of our own that stands while its rate is not reached, though it drains steadily.
func (w *watch) keepsUp(d link.Direction, iv interval, notes []link.Note) []link.Note {
	if w.cpu != nil && iv.at.Sub(w.cpu.At) >= CapFor {
		notes = append(notes, link.Note{Level: link.Info, Key: "router_cpu_over", Text: fmt.Sprintf(
			"The %s is no longer held at %s: the router's limit was not seen for %s and the full rate is tried again.", d, w.cpu.Cap, CapFor)})
		w.cpu = nil
	}
	if !iv.standing || iv.rate == 0 {
		w.stood = standing{}
		return notes
	}
	if !w.stood.add(iv) {
		return notes
	}
	rate, share, limited := w.stood.limit()
	long := w.stood.long.Round(time.Second)
	w.stood = standing{}
	if !limited {
		return notes
	}
	f := Finding{Direction: d, Cause: CPU, Share: share, Cap: rate, At: iv.at, Text: fmt.Sprintf(
		"The %s queue stands, yet only %s of its rate (%s) was delivered for %s: %s, or a limit above the queue, is the "+
			"limit; holding the rate at %s. A faster router, or fewer rules per packet, lifts it.", d, round(share), rate, long, w.place.words(CPU), rate)}
	if w.cpu == nil {
		notes = append(notes, link.Note{Level: link.Alert, Key: "router_cpu", Text: f.Text})
	}
	w.cpu = &f
	return notes
}
