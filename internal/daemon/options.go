package daemon

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/cake"
	"wanctl/internal/config"
	"wanctl/internal/health"
	"wanctl/internal/link"
	"wanctl/internal/probe"
	"wanctl/internal/reflector"
	"wanctl/internal/routeros"
	"wanctl/internal/unit"
)

const (
	// sshBurst is how many raises per second SSH bears, menuBurst REST and the binary API.
	sshBurst  = 2
	menuBurst = 5
	// flashBudget is the target for writes per day, because RouterOS saves each to flash.
	flashBudget = 5000
	// netlinkBurst is how many raises per second the kernel bears. Nothing wears, so there is no budget per day.
	netlinkBurst = 20
	// trackingBand is how much a raise must be worth under the policy tracking, trackingRaise how far raises are apart, and
	// trackingRead how often a router's counters are read.
	trackingBand  unit.PPM = 30_000
	trackingRaise          = 200 * time.Millisecond
	trackingRead           = 200 * time.Millisecond
	// bytesPerSecond is the step in which the kernel keeps CAKE's rate (TCA_CAKE_BASE_RATE64): whole bytes per second.
	bytesPerSecond = 8 * unit.BitPerSecond
)

// onLinux says that this host itself shapes the line.
func onLinux(c *config.WAN) bool { return c.Router.Transport == config.TransportLinux }

// burstOf is how many raises per second the way to a router bears. Auto may end at SSH.
func burstOf(r config.Router) int {
	if r.Transport == config.TransportREST || r.Transport == config.TransportAPI {
		return menuBurst
	}
	return sshBurst
}

// actuateOptions are the limits of the way to a line's queues.
func actuateOptions(c *config.WAN, dryRun bool) actuate.Config {
	a := actuate.Config{
		Ceiling: link.Rates{Down: c.Shaper.Down.Ceiling, Up: c.Shaper.Up.Ceiling},
		Burst:   burstOf(c.Router), Daily: flashBudget, Reads: true, DryRun: dryRun || !c.Enabled,
	}
	if c.Tracking != nil {
		a.Ceiling = c.Tracking.Max
		a.StaticDeadBand, a.RaiseEvery, a.ReadEvery = trackingBand, trackingRaise, trackingRead
	}
	if onLinux(c) {
		// A reading costs microseconds there: one per round of probes, so that each has counters beside it.
		a.Burst, a.Daily, a.Quantum, a.ReadEvery = netlinkBurst, 0, bytesPerSecond, probeEvery(c)
		if c.Tracking != nil {
			a.ReadEvery = time.Second // the counters are read beside the probes
		}
	}
	return a
}

// probeEvery is the time between two rounds of probes.
func probeEvery(c *config.WAN) time.Duration {
	if c.Tracking != nil {
		return time.Millisecond // as often as is polite: the pinger's own bounds
	}
	return c.Period / time.Duration(c.PingCount)
}

// WANOptionsOf translates a configuration for the loop. dryRun, and continuous_monitoring.enabled: false, keep it from
// writing.
func WANOptionsOf(c *config.WAN, dryRun bool) WANOptions {
	var candidates []reflector.Candidate
	if c.Tracking != nil {
		candidates = c.Candidates()
	}
	return WANOptions{
		Name:   c.Name,
		Shaper: c.Shaper,
		Reflector: reflector.Config{
			Hosts: len(c.Hosts()), Median: c.MedianOfThree, Count: c.PingCount, Period: c.Period,
		},
		Actuate:  actuateOptions(c, dryRun),
		Tracking: c.Tracking, Candidates: candidates, IRTT: c.IRTT.Host != "", TCPCheck: c.TCPCheck,
		Place:  placeOf(c),
		OnExit: exitMode(c.OnExit), Base: c.Base,
	}
}

// placeOf says where a line's queues are, for what can keep packets from them.
func placeOf(c *config.WAN) health.Place {
	if onLinux(c) {
		return health.Linux
	}
	return health.RouterOS
}

func exitMode(e config.OnExit) actuate.ExitMode {
	switch e {
	case config.ExitBase:
		return actuate.ExitBase
	case config.ExitLast:
		return actuate.ExitLast
	case config.ExitCeiling:
		return actuate.ExitCeiling
	}
	return actuate.ExitBase
}

// SteeringOptionsOf translates a configuration for the loop.
func SteeringOptionsOf(c *config.Steering, dryRun bool) SteeringOptions {
	s := c.Steer
	if c.Linux != nil {
		s.V3.CakeTarget = cakeTarget
	}
	return SteeringOptions{
		Name: SteeringID(c), Steer: s, PingCount: c.PingCount,
		ReadQueue: c.Steer.CakeAware && (c.Queues.Download != "" || c.Queues.Simple != ""), DryRun: dryRun, Renew: renewTime(c),
	}
}

// cakeTarget is CAKE's target delay on the internet at large (tc-cake(8), "rtt 100ms").
const cakeTarget unit.Millis = 5

// SteeringID names steering's files and sockets. A steering configuration may carry its primary's wan_name; its files
// must not be that WAN's.
func SteeringID(c *config.Steering) string {
	if strings.Contains(strings.ToLower(c.Name), "steer") {
		return c.Name
	}
	return c.Name + "_steering"
}

// transports are the doors, as configurations spell them.
var transports = map[string]routeros.Transport{
	config.TransportSSH: routeros.SSH, config.TransportREST: routeros.REST, config.TransportAPI: routeros.API, config.TransportAuto: routeros.Auto,
}

// RouterOptions are how a router is reached by a person's command, which waits longer than a controller.
func RouterOptions(r config.Router, t config.Timeouts) routeros.Options {
	o := clientOptions(r, t, HostClock{}, nil)
	o.Timeout = max(o.Timeout, 30*time.Second)
	return o
}

func clientOptions(r config.Router, t config.Timeouts, clock Clock, log *Log) routeros.Options {
	o := routeros.Options{
		Transport: transports[r.Transport], Host: r.Host, Port: r.Port, User: r.User, KeyFile: r.KeyFile, KnownHosts: r.KnownHosts,
		Pin: r.TLSPin, Unverified: !r.VerifySSL, Plain: r.Plain, Insecure: r.Insecure,
		Timeout: t.Router, Now: clock.Now,
	}
	if log != nil {
		o.Log = noter(log)
	}
	if r.Password.IsSet() {
		o.Password = r.Password.Resolve
	}
	return o
}

func lineOptions(c *config.WAN, clock Clock) cake.LineOptions {
	return cake.LineOptions{Download: c.Interfaces.Download, Upload: c.Interfaces.Upload, Now: clock.Now}
}

// probeOptions are those of a line's probes. A running loop takes every reply that is a valid sample (up to 10 s): a line
// that bloats beyond timeouts.ping must not look as if nobody answered. That key bounds the waiting of a single cycle.
func probeOptions(c *config.WAN, clock Clock, log *Log) probe.Options {
	irtt := probe.IRTT{Host: c.IRTT.Host, Port: c.IRTT.Port}
	if c.IRTT.Key.IsSet() {
		irtt.Key = c.IRTT.Key.Resolve
	}
	return probe.Options{
		IRTT: irtt, TCPPort: c.TCPPort,
		Targets: c.Reflectors(), Source: c.Probe.Source, Interface: c.Probe.Interface, Mark: c.Probe.Mark,
		Interval: probeEvery(c), Timeout: probe.MaxTimeout, Now: clock.Now, Log: probeNoter(log),
	}
}

// ProbeOptions are those for a person's command. Notes are discarded.
func ProbeOptions(c *config.WAN) probe.Options { return probeOptions(c, HostClock{}, nil) }

// onceTime is how long a single cycle's probes may take: their pace, and the last one's patience.
func onceTime(hosts, count int, ping time.Duration) time.Duration {
	return time.Duration(hosts*count)*time.Second/20 + time.Duration(count)*time.Second/5 + ping
}

// alternateEvery is the longest time between probes of the alternate, which must have been measured in the last 5 s.
const alternateEvery = time.Second

// steerProbeOptions are those of steering's own probes of the primary and of each alternate, nil for one without a source
// address.
func steerProbeOptions(c *config.Steering, clock Clock, log *Log) (all []*probe.Options) {
	primary := probe.Options{
		Targets: []string{c.PingHost}, Source: c.Probe.Source, Interface: c.Probe.Interface, Mark: c.Probe.Mark,
		Interval: c.Steer.Interval / time.Duration(c.PingCount), Timeout: probe.MaxTimeout, Now: clock.Now, Log: probeNoter(log),
	}
	all = append(all, &primary)
	for _, line := range c.Alternates {
		if !line.Source.IsValid() {
			all = append(all, nil)
			continue
		}
		a := primary
		a.Targets, a.Source, a.Interface, a.Mark = []string{line.PingHost}, line.Source, "", 0
		a.Interval = min(a.Interval, alternateEvery)
		all = append(all, &a)
	}
	return all
}

func noter(log *Log) func(link.Note) {
	return func(n link.Note) { logNotes(log, []link.Note{n}) }
}

// probeNoter passes all of a pinger's notes on, which holds repeats back itself.
func probeNoter(log *Log) func(link.Note) {
	if log == nil {
		return nil
	}
	return func(n link.Note) { log.Line(noteLevel(n.Level), n.Text) }
}

// sameWAN refuses a reload that would make another controller of this one.
func sameWAN(old, c *config.WAN) error {
	switch {
	case old.Name != c.Name:
		return fmt.Errorf("wan_name changed from %s to %s: that is another WAN; stop this one and start the other", old.Name, c.Name)
	case old.Router.Transport != c.Router.Transport:
		return fmt.Errorf("router.transport cannot change from %s to %s while running, because the old queues would keep "+
			"their last rates: stop this process, which puts them back, and start it again", old.Router.Transport, c.Router.Transport)
	case onLinux(c) && (old.Interfaces.Download != c.Interfaces.Download || old.Interfaces.Upload != c.Interfaces.Upload):
		return errors.New("interfaces cannot change while running, because the old queues would keep " +
			"their last rates: stop this process, which puts them back, and start it again")
	case old.Router.Host != c.Router.Host || old.Router.Port != c.Router.Port || old.Queues != c.Queues:
		return errors.New("router.host, router.port and queues cannot change while running, because the old queues would keep " +
			"their last rates: stop this process, which puts them back, and start it again")
	case old.Enabled && !c.Enabled:
		return errors.New("continuous_monitoring.enabled cannot become false while running, because the queues would keep " +
			"their last rates: stop this process, which puts them back, and start it again")
	case old.LockFile != c.LockFile || old.StateFile != c.StateFile || old.FeedFile != c.FeedFile || !old.Logging.SameFiles(c.Logging):
		return errors.New("lock_file, state_file, feed_file and the files of logging cannot change while running: restart with `wanctl handover` first")
	}
	return nil
}

func sameSteering(old, c *config.Steering) error {
	switch {
	case old.Name != c.Name || old.Steer.Primary != c.Steer.Primary || !sameOf(old, c, func(a config.Alternate) string { return a.Name }):
		return errors.New("wan_name, primary and alternates cannot change while running: stop this one and start the other")
	case (old.Linux == nil) != (c.Linux == nil):
		return errors.New("router.transport cannot change to or from linux while running: stop this process, which ends steering, and start it again")
	case c.Linux != nil && (old.Linux.Mask != c.Linux.Mask || old.Linux.Priority != c.Linux.Priority):
		return errors.New("policy.mark_mask and policy.rule_priority cannot change while running, because running connections would lose " +
			"their line: stop this process, run `wanctl policy remove` with the old file, and start it again")
	case old.Router.Host != c.Router.Host || old.Router.Port != c.Router.Port ||
		!sameOf(old, c, func(a config.Alternate) string { return a.RuleComment }):
		return errors.New("router.host, router.port and the comments of the rules cannot change while running, because the old rule " +
			"would stay as it is: stop this process, which disables it, and start it again")
	case old.Switch != c.Switch:
		return errors.New("mangle_rule.switch cannot change while running: stop this process, have the rules made anew (wanctl router plan), and start it again")
	case old.LockFile != c.LockFile || old.StateFile != c.StateFile || !old.Logging.SameFiles(c.Logging):
		return errors.New("lock_file, state.file and the files of logging cannot change while running: restart with `wanctl handover` first")
	case old.Source != c.Source || !sameOf(old, c, func(a config.Alternate) string { return a.StateSource }):
		return errors.New("cake_state_sources cannot change while running: restart with `wanctl handover` first")
	}
	return nil
}

// sameOf says that both have the same alternates as far as of tells.
func sameOf(old, c *config.Steering, of func(config.Alternate) string) bool {
	return slices.EqualFunc(old.Alternates, c.Alternates, func(a, b config.Alternate) bool { return of(a) == of(b) })
}

// ruleComments are the rules of the alternates, in their order.
func ruleComments(c *config.Steering) (comments []string) {
	for _, a := range c.Alternates {
		comments = append(comments, a.RuleComment)
	}
	return comments
}

func sameRouter(a, b config.Router) bool {
	same := a.Password.Equal(b.Password)
	a.Password, b.Password = config.Secret{}, config.Secret{}
	return same && a == b
}

func routerDiffers(old, c *config.WAN) bool {
	return !sameRouter(old.Router, c.Router) || old.Queues != c.Queues || old.Interfaces != c.Interfaces ||
		old.Timeouts.Router != c.Timeouts.Router
}

func steerRouterDiffers(old, c *config.Steering) bool {
	return !sameRouter(old.Router, c.Router) || old.Queues != c.Queues || !slices.Equal(ruleComments(old), ruleComments(c)) ||
		old.AllowLegacyRule != c.AllowLegacyRule || old.Timeouts.Router != c.Timeouts.Router ||
		c.Linux != nil && !reflect.DeepEqual(PolicyOptionsOf(old), PolicyOptionsOf(c))
}

// probesDiffer compares the options that make a pinger, its clock, log and listener apart.
func probesDiffer(a, b probe.Options) bool {
	a.Now, b.Now, a.Log, b.Log, a.OnSend, b.OnSend = nil, nil, nil, nil, nil, nil
	a.IRTT.Key, b.IRTT.Key = nil, nil // of which the configuration tells
	return !reflect.DeepEqual(a, b)
}

// unknownAge is the age of what never was.
const unknownAge = -1

func ageSeconds(now, at unit.Time) float64 {
	if at == 0 {
		return unknownAge
	}
	return now.Sub(at).Seconds()
}
