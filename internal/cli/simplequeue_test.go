package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/unit"
)

// cable writes the configuration of one line with a simple queue, and returns the file.
func (b *routerBench) cable(down, up int) string {
	b.t.Helper()
	section := fmt.Sprintf("router: {host: 127.0.0.1, port: %d, user: wanctl, password: \"${ROUTER_PASSWORD}\", transport: %s", b.port, b.transport)
	if b.transport == "ssh" {
		section += ", known_hosts: " + filepath.Join(b.dir, "known_hosts")
	}
	if b.pin != "" {
		section += ", tls_pin: \"" + b.pin + "\""
	}
	b.put("Cable.yaml", fmt.Sprintf("wan_name: Cable\n%s}\nqueues: {simple: WAN-Cable}\ninterfaces: {wan: ether1}\nqdisc: {access: docsis}\n"+
		"continuous_monitoring:\n  download: {floor_mbps: 25, ceiling_mbps: %d, base_mbps: 450}\n  upload: {floor_mbps: 6, ceiling_mbps: %d, base_mbps: 35}\n"+
		"  thresholds: {target_bloat_ms: 300, warn_bloat_ms: 400, critical_bloat_ms: 500}\n  ping_hosts: [127.0.0.1, 127.0.0.2, 127.0.0.3]\n  use_median_of_three: true\n",
		section, down, up))
	return filepath.Join(b.dir, "Cable.yaml")
}

// One line with a simple queue, from its box and back, through each door: trust, plan, apply, doctor, autorate, release, undo.
func TestSimpleQueueFromItsBox(t *testing.T) {
	for _, way := range []struct{ version, transport string }{{"7.14", "ssh"}, {"7.24", "api"}, {"7.22.3", "rest"}} {
		t.Run(way.version+"/"+way.transport, func(t *testing.T) {
			t.Parallel()
			b := newRouterBench(t, way.version, way.transport)
			b.trust()
			if notes, err := b.router.Import("kids.rsc", strings.NewReader("/queue simple\nadd name=kids target=192.168.88.7/32 max-limit=1M/2M\n")); err != nil || len(notes) > 0 {
				t.Fatal(err, notes)
			}
			file, before := b.cable(500, 40), b.config()

			// Before anything: there is no queue.
			if code, out, _ := b.run("doctor", "--watch", "10ms", file); code == exitOK || !strings.Contains(out, "there is no queue WAN-Cable") || strings.Contains(out, "and no WAN-Cable") {
				t.Errorf("the doctor says %s", out)
			}
			plan := b.must(exitOK, "router", "plan", file)
			for _, want := range []string{
				"+ simple queue WAN-Cable: ", `/queue/simple/add name=WAN-Cable target=bridge dst=ether1 max-limit="35000000/450000000" queue="wanctl-Cable-upload/wanctl-Cable-download"`,
				`bucket-size="0.01/0.01"`, `place-before=[find where name="kids"]`, `place-before=[find where comment="defconf: fasttrack"]`,
				`simple queue "kids" stands behind WAN-Cable`,
			} {
				if !strings.Contains(plan, want) {
					t.Errorf("the plan lacks %q:\n%s", want, plan)
				}
			}
			if out := b.must(exitOK, "router", "apply", "--yes", file); !strings.Contains(out, "and verified") {
				t.Errorf("apply prints %s", out)
			}
			if out := b.must(exitOK, "router", "apply", "--yes", file); !strings.Contains(out, "nothing to do") {
				t.Errorf("the second time: %s", out)
			}
			if out := b.must(exitOK, "router", "show", file); !strings.Contains(out, "/queue/simple\n  WAN-Cable  ") {
				t.Errorf("show prints %s", out)
			}

			// Traffic, so that the doctor can prove that the queue shapes.
			for queue, rate := range map[string]unit.Rate{"WAN-Cable/download": 50 * unit.Mbps, "WAN-Cable/upload": 5 * unit.Mbps} {
				if err := b.router.SetOffered(queue, rate); err != nil {
					t.Fatal(err)
				}
			}
			bad := []string{"router.plan", "router.fasttrack", "router.shapers", "Cable.queues", "Cable.cake", "Cable.carries", "router.read"}
			_, out, _ := b.run("doctor", "--watch", "100ms", "--probe-router", file)
			if !strings.Contains(out, "checks passed") {
				t.Errorf("the doctor did not get to its end:\n%s", out)
			}
			for _, check := range bad {
				if strings.Contains(out, check) {
					t.Errorf("after apply the doctor says\n%s", out)
				}
			}

			// The controller sets both rates, and a release puts them back.
			if canPing() {
				file = b.cable(600, 50)
				if code, out, errs := b.run("autorate", "--once", file); code != exitOK {
					t.Fatalf("autorate: %d\n%s%s", code, out, errs)
				}
				down, _ := b.router.MaxLimit("WAN-Cable/download")
				up, _ := b.router.MaxLimit("WAN-Cable/upload")
				if down != 600*unit.Mbps || up != 50*unit.Mbps {
					t.Errorf("autorate left %v and %v", down, up)
				}
			}
			b.must(exitOK, "release", file)
			if down, _ := b.router.MaxLimit("WAN-Cable/download"); down != 450*unit.Mbps {
				t.Errorf("after the release %v", down)
			}
			if out := b.must(exitOK, "router", "apply", "--yes", file); !strings.Contains(out, "nothing to do") {
				t.Errorf("after the controller a plan does %s", out)
			}
			if out := b.must(exitOK, "router", "undo", "--yes", file); !strings.Contains(out, "are undone") {
				t.Errorf("undo prints %s", out)
			}
			if after := b.config(); after != before {
				t.Errorf("after the undo (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// What is wrong with a simple queue is named, each by its check.
func TestDoctorOnSimpleQueues(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	file := b.cable(500, 40)
	b.must(exitOK, "router", "apply", "--yes", file)
	for _, queue := range []string{"WAN-Cable/download", "WAN-Cable/upload"} {
		if err := b.router.SetOffered(queue, 50*unit.Mbps); err != nil {
			t.Fatal(err)
		}
	}
	do := func(line string) {
		t.Helper()
		if out, failed := b.router.Exec(t.Context(), "admin", line); failed {
			t.Fatalf("%s: %s", line, out)
		}
	}
	for _, c := range []struct{ spoil, mend, check, says string }{
		{
			"/queue/simple disable WAN-Cable", "/queue/simple enable WAN-Cable", "Cable.queues",
			`/queue/simple/enable [find name="WAN-Cable"]`,
		},
		{
			"/queue/simple set WAN-Cable queue=default-small/wanctl-Cable-download", "/queue/simple set WAN-Cable queue=wanctl-Cable-upload/wanctl-Cable-download", "Cable.cake",
			"the upload of WAN-Cable is not CAKE",
		},
		{
			"/queue/simple add name=greedy target=bridge dst=ether1 place-before=WAN-Cable", "/queue/simple remove greedy", "Cable.carries",
			"a simple queue that stands before it",
		},
		{
			`/ip/firewall/filter disable [find where comment~"no FastTrack"]`, `/ip/firewall/filter enable [find where comment~"no FastTrack"]`, "router.fasttrack",
			"FastTracked packets skip mangle and simple queues",
		},
		{
			"/queue/type set wanctl-Cable-upload cake-bandwidth=10M", "/queue/type set wanctl-Cable-upload cake-bandwidth=0", "router.shapers",
			"cake-bandwidth=10",
		},
		{
			`/queue/simple set WAN-Cable target=ether1 dst="" comment=mine`, `/queue/simple set WAN-Cable target=bridge dst=ether1 comment="wanctl: both directions of Cable"`, "router.plan",
			"has the line's own interface ether1 as its target",
		},
	} {
		do(c.spoil)
		_, out, _ := b.run("doctor", "--watch", "50ms", file)
		if !strings.Contains(out, c.check) || !strings.Contains(out, c.says) {
			t.Errorf("after %q the doctor does not say %q of %s:\n%s", c.spoil, c.says, c.check, out)
		}
		do(c.mend)
	}
	_, out, _ := b.run("doctor", "--watch", "50ms", file)
	for _, check := range []string{"Cable.queues", "Cable.cake", "Cable.carries", "router.fasttrack", "router.shapers", "router.plan"} {
		if strings.Contains(out, check) {
			t.Errorf("mended:\n%s", out)
		}
	}
}

// house is a router that begins with a configuration of its own, in place of the factory's.
func house(t *testing.T, file string) *routerBench {
	t.Helper()
	b := newRouterBench(t, "7.22.3", "api")
	text, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	if out, failed := b.router.Exec(t.Context(), "admin", "/ip/firewall/filter/remove [find]"); failed {
		t.Fatal(out)
	}
	if notes, err := b.router.Import(file, bytes.NewReader(text)); err != nil || len(notes) > 1 {
		t.Fatal(err, notes)
	}
	b.trust()
	return b
}

// Two houses with a simple queue that somebody made: one that is well, and one as guides leave it.
func TestSimpleQueueHouses(t *testing.T) {
	b := house(t, "simple-healthy.rsc")
	file := b.cable(500, 40)
	if out := b.must(exitOK, "router", "plan", file); !strings.Contains(out, "nothing to do") || strings.Contains(out, "simple queue") {
		t.Errorf("a house that is well:\n%s", out)
	}
	_, out, _ := b.run("doctor", "--watch", "10ms", file)
	for _, check := range []string{"Cable.queues", "Cable.cake", "router.fasttrack", "router.shapers", "router.plan"} {
		if strings.Contains(out, check) {
			t.Errorf("a house that is well:\n%s", out)
		}
	}

	b = house(t, "simple-broken.rsc")
	file, before := b.cable(500, 40), b.config()
	out = b.must(exitOK, "router", "plan", file)
	for _, want := range []string{
		"burst-limit: 60000000/600000000 → 0/0", "burst-time: 8s/8s → 0s/0s", "total-max-limit: 400", "bucket-size: 0.1/0.1 → 0.01/0.01",
		"queue: default-small/cake → wanctl-Cable-upload/wanctl-Cable-download", "+ FastTrack exclusion in by Cable", `simple queue "everything" stands before WAN-Cable`,
		"with the mark no-mark alone", `queue "old" under ether1 shapes what WAN-Cable let pass a second time`,
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
	if _, out, _ = b.run("doctor", "--watch", "10ms", file); !strings.Contains(out, "Cable.cake") || !strings.Contains(out, "router.fasttrack") || !strings.Contains(out, "router.shapers") {
		t.Errorf("the doctor says\n%s", out)
	}
	b.must(exitOK, "router", "apply", "--yes", file)
	if out := b.must(exitOK, "router", "plan", file); !strings.Contains(out, "nothing to do") {
		t.Errorf("after apply:\n%s", out)
	}
	b.must(exitOK, "router", "undo", "--yes", file)
	if after := b.config(); after != before {
		t.Errorf("after the undo (-before +after):\n%s", cmp.Diff(before, after))
	}
}
