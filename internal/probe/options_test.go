package probe

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOpenRefusesBadOptions(t *testing.T) {
	many := make([]string, MaxTargets+1)
	for i := range many {
		many[i] = "192.0.2.1"
	}
	for _, tt := range []struct {
		name string
		o    Options
		kind Kind
		want []string
	}{
		{"nothing", Options{}, KindOptions, []string{"targets: there is none (name at least one reflector)"}},
		{"too many", Options{Targets: many}, KindOptions, []string{"65 are too many (at most 64)"}},
		{"typo", Options{Targets: []string{"1.1.1"}}, KindOptions, []string{`"1.1.1": neither an IP address nor a host name`}},
		{"multicast", Options{Targets: []string{"224.0.0.1"}}, KindOptions, []string{"224.0.0.1: not a unicast address"}},
		{"any", Options{Targets: []string{"::"}}, KindOptions, []string{"::: not a unicast address"}},
		{"broadcast", Options{Targets: []string{"255.255.255.255"}}, KindOptions, []string{"not a unicast address"}},
		{"source", Options{Targets: []string{"192.0.2.1"}, Source: netip.MustParseAddr("0.0.0.0")}, KindOptions, []string{"source 0.0.0.0: not a unicast address"}},
		{
			"other family",
			Options{Targets: []string{"2001:db8::1"}, Source: netip.MustParseAddr("192.0.2.1")},
			KindFamily,
			[]string{"2001:db8::1: cannot be probed from 192.0.2.1, an address of the other IP version", "bind by interface"},
		},
		{"interface", Options{Targets: []string{"192.0.2.1"}, Interface: "an-interface-too-long"}, KindOptions, []string{"not an interface name"}},
		{
			"all at once",
			Options{Targets: []string{"-"}, Interval: -1, Timeout: time.Minute},
			KindOptions,
			[]string{"interval: -1ns is negative", "timeout: 1m0s is outside 0 to 10s", `"-"`},
		},
	} {
		_, err := Open(tt.o)
		if err == nil {
			t.Errorf("%s: opened", tt.name)
			continue
		}
		wantKind(t, err, tt.kind)
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %q does not say %q", tt.name, err, want)
			}
		}
	}
}

func TestDefaults(t *testing.T) {
	o := Options{Targets: []string{"192.0.2.1"}}
	if err := o.complete(); err != nil {
		t.Fatal(err)
	}
	if o.Interval != DefaultInterval || o.Timeout != DefaultTimeout || o.Log == nil || o.Resolver == nil {
		t.Errorf("defaults: %+v", o)
	}
	a := o.Now()
	if b := o.Now(); a <= 0 || b < a {
		t.Errorf("the boot clock said %v, then %v", a, b)
	}
}

func TestErrorText(t *testing.T) {
	e := &Error{Kind: KindSource, Op: "bind to source address", Thing: "192.0.2.1", Err: unix.EADDRNOTAVAIL, Hint: "look there"}
	if got, want := e.Error(), "bind to source address 192.0.2.1: cannot assign requested address (look there)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(e, unix.EADDRNOTAVAIL) {
		t.Error("the cause is lost")
	}
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{e, true},
		{errors.New("anything"), true},
		{&Error{Kind: KindPermission}, false},
		{&Error{Kind: KindMark}, false},
	} {
		if got := heals(tt.err); got != tt.want {
			t.Errorf("heals(%v) = %v", tt.err, got)
		}
	}
}

func TestSendHints(t *testing.T) {
	for errno, want := range map[unix.Errno]string{
		unix.ENETUNREACH: "no route", unix.EHOSTUNREACH: "no route", unix.EPERM: "firewall", unix.EACCES: "prohibit",
		unix.EINVAL: "blackhole", unix.ENOBUFS: "queue is full", unix.ENODEV: "interface is down or gone",
		unix.EADDRNOTAVAIL: "source address is gone", unix.EIO: "probing goes on",
	} {
		if got := sendHint(errno); !strings.Contains(got, want) {
			t.Errorf("%v: hint %q does not say %q", errno, got, want)
		}
	}
}

func TestNames(t *testing.T) {
	seen := map[string]bool{}
	for k := KindOptions; k <= KindDuplicate; k++ {
		if s := k.String(); s == "" || strings.Contains(s, "Kind") || seen[s] {
			t.Errorf("kind %d is called %q", k, s)
		} else {
			seen[s] = true
		}
	}
	for got, want := range map[string]string{
		Kind(200).String(): "Kind(200)", v4.String(): "IPv4", v6.String(): "IPv6", anyKind.String(): "any",
		datagram.String(): "datagram", rawKind.String(): "raw", socketKind(9).String(): "socketKind(9)",
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
