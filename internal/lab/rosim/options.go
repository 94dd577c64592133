package rosim

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// ExitStatus is what an exec request's exit status says about the command.
type ExitStatus string

// The exit-status modes: sources contradict each other, so a client must live with each.
const (
	// ExitZero answers 0 to every command that was read, also to one that failed.
	ExitZero ExitStatus = "always-zero"
	// ExitReflect answers 1 to a command that failed.
	ExitReflect ExitStatus = "reflect-error"
	// ExitMissing closes the channel without any exit status.
	ExitMissing ExitStatus = "missing"
)

// EmptyFind is what a command does that is given the empty result of a find.
type EmptyFind string

// The answers to an empty find.
const (
	// EmptyFindExpected answers "expected item id (line 1 column N)".
	EmptyFindExpected EmptyFind = "expected-item-id"
	// EmptyFindNoSuchItem answers "no such item".
	EmptyFindNoSuchItem EmptyFind = "no-such-item"
	// EmptyFindSilent does nothing and says nothing; get still answers "no such item", having no value to give.
	EmptyFindSilent EmptyFind = "silent"
)

// LimitReadback is how get spells a rate.
type LimitReadback string

// The spellings of a rate in get.
const (
	// LimitPlain is a plain number of bit/s: 95500000.
	LimitPlain LimitReadback = "plain"
	// LimitSuffixed is the largest suffix that loses nothing: 95500k.
	LimitSuffixed LimitReadback = "suffixed"
)

// TimeStyle is how :put and get spell a time.
type TimeStyle string

// The spellings of a time.
const (
	// TimeClock is 1w2d03:04:05.
	TimeClock TimeStyle = "clock"
	// TimeUnits is 1w2d3h4m5s.
	TimeUnits TimeStyle = "units"
)

// Tracking is what a user sees of the router's connection tracking.
type Tracking string

// What is seen of connection tracking.
const (
	// TrackingOn shows the connections.
	TrackingOn Tracking = "on"
	// TrackingOff shows none: tracking is switched off, or an address is found in another form than ours.
	TrackingOff Tracking = "off"
	// TrackingAbsent has no such menu.
	TrackingAbsent Tracking = "absent"
	// TrackingDenied answers "not enough permissions (9)".
	TrackingDenied Tracking = "denied"
)

// RESTStatus is what REST says of an addition and a removal.
type RESTStatus string

// The statuses of REST.
const (
	// RESTManual is the manual's: 201 with a Location, and 204.
	RESTManual RESTStatus = "manual"
	// RESTMeasured is what was seen on 7.21.4: 200 for both.
	RESTMeasured RESTStatus = "measured"
)

// Dialect is everything that sources contradict each other on, that nobody has measured, or that differs between
// versions: a client must work under every setting. The zero value of each field is the likeliest.
type Dialect struct {
	ExitStatus    ExitStatus    // "" is always-zero
	EmptyFind     EmptyFind     // "" is expected-item-id
	LimitReadback LimitReadback // "" is plain
	TimeStyle     TimeStyle     // "" is clock
	Tracking      Tracking      // "" is on
	RESTStatus    RESTStatus    // "" is manual
	// ErrorCodes appends the internal code: "no such item (4)".
	ErrorCodes bool
	// GroupDigits groups digits with blanks in queue statistics too; interface and firewall statistics always do.
	GroupDigits bool
	// LF ends lines with LF instead of CRLF.
	LF bool
	// ResetOnChange zeroes a queue's counters when its max-limit changes.
	ResetOnChange bool
	// FlushOnChange empties a queue when its max-limit changes.
	FlushOnChange bool
	// CountDrops fills dropped; a CAKE leaf on RouterOS leaves it at 0.
	CountDrops bool
	// DeadYes spells the mark of a removed item as the manual does, yes; true was seen on the wire.
	DeadYes bool
	// RESTNeedsWeb answers "not allowed" over REST to a user without the policy web, as was measured on one version.
	RESTNeedsWeb bool
	// AllowPasswordWithKey keeps password login on for a user who has a key.
	AllowPasswordWithKey bool
}

// Dialects returns named dialects that together show every value of every switch, for suites that run under each.
func Dialects() map[string]Dialect {
	return map[string]Dialect{
		"usual": {},
		"reflect": {
			ExitStatus: ExitReflect, EmptyFind: EmptyFindNoSuchItem, LimitReadback: LimitSuffixed, ErrorCodes: true, LF: true,
			ResetOnChange: true, FlushOnChange: true, GroupDigits: true,
		},
		"silent": {
			ExitStatus: ExitMissing, EmptyFind: EmptyFindSilent, TimeStyle: TimeUnits, CountDrops: true,
			AllowPasswordWithKey: true, FlushOnChange: true,
		},
		"zero-silent":      {EmptyFind: EmptyFindSilent, LimitReadback: LimitSuffixed, ResetOnChange: true, Tracking: TrackingOff},
		"zero-no-item":     {EmptyFind: EmptyFindNoSuchItem, ErrorCodes: true, LF: true, TimeStyle: TimeUnits, Tracking: TrackingAbsent},
		"reflect-expected": {ExitStatus: ExitReflect, RESTStatus: RESTMeasured, DeadYes: true, RESTNeedsWeb: true},
		"reflect-silent":   {ExitStatus: ExitReflect, EmptyFind: EmptyFindSilent, Tracking: TrackingDenied},
		"missing-expected": {ExitStatus: ExitMissing, LF: true},
	}
}

func (d *Dialect) style() durationStyle {
	if d.TimeStyle == TimeUnits {
		return durationUnits
	}
	return durationClock
}

func (d *Dialect) fill() error {
	def := func(s *string, all ...string) error {
		if *s == "" {
			*s = all[0]
		}
		if !slices.Contains(all, *s) {
			return fmt.Errorf("rosim: dialect: unknown setting %q (want one of %s)", *s, strings.Join(all, ", "))
		}
		return nil
	}
	return errors.Join(
		def((*string)(&d.ExitStatus), string(ExitZero), string(ExitReflect), string(ExitMissing)),
		def((*string)(&d.EmptyFind), string(EmptyFindExpected), string(EmptyFindNoSuchItem), string(EmptyFindSilent)),
		def((*string)(&d.LimitReadback), string(LimitPlain), string(LimitSuffixed)),
		def((*string)(&d.TimeStyle), string(TimeClock), string(TimeUnits)),
		def((*string)(&d.RESTStatus), string(RESTManual), string(RESTMeasured)),
		def((*string)(&d.Tracking), string(TrackingOn), string(TrackingOff), string(TrackingAbsent), string(TrackingDenied)),
	)
}

// User is an account of the router.
type User struct {
	Name string
	// Password logs in when there is no key; "" never does.
	Password string
	// Open is an account with an empty password: it logs in without any proof.
	Open bool
	// Group is the user's group; "" is write.
	Group string
	// Address is where the user may log in from, addresses and prefixes with commas between; "" is anywhere.
	Address string
	// ReadOnly is the group read, which lacks the write policy: every change answers "not enough permissions (9)".
	ReadOnly bool
	// Locked refuses both.
	Locked bool
	// Keys log in; once there is one the password does not, unless the dialect says so.
	Keys []ssh.PublicKey
}

// Interface is a network interface.
type Interface struct {
	Name    string
	Type    string // "" is ether
	Comment string
}

// Queue is an entry of /queue/tree, with the traffic that wants to pass it.
type Queue struct {
	Name, Parent, PacketMark string
	// Type is the name of a queue type.
	Type string
	// MaxLimit is the rate in force at first; 0 is unlimited.
	MaxLimit unit.Rate
	Comment  string
	Disabled bool
	// Offered is the traffic that wants to pass, without an Applier. It crosses WAN too: received there when Down.
	Offered unit.Rate
	WAN     string
	Down    bool
}

// SimpleQueue is an entry of /queue/simple, with the traffic that wants to pass it.
type SimpleQueue struct {
	// MaxLimit and Type are "upload/download", as the target sees them; Type empty is RouterOS's default.
	Name, Target, Dst, MaxLimit, Type string
	Comment                           string
	Disabled                          bool
	// Offered is the traffic that wants to cross WAN, without an Applier. The first simple queue that matches takes it.
	Offered link.Rates
	WAN     string
}

// QueueType is an entry of /queue/type; Settings are its further properties, such as cake-flowmode.
type QueueType struct {
	Name, Kind string
	Settings   map[string]string
}

// Rule is an entry of /ip/firewall/mangle; Matchers are its further properties, such as connection-state.
type Rule struct {
	Chain, Action, Comment string
	Disabled               bool
	Matchers               map[string]string
}

// Address is an entry of /ip/address: an address with its prefix, such as 203.0.113.2/24.
type Address struct{ Address, Interface string }

// Options describe a router. The zero value is an empty router; start from [DefaultOptions] for one with two WANs.
type Options struct {
	Dialect
	Identity string // "" is MikroTik
	Version  string // "" is 7.22.3; "(stable)" is added
	Board    string // "" is RB5009UG+S+

	// Groups are added to read, write and full.
	Groups       []Group
	Users        []User
	Interfaces   []Interface
	Addresses    []Address
	QueueTypes   []QueueType
	Queues       []Queue
	SimpleQueues []SimpleQueue
	Rules        []Rule
	// DummyRule puts the dynamic FastTrack counter rule before every other mangle rule.
	DummyRule bool
	// FastTrack lets traffic bypass the queues: interfaces count, queues do not. So does an enabled filter rule with
	// action=fasttrack-connection that asks for no connection-mark.
	FastTrack bool
	// Uptime is how long the router has been up already.
	Uptime time.Duration
	// SectorsPerWrite is how much write-sect-since-reboot grows with each change of configuration; 0 is 4.
	// Nobody has published the real figure.
	SectorsPerWrite int64

	// HostKeys are the SSH host keys; none: one is made, of HostKeyType.
	HostKeys []ssh.Signer
	// HostKeyType is "ed25519" ("") or "rsa".
	HostKeyType string
	// Certificate is what the TLS doors show; none: one is made, signed by itself.
	Certificate tls.Certificate
	// MaxSessions is how many connections a door serves at once; 0 is 20, RouterOS's own limit.
	MaxSessions int
	// MaxChannels is how many channels one connection may have open; 0 is 10.
	MaxChannels int
	// MaxAuthTries is after how many failed logins a connection ends; 0 is 6.
	MaxAuthTries int

	// Latency and Jitter are the time each command takes: Latency plus up to Jitter.
	Latency, Jitter time.Duration
	// Clamp models the slow-down under a burst: after ClampAfter commands without a pause of 5 s each takes 20 ms
	// more. 0 is never.
	ClampAfter int
	// StallEvery makes about one command in so many take 2 to 8 s more; 0 is never.
	StallEvery int
	// Seed makes the jitter repeatable.
	Seed uint64

	// Now is the router's clock; nil is the host's monotonic clock.
	Now func() unit.Time
	// Calendar is the date and time, UTC, when Now is 0; zero is the host's where Now is nil, else 2026-03-02 09:17:05.
	Calendar time.Time
	// Sleep waits for d or until ctx ends and then returns its error; nil sleeps in real time.
	Sleep func(ctx context.Context, d time.Duration) error
	// Listen opens the listener again after a refusal or a reboot; nil is a TCP listener.
	Listen func(addr net.Addr) (net.Listener, error)
	// Echo is what an address answers to the router's own ping: after how long, and whether at all; nil is 12 ms from
	// everywhere.
	Echo func(netip.Addr) (time.Duration, bool)
	// Applier is the network behind the queues; nil is the built-in traffic model.
	Applier Applier
	// Faults happen by themselves, each at its time after Serve began.
	Faults []TimedFault
}

// MeasuredTimes gives the router the times that were measured on one virtual router: a command takes 1 ms, and 20 ms more
// after 150 commands without a pause of 5 s.
func (o *Options) MeasuredTimes() { o.Latency, o.ClampAfter = time.Millisecond, 150 }

// version is a RouterOS version's leading numbers.
type version [2]int

func parseVersion(s string) (version, error) {
	var v version
	parts := strings.SplitN(s, ".", 3)
	if len(parts) < 2 {
		return v, fmt.Errorf("rosim: version %q is not of the form 7.22.3", s)
	}
	for i := range v {
		digits := strings.TrimRight(parts[i], "abcdefghijklmnopqrstuvwxyz0123456789")
		if digits != "" {
			return v, fmt.Errorf("rosim: version %q is not of the form 7.22.3", s)
		}
		n, err := strconv.Atoi(leadingDigits(parts[i]))
		if err != nil {
			return v, fmt.Errorf("rosim: version %q is not of the form 7.22.3", s)
		}
		v[i] = n
	}
	return v, nil
}

func leadingDigits(s string) string {
	for i := range len(s) {
		if !isDigit(s[i]) {
			return s[:i]
		}
	}
	return s
}

func (v version) atLeast(major, minor int) bool {
	return v[0] > major || v[0] == major && v[1] >= minor
}

// fill replaces the zero values by the defaults.
func (o *Options) fill() (version, error) {
	if o.Identity == "" {
		o.Identity = "MikroTik"
	}
	if o.Version == "" {
		o.Version = "7.22.3"
	}
	if o.Board == "" {
		o.Board = "RB5009UG+S+"
	}
	for _, d := range []struct {
		p   *int
		def int
	}{{&o.MaxSessions, 20}, {&o.MaxChannels, 10}, {&o.MaxAuthTries, 6}} {
		if *d.p == 0 {
			*d.p = d.def
		}
		if *d.p < 0 {
			return version{}, fmt.Errorf("rosim: a limit of %d is negative", *d.p)
		}
	}
	if o.SectorsPerWrite == 0 {
		o.SectorsPerWrite = 4
	}
	if o.Now == nil {
		start := time.Now()
		if o.Calendar.IsZero() {
			o.Calendar = start.UTC()
		}
		o.Now = func() unit.Time { return unit.Time(time.Since(start)) }
	}
	if o.Calendar.IsZero() {
		o.Calendar = birth
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Echo == nil {
		o.Echo = func(netip.Addr) (time.Duration, bool) { return 12 * time.Millisecond, true }
	}
	if o.Listen == nil {
		o.Listen = listenAgain
	}
	v, err := parseVersion(o.Version)
	return v, errors.Join(err, o.fillNames())
}

// listenAgain opens a listener on an address that was listened on a moment ago. A process that is being started by this
// one holds a copy of the closed listener until it runs its own program, so an address in use is tried for a while.
func listenAgain(a net.Addr) (ln net.Listener, err error) {
	for range 100 {
		if ln, err = net.Listen(a.Network(), a.String()); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	return ln, err
}

// fillNames refuses names that occur twice: the router would.
func (o *Options) fillNames() error {
	var errs []error
	check := func(what string, names ...string) {
		seen := map[string]bool{}
		for _, n := range names {
			if n == "" || seen[n] {
				errs = append(errs, fmt.Errorf("rosim: %s %q is empty or occurs twice", what, n))
			}
			seen[n] = true
		}
	}
	var users, ifaces, queues, simples, types []string
	for _, u := range o.Users {
		users = append(users, u.Name)
	}
	for _, i := range o.Interfaces {
		ifaces = append(ifaces, i.Name)
	}
	for _, q := range o.Queues {
		queues = append(queues, q.Name)
	}
	for _, q := range o.SimpleQueues {
		simples = append(simples, q.Name)
	}
	for _, t := range o.QueueTypes {
		types = append(types, t.Name)
	}
	check("user", users...)
	check("interface", ifaces...)
	check("queue", queues...)
	check("simple queue", simples...)
	check("queue type", types...)
	return errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
