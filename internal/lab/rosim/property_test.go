package rosim

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

// Whatever rate is set reads back, however it is spelled.
func TestEveryRateReadsBack(t *testing.T) {
	for name, d := range Dialects() {
		t.Run(name, func(t *testing.T) {
			r, _ := steady(t, func(o *Options) { o.Dialect = d })
			rapid.Check(t, func(rt *rapid.T) {
				want := rapid.Int64Range(0, int64(unit.MaxRate)).Draw(rt, "rate")
				if rapid.Bool().Draw(rt, "round") {
					want = want / 1000 * 1000
				}
				spelled := rapid.SampledFrom([]string{num(want).text(durationClock), compactRate(want)}).Draw(rt, "spelling")
				out, failed := r.Exec(t.Context(), DefaultUser, "/queue/tree/set WAN-Upload-ATT max-limit="+spelled+"; :put [/queue/tree get WAN-Upload-ATT max-limit]")
				got, ok := parseRate(strings.TrimSuffix(out, "\n"))
				if failed || !ok || got != want {
					rt.Errorf("set %s, read %q", spelled, out)
				}
				if stored, _ := r.MaxLimit("WAN-Upload-ATT"); int64(stored) != want {
					rt.Errorf("set %s, stored %d", spelled, stored)
				}
			})
		})
	}
}

// Any text survives quoting, storing, finding and printing.
func TestEveryTextSurvivesQuoting(t *testing.T) {
	r, _ := steady(t, nil)
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune(`abc AZ09"\$?;=[]{}()#'~%éß`)), 1, 40, -1).Draw(rt, "text")
		out, failed := r.Exec(t.Context(), DefaultUser, "/queue/tree/set WAN-Upload-ATT comment="+quote(text)+
			"; :put [/queue/tree get [find where comment="+quote(text)+"] comment]")
		if failed || out != text+"\n" {
			rt.Errorf("%q became %q", text, out)
		}
	})
}

// Both spellings of a time read back to the same time.
func TestEveryTimeReadsBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		d := time.Duration(rapid.Int64Range(0, int64(20*365*24*time.Hour)).Draw(rt, "ns"))
		for _, s := range []string{clockDuration(d), unitsDuration(d)} {
			if got, ok := parseDuration(s); !ok || got != d {
				rt.Errorf("%v is spelled %s and read as %v", d, s, got)
			}
		}
	})
}

// The model conserves bytes: what passes is never more than was offered or than the limit lets through.
func TestTrafficConservesBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r, c := steady(t, nil)
		const q = "WAN-Download-ATT"
		var offered, allowed unit.Bytes
		for range rapid.IntRange(1, 10).Draw(rt, "steps") {
			rate := unit.Rate(rapid.Int64Range(0, 300).Draw(rt, "offered")) * unit.Mbps
			limit := unit.Rate(rapid.Int64Range(1, 200).Draw(rt, "limit")) * unit.Mbps
			d := time.Duration(rapid.Int64Range(1, 5000).Draw(rt, "ms")) * time.Millisecond
			if err := r.SetOffered(q, rate); err != nil {
				rt.Fatal(err)
			}
			if err := r.ForeignSet(q, limit); err != nil {
				rt.Fatal(err)
			}
			before, _ := r.Queue(q)
			c.advance(d)
			after, _ := r.Queue(q)
			offered += rate.Over(d)
			allowed += limit.Over(d)
			if after.Bytes < before.Bytes || after.Bytes > offered || after.Bytes > allowed || after.QueuedBytes > standingQueue {
				rt.Errorf("offered %d, allowed %d: %+v then %+v", offered, allowed, before, after)
			}
		}
	})
}
