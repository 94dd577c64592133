package routeros_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// TestEveryDialect does what wanctl does, on routers that differ in everything the sources contradict each other on.
func TestEveryDialect(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for name, dialect := range rosim.Dialects() {
			t.Run(name, func(t *testing.T) {
				o := rosim.DefaultOptions()
				o.Dialect = dialect
				b := w.router(t, o)
				ctx := t.Context()

				before, err := b.client.Exchange(ctx, att, nil)
				if err != nil {
					t.Fatal(err)
				}
				if before.Applied() != (link.Rates{Down: 95 * m, Up: 18 * m}) || before.Up.Parent != "ether2" || before.Down.Parent != "bridge" ||
					!before.HasWAN || before.Uptime < o.Uptime {
					t.Errorf("read %+v", before)
				}
				want := link.Rates{Down: 95_500_001, Up: 12_345_678}
				after, err := b.client.Exchange(ctx, att, &want)
				if err != nil {
					t.Fatal(err)
				}
				if after.Applied() != want || b.limits(t) != want {
					t.Errorf("wrote %v: read back %v, the router has %v", want, after.Applied(), b.limits(t))
				}
				if history := b.router.LimitHistory(); len(history) != 2 || history[0].Queue != att.Up {
					t.Errorf("the decrease did not go first: %+v", history)
				}
				if _, err = b.client.Exchange(ctx, att, &link.Rates{Up: 9 * m}); err != nil {
					t.Fatal(err)
				}
				if got := b.limits(t); got != (link.Rates{Down: 95_500_001, Up: 9 * m}) {
					t.Errorf("writing one direction left %v", got)
				}
				queue, err := b.client.Queue(ctx, "WAN-Download-Spectrum")
				if err != nil {
					t.Fatal(err)
				}
				if queue.MaxLimit != 940*m {
					t.Errorf("read %+v", queue)
				}

				for _, on := range []bool{true, true, false} {
					rule, err := b.client.SetRule(ctx, rosim.SteeringComment, on)
					if err != nil {
						t.Fatal(err)
					}
					if is, _ := b.router.RuleEnabled(rosim.SteeringComment); is != on || rule.Enabled != on {
						t.Errorf("set %t: read back %t, the router has %t", on, rule.Enabled, is)
					}
				}
				rule, err := b.client.Rule(ctx, rosim.SteeringComment)
				if err != nil {
					t.Fatal(err)
				}
				if err := rule.Steerable(); err != nil || rule.NewConnectionMark != "c-att" || rule.ID == "" {
					t.Errorf("rule %+v: %v", rule, err)
				}
				other, err := b.client.Rule(ctx, "ADAPTIVE: Route marked connections to ATT")
				if err != nil {
					t.Fatal(err)
				}
				if other.Steerable() == nil || other.NewRoutingMark != "via-att" || !other.Enabled {
					t.Errorf("rule %+v", other)
				}

				if err := b.router.RenameQueue(att.Up, "renamed"); err != nil {
					t.Fatal(err)
				}
				report, err := b.client.Exchange(ctx, att, &link.Rates{Down: 50 * m, Up: 5 * m})
				e := failed(t, err, routeros.NoSuchItem)
				if !strings.Contains(e.Error(), att.Up) || strings.Contains(e.Error(), att.Down) {
					t.Errorf("the wrong queue is named: %v", e)
				}
				down, _ := b.router.MaxLimit(att.Down)
				up, _ := b.router.MaxLimit("renamed")
				if e.Read != (link.Pair[bool]{Down: true}) || report.Down.MaxLimit != 50*m || down != 50*m || up != 9*m {
					t.Errorf("one queue missing: %v, report %+v, the router has %v and %v", err, report, down, up)
				}
				if b.router.Logins() != 1 {
					t.Errorf("%d logins", b.router.Logins())
				}
			})
		}
	})
}

// TestPath reads where echoes go, on routers that show it and on those that do not.
func TestPath(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for name, dialect := range rosim.Dialects() {
			t.Run(name, func(t *testing.T) {
				o := rosim.DefaultOptions()
				o.Dialect = dialect
				b := w.router(t, o)
				for _, c := range [][3]string{
					{"192.168.88.5", "1.1.1.1", "ether2"}, {"192.168.88.5", "8.8.8.8", ""}, {"192.168.88.50", "9.9.9.9", "ether1"},
				} {
					if err := b.router.Track(c[0], c[1], c[2]); err != nil {
						t.Fatal(err)
					}
				}
				path, err := b.client.Path(t.Context(), netip.MustParseAddr("192.168.88.5"))
				switch dialect.Tracking {
				case rosim.TrackingAbsent:
					failed(t, err, routeros.Syntax)
					return
				case rosim.TrackingDenied:
					failed(t, err, routeros.Permission)
					return
				case rosim.TrackingOn, rosim.TrackingOff, "":
				}
				if err != nil {
					t.Fatal(err)
				}
				if want := (routeros.Address{Prefix: netip.MustParsePrefix("203.0.113.2/24"), Interface: "ether2"}); !slices.Contains(path.Addresses, want) {
					t.Errorf("the router's addresses are %v", path.Addresses)
				}
				var want []routeros.Echo
				if dialect.Tracking != rosim.TrackingOff {
					want = []routeros.Echo{
						{To: netip.MustParseAddr("1.1.1.1"), As: netip.MustParseAddr("203.0.113.2")},
						{To: netip.MustParseAddr("8.8.8.8"), As: netip.MustParseAddr("192.168.88.5")},
					}
				}
				if !slices.Equal(path.Echoes, want) {
					t.Errorf("echoes %v, want %v", path.Echoes, want)
				}
				_, err = b.client.Path(t.Context(), netip.MustParseAddr("2001:db8::1"))
				failed(t, err, routeros.Syntax)
			})
		}
	})
}

func TestEveryVersion(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for _, version := range []string{"7.12.2", "7.14.3", "7.16.2", "7.18.2", "7.20.8", "7.21.5", "7.22.3", "7.24"} {
			t.Run(version, func(t *testing.T) {
				o := rosim.DefaultOptions()
				o.Version, o.HostKeyType = version, "rsa"
				b := w.router(t, o)
				want := link.Rates{Down: 60 * m, Up: 10 * m}
				if _, err := b.client.Exchange(t.Context(), att, &want); err != nil || b.limits(t) != want {
					t.Errorf("%v, the router has %v", err, b.limits(t))
				}
				if _, err := b.client.SetRule(t.Context(), rosim.SteeringComment, true); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestNamedInterface(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		q := att
		for name, has := range map[string]bool{"ether1": true, "ether9": false} {
			q.WAN = name
			report, err := b.client.Exchange(t.Context(), q, nil)
			if err != nil || report.HasWAN != has {
				t.Errorf("%s: %+v, %v", name, report, err)
			}
		}
		swapped := routeros.Queues{Down: att.Up, Up: att.Down} // the "upload" hangs on a bridge, which is an interface too
		report, err := b.client.Exchange(t.Context(), swapped, nil)
		if err != nil || !report.HasWAN {
			t.Errorf("%+v, %v", report, err)
		}
	})
}

// TestHostileComments: a comment made of RouterOS's own syntax finds its rule, and nothing else happens.
func TestHostileComments(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		o := rosim.DefaultOptions()
		comments := []string{`50% "off"; $[/system/reboot]`, `\`, `"`, `a\"b`, `$x`, `ATT?`, `{:put 1}`, `a;b=c`, ` `, `Überleitung → WAN2`, `.*`}
		for _, c := range comments {
			o.Rules = append(o.Rules, rosim.Rule{
				Chain: "prerouting", Action: "mark-connection", Comment: c, Disabled: true,
				Matchers: map[string]string{"connection-state": "new", "new-connection-mark": "m"},
			})
		}
		b := w.router(t, o)
		for i, c := range comments {
			rule, err := b.client.SetRule(t.Context(), c, true)
			if err != nil || !rule.Enabled {
				t.Errorf("%q: %v", c, err)
			}
			for j, other := range comments {
				if is, ok := b.router.RuleEnabled(other); !ok || is != (j <= i) {
					t.Errorf("after %q: %q is enabled: %t", c, other, is)
				}
			}
		}
		if history := b.router.RuleHistory(); len(history) != len(comments) {
			t.Errorf("%d changes", len(history))
		}
	})
}

func TestRuleThatIsNotOne(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		if err := b.router.DuplicateRule(rosim.SteeringComment); err != nil {
			t.Fatal(err)
		}
		_, err := b.client.SetRule(t.Context(), rosim.SteeringComment, true)
		failed(t, err, routeros.Ambiguous)
		if is, _ := b.router.RuleEnabled(rosim.SteeringComment); is || len(b.router.RuleHistory()) != 0 {
			t.Error("one of two rules was toggled")
		}
		if err := b.router.RemoveRules(rosim.SteeringComment); err != nil {
			t.Fatal(err)
		}
		_, err = b.client.SetRule(t.Context(), rosim.SteeringComment, true)
		failed(t, err, routeros.NoSuchItem)
		// The comment is compared exactly: a part of it, or a pattern, finds nothing.
		for _, c := range []string{"ADAPTIVE", "ADAPTIVE: .*", "adaptive: route marked connections to att"} {
			_, err = b.client.Rule(t.Context(), c)
			failed(t, err, routeros.NoSuchItem)
		}
	})
}

func TestReadOnlyUser(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for _, status := range []rosim.ExitStatus{rosim.ExitZero, rosim.ExitReflect} {
			o := rosim.DefaultOptions()
			o.ExitStatus = status
			b := w.router(t, o)
			if err := b.router.SetReadOnly(rosim.DefaultUser, true); err != nil {
				t.Fatal(err)
			}
			_, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 50 * m, Up: 5 * m})
			if e := failed(t, err, routeros.Permission); !strings.Contains(e.Hint, w.policies()) {
				t.Errorf("hint %q", e.Hint)
			}
			_, err = b.client.SetRule(t.Context(), rosim.SteeringComment, true)
			failed(t, err, routeros.Permission)
			if is, _ := b.router.RuleEnabled(rosim.SteeringComment); is || b.limits(t) != (link.Rates{Down: 95 * m, Up: 18 * m}) {
				t.Error("a read-only user changed something")
			}
			if _, err := b.client.Exchange(t.Context(), att, nil); err != nil {
				t.Errorf("and cannot read: %v", err)
			}
		}
	})
}

// TestCutWrites: wherever a connection is cut, the outcome counts as unknown, and reading tells it.
func TestCutWrites(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		old, want := link.Rates{Down: 95 * m, Up: 18 * m}, link.Rates{Down: 50 * m, Up: 18 * m}
		for cut, is := range map[rosim.Cut]link.Rates{rosim.CutBefore: old, rosim.CutAfter: want, rosim.CutReply: want} {
			b := w.router(t, rosim.DefaultOptions())
			if _, err := b.client.Exchange(t.Context(), att, nil); err != nil {
				t.Fatal(err)
			}
			b.atTheWrite(func() { b.router.CutNext(cut) })
			_, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 50 * m})
			if e := failed(t, err, routeros.Lost); !e.Sent {
				t.Errorf("cut %d counts as not sent", cut)
			}
			report, err := b.client.Exchange(t.Context(), att, nil)
			if err != nil || report.Applied() != is || b.limits(t) != is {
				t.Errorf("cut %d: read %v (%v), the router has %v", cut, report.Applied(), err, b.limits(t))
			}
		}
	})
}

func TestStallAndSilence(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for name, fault := range map[string]struct{ on, off func(*rosim.Router) }{
			"stalled":   {(*rosim.Router).Stall, (*rosim.Router).Unstall},
			"half open": {func(r *rosim.Router) { r.HalfOpen(true) }, func(r *rosim.Router) { r.HalfOpen(false) }},
		} {
			t.Run(name, func(t *testing.T) {
				b := w.routerWith(t, rosim.DefaultOptions(), 200*time.Millisecond, w.transport == routeros.SSH)
				for _, err := b.client.Exchange(t.Context(), att, nil); err != nil; _, err = b.client.Exchange(t.Context(), att, nil) {
					failed(t, err, routeros.Timeout) // a slow test machine
				}
				fault.on(b.router)
				_, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 50 * m})
				failed(t, err, routeros.Timeout)
				if !errors.Is(err, context.DeadlineExceeded) || b.client.Connected() {
					t.Errorf("%v, connected %t", err, b.client.Connected())
				}
				fault.off(b.router)
				for {
					r, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 40 * m})
					if err == nil && r.Unwritten { // the new connection's first command
						continue
					}
					if err == nil {
						break
					}
					failed(t, err, routeros.Timeout)
				}
				if b.limits(t).Down != 40*m {
					t.Errorf("the router has %v", b.limits(t))
				}
			})
		}
	})
}

func TestGoneAndBack(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		first, err := b.client.Exchange(t.Context(), att, nil)
		if err != nil {
			t.Fatal(err)
		}
		want := link.Rates{Down: 50 * m, Up: 5 * m}
		b.router.Refuse()
		for refused := 0; refused < 3; { // the end of the kept connection may not have been seen yet
			_, err = b.client.Exchange(t.Context(), att, &want)
			var e *routeros.Error
			if !errors.As(err, &e) || e.Kind != routeros.Unreachable && e.Kind != routeros.Lost {
				t.Fatal(err)
			}
			if e.Kind == routeros.Unreachable {
				refused++
			}
		}
		if b.limits(t) != (link.Rates{Down: 95 * m, Up: 18 * m}) {
			t.Errorf("a router that refused has %v", b.limits(t))
		}
		if err := b.router.Return(); err != nil {
			t.Fatal(err)
		}
		if r, err := b.client.Exchange(t.Context(), att, &want); err != nil || !r.Unwritten || r.Applied() != b.limits(t) {
			t.Errorf("over the new connection: %+v, %v", r, err)
		}
		if _, err := b.client.Exchange(t.Context(), att, &want); err != nil || b.limits(t) != want {
			t.Errorf("%v, the router has %v", err, b.limits(t))
		}
		if err := <-b.router.Reboot(0); err != nil {
			t.Fatal(err)
		}
		report, err := b.client.Exchange(t.Context(), att, nil)
		for ; err != nil; report, err = b.client.Exchange(t.Context(), att, nil) {
			var e *routeros.Error // the end of the old connection was not seen yet
			if !errors.As(err, &e) || e.Kind != routeros.Unreachable && e.Kind != routeros.Lost {
				t.Fatal(err)
			}
		}
		if report.Uptime >= first.Uptime || report.Applied() != want {
			t.Errorf("after a reboot: up %v (was %v), %v", report.Uptime, first.Uptime, report.Applied())
		}
	})
}

func TestFullRouter(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		b.router.Full(true)
		_, err := b.client.Exchange(t.Context(), att, nil)
		failed(t, err, routeros.Unreachable)
		b.router.Full(false)
		if _, err := b.client.Exchange(t.Context(), att, nil); err != nil {
			t.Error(err)
		}
	})
}

func TestChangedHostKey(t *testing.T) {
	o := rosim.DefaultOptions()
	o.Users = []rosim.User{{Name: rosim.DefaultUser, Password: "open sesame"}}
	b := overSSH.routerWith(t, o, time.Hour, false)
	if _, err := b.client.Exchange(t.Context(), att, nil); err != nil || b.asked.Load() != 1 {
		t.Fatalf("%v, asked %d times", err, b.asked.Load())
	}
	key, err := b.router.RotateHostKey()
	if err != nil {
		t.Fatal(err)
	}
	b.router.Disconnect()
	for {
		_, err = b.client.Exchange(t.Context(), att, &link.Rates{Down: 50 * m})
		var e *routeros.Error
		if !errors.As(err, &e) || e.Kind != routeros.Unreachable && e.Kind != routeros.Lost {
			break // until the end of the old connection was seen
		}
	}
	if e := failed(t, err, routeros.HostKey); !strings.Contains(e.Error(), ssh.FingerprintSHA256(key)) || b.asked.Load() != 1 {
		t.Errorf("%v, asked %d times", e, b.asked.Load())
	}
	if got, err := b.client.Fingerprint(t.Context()); err != nil || got != "ssh-ed25519 "+ssh.FingerprintSHA256(key) {
		t.Errorf("fingerprint %q, %v", got, err)
	}
	if b.limits(t).Down != 95*m {
		t.Error("a rate was written to a router that is not the recorded one")
	}
}

// REST says the password with every request, and the router looks at it again after ten minutes. A session whose password was
// refused is over: the next command asks for the password anew, as after a reload that follows a change of it.
func TestPasswordChangesUnderASession(t *testing.T) {
	o := rosim.DefaultOptions()
	o.Users = []rosim.User{{Name: rosim.DefaultUser, Password: "open sesame"}}
	b := overREST.routerWith(t, o, time.Hour, false)
	if _, err := b.client.Exchange(t.Context(), att, nil); err != nil || b.asked.Load() != 1 {
		t.Fatalf("%v, asked %d times", err, b.asked.Load())
	}
	if err := b.router.SetPassword(rosim.DefaultUser, "another"); err != nil {
		t.Fatal(err)
	}
	b.router.Pass(10 * time.Minute)
	_, err := b.client.Exchange(t.Context(), att, nil)
	failed(t, err, routeros.Auth)
	if err := b.router.SetPassword(rosim.DefaultUser, "open sesame"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Exchange(t.Context(), att, nil); err != nil || b.asked.Load() != 2 {
		t.Errorf("with the right one again: %v, asked %d times", err, b.asked.Load())
	}
}

func TestWrongPassword(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		o := rosim.DefaultOptions()
		o.Users = []rosim.User{{Name: rosim.DefaultUser, Password: "another"}}
		b := w.routerWith(t, o, time.Hour, false)
		_, err := b.client.Exchange(t.Context(), att, nil)
		if e := failed(t, err, routeros.Auth); strings.Contains(e.Error(), "sesame") || b.router.Logins() != 0 {
			t.Errorf("%v, %d logins", e, b.router.Logins())
		}
	})
}

func TestInjectedErrors(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		if _, err := b.client.Exchange(t.Context(), att, nil); err != nil {
			t.Fatal(err)
		}
		for text, kind := range map[string]routeros.Kind{
			"failure: resolve failed":    routeros.Reply,
			"action timed out":           routeros.Timeout,
			"not enough permissions (9)": routeros.Permission,
			"something new":              routeros.Reply,
		} {
			b.router.FailNext(text)
			_, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 1 * m})
			if e := failed(t, err, kind); !strings.Contains(e.Reply, text) {
				t.Errorf("%q: reply %q", text, e.Reply)
			}
		}
		if b.limits(t).Down != 95*m || b.router.Logins() != 1 {
			t.Errorf("the router has %v after %d logins", b.limits(t), b.router.Logins())
		}
	})
}

func TestCountersThatRestart(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		o := rosim.DefaultOptions()
		var now atomic.Int64
		o.Now = func() unit.Time { return unit.Time(now.Load()) }
		o.ResetOnChange = true
		b := w.router(t, o)
		now.Add(int64(time.Minute))
		first, err := b.client.Exchange(t.Context(), att, nil)
		if err != nil || first.Down.Bytes == 0 || first.WANRx == 0 {
			t.Fatalf("%+v, %v", first, err)
		}
		second, err := b.client.Exchange(t.Context(), att, &link.Rates{Down: 90 * m})
		if err != nil || second.Down.Bytes >= first.Down.Bytes || second.WANRx < first.WANRx {
			t.Errorf("after a reset on change: %+v, %v", second, err)
		}
		b.router.ResetCounters()
		third, err := b.client.Exchange(t.Context(), att, nil)
		if err != nil || third.WANRx != 0 || third.Up.Bytes != 0 {
			t.Errorf("after a reset: %+v, %v", third, err)
		}
	})
}

// TestRouterCertificates: what a host key is over SSH, a certificate is elsewhere.
func TestRouterCertificates(t *testing.T) {
	for _, w := range ways() {
		if w.transport == routeros.SSH || w.plain {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			b := w.router(t, rosim.DefaultOptions())
			if _, err := b.client.Exchange(t.Context(), att, nil); err != nil || b.asked.Load() != 1 {
				t.Fatalf("%v, asked %d times", err, b.asked.Load())
			}
			for says, change := range map[string]func() error{"unknown authority": b.router.RotateCertificate, "expired": b.router.ExpireCertificate} {
				if err := change(); err != nil {
					t.Fatal(err)
				}
				b.router.Disconnect()
				var err error
				for {
					_, err = b.client.Exchange(t.Context(), att, &link.Rates{Down: 50 * m})
					var e *routeros.Error
					if !errors.As(err, &e) || e.Kind != routeros.Unreachable && e.Kind != routeros.Lost {
						break // until the end of the old connection was seen
					}
				}
				e := failed(t, err, routeros.Certificate)
				seen, err := b.client.Fingerprint(t.Context())
				if err != nil || !strings.Contains(e.Error(), seen) || !strings.Contains(e.Error(), says) || b.asked.Load() != 1 || b.limits(t).Down != 95*m {
					t.Errorf("%s: %v, fingerprint %q (%v), asked %d times", says, e, seen, err, b.asked.Load())
				}
			}
		})
	}
}
