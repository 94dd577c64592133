package link

import (
	"encoding/json"
	"strings"
	"testing"
)

// Only the classes there are are written, and none of it where there is no CAKE.
func TestCakeAsJSON(t *testing.T) {
	q := Queue{MaxLimit: 8}
	b, err := json.Marshal(q)
	if err != nil || strings.Contains(string(b), "cake") {
		t.Errorf("%s, %v", b, err)
	}
	q.Cake.Tins.N = 2
	q.Cake.Tins.Tin[1] = Tin{Packets: 7, AvgDelay: 1.5}
	if b, err = json.Marshal(q); err != nil || strings.Count(string(b), "avg_delay_ms") != 2 {
		t.Errorf("%s, %v", b, err)
	}
	var back Queue
	if err := json.Unmarshal(b, &back); err != nil || back != q {
		t.Errorf("%+v, %v", back, err)
	}
	if err := json.Unmarshal([]byte(`{"cake":{"tins":3}}`), &back); err == nil {
		t.Error("a number passed for a list")
	}
	if err := json.Unmarshal([]byte(`{"cake":{"tins":[{},{},{},{},{},{},{},{},{},{}]}}`), &back); err != nil || back.Cake.Tins.N != MaxTins {
		t.Errorf("ten classes: %d, %v", back.Cake.Tins.N, err)
	}
}

// The kernel takes the name, however long the interface's is.
func TestIfb(t *testing.T) {
	for iface, want := range map[string]string{"wan": "ifb4wan", "enp0s31f6.4094": "ifb4enp0s31f6.4", "fifteenletters1": "ifb4fifteenlett"} {
		if got := Ifb(iface); got != want || len(got) > 15 {
			t.Errorf("%s: %q, want %q", iface, got, want)
		}
	}
}

func TestCakeDelay(t *testing.T) {
	var c Cake
	if c.Delay() != 0 {
		t.Error("no classes add a delay")
	}
	c.Tins.N = 3
	c.Tins.Tin[0] = Tin{AvgDelay: 9} // of long ago: nothing is queued or flows there
	c.Tins.Tin[1] = Tin{AvgDelay: 2, QueuedBytes: 1}
	c.Tins.Tin[2] = Tin{AvgDelay: 4, SparseFlows: 1}
	c.Tins.Tin[3] = Tin{AvgDelay: 99, QueuedBytes: 1} // beyond N
	if got := c.Delay(); got != 4 {
		t.Errorf("the delay is %s", got)
	}
}
