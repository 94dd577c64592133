package config

import (
	"strings"
	"testing"
)

// simpleLine is a line with one simple queue.
var simpleLine = strings.Replace(legacy, "queues: {download: Down, upload: Up}", "queues: {simple: Cable}\ninterfaces: {wan: ether1}", 1)

func TestSimpleQueue(t *testing.T) {
	w := mustParse(t, "line.yaml", simpleLine, Options{}).WAN
	if w.Queues != (Queues{Simple: "Cable"}) || w.Interfaces.WAN != "ether1" || w.Queues.named() != "Cable" {
		t.Errorf("got %+v", w.Queues)
	}
	s := mustParse(t, "steering.yaml", strings.Replace(steeringText, "{primary_download: Down, primary_upload: Up}", "{primary_simple: Cable, att_simple: Other}", 1), Options{}).Steering
	if s.Queues != (Queues{Simple: "Cable"}) {
		t.Errorf("got %+v", s.Queues)
	}
	// What the steering file says is kept; what it leaves open is the line's.
	s.Adopt(&WAN{Queues: Queues{Download: "D", Upload: "U"}})
	if s.Queues != (Queues{Simple: "Cable"}) {
		t.Errorf("got %+v", s.Queues)
	}
	open := &Steering{}
	open.Adopt(w)
	if open.Queues != w.Queues {
		t.Errorf("got %+v", open.Queues)
	}
	for own, want := range map[Queues]Queues{
		{Download: "A"}: {Download: "A", Upload: "U"}, {Upload: "B"}: {Download: "D", Upload: "B"},
	} {
		s := &Steering{Queues: own}
		if s.Adopt(&WAN{Queues: Queues{Download: "D", Upload: "U"}}); s.Queues != want {
			t.Errorf("%+v became %+v", own, s.Queues)
		}
	}
}

// TestSimpleQueueCross: a simple queue belongs to one line, and may be called like a queue of the tree.
func TestSimpleQueueCross(t *testing.T) {
	one := mustParse(t, "a.yaml", simpleLine, Options{})
	other := mustParse(t, "b.yaml", strings.Replace(simpleLine, "wan_name: line", "wan_name: other", 1), Options{})
	tree := mustParse(t, "c.yaml", strings.NewReplacer("wan_name: line", "wan_name: third", "download: Down", "download: Cable").Replace(legacy), Options{})
	if ds := CrossCheck(one, tree); len(ds) != 0 {
		t.Error(ds)
	}
	ds := CrossCheck(one, other)
	if len(ds) != 1 || !strings.HasPrefix(ds[0].String(), "b.yaml:3:10: error: queues.simple: the same queue is used in a.yaml") {
		t.Error(ds)
	}
	s := mustParse(t, "s.yaml", strings.NewReplacer(
		"primary_wan: Spectrum", "primary_wan: line", "{primary_download: Down, primary_upload: Up}", "{primary_simple: Kable}").Replace(steeringText), Options{})
	if ds := CrossCheck(one, s); len(ds) != 1 || !strings.HasPrefix(ds[0].String(), "s.yaml:7:15: warning: cake_queues.primary_simple: is not the queue of line, Cable") {
		t.Error(ds)
	}
}
