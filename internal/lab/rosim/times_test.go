package rosim

import (
	"strings"
	"testing"
	"time"

	"wanctl/internal/unit"
)

// Commands of all doors count together: the first 150 take 1 ms, those after them 20 ms more, until 5 s were quiet.
func TestMeasuredTimes(t *testing.T) {
	served(t, func(o *Options) { o.MeasuredTimes() }, func(t *testing.T, b *bench) {
		w, err := b.api(DefaultUser, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		s := b.login()
		defer s.Close()
		c := b.web(false)
		defer c.CloseIdleConnections()
		took := func(i int) time.Duration {
			start := time.Now()
			var err error
			switch i % 3 {
			case 0:
				_, err = w.ask("/system/identity/print")
			case 1:
				_, err = run1(s, putLimit)
			case 2:
				_, _, err = b.get(c, "http", DefaultUser, "/system/identity")
			}
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(start)
		}
		for i := range 160 {
			want := time.Millisecond
			if i >= 150 {
				want += 20 * time.Millisecond
			}
			if d := took(i); d != want {
				t.Fatalf("command %d took %v, want %v", i, d, want)
			}
		}
		time.Sleep(5 * time.Second)
		if d := took(0); d != time.Millisecond {
			t.Errorf("after a pause: %v", d)
		}
	})
}

func TestOccasionalStall(t *testing.T) {
	served(t, func(o *Options) { o.StallEvery, o.Seed = 10, 3 }, func(t *testing.T, b *bench) {
		w, err := b.api(DefaultUser, "secret")
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		stalls := 0
		for range 200 {
			start := time.Now()
			if _, err := w.ask("/system/identity/print"); err != nil {
				t.Fatal(err)
			}
			switch d := time.Since(start); {
			case d == 0:
			case d >= 2*time.Second && d <= 8*time.Second:
				stalls++
			default:
				t.Errorf("took %v", d)
			}
		}
		if stalls < 5 || stalls > 50 {
			t.Errorf("%d of 200 stalled", stalls)
		}
	})
}

// What the queues of RouterOS do and what they do not.
func TestQueueModel(t *testing.T) {
	const dl = "WAN-Download-ATT"
	r, c := steady(t, nil)
	run := func(line string) string {
		t.Helper()
		out, failed := r.Exec(t.Context(), DefaultUser, line)
		if failed {
			t.Fatalf("%s: %s", line, out)
		}
		return strings.TrimSuffix(out, "\n")
	}
	if err := r.SetOffered(dl, 200*unit.Mbps); err != nil {
		t.Fatal(err)
	}
	// cake-bandwidth shapes nothing in a queue tree.
	run("/queue/type/set cake-download cake-bandwidth=10M")
	c.advance(10 * time.Second)
	if q, _ := r.Queue(dl); q.Bytes != (95*unit.Mbps).Over(10*time.Second) || q.Dropped != 0 || q.QueuedBytes != 2_000_000 {
		t.Errorf("under load: %+v", q)
	}
	// Each write of configuration costs sectors, for ever and since the start.
	since, total := run(":put [/system/resource get write-sect-since-reboot]"), run(":put [/system/resource get write-sect-total]")
	run("/queue/tree/set " + dl + " max-limit=90M")
	if a, b := run(":put [/system/resource get write-sect-since-reboot]"), run(":put [/system/resource get write-sect-total]"); a != "8" || since != "4" || total != "41004" || b != "41008" {
		t.Errorf("sectors %s to %s, %s to %s", since, a, total, b)
	}
	// A FastTrack rule takes the traffic past the queues, unless it leaves marked connections alone.
	run("/ip/firewall/filter/add chain=forward action=fasttrack-connection connection-state=established,related connection-mark=no-mark")
	c.advance(time.Second)
	before, _ := r.Queue(dl)
	if run(":put [/ip/settings get ipv4-fasttrack-active]") != "false" {
		t.Error("active for a rule that leaves marked connections alone")
	}
	run(`/ip/firewall/filter/unset [find action=fasttrack-connection] value-name=connection-mark`)
	c.advance(10 * time.Second)
	after, _ := r.Queue(dl)
	if before.Bytes != after.Bytes || before.Bytes == 0 {
		t.Errorf("past the queues: %d bytes, then %d", before.Bytes, after.Bytes)
	}
	if run(":put [/ip/settings get ipv4-fasttrack-active]") != "true" || run(":put [/ip/settings get ipv4-fasttrack-bytes]") == "0" {
		t.Error("the settings do not show it")
	}
	run("/ip/firewall/filter/disable [find action=fasttrack-connection]")
	c.advance(time.Second)
	if again, _ := r.Queue(dl); again.Bytes <= after.Bytes {
		t.Error("the queue does not count again")
	}
}
