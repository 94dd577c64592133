package actuate

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "rewrite the golden transcripts")

func att() Config { return Config{Ceiling: mb(95, 18), Burst: 2, Daily: 5000, Reads: true} }

// TestStories plays one situation each and compares what the router is asked, told and what a person is told.
func TestStories(t *testing.T) {
	stories := []struct {
		name string
		play func() *bench
	}{
		{"cold_start", func() *bench {
			b := newBench(att(), mb(60, 10))
			b.Has = false
			b.run(5 * time.Second)
			b.remark("the first decision exists")
			b.Has = true
			b.run(5 * time.Second)
			b.decide(mb(85.5, 17.1))
			b.run(5 * time.Second)
			b.decide(mb(76.95, 17.1))
			b.run(5 * time.Second)
			return b
		}},
		{"hand_over", func() *bench {
			b := newBench(att(), mb(77, 17))
			b.Act.Restore(Snapshot{Applied: mb(77, 17), Hour: 0, Writes: []int{12, 30}})
			b.Want = mb(77, 17)
			b.run(70 * time.Second)
			b.remark("%d writes, %d in 24 hours", b.writes, b.out.Status.Writes24h)
			return b
		}},
		{"changed_while_away", func() *bench {
			b := newBench(att(), mb(0, 17))
			b.Act.Restore(Snapshot{Applied: mb(77, 17)})
			b.Want = mb(77, 17)
			b.run(5 * time.Second)
			return b
		}},
		{"coalesce", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(time.Second)
			b.Router.Latency = 5 * time.Second
			for _, w := range []float64{90, 80, 70, 60} {
				b.decide(mb(w, 18))
				b.run(time.Second)
			}
			b.Router.Latency = ms(50)
			b.run(10 * time.Second)
			return b
		}},
		{"lost_mid_write", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(1500 * time.Millisecond)
			b.Router.LoseReply = true
			b.decide(mb(80, 18))
			b.run(6 * time.Second)
			b.remark("once more, but the router never got it")
			b.Router.Fault = func(op Op) (Result, bool) {
				if !op.Write {
					return Result{}, false
				}
				b.Router.Fault = nil
				return Result{Err: errors.New("router 192.0.2.1: connection lost"), Class: Transient, Sent: true}, true
			}
			b.decide(mb(70, 18))
			b.run(6 * time.Second)
			return b
		}},
		{"unreachable", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.Router.Fault = failing(Transient, "router 192.0.2.1: no route to host; is it up?")
			b.run(100 * time.Second)
			b.decide(mb(50, 18))
			b.run(20 * time.Second)
			b.Router.Fault = nil
			b.run(20 * time.Second)
			return b
		}},
		{"writes_stall", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.Router.Fault = func(op Op) (Result, bool) {
				return Result{Err: errors.New("router 192.0.2.1: no answer within 15s"), Class: Unknown, Sent: true}, op.Write
			}
			b.decide(mb(60, 18))
			b.run(40 * time.Second)
			b.Router.Fault = nil
			b.run(10 * time.Second)
			return b
		}},
		{"reboot", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.decide(mb(60, 12))
			b.run(5 * time.Second)
			b.remark("it restarts with what its flash holds")
			b.Router.Boot, b.Router.Rates, b.Router.moved = b.now, mb(95, 18), link.Pair[unit.Bytes]{}
			b.run(10 * time.Second)
			return b
		}},
		{"foreign_writer", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.decide(mb(60, 12))
			b.run(5 * time.Second)
			for range 3 {
				b.remark("a script sets 90/18")
				b.Router.Rates = mb(90, 18)
				b.run(10 * time.Second)
			}
			b.decide(mb(70, 12))
			b.run(2 * time.Second)
			b.decide(mb(55, 12))
			b.run(time.Minute)
			b.remark("the script goes on and sets 95/18, then 10/12")
			b.Router.Rates = mb(95, 18)
			b.run(10 * time.Second)
			b.Router.Rates = mb(10, 12)
			b.run(10 * time.Minute)
			return b
		}},
		{"foreign_cutter", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.decide(mb(60, 12))
			b.run(5 * time.Second)
			for range 3 {
				b.remark("a script sets 20/12")
				b.Router.Rates = mb(20, 12)
				b.run(10 * time.Second)
			}
			b.remark("a cut is still made; what is above the ceiling comes down")
			b.decide(mb(15, 12))
			b.run(2 * time.Second)
			b.Router.Rates = mb(200, 12)
			b.run(2 * time.Second)
			b.decide(mb(60, 12))
			b.run(10 * time.Minute)
			return b
		}},
		{"overwriter", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			hold := func(down float64) func(Op) (Result, bool) {
				return func(op Op) (Result, bool) {
					b.Router.set(op.Want)
					b.Router.Rates.Down = unit.Rate(down * 1e6)
					return Result{Report: b.Router.report(b.now)}, true
				}
			}
			b.remark("a script sets the download to 95 before any write of ours can be read back")
			b.Router.Fault = hold(95)
			b.decide(mb(60, 18))
			b.run(30 * time.Second)
			b.remark("now it holds 40")
			b.Router.Fault = hold(40)
			b.run(30 * time.Second)
			b.remark("the upload is still cut, the script is stopped")
			b.decide(mb(60, 12))
			b.run(time.Second)
			b.Router.Fault = nil
			b.run(10 * time.Minute)
			b.remark("%d differences", b.out.Status.Differences)
			return b
		}},
		{"reconnected", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.remark("the connection is lost while idle, somebody sets the download to 40; the next command is a write")
			b.Router.Rates = mb(40, 18)
			lost := true
			b.Router.Fault = func(op Op) (Result, bool) {
				if !lost || !op.Write {
					return Result{}, false
				}
				lost = false
				rep := b.Router.report(b.now)
				rep.Unwritten = true
				return Result{Report: rep}, true
			}
			b.decide(mb(60, 12))
			b.run(2 * time.Second)
			b.remark("%d differences, %d writes in 24 h", b.out.Status.Differences, b.out.Status.Writes24h)
			return b
		}},
		{"budget_runs_out", func() *bench {
			cfg := att()
			cfg.Daily = 20
			b := newBench(cfg, mb(95, 18))
			b.run(time.Second)
			b.decide(mb(20, 18))
			b.run(2 * time.Second)
			for w := 22.0; w <= 95; w += 2 {
				b.decide(mb(w, 18))
				b.run(2 * time.Second)
			}
			b.remark("the line goes up and down for ten minutes, 10 Mbit/s a minute")
			for range 10 {
				b.decide(mb(70, 18))
				b.run(30 * time.Second)
				b.decide(mb(80, 18))
				b.run(30 * time.Second)
			}
			b.decide(mb(95, 18))
			b.run(3 * time.Minute)
			b.remark("%d writes of a budget of %d", b.out.Status.Writes24h, b.out.Status.Budget)
			return b
		}},
		{"auth_failure", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.Router.Fault = failing(Fatal, "router 192.0.2.1: user wanctl: password refused; check router.password")
			b.run(10 * time.Minute)
			b.decide(mb(30, 18))
			b.remark("link %s after %d operations; a reload with the right password", b.out.Status.Link, b.reads+b.writes)
			b.Router.Fault = nil
			b.Act.Reconfigure(att())
			b.run(5 * time.Second)
			return b
		}},
		{"dead_band", func() *bench {
			cfg := att()
			cfg.Daily = 0
			cfg.StaticDeadBand = 30_000
			b := newBench(cfg, mb(50, 18))
			b.Want = mb(50, 18)
			b.run(time.Second)
			b.decide(mb(51, 18))
			b.run(20 * time.Second)
			b.decide(mb(51.4, 18))
			b.run(50 * time.Second)
			b.decide(mb(52, 18))
			b.run(10 * time.Second)
			b.remark("the upload is cut: the small raise of the download rides along")
			b.decide(mb(52, 15))
			b.run(5 * time.Second)
			return b
		}},
		{"mixed", func() *bench {
			b := newBench(att(), mb(50, 18))
			b.Want = mb(50, 18)
			b.run(2200 * time.Millisecond)
			for i := range 4 {
				b.decide(mb(52+2*float64(i), 17-float64(i)))
				b.run(100 * time.Millisecond)
			}
			b.run(3 * time.Second)
			return b
		}},
		{"queue_missing", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.remark("somebody renames the download queue")
			b.Router.Fault = func(op Op) (Result, bool) {
				if op.Write {
					b.Router.set(link.Rates{Up: op.Want.Up})
				}
				return Result{
					Err: errors.New(`router 192.0.2.1: no queue "WAN-Download-ATT"; check queues.download`), Class: Misconfigured,
					Sent: true, Read: link.Pair[bool]{Up: true}, Report: b.Router.report(b.now),
				}, true
			}
			b.decide(mb(80, 17))
			b.run(10 * time.Second)
			b.decide(mb(80, 15))
			b.run(30 * time.Second)
			b.Router.Fault = nil
			b.run(10 * time.Second)
			return b
		}},
		{"no_permission", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.Router.Fault = func(op Op) (Result, bool) {
				return Result{Err: errors.New("router 192.0.2.1: not enough permissions (9); the group needs write"), Class: Misconfigured, Sent: true}, op.Write
			}
			b.decide(mb(80, 18))
			b.run(30 * time.Second)
			b.Router.Fault = nil
			b.run(10 * time.Second)
			return b
		}},
		{"rounds", func() *bench {
			b := newBench(att(), mb(95, 18))
			b.run(3 * time.Second)
			b.Router.Fault = func(op Op) (Result, bool) {
				if !op.Write || op.Want.Down == 0 {
					return Result{}, false
				}
				b.Router.Rates.Down = op.Want.Down/mbit*mbit + mbit
				return Result{Report: b.Router.report(b.now)}, true
			}
			b.decide(mb(80.5, 18))
			b.run(30 * time.Second)
			b.decide(mb(70.5, 18))
			b.run(3 * time.Second)
			b.decide(mb(71, 18))
			b.Router.Fault = nil
			b.run(70 * time.Second)
			return b
		}},
		{"dry_run", func() *bench {
			cfg := att()
			cfg.DryRun = true
			b := newBench(cfg, mb(95, 18))
			b.run(3 * time.Second)
			b.decide(mb(80, 18))
			b.run(5 * time.Second)
			b.decide(mb(85, 18))
			b.run(5 * time.Second)
			b.remark("another controller writes")
			b.Router.Rates = mb(50, 18)
			b.run(5 * time.Second)
			b.remark("%d writes", b.writes)
			return b
		}},
	}
	for _, s := range stories {
		t.Run(s.name, func(t *testing.T) {
			got := s.play().log.String()
			file := filepath.Join("testdata", s.name+".txt")
			if *update {
				if err := os.MkdirAll("testdata", 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("transcript changed (-want +got); rerun with -update if the new one reads right:\n%s", d)
			}
		})
	}
}
