package cli

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"wanctl/internal/blueprint"
	"wanctl/internal/cake"
	"wanctl/internal/preset"
	"wanctl/internal/unit"
)

// A line behind a limit is not measured: the limit would be.
func TestInitMeasuresNoLimit(t *testing.T) {
	measures := func(w *wizard) string {
		t.Helper()
		w.CapacityFrom, w.CapacityTime, w.PingHosts = "192.0.2.1", 8*time.Second, []string{"192.0.2.1"}
		w.ctx = t.Context()
		_, err := w.carries(&preset.Line{Interface: "ether1"})
		if err == nil {
			t.Fatal("it measures")
		}
		return err.Error()
	}
	const tree, simple = blueprint.QueueTree, blueprint.QueueSimple
	for name, c := range map[string]struct {
		inv  blueprint.Inventory
		want string
	}{
		"upload":           {blueprint.Inventory{tree: {{"name": "up", "parent": "ether1", "packet-mark": "x"}}}, "the queue up of the tree"},
		"house":            {blueprint.Inventory{tree: {{"name": "all", "parent": "global", "packet-mark": "no-mark"}}}, "the queue all of the tree"},
		"dst":              {blueprint.Inventory{simple: {{"name": "s", "target": "bridge", "dst": "ether1"}}}, "the simple queue s"},
		"target":           {blueprint.Inventory{simple: {{"name": "s", "target": "ether5,ether1", "dst": "192.0.2.0/24"}}}, "the simple queue s"},
		"target, ssh":      {blueprint.Inventory{simple: {{"name": "s", "target": "ether5;ether1", "dst": "192.0.2.0/24"}}}, "the simple queue s"},
		"house, simple":    {blueprint.Inventory{simple: {{"name": "s", "target": "192.168.88.0/24"}}}, "the simple queue s"},
		"another line's":   {blueprint.Inventory{tree: {{"name": "up", "parent": "ether2"}}, simple: {{"name": "s", "target": "bridge", "dst": "ether2"}}}, ""},
		"one that is off":  {blueprint.Inventory{tree: {{"name": "up", "parent": "ether1", "disabled": "true"}}}, ""},
		"another's marked": {blueprint.Inventory{tree: {{"name": "down", "parent": "global", "packet-mark": "lte"}}}, ""},
	} {
		if got := boundingQueue(c.inv, "ether1"); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
		if c.want != "" {
			w := &wizard{app: &App{}, view: &routerView{inventory: c.inv}}
			if got := measures(w); !strings.Contains(got, c.want+" bounds what could be measured") {
				t.Errorf("%s: %s", name, got)
			}
		}
	}
	at := func(up, down cake.Cake) *fakeQueues {
		return &fakeQueues{Found: cake.Found{
			Upload:   cake.Place{HasRoot: true, Interface: cake.Interface{Name: "ether1"}, Root: up},
			Download: cake.Place{HasRoot: true, Interface: cake.Interface{Name: "ifb4ether1"}, Root: down},
		}}
	}
	kind := func(k string, r unit.Rate) cake.Cake {
		return cake.Cake{Qdisc: cake.Qdisc{Kind: k}, Settings: cake.Settings{Bandwidth: r}}
	}
	plain := kind("fq_codel", 0)
	for want, k := range map[string]*fakeQueues{
		"the qdisc tbf of ether1":      at(kind("tbf", 0), plain),
		"the qdisc cake of ether1":     at(kind("cake", unit.Mbps), plain),
		"the qdisc cake of ifb4ether1": at(plain, kind("cake", unit.Mbps)),
		"which cannot be read (torn),": {Err: errors.New("torn")},
		"":                             at(kind("cake", 0), plain),
	} {
		w := &wizard{app: &App{OpenQueues: func() (Queues, error) { return k, nil }}}
		w.Linux = true
		if got := w.bounded("ether1"); want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		if want != "" {
			if got := measures(w); !strings.Contains(got, want+" bounds what could be measured") {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// Simple queues as a router tells of them: one that hangs under none is offered to a line, and bounds it; a child is only part of
// its parent.
func TestInitSimpleQueues(t *testing.T) {
	for file, c := range map[string]struct {
		offered      []preset.Queues
		cable, other string
	}{
		"simple-healthy.rsc": {[]preset.Queues{{Simple: "WAN-Cable", There: true}}, "the simple queue WAN-Cable", ""},
		"simple-broken.rsc":  {[]preset.Queues{{Simple: "WAN-Cable", There: true}}, "the simple queue everything", "the simple queue everything"},
	} {
		b := house(t, file)
		look := func(string) (string, bool) { return "sesame", true }
		app := &App{Stderr: io.Discard, LookupEnv: look, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }}
		v, err := app.survey(t.Context(), routerFiles{Files: []string{b.cable(500, 40)}})
		if err != nil {
			t.Fatal(err)
		}
		defer v.close()
		w := &wizard{app: app, view: v}
		if got := w.foundQueues("ether1"); !slices.Equal(got, c.offered) {
			t.Errorf("%s: offered are %+v, want %+v", file, got, c.offered)
		}
		for line, want := range map[string]string{"ether1": c.cable, "ether2": c.other} {
			if got := w.bounded(line); got != want {
				t.Errorf("%s: %s is bounded by %q, want %q", file, line, got, want)
			}
		}
	}
}
