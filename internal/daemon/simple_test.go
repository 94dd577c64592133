package daemon

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// cableRouter serves the binary API of a router with a simple queue, and returns the router section that reaches it.
func cableRouter(t *testing.T) (*rosim.Router, string) {
	t.Helper()
	o := rosim.DefaultOptions()
	o.Users = []rosim.User{{Name: "wanctl", Password: "sesame"}}
	o.CountDrops = true
	var now atomic.Int64
	o.Now = func() unit.Time { return unit.Time(now.Add(1_000_000_000)) }
	o.SimpleQueues = []rosim.SimpleQueue{{
		Name: "WAN-Cable", Target: "bridge", Dst: "ether1", MaxLimit: "10M/100M", Type: "cake-upload/cake-download", WAN: "ether1",
		Offered: link.Rates{Down: 200 * unit.Mbps, Up: 5 * unit.Mbps},
	}}
	r, err := rosim.NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.ServeAPI(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r, fmt.Sprintf("router: {host: 127.0.0.1, port: %d, user: wanctl, password: sesame, transport: api, insecure: true}", ln.Addr().(*net.TCPAddr).Port)
}

// plain takes a service on any port for one without TLS, as the configuration takes 8728 alone.
func plain(r *config.Router) { r.Plain = true }

// TestSimpleQueue: a line's loop and steering reach the one queue, each the directions it is for.
func TestSimpleQueue(t *testing.T) {
	router, section := cableRouter(t)
	w := linuxWAN(t, "router: {transport: linux}", section, "interfaces: {download: ifb4wan, upload: wan}", "queues: {simple: WAN-Cable}\ninterfaces: {wan: ether1}")
	plain(&w.Router)
	hand, err := DialShaper(w, HostClock{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hand.Close() })
	before, err := hand.Exchange(t.Context(), nil)
	if err != nil || before.Applied() != (link.Rates{Down: 100 * unit.Mbps, Up: 10 * unit.Mbps}) || !before.HasWAN {
		t.Fatalf("%+v, %v", before, err)
	}
	after, err := hand.Exchange(t.Context(), &link.Rates{Down: 80 * unit.Mbps})
	if err != nil || after.Applied() != (link.Rates{Down: 80 * unit.Mbps, Up: 10 * unit.Mbps}) || router.Writes("WAN-Cable") != 1 {
		t.Errorf("%+v, %v", after, err)
	}
	other := *w
	other.Queues = config.Queues{Simple: "WAN-Other"}
	if err := sameWAN(w, &other); err == nil || !routerDiffers(w, &other) {
		t.Error("a reload may take another simple queue")
	}

	s, ds := config.Parse("steering.yaml", strings.NewReader("topology: {primary_wan: Cable, alternate_wan: ATT}\n"+section+`
mangle_rule: {comment: "`+rosim.SteeringComment+`"}
cake_state_sources: {primary: /run/wanctl/cable_feed.json}
alternate: {ping_source_ip: 192.168.88.3}
measurement: {interval_seconds: 2, ping_host: 1.1.1.1, ping_count: 3}
cake_queues: {primary_simple: WAN-Cable}
`), config.Options{})
	if s == nil {
		t.Fatal(ds)
	}
	plain(&s.Steering.Router)
	if !SteeringOptionsOf(s.Steering, false).ReadQueue {
		t.Error("steering does not read the simple queue")
	}
	sw, err := DialSwitch(s.Steering, HostClock{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sw.Close() })
	q, err := sw.Queue(t.Context())
	if err != nil || q.MaxLimit != 80*unit.Mbps || q.QueuedPackets == 0 || q.Dropped == 0 {
		t.Errorf("the download's queue is %+v, %v", q, err)
	}
	if err := router.RemoveQueue("WAN-Cable"); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Queue(t.Context()); err == nil || !strings.Contains(err.Error(), "no simple queue") {
		t.Error(err)
	}
}
