package routeros_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

// A list is held, renewed, emptied, and goes by itself, through every door and in every dialect; nothing of it is written to
// flash, and the rule is left alone.
func TestLists(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		for name, dialect := range rosim.Dialects() {
			t.Run(name, func(t *testing.T) {
				o := rosim.DefaultOptions()
				o.Dialect = dialect
				var now atomic.Int64
				o.Now = func() unit.Time { return unit.Time(now.Load()) }
				list := link.SteerList("ATT")
				o.Rules[0].Disabled = false
				o.Rules[0].Matchers["src-address-list"] = list
				b := w.router(t, o)
				sectors := func() string {
					out, _ := b.router.Exec(t.Context(), "admin", ":put [/system/resource/get write-sect-since-reboot]")
					return strings.TrimSpace(out)
				}
				before := sectors()
				entries := func() string {
					out, _ := b.router.Exec(t.Context(), "admin", ":put [:len [/ip/firewall/address-list/find where list="+list+" dynamic=yes]]")
					return strings.TrimSpace(out)
				}
				check := func(step string, want bool, rule routeros.Rule, held bool, err error) {
					t.Helper()
					if err != nil || held != want || !rule.Enabled || rule.SteerableBy(list) != nil {
						t.Fatalf("%s: %+v, held %t, %v", step, rule, held, err)
					}
				}
				rule, held, err := b.client.RuleByList(t.Context(), rosim.SteeringComment, list)
				check("at first", false, rule, held, err)
				for _, step := range []string{"hold", "renew"} {
					rule, held, err = b.client.Hold(t.Context(), rosim.SteeringComment, list, time.Minute)
					check(step, true, rule, held, err)
					now.Add(int64(40 * time.Second))
					rule, held, err = b.client.RuleByList(t.Context(), rosim.SteeringComment, list)
					check("40 s after "+step, true, rule, held, err)
				}
				if n := entries(); n != "2" {
					t.Errorf("%s entries", n)
				}
				now.Add(int64(20 * time.Second))
				rule, held, err = b.client.RuleByList(t.Context(), rosim.SteeringComment, list)
				check("a minute after", false, rule, held, err)
				// A half that somebody took away, or left, does not stay alone.
				if out, failed := b.router.Exec(t.Context(), "admin", "/ip/firewall/address-list/add timeout=1h address=0.0.0.0/1 list="+list); failed {
					t.Fatal(out)
				}
				rule, held, err = b.client.Hold(t.Context(), rosim.SteeringComment, list, time.Minute)
				check("with one half there", true, rule, held, err)
				for range 2 {
					rule, held, err = b.client.Drop(t.Context(), rosim.SteeringComment, list)
					check("drop", false, rule, held, err)
				}
				if after := sectors(); after != before {
					t.Errorf("%s sectors written, and %s before", after, before)
				}
				if n := len(b.router.RuleHistory()); n != 0 {
					t.Errorf("the rule was written %d times", n)
				}
				// Without its rule nothing is held, and what is held is dropped all the same.
				if _, _, err := b.client.Hold(t.Context(), rosim.SteeringComment, list, time.Minute); err != nil {
					t.Fatal(err)
				}
				if err := b.router.RemoveRules(rosim.SteeringComment); err != nil {
					t.Fatal(err)
				}
				_, _, err = b.client.Drop(t.Context(), rosim.SteeringComment, list)
				failed(t, err, routeros.NoSuchItem)
				_, _, err = b.client.Hold(t.Context(), rosim.SteeringComment, list, time.Minute)
				failed(t, err, routeros.NoSuchItem)
				if n := entries(); n != "0" {
					t.Errorf("%s entries without a rule", n)
				}
			})
		}
	})
}

func TestNoSuchLists(t *testing.T) {
	everyWay(t, func(t *testing.T, w way) {
		b := w.router(t, rosim.DefaultOptions())
		for _, list := range []string{"", "kids", "wanctl-steer-", "wanctl-steer-a b", "wanctl-steer-" + strings.Repeat("x", 65), `wanctl-steer-"`} {
			_, _, err := b.client.Hold(t.Context(), rosim.SteeringComment, list, time.Minute)
			failed(t, err, routeros.Syntax)
		}
		for _, d := range []time.Duration{0, time.Second, time.Hour, 60500 * time.Millisecond} {
			if _, _, err := b.client.Hold(t.Context(), rosim.SteeringComment, "wanctl-steer-ATT", d); err == nil {
				t.Errorf("held for %v", d)
			}
		}
		var e *routeros.Error
		if _, _, err := b.client.RuleByList(t.Context(), "no such rule", "wanctl-steer-ATT"); !errors.As(err, &e) || e.Kind != routeros.NoSuchItem {
			t.Error(err)
		}
	})
}
