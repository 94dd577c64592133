package scenario

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"time"

	"wanctl/internal/unit"
)

// twin draws a capacity that looks like a kind of line. The rates' distribution is set by its mean and two percentiles
// and is hit for every seed, because ranks are mapped onto it; what a kind decides is how the rates follow each other.
type twin struct {
	kind          string
	mean, p5, p95 float64 // Mbit/s
	correlation   time.Duration
	jitter        float64 // share
	outage        float64 // share
	bin           time.Duration
}

// twinKind is what a kind of line adds to the figures, and the figures where a file gives none.
type twinKind struct {
	name string
	// p5 and p95 are shares of the mean.
	p5, p95        float64
	correlation    time.Duration
	jitter, outage float64 // %
	// walk draws how good the line is over time, in any unit: only the order of its values counts.
	walk func(t *twin, n int, rng *rand.Rand) []float64
}

// The defaults of lte are what the US LTE recordings of mahimahi and the New York ones published with Orca have in
// common, those of starlink the LeoCC recording; docsis and dsl are judgement: a node that its neighbours use half of
// on a bad evening, and a line that only renegotiates.
var kinds = []twinKind{
	{"lte", 0.25, 1.9, 5 * time.Second, 12, 0.5, (*twin).walkSmooth},
	{"starlink", 0.74, 1.39, 10 * time.Second, 8, 0.3, (*twin).walkSlots},
	{"docsis", 0.55, 1.25, 6 * time.Second, 3, 0, (*twin).walkNeighbours},
	{"dsl", 0.9, 1.05, 20 * time.Second, 0.5, 0, (*twin).walkLevels},
}

// twinKinds lists the kinds' names.
func twinKinds() []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = k.name
	}
	return out
}

func kindOf(name string) twinKind {
	return kinds[max(0, slices.IndexFunc(kinds, func(k twinKind) bool { return k.name == name }))]
}

// twin reads the section of a twin; nil when it is bad.
func (p *parser) twin(sec *section) *twin {
	if !p.require(sec, "kind", "mean") {
		return nil
	}
	k := kindOf(sec.text("kind"))
	or := func(name string, def float64) float64 {
		if sec.has(name) {
			return sec.num(name)
		}
		return def
	}
	t := &twin{kind: k.name, mean: sec.num("mean"), bin: sec.dur("bin")}
	t.p5, t.p95 = or("p5", float64(k.p5*t.mean)), or("p95", float64(k.p95*t.mean))
	t.correlation = sec.durOr("correlation", k.correlation)
	t.jitter, t.outage = or("jitter_percent", k.jitter)/100, or("outage_percent", k.outage)/100
	if sec.bad("p5") || sec.bad("p95") || sec.bad("outage_percent") {
		return nil
	}
	if t.p5 > t.p95 {
		p.errorf(sec.place("p5"), join(sec.path, "p5"), "", "%g is above the 95th percentile of %g", t.p5, t.p95)
		return nil
	}
	if m := t.median(); m < t.p5 || m > t.p95 {
		low, high := t.means()
		p.errorf(sec.place("mean"), join(sec.path, "mean"), "move it, or the percentiles",
			"%g does not go with percentiles of %g and %g: it must lie between %.4g and %.4g", t.mean, t.p5, t.p95, low, high)
		return nil
	}
	return t
}

// The ends of the distribution, as shares of the percentiles next to them. Recordings of 120 to 1000 s have their
// smallest and largest second there; outages are drawn apart.
const (
	lowest  = 0.5
	highest = 1.15
)

// The distribution goes in straight lines through the lowest rate, p5, the median, p95 and the highest rate.

// median is the one that gives the mean, outages counted in.
func (t *twin) median() float64 {
	ends := 0.025*((1+lowest)*t.p5) + 0.025*((1+highest)*t.p95)
	return ((t.mean/(1-t.outage)-ends)/0.225 - t.p5 - t.p95) / 2
}

// means are the smallest and largest mean that the percentiles allow.
func (t *twin) means() (low, high float64) {
	ends := 0.025*((1+lowest)*t.p5) + 0.025*((1+highest)*t.p95)
	return (1 - t.outage) * (ends + 0.225*(3*t.p5+t.p95)), (1 - t.outage) * (ends + 0.225*(t.p5+3*t.p95))
}

// at returns the rate that a share u of the time is below, in Mbit/s.
func (t *twin) at(u float64) float64 {
	line := func(u, u0, u1, a, b float64) float64 { return a + float64((b-a)*((u-u0)/(u1-u0))) }
	switch m := t.median(); {
	case u < 0.05:
		return line(u, 0, 0.05, lowest*t.p5, t.p5)
	case u < 0.5:
		return line(u, 0.05, 0.5, t.p5, m)
	case u < 0.95:
		return line(u, 0.5, 0.95, m, t.p95)
	default:
		return line(u, 0.95, 1, t.p95, highest*t.p95)
	}
}

// steps draws the capacity of a scenario of this duration. Equal seeds and streams draw equal capacities.
func (t *twin) steps(duration time.Duration, seed, stream uint64) []Step {
	rng := rand.New(rand.NewPCG(seed, 0x7477696e<<8|stream))
	n := int((duration + t.bin - 1) / t.bin)
	walk := kindOf(t.kind).walk(t, n, rng)
	share := ranks(walk)
	// Jitter has the mean 1, so that it leaves the mean rate alone, and is gone after tens of milliseconds.
	noise := t.drift(n, 60*time.Millisecond, rng)
	dark := t.outages(walk, rng)
	out := make([]Step, n)
	for i := range out {
		f := t.at(share[i]) * math.Exp(float64(t.jitter*noise[i])-float64(t.jitter*t.jitter)/2)
		if dark[i] {
			f = 0
		}
		// Whole kbit/s: what is below is the arithmetic of one processor or the other.
		r := unit.Rate(math.Round(min(f, maxMbps)*1000)) * unit.Kbps
		out[i] = Step{time.Duration(i) * t.bin, r}
	}
	return out
}

// ranks returns for each value the share of values below it, equal values taken together.
func ranks(v []float64) []float64 {
	order := make([]int, len(v))
	for i := range order {
		order[i] = i
	}
	sort.SliceStable(order, func(i, j int) bool { return v[order[i]] < v[order[j]] })
	out := make([]float64, len(v))
	for i := 0; i < len(order); {
		j := i
		for j < len(order) && v[order[j]] == v[order[i]] {
			j++
		}
		for k := i; k < j; k++ {
			out[order[k]] = float64(i+j) / 2 / float64(len(v))
		}
		i = j
	}
	return out
}

// drift is a random walk that is drawn back to 0, with a spread of 1 and this correlation time.
func (t *twin) drift(n int, correlation time.Duration, rng *rand.Rand) []float64 {
	keep := math.Exp(-float64(t.bin) / float64(correlation))
	push := math.Sqrt(1 - float64(keep*keep))
	out := make([]float64, n)
	x := rng.NormFloat64()
	for i := range out {
		out[i] = x
		x = float64(keep*x) + float64(push*rng.NormFloat64())
	}
	return out
}

// walkSmooth wanders, as the sum of fading and the cell's other users does.
func (t *twin) walkSmooth(n int, rng *rand.Rand) []float64 { return t.drift(n, t.correlation, rng) }

// slot is how long Starlink keeps a terminal's assignment of satellite and spectrum.
const slot = 15 * time.Second

// walkSlots wanders around a level that is drawn anew each slot, with a dip of 50 to 200 ms where slots meet.
func (t *twin) walkSlots(n int, rng *rand.Rand) []float64 {
	out := t.drift(n, t.correlation, rng)
	bins := max(1, int(slot/t.bin))
	next := rng.IntN(bins)
	level, dip := rng.NormFloat64(), 0
	for i := range out {
		if i >= next {
			next += bins
			level = rng.NormFloat64()
			dip = int((50*time.Millisecond + time.Duration(rng.Int64N(int64(150*time.Millisecond)))) / t.bin)
		}
		out[i] += level
		if dip > 0 {
			out[i] -= 6
			dip--
		}
	}
	return out
}

// walkNeighbours loses a share of the line to each neighbour that is busy: a dozen of them, busy a quarter of the time,
// and in the middle of the scenario more than at its ends.
func (t *twin) walkNeighbours(n int, rng *rand.Rand) []float64 {
	out := t.drift(n, time.Second, rng)
	for i := range out {
		out[i] = 0.3*out[i] - 1.5*math.Sin(math.Pi*float64(i)/float64(max(1, n)))
	}
	for range 12 {
		busy := rng.IntN(4) == 0
		for i := 0; i < n; {
			mean := 3 * t.correlation
			if busy {
				mean = t.correlation
			}
			stay := 1 + int(min(rng.ExpFloat64(), 20)*float64(mean)/float64(t.bin))
			for j := i; busy && j < min(n, i+stay); j++ {
				out[j]--
			}
			i += stay
			busy = !busy
		}
	}
	return out
}

// walkLevels stays at a level and jumps to the next, as a modem does that follows its noise.
func (t *twin) walkLevels(n int, rng *rand.Rand) []float64 {
	out := make([]float64, n)
	for i := 0; i < n; {
		level := rng.NormFloat64()
		stay := 1 + int(min(rng.ExpFloat64(), 20)*float64(t.correlation)/float64(t.bin))
		for j := i; j < min(n, i+stay); j++ {
			out[j] = level
		}
		i += stay
	}
	return out
}

// outages marks the bins without capacity: spells of 0.1 to 2 s where the line is weak anyway, until their share of the
// time is used up. The first second stays alight, so that a controller sees the line before it loses it.
func (t *twin) outages(walk []float64, rng *rand.Rand) []bool {
	n := len(walk)
	dark := make([]bool, n)
	first := int(time.Second / t.bin)
	left := int(math.Round(t.outage * float64(n)))
	for tries := 0; left > 0 && first < n && tries < 100_000; tries++ {
		spell := 0.1 * math.Exp(rng.Float64()*math.Log(20)) // s
		bins := min(left, max(1, int(spell*float64(time.Second)/float64(t.bin))))
		at := first + rng.IntN(n-first)
		for range 4 {
			if other := first + rng.IntN(n-first); walk[other] < walk[at] {
				at = other
			}
		}
		for i := at; i < min(n, at+bins); i++ {
			if !dark[i] {
				dark[i] = true
				left--
			}
		}
	}
	return dark
}
