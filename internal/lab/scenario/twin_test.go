package scenario

import (
	"math"
	"reflect"
	"sort"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/link"
)

// figures are what a capacity looks like second by second, in Mbit/s; ratios are between neighbouring seconds.
type figures struct{ mean, p5, p95, ratio50, ratio90 float64 }

// look takes the figures of a capacity.
func look(steps []Step, duration time.Duration) figures {
	v := make([]float64, duration/time.Second)
	for i, s := range steps {
		end := duration
		if i+1 < len(steps) {
			end = steps[i+1].At
		}
		for at := s.At; at < end; {
			k := int(at / time.Second)
			if k >= len(v) {
				break
			}
			next := min(end, time.Duration(k+1)*time.Second)
			v[k] += s.Rate.Mbps() * (next - at).Seconds()
			at = next
		}
	}
	var f figures
	var ratios []float64
	for i, x := range v {
		f.mean += x / float64(len(v))
		if i > 0 {
			ratios = append(ratios, math.Exp(math.Abs(math.Log(max(x, 0.1)/max(v[i-1], 0.1)))))
		}
	}
	q := func(v []float64, p float64) float64 {
		sort.Float64s(v)
		return v[int(p*float64(len(v)))]
	}
	f.p5, f.p95, f.ratio50, f.ratio90 = q(v, 0.05), q(v, 0.95), q(ratios, 0.5), q(ratios, 0.9)
	return f
}

// recorded are the figures of the recordings that shipped scenarios name, over their whole length.
var recorded = []struct {
	scenario string
	dir      link.Direction
	length   time.Duration
	want     figures
}{
	{"starlink", link.Down, 120 * time.Second, figures{48.7, 36.4, 67.7, 1.04, 1.16}},
	{"lte-taxi", link.Down, 170 * time.Second, figures{17.2, 2.6, 25.7, 1.17, 2.11}},
	{"lte-driving", link.Down, 140 * time.Second, figures{5.0, 1.1, 11.1, 1.27, 2.33}},
	{"lte-driving", link.Up, 140 * time.Second, figures{5.9, 1.2, 11.4, 1.26, 2.14}},
}

// section returns the twin's or trace's section of a shipped scenario.
func shippedSection(t *testing.T, name string, d link.Direction, key string) (*parser, *section) {
	t.Helper()
	src, err := files.Open("files/" + name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	p := &parser{file: name, phaseAt: map[string]pos{}}
	dir := map[link.Direction]string{link.Down: "down", link.Up: "up"}[d]
	return p, p.section("", "", yamlForm.Root(src, p.tell)).sections("links")[0].vals[dir].sec.vals[key].sec
}

func near(a, b, tolerance float64) bool { return math.Abs(a-b) <= tolerance*b }

// A twin must be worth the recording it stands for: the mean of 20 seeds lies near it in every figure.
func TestTwinsResembleTheRecordings(t *testing.T) {
	for _, r := range recorded {
		p, sec := shippedSection(t, r.scenario, r.dir, "twin")
		tw := p.twin(sec)
		if tw == nil {
			t.Fatal(p.err())
		}
		var got figures
		const seeds = 20
		for seed := uint64(1); seed <= seeds; seed++ {
			f := look(tw.steps(r.length, seed, 0), r.length)
			got.mean += f.mean / seeds
			got.p5 += f.p5 / seeds
			got.p95 += f.p95 / seeds
			got.ratio50 += f.ratio50 / seeds
			got.ratio90 += f.ratio90 / seeds
		}
		t.Logf("%s %s: twin %.2f, recording %.2f", r.scenario, r.dir, got, r.want)
		if !near(got.mean, r.want.mean, 0.03) || !near(got.p95, r.want.p95, 0.06) ||
			math.Abs(got.p5-r.want.p5) > 0.04*r.want.p95 ||
			!near(got.ratio50, r.want.ratio50, 0.06) || !near(got.ratio90, r.want.ratio90, 0.12) {
			t.Errorf("%s %s: the twin's figures are %.2f, the recording's %.2f", r.scenario, r.dir, got, r.want)
		}
	}
}

// Whatever the figures: as many bins as the scenario has, rates within the distribution's ends and jitter, the wanted
// mean and outages, and the same again for the same seed.
func TestTwinProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.SampledFrom(kinds).Draw(t, "kind")
		tw := &twin{
			kind: k.name, mean: rapid.Float64Range(1, 900).Draw(t, "mean"),
			correlation: time.Duration(rapid.Int64Range(1e8, 60e9).Draw(t, "correlation")),
			jitter:      rapid.Float64Range(0, 0.3).Draw(t, "jitter"),
			outage:      rapid.Float64Range(0, 0.02).Draw(t, "outage"),
			bin:         time.Duration(rapid.SampledFrom([]int{20, 40, 100}).Draw(t, "bin")) * time.Millisecond,
		}
		tw.p5, tw.p95 = k.p5*tw.mean, k.p95*tw.mean
		if m := tw.median(); m < tw.p5 || m > tw.p95 {
			if tw.outage == 0 {
				t.Fatalf("the defaults of %s contradict each other: %+v", k.name, tw)
			}
			t.Skip("a narrow line has no room for outages; the parser says so")
		}
		seed := rapid.Uint64().Draw(t, "seed")
		d := time.Duration(rapid.Int64Range(1, 120).Draw(t, "seconds")) * time.Second
		steps := tw.steps(d, seed, 1)
		if want := int((d + tw.bin - 1) / tw.bin); len(steps) != want {
			t.Fatalf("%d steps, want %d", len(steps), want)
		}
		sum, dark := 0.0, 0
		for i, s := range steps {
			if s.At != time.Duration(i)*tw.bin || s.Rate < 0 || s.Rate.Mbps() > highest*tw.p95*math.Exp(6*tw.jitter)+0.001 {
				t.Fatalf("step %d is %+v", i, s)
			}
			if s.Rate == 0 {
				dark++
			}
			sum += s.Rate.Mbps()
		}
		if got := float64(dark) / float64(len(steps)); got > tw.outage+1/float64(len(steps)) {
			t.Fatalf("%.3f of the time without capacity, want %.3f", got, tw.outage)
		}
		// A modem's few levels in a short time cannot have every mean.
		if mean := sum / float64(len(steps)); d >= 30*time.Second && !near(mean, tw.mean, 0.15) {
			t.Fatalf("mean %.2f, want %.2f", mean, tw.mean)
		}
		if !reflect.DeepEqual(steps, tw.steps(d, seed, 1)) {
			t.Fatal("the same seed draws something else")
		}
		if k.name != "dsl" && d > 2*time.Second && reflect.DeepEqual(steps, tw.steps(d, seed, 2)) {
			t.Fatal("another direction draws the same")
		}
	})
}
