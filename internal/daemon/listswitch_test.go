package daemon

import (
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wanctl/internal/flow"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// switchBench is a steerBench whose router lives in the same virtual time.
type switchBench struct {
	*steerBench
	clock *atomic.Int64
}

func newSwitchBench(t *testing.T, way string) *switchBench {
	t.Helper()
	s := &switchBench{clock: &atomic.Int64{}}
	s.clock.Store(int64(time.Hour))
	o := rosim.DefaultOptions()
	o.Now = func() unit.Time { return unit.Time(s.clock.Load()) }
	if way == "list" {
		o.Rules[0].Disabled = false
		o.Rules[0].Matchers["src-address-list"] = link.SteerList("ATT")
	}
	s.steerBench = newSteerBenchWith(t, o, false, func(text string) string {
		return strings.Replace(text, `mangle_rule: {comment:`, "mangle_rule: {switch: "+way+", comment:", 1)
	})
	s.Before = func(SteerOp) { s.clock.Store(int64(s.now)) }
	return s
}

func (s *switchBench) play(d time.Duration) {
	for end := s.now.Add(d); s.now < end; {
		s.cycle()
		s.clock.Store(int64(s.now))
	}
}

// steers says whether the router would send a new call by the alternate.
func (s *switchBench) steers() bool {
	s.t.Helper()
	var c rosim.Tracked
	call := rosim.Packet{
		In: "bridge", Protocol: flow.UDP, From: netip.MustParseAddrPort("192.168.88.10:50000"), To: netip.MustParseAddrPort("203.0.113.7:3478"),
	}
	if _, err := s.router.Forward(call, &c); err != nil {
		s.t.Fatal(err)
	}
	return c.Mark == "c-att"
}

func (s *switchBench) sectors() int {
	s.t.Helper()
	out, _ := s.router.Exec(s.t.Context(), "admin", ":put [/system/resource/get write-sect-since-reboot]")
	n, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// The two ways of switching, compared: what they write to flash, what they ask of the router, and how long a router steers
// whose controller was killed. With -v it prints the figures of docs/measurements.md.
func TestWaysOfSwitchingCompared(t *testing.T) {
	for _, way := range []string{"rule", "list"} {
		t.Run(way, func(t *testing.T) {
			s := newSwitchBench(t, way)
			s.play(time.Minute)
			before := len(s.ops)
			s.play(time.Hour)
			idle := 0
			for _, op := range s.ops[before:] {
				if op.Kind != OpReadQueue {
					idle++
				}
			}
			sectors := s.sectors()
			if s.steers() {
				t.Fatal("it steers without a reason")
			}
			s.line.Congested = true
			s.play(time.Minute)
			if !s.steers() || s.loop.Decision().State != steer.Degraded {
				t.Fatalf("a minute of congestion: steers %t, %v\n%q", s.steers(), s.loop.Decision().State, s.lines)
			}
			toSteer := s.sectors() - sectors
			commands := len(s.router.Commands())
			ops := len(s.ops)
			s.play(time.Hour)
			perHour := len(s.router.Commands()) - commands
			byKind := map[SteerOpKind]int{}
			for _, op := range s.ops[ops:] {
				byKind[op.Kind]++
			}
			if !s.steers() {
				t.Fatal("it stopped steering in the hour")
			}
			s.line.Congested = false
			s.play(2 * time.Minute)
			if s.steers() || s.loop.Decision().State != steer.Good {
				t.Fatalf("two minutes of health: steers %t, %v", s.steers(), s.loop.Decision().State)
			}
			toRecover := s.sectors() - sectors - toSteer
			s.line.Congested = true
			s.play(time.Minute)
			left := "never"
			for killed := time.Duration(0); killed <= time.Hour; killed += time.Second {
				if !s.steers() {
					left = killed.String()
					break
				}
				s.clock.Add(int64(time.Second)) // nobody is there
			}
			t.Logf("%s: flash sectors to steer %d, to recover %d; commands in a steered hour %d (rule set %d times, read %d, queue read %d), for the rule in an hour without steering %d; normal routing after a kill: %s",
				way, toSteer, toRecover, perHour, byKind[OpSetRule], byKind[OpReadRule], byKind[OpReadQueue], idle, left)
			switch {
			case way == "rule" && (toSteer == 0 || toRecover == 0 || left != "never" || byKind[OpSetRule] != 0):
				t.Error("that is not how rules are switched")
			case way == "list" && (toSteer != 0 || toRecover != 0 || left == "never" || byKind[OpSetRule] < 170 || byKind[OpSetRule] > 182):
				t.Error("that is not how lists switch")
			}
			if way == "list" && len(s.router.RuleHistory()) != 0 {
				t.Error("the rule was written")
			}
		})
	}
}

// A list's rule that was edited, and a list that somebody emptied or fills for good.
func TestListsInOtherHands(t *testing.T) {
	t.Parallel()
	s := newSwitchBench(t, "list")
	run := func(line string) {
		t.Helper()
		if out, failed := s.router.Exec(t.Context(), "admin", line); failed {
			t.Fatalf("%s: %s", line, out)
		}
	}
	s.line.Congested = true
	s.play(time.Minute)
	run(":foreach i in=[/ip/firewall/address-list/find list=wanctl-steer-ATT] do={/ip/firewall/address-list/remove $i}")
	s.play(90 * time.Second)
	if !s.steers() {
		t.Errorf("a list that somebody emptied stays empty: %v", s.notes)
	}
	run(`/ip/firewall/mangle/set [find comment="` + rosim.SteeringComment + `"] action=mark-packet new-packet-mark=x`)
	s.play(time.Minute)
	if n := s.noted("is not one wanctl toggles"); n != 1 {
		t.Errorf("the edited rule is told %d times: %v", n, s.notes)
	}
	run(`/ip/firewall/mangle/set [find comment="` + rosim.SteeringComment + `"] action=mark-connection`)
	s.line.Congested = false
	s.play(3 * time.Minute)
	if s.steers() {
		t.Fatal("it steers in health")
	}
	run("/ip/firewall/address-list/add list=wanctl-steer-ATT address=192.168.88.0/24")
	s.play(3 * time.Minute)
	if s.steers() {
		t.Errorf("an entry for good stays: %v", s.notes)
	}
	// A rule that asks no list and is enabled moves connections for good: it is disabled.
	run(`/ip/firewall/mangle/set [find comment="` + rosim.SteeringComment + `"] src-address-list=""`)
	s.play(3 * time.Minute)
	if s.steers() || s.enabled() {
		t.Errorf("a rule without its list steers on: %v", s.notes)
	}
}

// The life of a process with lists: it steers, hands over, comes home at its stop, and a release empties the list.
func TestSteeringLifeByList(t *testing.T) {
	t.Parallel()
	s := newSteerWorld(t)
	s.text = strings.Replace(s.text, `mangle_rule: {comment:`, "mangle_rule: {switch: list, comment:", 1)
	exec := func(line string) string {
		t.Helper()
		out, failed := s.router.Exec(t.Context(), "admin", line)
		if failed {
			t.Fatalf("%s: %s", line, out)
		}
		return strings.TrimSpace(out)
	}
	held := func() bool { return exec(":put [:len [/ip/firewall/address-list/find list=wanctl-steer-ATT]]") == "2" }
	exec(`/ip/firewall/mangle/set [find comment="` + rosim.SteeringComment + `"] disabled=no src-address-list=wanctl-steer-ATT`)
	run := start(t, s.task())
	s.congested.Store(true)
	s.pings.until(t, "steered", func() bool { return held() && s.log.has("[SPECTRUM_DEGRADED]") })
	boot, _ := BootID()
	if err := WriteHandover(s.dir, s.task().String(), boot, s.clock.Now()); err != nil {
		t.Fatal(err)
	}
	run.mustEnd()
	if !held() {
		t.Fatal("a hand-over emptied the list")
	}
	run = start(t, s.task())
	s.pings.until(t, "steered on", func() bool { return strings.Count(s.log.String(), "[SPECTRUM_DEGRADED]") > 3 })
	run.mustEnd()
	if held() {
		t.Fatal("a stop left the list")
	}
	exec("/ip/firewall/address-list/add list=wanctl-steer-ATT address=0.0.0.0/1 timeout=1m")
	f, _ := s.parse(s.text)
	rel := Releaser{Clock: s.clock, Dirs: s.dirs(), Hands: s.hands}
	if said, err := rel.Release(f); err != nil || exec(":put [:len [/ip/firewall/address-list/find list=wanctl-steer-ATT]]") != "0" {
		t.Errorf("%q, %v", said, err)
	}
	exec("/ip/firewall/address-list/add list=wanctl-steer-ATT address=0.0.0.0/1 timeout=1m")
	if err := s.task().Reset(t.Context()); err != nil || exec(":put [:len [/ip/firewall/address-list/find list=wanctl-steer-ATT]]") != "0" {
		t.Errorf("%v", err)
	}
	if n := s.router.Writes(rosim.SteeringComment); n != 1 { // by this test
		t.Errorf("the rule was written %d times", n-1)
	}
}
