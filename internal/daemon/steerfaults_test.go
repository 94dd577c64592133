package daemon

import (
	"strings"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/steer"
)

// A router that does not answer for two minutes of congestion: the rule on it stays as it was, is tried slowly, told once,
// and every cycle has its line. When it answers again the rule is set, once.
func TestSteeringWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct{ on, off func(*rosim.Router) }{
		"stall":     {(*rosim.Router).Stall, (*rosim.Router).Unstall},
		"half open": {func(r *rosim.Router) { r.HalfOpen(true) }, func(r *rosim.Router) { r.HalfOpen(false) }},
	} {
		for _, dialect := range someDialects {
			t.Run(name+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				b := newSteerBench(t, routerOf(dialect), false)
				b.cycles(3)
				b.timeout = 50 * time.Millisecond
				fault.on(b.router)
				b.line.Congested = true
				from := len(b.ops)
				b.cycles(60)
				if b.enabled() || b.router.Writes(rosim.SteeringComment) != 0 {
					t.Errorf("the rule of a router that does not answer is %t", b.enabled())
				}
				if n := len(b.ops) - from; n > 20 {
					t.Errorf("%d tries in two minutes", n)
				}
				// Each way of not answering (no connection, no login, no reply) is told once, for the queue and for the rule.
				if n := b.noted("trying again with growing pauses"); n < 1 || n > 6 {
					t.Errorf("told %d times: %v", n, b.notes)
				}
				if len(b.lines) != 63 || b.loop.Decision().State != steer.Good {
					t.Errorf("%d lines in 63 cycles, state %v", len(b.lines), b.loop.Decision().State)
				}
				fault.off(b.router)
				b.timeout = patience
				b.cycles(45)
				if !b.enabled() || b.loop.Decision().State != steer.Degraded || b.router.Writes(rosim.SteeringComment) != 1 {
					t.Errorf("when it answers again the rule is %t, the state %v, after %d writes; %v", b.enabled(),
						b.loop.Decision().State, b.router.Writes(rosim.SteeringComment), b.notes)
				}
			})
		}
	}
}

// A connection that is cut, or a router that reboots, at whatever moment: the rule ends up as wanted, and a write that was
// carried out is not made again.
func TestSteeringThroughCutsAndReboots(t *testing.T) {
	t.Parallel()
	for name, begin := range map[string]func(*steerBench) error{
		"cut before it runs": func(b *steerBench) error { b.router.CutNext(rosim.CutBefore); return nil },
		"cut after it ran":   func(b *steerBench) error { b.router.CutNext(rosim.CutAfter); return nil },
		"cut in the reply":   func(b *steerBench) error { b.router.CutNext(rosim.CutReply); return nil },
		"reboot":             func(b *steerBench) error { return <-b.router.Reboot(0) },
	} {
		for _, dialect := range someDialects {
			t.Run(name+"/"+dialect, func(t *testing.T) {
				t.Parallel()
				b := newSteerBench(t, routerOf(dialect), false)
				b.cycles(3)
				wrong := func() bool { return b.enabled() != (b.loop.Decision().State == steer.Degraded) }
				for _, congested := range []bool{true, false} {
					b.line.Congested = congested
					hit := 0
					// Enabling looks at the rule's form first, so there the look is hit; disabling is one command.
					b.Before = func(op SteerOp) {
						if op.Kind != OpSetRule || hit > 0 {
							return
						}
						hit++
						if err := begin(b); err != nil {
							t.Fatal(err)
						}
					}
					b.cycles(49)
					if hit == 0 {
						t.Error("the fault hit nothing")
					}
					if b.enabled() != congested || wrong() {
						t.Errorf("congested %t: the rule is %t, the state %v; %v", congested, b.enabled(), b.loop.Decision().State, b.notes)
					}
				}
				changes := b.router.RuleHistory()
				if len(changes) != 2 || !changes[0].To || changes[1].To {
					t.Errorf("the rule was changed %+v", changes)
				}
				if len(b.lines) != 101 {
					t.Errorf("%d lines in 101 cycles", len(b.lines))
				}
			})
		}
	}
}

// A router that refuses the credentials, or shows another key than the recorded one, is told nothing more: the rule stays
// as it was, nobody logs in again, and the cycles go on. A reload tries again.
func TestSteeringRefusedForGood(t *testing.T) {
	t.Parallel()
	const alert = "not trying again until a reload or restart"
	for _, steered := range []bool{false, true} {
		for name, fault := range map[string]struct {
			begin func(*steerBench) error
			end   func(*steerBench) error
		}{
			"wrong password": {
				func(b *steerBench) error { return b.router.SetPassword("operator", "another") },
				func(b *steerBench) error { return b.router.SetPassword("operator", secret) },
			},
			"changed host key": {
				func(b *steerBench) error { _, err := b.router.RotateHostKey(); return err },
				func(b *steerBench) error {
					b.put("known_hosts", b.router.KnownHosts(b.router.Addr().String()))
					return nil
				},
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				o := rosim.DefaultOptions()
				o.Users = []rosim.User{{Name: "operator", Password: secret}}
				b := newSteerBenchWith(t, o, false, func(text string) string {
					before, after, _ := strings.Cut(text, "user: wanctl, ssh_key: ")
					_, after, _ = strings.Cut(after, ", ") // the key's path
					return before + "user: operator, password: \"${ROUTER_PASSWORD}\", " + after
				})
				b.line.Congested = steered
				b.cycles(20)
				if b.enabled() != steered {
					t.Fatalf("before the fault the rule is %t", b.enabled())
				}
				writes, logins := b.router.Writes(rosim.SteeringComment), b.router.Logins()
				if err := fault.begin(b); err != nil {
					t.Fatal(err)
				}
				b.router.Disconnect()
				b.cycles(3)
				b.hungUp()
				asked, rejected := b.asked.Load(), b.router.Rejected()
				b.line.Congested = !steered
				b.cycles(60)
				if b.enabled() != steered || b.router.Writes(rosim.SteeringComment) != writes {
					t.Errorf("the rule was changed to %t", b.enabled())
				}
				if b.router.Logins() != logins || b.router.Rejected() != rejected || b.asked.Load() != asked {
					t.Errorf("%d logins, %d rejected, the password was fetched %d times more", b.router.Logins()-logins,
						b.router.Rejected()-rejected, b.asked.Load()-asked)
				}
				if n := b.noted(alert); n != 1 {
					t.Errorf("told %d times: %v", n, b.notes)
				}
				for _, n := range b.notes {
					if strings.Contains(n.Text, secret) {
						t.Errorf("a secret is told: %q", n.Text)
					}
				}
				if len(b.lines) != 83 {
					t.Errorf("%d lines in 83 cycles", len(b.lines))
				}
				if err := fault.end(b); err != nil {
					t.Fatal(err)
				}
				if err := b.loop.Reconfigure(b.options); err != nil {
					t.Fatal(err)
				}
				b.cycles(40)
				if b.enabled() == steered {
					t.Errorf("after a reload the rule is still %t, the state %v: %v", b.enabled(), b.loop.Decision().State, b.notes)
				}
			})
		}
	}
}
