package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/policy"
)

const explainText = `wan_name: steering
topology: {primary_wan: Cable, alternate_wan: DSL}
router: {host: 192.168.1.1, user: wanctl, ssh_key: /etc/wanctl/router.key}
mangle_rule: {comment: "STEER"}
cake_state_sources: {primary: /run/wanctl/cable_feed.json}
alternate: {ping_source_ip: 192.168.1.3}
measurement: {interval_seconds: 2, ping_host: 1.1.1.1, ping_count: 3}
cake_queues: {primary_download: Down, primary_upload: Up}
traffic_classes: {web: true, always: ["192.168.1.50 DSL"], never: ["@kids DSL", "@router DSL", "192.168.1.60 Cable"], lists: {kids: [192.168.1.70]}}
`

// explainer runs the command on that house.
func explainer(t *testing.T) (dir string, run func(args ...string) (code int, out, errs string)) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(dir, "steering.yaml")
	if err := os.WriteFile(file, []byte(explainText), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, func(args ...string) (int, string, string) {
		var o, e bytes.Buffer
		app := &App{Stdout: &o, Stderr: &e, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }, LookupEnv: os.LookupEnv}
		code := Main(append([]string{"steer", "explain", "--run-dir", dir, file}, args...), app)
		return code, o.String(), e.String()
	}
}

func TestSteerExplains(t *testing.T) {
	_, run := explainer(t)
	for words, want := range map[string]string{
		"udp 192.168.1.10:50000 203.0.113.7:3478":                  "line:      DSL: it is of the class voip, and that is steered\n  otherwise: Cable\n  class:     voip, number 1 in the order of admission\n",
		"tcp 192.168.1.10 203.0.113.7:80":                          "line:      Cable: it is of no class, so it never moves\n",
		"tcp 192.168.1.10 203.0.113.7:80 --dscp 46":                "line:      DSL: it is of the class dscp",
		"tcp 192.168.1.10 203.0.113.7:443":                         "class:     web (light), number 7",
		"tcp 192.168.1.10 203.0.113.7:443 --bulk":                  "line:      Cable: it is of the class web, but its hosts have just moved much\n",
		"tcp 192.168.1.50 203.0.113.7:80":                          "line:      DSL: your configuration says so: 192.168.1.50 always DSL",
		"udp 192.168.1.70 203.0.113.7:5060":                        "line:      Cable: it is of the class voip, and your configuration says: @kids never DSL",
		"tcp 192.168.1.60 203.0.113.7:80":                          "line:      DSL: your configuration says so: 192.168.1.60 never Cable",
		"icmp 192.168.1.3 1.1.1.1":                                 "line:      DSL: this address measures DSL",
		"udp 192.168.1.10 10.1.1.1:5060":                           "line:      the main table's way: no line of the internet leads there",
		"udp [2001:db8::1]:5060 [2001:db8::2]:5060":                "line:      the main table's way: IPv6 is not steered",
		"udp 192.168.1.10:50000 203.0.113.7:5060 --bulk":           "line:      DSL: it is of the class voip",
		"tcp 192.168.1.9 203.0.113.7:1 udp 192.168.1.9 9.9.9.9:53": "udp 192.168.1.9 → 9.9.9.9:53\n",
	} {
		code, out, errs := run(append(strings.Fields(words), "--target", "dsl")...)
		if code != exitOK || !strings.Contains(out, want) || !strings.HasPrefix(out, "new connections of the classes are steered to DSL now (by --target)\n") {
			t.Errorf("%s: %d %s%s", words, code, out, errs)
		}
		if strings.Contains(words, "udp 192.168.1.10:50000 203.0.113.7:3478") && !strings.Contains(out, "own list router is not known here") {
			t.Errorf("%s: %s", words, out)
		}
	}
	if _, out, _ := run("udp", "192.168.1.10", "203.0.113.7:5060", "--target", "none"); !strings.Contains(out, "nothing is steered now (by --target)") ||
		!strings.Contains(out, "line:      Cable: it is of the class voip, and nothing is steered") || strings.Contains(out, "otherwise") {
		t.Error(out)
	}
	_, out, _ := run("udp", "192.168.1.10", "203.0.113.7:5060", "--target", "DSL", "--json")
	var got struct {
		Target string
		Flows  []explained
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || got.Target != "DSL" || len(got.Flows) != 1 || got.Flows[0].Order != 1 {
		t.Errorf("%v %+v in %s", err, got, out)
	}
	if !strings.Contains(out, `"cause": "steered"`) || !strings.Contains(out, `"class": "voip"`) {
		t.Error(out)
	}
}

func TestSteerExplainRefuses(t *testing.T) {
	dir, run := explainer(t)
	for words, want := range map[string]string{
		"udp 192.168.1.10": "a flow is three words",
		"udp 192.168.1.10 203.0.113.7:5060 --dscp 64":   "a code point is 0 to 63",
		"sctp 192.168.1.10 203.0.113.7:5060":            `the protocol is "sctp"`,
		"udp 192.168.1.10 203.0.113.7":                  "has no port: write 203.0.113.7:443",
		"udp here 203.0.113.7:5060":                     `"here" is no ADDRESS:PORT`,
		"udp 192.168.1.10 [2001:db8::1]:5060":           "are not of one kind",
		"udp 192.168.1.10 203.0.113.7:1 --target DLS":   "did you mean DSL?",
		"udp 192.168.1.10 203.0.113.7:1 --target xyzzy": "the lines are DSL, or none",
	} {
		if code, _, errs := run(strings.Fields(words)...); code == exitOK || !strings.Contains(errs, want) {
			t.Errorf("%s: %d %s", words, code, errs)
		}
	}
	line := filepath.Join(dir, "line.yaml")
	for text, want := range map[string]string{"x: 1": "x", "": "empty"} {
		if err := os.WriteFile(line, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var o, e bytes.Buffer
		app := &App{Stdout: &o, Stderr: &e, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }}
		if code := Main([]string{"steer", "explain", line, "udp", "1.1.1.1", "1.1.1.1:1"}, app); code == exitOK || !strings.Contains(e.String(), want) {
			t.Errorf("%q: %d %s", text, code, &e)
		}
	}
}

// What is steered is asked of the process.
func TestSteerExplainAsksTheProcess(t *testing.T) {
	for status, want := range map[string]string{
		`{"name":"steering","pid":7,"steering":{"rule":"enabled"}}`:                                                       "steered to DSL now (says process 7)",
		`{"name":"steering","pid":7,"steering":{"rule":"disabled"}}`:                                                      "nothing is steered now (says process 7)",
		`{"name":"steering","pid":7,"steering":{"rule":"enabled to DSL","alternates":[{"name":"DSL","rule":"enabled"}]}}`: "steered to DSL now",
		`{"name":"steering","pid":7,"steering":{"rule":"not read yet"}}`:                                                  "has not read the rule yet",
		`{"name":"other","pid":7,"wan":{}}`:                                                                               "nothing is steered now (no process of that name runs here",
		`?`:                                                                                                               "say --target",
	} {
		dir, run := explainer(t)
		l, err := net.Listen("unix", filepath.Join(dir, "steering.sock"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = io.WriteString(c, status)
				_ = c.Close()
			}
		}()
		if _, out, errs := run("udp", "192.168.1.10", "203.0.113.7:5060"); !strings.Contains(out+errs, want) {
			t.Errorf("%s: %s%s", status, out, errs)
		}
		_ = l.Close()
	}
}

// Where this host steers, the kernel is asked who talks with whom, and where new connections go when no process runs.
func TestSteerExplainAsksTheKernel(t *testing.T) {
	file := filepath.Join(repository, "configs", "steering_linux.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	six := filepath.Join(t.TempDir(), "six.yaml")
	text := strings.NewReplacer("wan1}", "wan1, nat6: true}", "wan2}", "wan2, nat6: true}").Replace(string(b)) + "\npolicy: {ipv6: true}\n"
	if err := os.WriteFile(six, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := &policy.Error{Kind: policy.Missing, Err: errors.New("x")}
	for name, c := range map[string]struct {
		kernel   fakePolicies
		args     string
		has, not string
	}{
		"steered by nobody": {
			fakePolicies{To: "DSL"},
			"udp 192.168.1.10 203.0.113.7:5060",
			"steered to DSL now (says the kernel: no process of that name runs here)\nudp 192.168.1.10 → 203.0.113.7:5060\n  line:      DSL", "a call",
		},
		"a call": {
			fakePolicies{To: "DSL", Paired: policy.Pair{Line: "Cable", Left: 290 * time.Second}},
			"udp 192.168.1.10 203.0.113.7:5060",
			"line:      Cable: 192.168.1.10 and 203.0.113.7 have a call by it, and for 4m50s more without a packet", "note",
		},
		"heavy": {
			fakePolicies{To: "DSL", Paired: policy.Pair{Heavy: time.Minute}}, "udp 192.168.1.10 203.0.113.7:5060", "line:      DSL: it is of the class voip", "",
		},
		"nothing made": {fakePolicies{SteeredErr: missing, Err: missing}, "udp 192.168.1.10 203.0.113.7:5060", "nothing is steered now", "note"},
		"no right": {
			fakePolicies{SteeredErr: errors.New("no right"), Err: errors.New("no right")},
			"udp 192.168.1.10 203.0.113.7:5060",
			"whether these two have a call now is not known: no right\n  note:      a call that goes on with 203.0.113.7", "",
		},
		"IPv6 that is translated": {fakePolicies{To: "DSL"}, "six udp [2001:db8::1]:5060 [2001:db8::2]:5060", "line:      DSL: it is of the class voip", "IPv6 is not steered"},
	} {
		words, path := strings.Fields(c.args), file
		if words[0] == "six" {
			words, path = words[1:], six
		}
		var o, e bytes.Buffer
		app := &App{
			Stdout: &o, Stderr: &e, ReadFile: os.ReadFile, Getenv: func(string) string { return "" }, LookupEnv: os.LookupEnv,
			OpenPolicies: func(*config.Steering) Policies { return &c.kernel },
		}
		code := Main(append([]string{"steer", "explain", "--run-dir", t.TempDir(), path}, words...), app)
		if out := o.String(); code != exitOK || !strings.Contains(out, c.has) || c.not != "" && strings.Contains(out, c.not) {
			t.Errorf("%s: %d %s%s", name, code, out, &e)
		}
	}
}
