package tracking

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"wanctl/internal/link"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata/stories")

func TestMain(m *testing.M) {
	flag.Parse()
	if *update {
		if err := flag.Set("rewrite", "true"); err != nil { // the transcript reader's own switch
			fmt.Fprintln(os.Stderr, "the transcripts cannot be rewritten:", err)
			os.Exit(2)
		}
	}
	os.Exit(m.Run())
}

// The transcripts in testdata/stories tell what the law makes of a line, one row per step that matters: what it heard,
// what it decided and why. Regenerate them with -update and read the difference as prose.
//
//	line capacity=40/10 [limits=no] [one_way] [loaded=down|up|both|none] [floor=68] [slow=150ms] [readings=300ms] [profile=latency]
//	go for=2s [capacity=20/10] [loaded=…] [further=40] [deaf] [show=all]     lets it live; what is given changes at once
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var p *plant
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s := script{t, d}
			switch d.Cmd {
			case "line":
				p = s.line()
				return fmt.Sprintf("starts at %v down, %v up\n", p.ctl.Rate(link.Down), p.ctl.Rate(link.Up))
			case "go":
				return s.live(p)
			}
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			return ""
		})
	})
}

// script is one command of a story.
type script struct {
	t  *testing.T
	td *datadriven.TestData
}

func (s script) arg(key string) (string, bool) {
	for _, a := range s.td.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, ","), true
		}
	}
	return "", false
}

func (s script) span(key string) time.Duration {
	v, ok := s.arg(key)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		s.t.Fatalf("%s: %s: %v", s.td.Pos, key, err)
	}
	return d
}

func (s script) capacity() (down, up float64, given bool) {
	v, ok := s.arg("capacity")
	if ok {
		if _, err := fmt.Sscanf(v, "%g/%g", &down, &up); err != nil {
			s.t.Fatalf("%s: capacity: %v", s.td.Pos, err)
		}
	}
	return down, up, ok
}

func (s script) line() *plant {
	down, up, _ := s.capacity()
	cfg := sold(down, up)
	if _, ok := s.arg("limits"); ok {
		cfg = Config{}
	}
	if v, ok := s.arg("profile"); ok {
		for i, name := range profileNames {
			if name == v {
				cfg.Profile = Profile(i)
			}
		}
	}
	p := newPlant(s.t, cfg, down, up)
	_, p.oneWay = s.arg("one_way")
	p.slow, p.readings = s.span("slow"), s.span("readings")
	p.late = p.readings / 4
	if v, ok := s.arg("floor"); ok {
		p.floor, _ = strconv.ParseFloat(v, 64)
	}
	s.load(p)
	p.tell = func(*plant, []link.Sample) {}
	return p
}

func (s script) load(p *plant) {
	v, ok := s.arg("loaded")
	if !ok {
		return
	}
	for _, d := range both {
		if p.loaded[d] = never; v == "both" || v == []string{"down", "up"}[d] {
			p.loaded[d] = always
		}
	}
}

// live runs a plant and tells of the steps that differ from the ones before them.
func (s script) live(p *plant) string {
	if down, up, ok := s.capacity(); ok {
		p.capacity = [2]func(time.Duration) float64{constant(down), constant(up)}
	}
	s.load(p)
	if v, ok := s.arg("further"); ok {
		ms, _ := strconv.ParseFloat(v, 64)
		p.further = func(host int, _ time.Duration) float64 { return ms + float64(3*host) }
	}
	_, deaf := s.arg("deaf")
	p.lost = func(int) bool { return deaf }
	show, _ := s.arg("show")
	var b strings.Builder
	fmt.Fprintf(&b, "%7s  %-14s %-15s %-15s  %s\n", "s", "heard, ms", "down", "up", "why")
	var last, lastRates string
	skipped, held := 0, ""
	flush := func() {
		switch {
		case skipped == 1:
			b.WriteString(held)
		case skipped > 1:
			fmt.Fprintf(&b, "         … %d steps like it\n", skipped)
		}
		skipped = 0
	}
	p.tell = func(p *plant, heard []link.Sample) {
		what := ""
		for _, x := range heard {
			if x.OneWay {
				what += fmt.Sprintf("%d:%.0f/%.0f ", x.Host, float64(x.Way.Down), float64(x.Way.Up))
			} else {
				what += fmt.Sprintf("%d:%.0f ", x.Host, float64(x.Delta))
			}
		}
		if q := p.silence(); len(heard) == 0 && q.Hosts > 0 {
			what = fmt.Sprintf("(%d late %.0f)", q.Hosts, float64(q.Over))
		}
		o := p.out
		figure := func(d link.Direction) string {
			text := fmt.Sprintf("%.2f", o.Rates.Get(d).Mbps())
			if c := o.Capacity.Get(d); c > 0 {
				text += fmt.Sprintf(" of %.2f", c.Mbps())
			}
			return text
		}
		why := o.Reason.Down.Cause.String() + "/" + o.Reason.Up.Cause.String()
		rates := fmt.Sprintf("%-15s %-15s", figure(link.Down), figure(link.Up))
		row := fmt.Sprintf("%7.3f  %-14s %s  %s\n", p.at().Seconds(), strings.TrimSpace(what), rates, why)
		cut := strings.Contains(why, link.CauseCut.String()) && rates != lastRates
		lastRates = rates
		if why == last && len(o.Notes) == 0 && show != "all" && !cut {
			skipped, held = skipped+1, row
			return
		}
		flush()
		last = why
		b.WriteString(row)
		for _, n := range o.Notes {
			fmt.Fprintf(&b, "         %v %s: %s\n", n.Level, n.Key, n.Text)
		}
	}
	from := p.at()
	p.run(s.span("for"))
	if skipped > 1 { // the last one is told
		skipped--
		flush()
		b.WriteString(held)
	}
	flush()
	if p.capacity[link.Down](from) == 0 {
		return b.String()
	}
	fmt.Fprintf(&b, "carried %.0f %% and %.0f %%, queued %.0f and %.0f ms at the 95th percentile\n",
		p.used(link.Down, from, p.at()), p.used(link.Up, from, p.at()),
		p.queued(link.Down, from, p.at(), 0.95), p.queued(link.Up, from, p.at(), 0.95))
	return b.String()
}
