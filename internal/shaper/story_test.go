package shaper

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// The transcripts in testdata/stories tell what a controller does over minutes and hours, one row per cycle that
// matters. Regenerate them with -update and read the difference as prose.
//
//	site spectrum|att [soft_red=hold] [lift=green] [period=50ms] [yellow=0.98]   begins a story
//	run n=5|for=2m rtt=24|silent [load=20/2|load=?] [dip_rtt=30] [show=all]      steps on; loads are Mbit/s
//	reload …                                                                     as site, but keeps the state
//	restart                                                                      through a snapshot as JSON
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		var s story
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.td = t, d
			switch d.Cmd {
			case "site":
				s.drive = start(t, s.config())
				s.sample = 0
				return "starts at " + rates(s.Rates()) + "\n"
			case "reload":
				if err := s.Reconfigure(s.config()); err != nil {
					t.Fatal(err)
				}
				return "goes on at " + rates(s.Rates()) + "\n"
			case "restart":
				return s.restart()
			case "run":
				return s.run()
			}
			t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
			return ""
		})
	})
}

type story struct {
	t  *testing.T
	td *datadriven.TestData
	*drive
	sample int
}

func (s *story) arg(key string) (string, bool) {
	for _, a := range s.td.CmdArgs {
		if a.Key == key {
			return strings.Join(a.Vals, ","), true
		}
	}
	return "", false
}

func (s *story) number(key string, otherwise float64) float64 {
	v, ok := s.arg(key)
	if !ok {
		return otherwise
	}
	f, err := strconv.ParseFloat(v, 64)
	if err != nil {
		s.t.Fatalf("%s: %s: %v", s.td.Pos, key, err)
	}
	return f
}

func (s *story) span(key string, otherwise time.Duration) time.Duration {
	v, ok := s.arg(key)
	if !ok {
		return otherwise
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		s.t.Fatalf("%s: %s: %v", s.td.Pos, key, err)
	}
	return d
}

func (s *story) config() Config {
	c := spectrum()
	if _, ok := s.arg("att"); ok {
		c = att()
	}
	if v, _ := s.arg("soft_red"); v == "hold" {
		c.SoftRed = Hold
	}
	if v, _ := s.arg("lift"); v == "green" {
		c.Lift = LiftGreen
	}
	c.Period = s.span("period", c.Period)
	c.Down.FactorDownYellow = unit.PPM(s.number("yellow", 1) * 1e6)
	return c
}

func (s *story) restart() string {
	text, err := json.Marshal(s.Snapshot())
	if err != nil {
		s.t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(text, &back); err != nil {
		s.t.Fatal(err)
	}
	c := s.cfg
	if s.Controller, err = New(c); err != nil {
		s.t.Fatal(err)
	}
	s.Restore(back)
	return "resumes at " + rates(s.Rates()) + "\n"
}

func (s *story) run() string {
	n := int(s.number("n", 0))
	if n == 0 {
		n = s.cycles(s.span("for", 0))
	}
	rtt := unit.Millis(s.number("rtt", 0))
	inDip := unit.Millis(s.number("dip_rtt", float64(rtt)))
	var down, up float64
	loads, known := s.arg("load")
	if known = known && loads != "?"; known {
		if _, err := fmt.Sscanf(loads, "%g/%g", &down, &up); err != nil {
			s.t.Fatalf("%s: load: %v", s.td.Pos, err)
		}
	}
	show, _ := s.arg("show")
	var b strings.Builder
	fmt.Fprintf(&b, "%6s %7s %6s %8s %8s %8s  %-17s %10s %9s  %s\n", "sample", "s", "rtt", "load", "base", "delta", "state", "down", "up", "why")
	var before link.Decision
	skipped, held := 0, ""
	for i := range n {
		l := link.Load{}
		if known {
			l = s.load(down, up)
		}
		now := rtt
		if s.last.Reason.Down.Cause == link.CauseDip || s.last.Reason.Up.Cause == link.CauseDip {
			now = inDip
		}
		got := s.one(rtt, l, s.replies(now))
		s.sample++
		row := fmt.Sprintf("%6d %7s %6.1f %8.3f %8.3f %8.3f  %-17s %10d %9d  %v/%v\n", s.sample,
			strconv.FormatFloat(float64(got.Now.Sub(boot)+s.cfg.Period)/1e9, 'f', -1, 64),
			float64(got.RTT), float64(got.Load), float64(got.Baseline), float64(got.Delta),
			got.State.Down.String()+"/"+got.State.Up.String(), got.Rates.Down, got.Rates.Up, got.Reason.Down.Cause, got.Reason.Up.Cause)
		if !got.Measured {
			row = fmt.Sprintf("%6d %7s      –%27s  %-17s %10d %9d  %v/%v\n", s.sample,
				strconv.FormatFloat(float64(got.Now.Sub(boot)+s.cfg.Period)/1e9, 'f', -1, 64), "",
				got.State.Down.String()+"/"+got.State.Up.String(), got.Rates.Down, got.Rates.Up, got.Reason.Down.Cause, got.Reason.Up.Cause)
		}
		same := i > 0 && got.State == before.State && got.Reason.Down.Cause == before.Reason.Down.Cause && got.Reason.Up.Cause == before.Reason.Up.Cause
		before = got
		if same && len(got.Notes) == 0 && i < n-1 && show != "all" {
			skipped, held = skipped+1, row
			continue
		}
		s.flush(&b, &skipped, held)
		b.WriteString(row)
		for _, note := range got.Notes {
			fmt.Fprintf(&b, "       %v %s: %s\n", note.Level, note.Key, note.Text)
		}
	}
	return b.String()
}

// flush writes what was left out: one row as it is, more as their number.
func (s *story) flush(b *strings.Builder, skipped *int, row string) {
	switch {
	case *skipped == 1:
		b.WriteString(row)
	case *skipped > 1:
		fmt.Fprintf(b, "       … %d cycles like it\n", *skipped)
	}
	*skipped = 0
}

// replies are those of three reflectors at different distances to probes sent in the middle of the last period.
func (s *story) replies(rtt unit.Millis) []link.Reply {
	if rtt == 0 {
		return nil
	}
	sent := s.at.Add(-s.cfg.Period / 2)
	var rs []link.Reply
	for h, further := range []unit.Millis{-4, 0, 6} {
		r := rtt + further
		rs = append(rs, link.Reply{Host: h, Sent: sent, Received: sent.Add(r.Duration()), RTT: r})
	}
	return rs
}

func rates(r link.Rates) string { return fmt.Sprintf("%d down, %d up", r.Down, r.Up) }
