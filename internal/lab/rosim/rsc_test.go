package rosim

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

// unconfigured is a unconfigured router whose clock stands still.
func unconfigured(t *testing.T) *Router {
	t.Helper()
	o := BareOptions()
	o.Now = func() unit.Time { return unit.Time(time.Hour) }
	o.HostKeys = fuzzKeys(t)
	r, err := NewRouter(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// An export of a house with two lines comes in, and comes out again as it is kept beside it.
func TestImport(t *testing.T) {
	f, err := os.Open("testdata/house.rsc")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := unconfigured(t)
	notes, err := r.Import("house.rsc", f)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"house.rsc:7:1: /interface/bridge is not emulated", "house.rsc:9:1: /interface/ethernet is not emulated",
		"house.rsc:12:1: /ip/dhcp-server is not emulated",
		"house.rsc:14:1: /interface/bridge/port is not emulated",
	}
	if d := cmp.Diff(want, notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	got := r.Export()
	const golden = "testdata/house.golden"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	kept, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(kept), got); d != "" {
		t.Errorf("%s (-want +got; -update writes it anew):\n%s", golden, d)
	}
	again := unconfigured(t)
	if _, err := again.Import("again", strings.NewReader(got)); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(got, again.Export()); d != "" {
		t.Errorf("a second time (-first +second):\n%s", d)
	}
	if limit, ok := r.MaxLimit("WAN Download"); !ok || limit != 240*unit.Mbps {
		t.Errorf("limit %v %v", limit, ok)
	}
	for line, want := range map[string]string{
		`:put [/ip/firewall/mangle get [find comment="STEER: calls"] dst-port]`:             "3478-3481\n",
		`:put [/interface get [find name=wan1] default-name]`:                               "ether1\n",
		`:put [/interface get [find name=lan] type]`:                                        "bridge\n",
		`:put [/routing/table get [find name=via-wan2] fib]`:                                "true\n",
		`:put [/ip/service get www disabled]`:                                               "true\n",
		`:put [/ip/settings get rp-filter]`:                                                 "loose\n",
		`:put [/system/script get [find name=hello] source]`:                                ":log info \"hi $x\"\r\n\n",
		`:put [/queue/type get [find name=cake-up] cake-rtt]`:                               "00:00:00.050\n",
		`:put [/ip/firewall/mangle print count-only where new-connection-mark="c-wan2"]`:    "1\n",
		`:put [/ip/route print count-only where routing-table=via-wan2]`:                    "1\n",
		`:put [/ip/address get [find interface=lan] network]`:                               "192.168.88.0\n",
		`:put [/queue/tree get [find name="WAN Upload"] bucket-size]`:                       "0.01\n",
		`:put [/interface/list/member print count-only where list=WAN]`:                     "2\n",
		`:put [/ip/firewall/filter get [find action=fasttrack-connection] connection-mark]`: "no-mark\n",
	} {
		if out, failed := r.Exec(t.Context(), "admin", line); failed || out != want {
			t.Errorf("%s: %q, want %q", line, out, want)
		}
	}
}

func TestImportErrors(t *testing.T) {
	for _, tc := range []struct{ text, want string }{
		{"/queue tree\nadd name=x", "x.rsc:2:1: Script Error: missing value(s) of argument(s) parent (/queue/tree/add; line 1)"},
		{"/queue tree\nadd parent=ether1 colour=red", "x.rsc:2:19: expected end of command"},
		{"/queue tree\nadd parent=ether1 \\\n    name=\"x\" colour=red", "x.rsc:3:14: expected end of command"},
		{"/queue tree\n# remark\n\nset [ find name=x ] max-limit=1M", "x.rsc:4:5: expected item id"},
		{"/queue tree\nadd parent=lte1", "x.rsc:2:1: input does not match any value of parent"},
		{"/queue tree\nexplode name=x", "x.rsc:2:1: bad command name explode"},
		{"/queue tree\nadd parent=ether1 comment=\"x", "x.rsc:2:29: syntax error"},
		{"/queue tree\nadd parent=ether1 \\", "x.rsc:2:1: the file ends in the middle of a line"},
		{"/queue tree\nadd parent=ether1 comment=\"" + strings.Repeat("x", maxLine) + "\"", "x.rsc:2:1: the line is too long"},
		{"/queue tree\nadd parent=ether1 comment=\"" + strings.Repeat("x", maxLine-2000) + "\\\n" + strings.Repeat("x", 3000) + "\"", "x.rsc:3:1: the line is too long"},
		{strings.Repeat("\n", maxImportLines+1), fmt.Sprintf("x.rsc:%d:1: the file is too long", maxImportLines+1)},
		{"/queue tree add parent=ether1 name=a\n/queue tree add parent=ether1 name=a", "x.rsc:2:1: failure: already have queue with such name"},
		{"nonsense", "x.rsc:1:1: bad command name nonsense"},
	} {
		r := unconfigured(t)
		_, err := r.Import("x.rsc", strings.NewReader(tc.text))
		if err == nil || err.Error() != tc.want {
			t.Errorf("%.60q: %v, want %s", tc.text, err, tc.want)
		}
	}
	if _, err := unconfigured(t).Import("x.rsc", failingReader{}); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Errorf("a reader that fails: %v", err)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, fmt.Errorf("the disk is gone") }

// Whatever is configured comes out of an export and in again unchanged, in each of its forms.
func TestExportRoundTrip(t *testing.T) {
	text := rapid.StringOfN(rapid.RuneFrom([]rune("abc AZ09\"\\$?;=[]{}()#'~%éß\n\t*/:")), 0, 60, -1)
	rate := rapid.Custom(func(t *rapid.T) string {
		return fmt.Sprint(rapid.Int64Range(0, 10_000).Draw(t, "n") * rapid.SampledFrom([]int64{1, 1000, 1_000_000}).Draw(t, "unit"))
	})
	rapid.Check(t, func(rt *rapid.T) {
		r := unconfigured(t)
		run := func(path string, args ...pair) {
			q := request{path: path}
			for _, a := range args {
				if a.val != "" || a.name == "comment" {
					q.args = append(q.args, a)
				}
			}
			if _, _, err := r.perform(t.Context(), "admin", ^policySet(0), q, func(row) error { return nil }); err != nil {
				rt.Fatalf("%s %q: %v", path, args, err)
			}
		}
		for i := range rapid.IntRange(0, 4).Draw(rt, "types") {
			run("/queue/type/add", pair{"name", fmt.Sprintf("type %d", i)}, pair{"kind", "cake"},
				pair{"cake-nat", rapid.SampledFrom([]string{"", "yes", "no"}).Draw(rt, "nat")},
				pair{"cake-rtt", rapid.SampledFrom([]string{"", "100ms", "1s500us", "0s"}).Draw(rt, "rtt")},
				pair{"cake-flowmode", rapid.SampledFrom([]string{"", "flows", "dual-srchost"}).Draw(rt, "flow")})
		}
		for i := range rapid.IntRange(0, 4).Draw(rt, "queues") {
			run("/queue/tree/add", pair{"name", fmt.Sprintf("q%d %s", i, text.Draw(rt, "name"))}, pair{"parent", "ether2"}, pair{"max-limit", rate.Draw(rt, "limit")},
				pair{"comment", text.Draw(rt, "comment")}, pair{"bucket-size", rapid.SampledFrom([]string{"", "0.01", "10", "0.125"}).Draw(rt, "bucket")},
				pair{"packet-mark", rapid.SampledFrom([]string{"", "no-mark", "a,b"}).Draw(rt, "mark")},
				pair{"disabled", rapid.SampledFrom([]string{"yes", "no"}).Draw(rt, "off")})
		}
		for range rapid.IntRange(0, 6).Draw(rt, "rules") {
			run("/ip/firewall/mangle/add", pair{"chain", rapid.SampledFrom([]string{"forward", "my chain"}).Draw(rt, "chain")},
				pair{"action", rapid.SampledFrom([]string{"accept", "mark-connection", "passthrough"}).Draw(rt, "action")},
				pair{"connection-state", rapid.SampledFrom([]string{"", "new", "established,related", "!new"}).Draw(rt, "state")},
				pair{"dscp", rapid.SampledFrom([]string{"", "46", "!0"}).Draw(rt, "dscp")},
				pair{"src-address", rapid.SampledFrom([]string{"", "!192.168.88.0/24", "10.0.0.1-10.0.0.9"}).Draw(rt, "from")},
				pair{"comment", text.Draw(rt, "remark")}, pair{"log-prefix", text.Draw(rt, "prefix")})
		}
		for i := range rapid.IntRange(0, 3).Draw(rt, "tables") {
			run("/routing/table/add", pair{"name", fmt.Sprintf("t%d", i)}, pair{"fib", rapid.SampledFrom([]string{"", "yes"}).Draw(rt, "fib")})
			run("/ip/route/add", pair{"gateway", "192.0.2.1"}, pair{"routing-table", fmt.Sprintf("t%d", i)}, pair{"check-gateway", "ping"})
		}
		run("/interface/set", pair{"numbers", "ether3"}, pair{"name", "wan " + text.Draw(rt, "port")}, pair{"comment", text.Draw(rt, "port remark")})
		run("/ip/service/set", pair{"numbers", "api"}, pair{"address", rapid.SampledFrom([]string{"10.0.0.0/8", "192.0.2.7/32,::1/128"}).Draw(rt, "sources")})
		run("/queue/type/set", pair{"numbers", "default-small"}, pair{"kind", rapid.SampledFrom([]string{"pfifo", "cake"}).Draw(rt, "kind")})
		run("/system/script/add", pair{"name", "s"}, pair{"source", text.Draw(rt, "source")})

		first := r.Export()
		for _, form := range []string{"/export", "/export terse", "/export verbose"} {
			out, failed := r.Exec(t.Context(), "admin", form)
			if failed {
				rt.Fatal(out)
			}
			again := unconfigured(t)
			if _, err := again.Import("again.rsc", strings.NewReader(out)); err != nil {
				rt.Fatalf("%s: %v in\n%s", form, err, out)
			}
			if d := cmp.Diff(first, again.Export()); d != "" {
				rt.Fatalf("%s (-before +after):\n%s", form, d)
			}
		}
		for l := range strings.Lines(first) {
			if strings.ContainsFunc(strings.TrimSuffix(l, "\n"), func(c rune) bool { return c < ' ' }) {
				rt.Errorf("a control character in %q", l)
			}
		}
	})
}

// The import reads anything without harm, and what it took it can write and read again.
func FuzzImport(f *testing.F) {
	for _, name := range []string{"testdata/house.rsc", "testdata/house.golden"} {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("/interface ethernet\nset [ find default-name=ether1 ] name=\"a b\" \\\n    disabled=yes")
	f.Add("/interface vlan add name=v interface=ether1 vlan-id=7\n/ip address add address=1.2.3.4/24 interface=v")
	f.Add("/queue tree\nadd parent=ether1 \\")
	f.Fuzz(func(t *testing.T, text string) {
		r := unconfigured(t)
		r.opt.Sleep = noSleep()
		_, err := r.Import("f.rsc", strings.NewReader(text))
		if err != nil {
			var line, col int
			if _, scan := fmt.Sscanf(err.Error(), "f.rsc:%d:%d:", &line, &col); scan != nil || line < 1 || col < 1 {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		first := r.Export()
		again := unconfigured(t)
		if _, err := again.Import("again.rsc", strings.NewReader(first)); err != nil {
			t.Fatalf("%v in\n%s", err, first)
		}
		if d := cmp.Diff(first, again.Export()); d != "" {
			t.Errorf("(-before +after):\n%s", d)
		}
	})
}

// What the example's router prints makes the same router of a bare one.
func TestExampleRoundTrip(t *testing.T) {
	r, _ := steady(t, func(o *Options) { o.HostKeys = fuzzKeys(t) })
	again := unconfigured(t)
	if _, err := again.Import("example.rsc", strings.NewReader(r.Export())); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Export(), again.Export()); d != "" {
		t.Errorf("(-before +after):\n%s", d)
	}
}

func TestUnquoted(t *testing.T) {
	for in, want := range map[string]string{`x`: "x", `"a b"`: "a b", `"a\"b"`: `a"b`, `"a`: "", `"$x"`: ""} {
		if got := unquoted(in); got != want {
			t.Errorf("%s became %q, want %q", in, got, want)
		}
	}
}
