package cli

import (
	"errors"
	"strings"
	"testing"

	"wanctl/internal/cake"
	"wanctl/internal/unit"
)

func TestApplySpecs(t *testing.T) {
	for _, c := range []struct{ queue, iface, want string }{
		{queue: "WAN", want: "not of the form NAME=dev:IF,cake[,netns:NAME] or NAME=dev:IF,class:1:1[,netns:NAME]"},
		{queue: "=dev:lo,class:1:1", want: "not of the form"},
		{queue: "WAN=dev:lo", want: "not of the form"},
		{queue: "WAN=dev:lo,cake,class:1:1", want: "not of the form"},
		{queue: "WAN=dev:lo,cake:", want: `"cake:" does not belong there`},
		{queue: "WAN=dev:lo,cake:yes", want: `"cake:yes" does not belong there`},
		{queue: "WAN=dev:lo,cake,cake", want: `"cake" does not belong there`},
		{queue: "WAN=dev:lo,cake", want: "read qdisc of lo: its own qdisc is not CAKE"},
		{queue: "WAN=dev:wanctl-none,cake", want: "read interface wanctl-none"},
		{iface: "ether1=dev:lo,cake", want: `"cake" does not belong there`},
		{queue: "WAN=class:1:1", want: "not of the form"},
		{queue: "WAN=dev:lo,class:one", want: `class "one" is not of the form 1:1a`},
		{queue: "WAN=dev:lo,class:1:1,class:1:2", want: `"class:1:2" does not belong there`},
		{queue: "WAN=dev:lo,class:1:1,speed:9", want: `"speed:9" does not belong there`},
		{queue: "WAN=dev:,class:1:1", want: `"dev:" does not belong there`},
		{queue: "WAN=dev:lo,class:1:1", want: "read class 1:1 of lo"},
		{queue: "WAN=dev:lo,class:1:1,netns:wanctl-no-such-namespace", want: "open the network namespace wanctl-no-such-namespace"},
		{iface: "ether1=dev:lo,class:1:1", want: `"class:1:1" does not belong there; the form is NAME=dev:IF[,netns:NAME]`},
		{iface: "ether1=dev:wanctl-none", want: "read interface wanctl-none"},
	} {
		var qs, is []string
		if c.queue != "" {
			qs = []string{c.queue}
		}
		if c.iface != "" {
			is = []string{c.iface}
		}
		a, err := newApplier(qs, is)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s%s: %v, want an error with %q", c.queue, c.iface, err, c.want)
		}
		if a != nil {
			t.Errorf("%s%s: an applier in spite of the error", c.queue, c.iface)
		}
	}
	_, err := newApplier([]string{"A=dev:lo,class:1:1"}, nil)
	var e *cake.Error
	if !errors.As(err, &e) || e.Kind != cake.NoSuchClass {
		t.Errorf("a missing class is not told apart: %v", err)
	}
}

func TestApplyNothing(t *testing.T) {
	if a, err := newApplier(nil, nil); a != nil || err != nil {
		t.Errorf("got %v, %v", a, err)
	}
}

// What is not connected to the kernel is left to the emulator's memory, and says so.
func TestApplyInterfaceOnly(t *testing.T) {
	a, err := newApplier(nil, []string{"ether1=dev:lo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := a.Interface("ether1"); !ok {
		t.Error("the interface has no counters")
	}
	if _, _, ok := a.Interface("ether2"); ok {
		t.Error("an interface nobody named has counters")
	}
	if _, ok := a.Queue("WAN"); ok {
		t.Error("a queue nobody named has counters")
	}
	if err := a.Apply("WAN", unit.Mbps); err != nil {
		t.Error(err)
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}
