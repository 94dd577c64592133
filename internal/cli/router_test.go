package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/go-cmp/cmp"

	"wanctl/configs"
	"wanctl/internal/blueprint"
	"wanctl/internal/config"
	"wanctl/internal/lab/rosim"
)

// factory is a router as it comes from its box, with two lines plugged in.
const factory = `/interface list
add comment=defconf name=WAN
/interface list member
add comment=defconf interface=ether1 list=WAN
/ip address
add address=192.168.88.1/24 comment=defconf interface=bridge network=192.168.88.0
add address=10.10.110.2/24 interface=ether1
add address=10.10.111.2/24 interface=ether2
/ip firewall filter
add action=accept chain=input comment="defconf: accept established,related,untracked" connection-state=established,related,untracked
add action=fasttrack-connection chain=forward comment="defconf: fasttrack" connection-state=established,related
add action=accept chain=forward comment="defconf: accept established,related, untracked" connection-state=established,related,untracked
/ip firewall nat
add action=masquerade chain=srcnat comment="defconf: masquerade" out-interface-list=WAN
/ip route
add dst-address=0.0.0.0/0 gateway=10.10.110.1%ether1
add dst-address=0.0.0.0/0 distance=2 gateway=10.10.111.1%ether2
`

// fromItsBox makes such a router.
func fromItsBox(o rosim.Options) (*rosim.Router, error) {
	o.Queues, o.Rules = nil, nil
	r, err := rosim.NewRouter(o)
	if err != nil {
		return nil, err
	}
	if notes, err := r.Import("factory.rsc", strings.NewReader(factory)); err != nil || len(notes) > 0 {
		return nil, fmt.Errorf("%v %w", notes, err)
	}
	return r, nil
}

// served opens a door of a router until the test ends, and returns its port.
func served(t *testing.T, r *rosim.Router, serve func(context.Context, net.Listener) error, at string) int {
	t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-over; err != nil {
			t.Error(err)
		}
	})
	<-r.Ready()
	return ln.Addr().(*net.TCPAddr).Port
}

// routerBench is an emulated router with a person in front of it.
type routerBench struct {
	t         *testing.T
	router    *rosim.Router
	dir       string
	transport string
	port      int
	pin       string
	answer    string // what the person types
	stdin     io.Reader
	says      func(string) // hears what is written to stderr, as it is written
	prints    func(string) // and to stdout
	signals   chan chan<- os.Signal
}

// eavesdrop tells what is written.
type eavesdrop struct {
	io.Writer
	hear func(string)
}

func (e eavesdrop) Write(b []byte) (int, error) {
	e.hear(string(b))
	return e.Writer.Write(b)
}

// newRouterBench serves a router of a version through one door.
func newRouterBench(t *testing.T, version, transport string) *routerBench {
	t.Helper()
	o := rosim.DefaultOptions()
	o.Version = version
	o.Users = []rosim.User{{Name: "wanctl", Password: "sesame"}, {Name: "admin", Password: "boss", Group: "full"}}
	r, err := fromItsBox(o)
	if err != nil {
		t.Fatal(err)
	}
	serve := map[string]func(context.Context, net.Listener) error{"ssh": r.Serve, "api": r.ServeAPITLS, "rest": r.ServeRESTTLS}[transport]
	b := &routerBench{t: t, router: r, dir: t.TempDir(), transport: transport, port: served(t, r, serve, "127.0.0.1:0")}
	b.files()
	return b
}

// files writes the configuration of both lines and of steering.
func (b *routerBench) files() {
	b.t.Helper()
	section := fmt.Sprintf("router: {host: 127.0.0.1, port: %d, user: wanctl, password: \"${ROUTER_PASSWORD}\", transport: %s", b.port, b.transport)
	if b.transport == "ssh" {
		section += ", known_hosts: " + filepath.Join(b.dir, "known_hosts")
	}
	if b.pin != "" {
		section += ", tls_pin: \"" + b.pin + "\""
	}
	section += "}\n"
	line := func(name, iface, access string, down, up int) string {
		return fmt.Sprintf("wan_name: %s\n%squeues: {download: WAN-Download-%[1]s, upload: WAN-Upload-%[1]s}\ninterfaces: {wan: %[3]s}\nqdisc: {access: %[4]s}\n"+
			"continuous_monitoring:\n  policy: tracking\n  download: {max_mbps: %[5]d}\n  upload: {max_mbps: %[6]d}\n  ping_hosts: [127.0.0.1, 127.0.0.2, 127.0.0.3]\n",
			name, section, iface, access, down, up)
	}
	b.put("Spectrum.yaml", line("Spectrum", "ether1", "docsis", 940, 38))
	b.put("ATT.yaml", line("ATT", "ether2", "vdsl-ptm", 95, 18))
	shipped, err := configs.Files.ReadFile("steering_config_v2.yaml")
	if err != nil {
		b.t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(shipped), "\nrouter:\n")
	_, rest, ok2 := strings.Cut(rest, "\n\n")
	if !ok || !ok2 {
		b.t.Fatal("the shipped steering file has no router section")
	}
	text := strings.Replace(head+"\n"+section+"\n"+rest, "/etc/wanctl/spectrum_config.yaml", filepath.Join(b.dir, "Spectrum.yaml"), 1)
	b.put("steering.yaml", text)
}

func (b *routerBench) put(name, text string) {
	b.t.Helper()
	if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// all are the three files.
func (b *routerBench) all() []string {
	return []string{filepath.Join(b.dir, "Spectrum.yaml"), filepath.Join(b.dir, "ATT.yaml"), filepath.Join(b.dir, "steering.yaml")}
}

// run runs a command to its end.
func (b *routerBench) run(args ...string) (code int, out, errs string) {
	b.t.Helper()
	var o, e bytes.Buffer
	env := map[string]string{
		"STATE_DIRECTORY": filepath.Join(b.dir, "state"), "RUNTIME_DIRECTORY": filepath.Join(b.dir, "run"), "ROUTER_PASSWORD": "sesame",
		"WANCTL_ADMIN_PASSWORD": "boss",
	}
	look := func(n string) (string, bool) { v, ok := env[n]; return v, ok }
	app := &App{
		Stdin: strings.NewReader(b.answer), Stdout: &o, Stderr: &e, LookupEnv: look, ReadFile: os.ReadFile, Getenv: func(n string) string { return env[n] },
		Notify: func(c chan<- os.Signal, which ...os.Signal) func() {
			if b.signals != nil && slices.Contains(which, os.Interrupt) {
				b.signals <- c
			}
			return func() {}
		},
	}
	if b.stdin != nil {
		app.Stdin = b.stdin
	}
	if b.says != nil {
		app.Stderr = eavesdrop{&e, b.says}
	}
	if b.prints != nil {
		app.Stdout = eavesdrop{&o, b.prints}
	}
	code = Main(args, app)
	for _, secret := range []string{"sesame", "boss"} {
		if strings.Contains(o.String()+e.String(), secret) {
			b.t.Errorf("%v tells a secret:\n%s%s", args, &o, &e)
		}
	}
	return code, o.String(), e.String()
}

func (b *routerBench) must(want int, args ...string) string {
	b.t.Helper()
	code, out, errs := b.run(args...)
	if code != want {
		b.t.Fatalf("wanctl %s: %d, want %d\n%s%s", strings.Join(args, " "), code, want, out, errs)
	}
	return out + errs
}

// config is the router's, without what only says when and by whom.
func (b *routerBench) config() string {
	var kept []string
	for l := range strings.Lines(b.router.Export()) {
		if !strings.HasPrefix(l, "#") {
			kept = append(kept, l)
		}
	}
	return strings.Join(kept, "")
}

// trust goes through the question, with whatever the door has to be known by.
func (b *routerBench) trust() {
	b.t.Helper()
	file := b.all()[0]
	b.answer = "n\n"
	if out := b.must(exitFailed, "router", "trust", file); !strings.Contains(out, "nothing was recorded") {
		b.t.Errorf("a no: %s", out)
	}
	if out := b.must(exitFailed, "router", "trust", file, "--fingerprint", "SHA256:other"); !strings.Contains(out, "somebody may be in between") {
		b.t.Errorf("another fingerprint: %s", out)
	}
	b.answer = "yes\n"
	out := b.must(exitOK, "router", "trust", file)
	if b.transport != "ssh" {
		_, pin, ok := strings.Cut(out, "tls_pin: ")
		if !ok {
			b.t.Fatalf("no line for the file:\n%s", out)
		}
		b.pin = strings.TrimSpace(pin)
		b.files()
	}
	b.answer = ""
}

// doors are the ways to a router.
var doors = []string{"ssh", "api", "rest"}

// chosen says whether a test plays its i-th case through the j-th door: each case through one, and each door with one at least;
// where WANCTL_LONG is set, every case through every door.
func chosen(i, j int) bool { return os.Getenv("WANCTL_LONG") != "" || j == i%len(doors) }

// From its box to two lines with steering and back, with each version and through each door: trust, plan, apply, doctor, undo.
func TestRouterFromItsBox(t *testing.T) {
	for i, version := range []string{"7.14", "7.18", "7.22.3", "7.24"} {
		for j, transport := range doors {
			if !chosen(i, j) {
				continue
			}
			t.Run(version+"/"+transport, func(t *testing.T) {
				t.Parallel()
				b := newRouterBench(t, version, transport)
				b.trust()
				before := b.config()
				plan := b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...)
				for _, want := range []string{
					"+ queue WAN-Download-Spectrum: ", "src-address=10.10.110.248 action=mark-connection new-connection-mark=wanctl-ATT", "parent=ether2 packet-mark=no-mark max-limit=18000000", "cake-overhead=22", "cake-atm=ptm",
					`new-connection-mark=wanctl-ATT passthrough=yes disabled=yes comment="ADAPTIVE: Steer latency-sensitive to ATT"`,
					`place-before=[find where comment="defconf: fasttrack"]`,
				} {
					if !strings.Contains(plan, want) {
						t.Errorf("the plan lacks %q:\n%s", want, plan)
					}
				}
				if b.config() != before {
					t.Error("a plan changed the router")
				}
				if out := b.must(exitFailed, append([]string{"router", "apply"}, b.all()...)...); !strings.Contains(out, "nobody answers") || b.config() != before {
					t.Errorf("without a word: %s", out)
				}
				if out := b.must(exitOK, append([]string{"router", "apply", "--yes"}, b.all()...)...); !strings.Contains(out, "and verified") {
					t.Errorf("apply prints %s", out)
				}
				if out := b.must(exitOK, append([]string{"router", "apply", "--yes"}, b.all()...)...); !strings.Contains(out, "nothing to do") {
					t.Errorf("the second time: %s", out)
				}
				if out := b.must(exitOK, append([]string{"router", "show"}, b.all()...)...); !strings.Contains(out, "wanctl-ATT-upload") {
					t.Errorf("show prints %s", out)
				}
				_, out, _ := b.run(append([]string{"doctor", "--watch", "10ms"}, b.all()...)...)
				for _, bad := range []string{"router.plan", "router.fasttrack", "router.shapers", "ATT.queues", "ATT.cake", "steering.rule", "router.read"} {
					if strings.Contains(out, bad) {
						t.Errorf("after apply the doctor says\n%s", out)
					}
				}
				if out := b.must(exitOK, append([]string{"router", "undo", "--yes"}, b.all()...)...); !strings.Contains(out, "are undone") {
					t.Errorf("undo prints %s", out)
				}
				if after := b.config(); after != before {
					t.Errorf("after the undo (-before +after):\n%s", cmp.Diff(before, after))
				}
			})
		}
	}
}

// The user and its group need another login; without it they are left out, with it they are there and work.
func TestRouterAccount(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	for i := range b.all() {
		text, err := os.ReadFile(b.all()[i])
		if err != nil {
			t.Fatal(err)
		}
		b.put(filepath.Base(b.all()[i]), strings.Replace(string(text), "user: wanctl", "user: newcomer", 1))
	}
	if out := b.must(exitOK, append([]string{"router", "plan", "--rsc", "--user", "admin"}, b.all()...)...); strings.Contains(out, "\n/user/add") || !strings.Contains(out, ": /user/add") {
		t.Errorf("a user with a password that everybody knows: %s", out)
	}
	args := append([]string{"router", "apply", "--yes", "--user", "admin"}, b.all()...)
	if out := b.must(exitOK, args...); !strings.Contains(out, "user newcomer") || !strings.Contains(out, `password="…"`) {
		t.Errorf("apply prints %s", out)
	}
	if out := b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...); !strings.Contains(out, "nothing to do") {
		t.Errorf("as the new user: %s", out)
	}
	_, out, _ := b.run(append([]string{"doctor", "--watch", "10ms"}, b.all()...)...)
	if strings.Contains(out, "router.rights") {
		t.Errorf("the new user's rights: %s", out)
	}
	b.must(exitOK, append([]string{"router", "undo", "--yes", "--user", "admin"}, b.all()...)...)
	if strings.Contains(b.config(), "newcomer") {
		t.Errorf("the user is left:\n%s", b.config())
	}
}

// A change that fails takes those before it back, and the router is as it was; also when the answer alone was lost.
func TestRouterApplyFails(t *testing.T) {
	for i, fault := range []struct {
		name   string
		happen func(*rosim.Router)
		says   string
	}{
		{"refused", func(r *rosim.Router) { r.FailNext("failure: the flash is full") }, "the flash is full"},
		{"not arrived", func(r *rosim.Router) { r.CutNext(rosim.CutBefore) }, "class push"},
		{"not heard", func(r *rosim.Router) { r.CutNext(rosim.CutAfter) }, "class push"},
		{"cut short", func(r *rosim.Router) { r.CutNext(rosim.CutReply) }, "class push"},
	} {
		for j, transport := range doors {
			if !chosen(i, j) {
				continue
			}
			t.Run(fault.name+"/"+transport, func(t *testing.T) {
				t.Parallel()
				b := newRouterBench(t, "7.22.3", transport)
				b.trust()
				before := b.config()
				quiet := b.commands(func() { b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...) })
				for range quiet + 2*42 { // the menus, and the first 42 changes, each of which is read back
					b.router.CutNext(0)
				}
				fault.happen(b.router)
				code, out, errs := b.run(append([]string{"router", "apply", "--yes"}, b.all()...)...)
				if code != exitFailed || !strings.Contains(errs, "the 42 changes before it were undone") || !strings.Contains(errs, fault.says) {
					t.Errorf("%d\n%s%s", code, out, errs)
				}
				if after := b.config(); after != before {
					t.Errorf("the router (-before +after):\n%s", cmp.Diff(before, after))
				}
			})
		}
	}
}

// A router that restarts in the middle is waited for, and then as it was.
func TestRouterRestartsInTheMiddle(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	before := b.config()
	quiet := b.commands(func() { b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...) })
	for range quiet + 2*20 {
		b.router.CutNext(0)
	}
	b.router.CutNext(rosim.CutAfter)
	b.says = func(text string) {
		switch {
		case strings.HasPrefix(text, "error: "):
			b.router.Refuse()
		case strings.Contains(text, "the router is gone"):
			if err := b.router.Return(); err != nil {
				t.Error(err)
			}
		}
	}
	code, out, errs := b.run(append([]string{"router", "apply", "--yes"}, b.all()...)...)
	if code != exitFailed || !strings.Contains(errs, "the 20 changes before it were undone") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if after := b.config(); after != before {
		t.Errorf("the router (-before +after):\n%s", cmp.Diff(before, after))
	}
	if left, err := filepath.Glob(filepath.Join(b.dir, "state", "*_changes.json")); err != nil || left != nil {
		t.Errorf("%v, %v: nothing is left to undo", left, err)
	}
}

// Ctrl-C at a question ends it, and changes nothing.
func TestRouterInterruptedQuestion(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	before := b.config()
	in, hold := io.Pipe()
	t.Cleanup(func() { _ = hold.Close() })
	asked := make(chan struct{})
	b.stdin, b.signals = readSignal{in, asked}, make(chan chan<- os.Signal, 1)
	go func() {
		keys := <-b.signals
		<-asked
		keys <- os.Interrupt
	}()
	code, out, errs := b.run(append([]string{"router", "apply"}, b.all()...)...)
	if code != exitFailed || !strings.Contains(errs, "interrupted") || b.config() != before {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
}

// Ctrl-C in the middle takes back what was made, and does not blame the router.
func TestRouterInterruptedInTheMiddle(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	before := b.config()
	b.signals = make(chan chan<- os.Signal, 1)
	b.prints = func(text string) {
		if strings.HasPrefix(text, "7/") {
			keys := <-b.signals
			keys <- os.Interrupt
			for len(keys) > 0 {
				runtime.Gosched()
			}
		}
	}
	code, out, errs := b.run(append([]string{"router", "apply", "--yes"}, b.all()...)...)
	if code != exitFailed || !strings.Contains(errs, ": interrupted\n") || !strings.Contains(errs, "changes before it were undone") || strings.Contains(errs, "overloaded") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	if after := b.config(); after != before {
		t.Errorf("the router (-before +after):\n%s", cmp.Diff(before, after))
	}
}

func TestPermitted(t *testing.T) {
	all := []blueprint.Change{{Item: "user", Privileged: true}, {Item: "queue"}}
	if got := permitted(all, ""); len(got) != 1 || got[0].Item != "queue" || !all[0].Privileged {
		t.Errorf("%v", got)
	}
	if got := permitted(all, "admin"); len(got) != 2 {
		t.Errorf("%v", got)
	}
}

// readSignal closes a channel when somebody begins to read.
type readSignal struct {
	io.Reader
	begun chan struct{}
}

func (r readSignal) Read(b []byte) (int, error) {
	close(r.begun)
	return r.Reader.Read(b)
}

// Two at once would add everything twice: the second is told to wait. Where nothing can be remembered, nothing is changed.
func TestRouterOneAtATime(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	before := b.config()
	if err := os.MkdirAll(filepath.Join(b.dir, "state"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock := flock.New(filepath.Join(b.dir, "state", "router_127.0.0.1.lock"))
	if ok, err := lock.TryLock(); !ok || err != nil {
		t.Fatal(ok, err)
	}
	for _, verb := range []string{"apply", "undo"} {
		if out := b.must(exitFailed, append([]string{"router", verb, "--yes"}, b.all()...)...); !strings.Contains(out, "another wanctl changes 127.0.0.1") {
			t.Errorf("%s: %s", verb, out)
		}
	}
	if err := lock.Unlock(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(b.dir, "state")); err != nil {
		t.Fatal(err)
	}
	b.put("state", "a file where the directory should be")
	if out := b.must(exitFailed, append([]string{"router", "apply", "--yes"}, b.all()...)...); !strings.Contains(out, "nothing was changed") || b.config() != before {
		t.Errorf("without a state directory: %s", out)
	}
}

// A process that is killed leaves a file from which an undo puts back what was set, though the change was not answered yet.
func TestRouterRemembersBefore(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	if _, err := b.router.Import("strict.rsc", strings.NewReader("/ip settings\nset rp-filter=strict\n")); err != nil {
		t.Fatal(err)
	}
	before := b.config()
	path := filepath.Join(b.dir, "state", "router_127.0.0.1_changes.json")
	var seen string // as it was when the change failed: that of a process that ended there
	b.says = func(text string) {
		if strings.HasPrefix(text, "error: reverse path filter") {
			b, err := os.ReadFile(path)
			if err != nil {
				t.Error(err)
			}
			seen = string(b)
		}
	}
	plan := b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...)
	at, n := -1, 0
	for l := range strings.Lines(plan) {
		if strings.HasPrefix(l, "~ reverse path filter") {
			at = n
		}
		if strings.HasPrefix(l, "+ ") || strings.HasPrefix(l, "~ ") {
			n++
		}
	}
	quiet := b.commands(func() { b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...) })
	for range quiet + 2*at {
		b.router.CutNext(0)
	}
	b.router.FailNext("failure: no")
	b.must(exitFailed, append([]string{"router", "apply", "--yes"}, b.all()...)...)
	if !strings.Contains(seen, `"rp-filter"`) || !strings.Contains(seen, `"strict"`) {
		t.Fatalf("it remembers %s", seen)
	}
	if _, err := b.router.Import("loose.rsc", strings.NewReader("/ip settings\nset rp-filter=loose\n")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(seen), 0o600); err != nil {
		t.Fatal(err)
	}
	b.must(exitOK, append([]string{"router", "undo", "--yes"}, b.all()...)...)
	if after := b.config(); after != before {
		t.Errorf("after the undo (-before +after):\n%s", cmp.Diff(before, after))
	}
}

func TestIsFingerprint(t *testing.T) {
	const key, cert = "ssh-ed25519 SHA256:abc", "sha256:0f1e"
	for _, c := range []struct {
		seen, text string
		is         bool
	}{
		{key, key, true},
		{key, "SHA256:abc", true},
		{key, "abc", true},
		{key, "bc", false},
		{key, "c", false},
		{key, "ssh-ed25519", false},
		{cert, cert, true},
		{cert, "0f1e", true},
		{cert, "e", false},
		{cert, "1e", false},
	} {
		if got := isFingerprint(c.seen, c.text); got != c.is {
			t.Errorf("%q for %q: %t", c.text, c.seen, got)
		}
	}
}

// commands counts what the router is asked meanwhile.
func (b *routerBench) commands(do func()) int {
	before := len(b.router.Commands())
	do()
	return len(b.router.Commands()) - before
}

// What --rsc prints does the same as apply, line by line.
func TestRouterScript(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "ssh")
	b.trust()
	for l := range strings.Lines(b.must(exitOK, append([]string{"router", "plan", "--rsc"}, b.all()...)...)) {
		if strings.HasPrefix(l, "/") {
			if out, failed := b.router.Exec(t.Context(), "admin", strings.TrimSpace(l)); failed || out != "" {
				t.Fatalf("%s%s", l, out)
			}
		}
	}
	if out := b.must(exitOK, append([]string{"router", "plan"}, b.all()...)...); !strings.Contains(out, "nothing to do") {
		t.Errorf("after it: %s", out)
	}
}

// The doctor's way out of too many rights works as it is typed; --user is not whom it looks at.
func TestDoctorRightsWayOut(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "api")
	b.trust()
	for _, args := range [][]string{{"--user", "admin"}, nil} {
		_, out, _ := b.run(append(append([]string{"doctor", "--watch", "1ms"}, args...), b.all()...)...)
		_, rest, ok := strings.Cut(out, "router.rights: our user has rights it does not need: ")
		_, fix, ok2 := strings.Cut(rest, "fix: ")
		fix, _, ok3 := strings.Cut(fix, "; then")
		if !ok || !ok2 || !ok3 {
			t.Fatalf("%v: %s", args, out)
		}
		if args != nil {
			continue
		}
		if out, failed := b.router.Exec(t.Context(), "admin", fix); failed || out != "" {
			t.Fatalf("%s: %s", fix, out)
		}
	}
	if _, out, _ := b.run(append([]string{"doctor", "--watch", "1ms"}, b.all()...)...); strings.Contains(out, "router.rights") {
		t.Errorf("after it: %s", out)
	}
}

// What keeps a plan from being carried out is an error, and nothing is changed.
func TestRouterBlocked(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "rest")
	b.trust()
	before := b.config()
	for _, cmd := range []string{"plan", "apply"} {
		code, _, errs := b.run("router", cmd, b.all()[0], b.all()[2])
		if code != exitFailed || !strings.Contains(errs, "error: steering from Spectrum to ATT: the plan needs the files of all these lines") {
			t.Errorf("%s: %d %s", cmd, code, errs)
		}
	}
	if b.config() != before {
		t.Error("it changed something")
	}
	if out := b.must(exitOK, append([]string{"router", "plan", "--rsc"}, b.all()...)...); !strings.Contains(out, "\n/queue/tree/add name=WAN-Download-ATT ") {
		t.Errorf("--rsc prints %s", out)
	}
	if out := b.must(exitOK, append([]string{"router", "plan", "--json"}, b.all()...)...); !strings.Contains(out, `"Menu": "/queue/tree"`) {
		t.Errorf("--json prints %s", out)
	}
}

// The doctor says how far it got, and what that hides.
func TestDoctorAtTheDoor(t *testing.T) {
	b := newRouterBench(t, "7.22.3", "rest")
	examine := func(want string) {
		t.Helper()
		code, out, errs := b.run(append([]string{"doctor", "--watch", "1ms"}, b.all()...)...)
		if code != exitBroken || !strings.Contains(out, want) || !strings.Contains(out, "skipped  ATT.cake: not looked at, because of router.") {
			t.Errorf("want %q: %d\n%s%s", want, code, out, errs)
		}
	}
	examine("failed   router.trust: ")
	b.trust()
	if err := b.router.SetPassword("wanctl", "another"); err != nil {
		t.Fatal(err)
	}
	examine("failed   router.login: ")
	b.router.Refuse()
	examine("failed   router.reach: ")
}

func TestUnproved(t *testing.T) {
	for _, c := range []struct {
		r    config.Router
		why  string
		near bool
	}{
		{config.Router{Host: "192.0.2.1", Transport: config.TransportSSH}, "", false},
		{config.Router{Host: "127.0.0.1", Transport: config.TransportAPI, Plain: true}, "without TLS", true},
		{config.Router{Host: "localhost", Transport: config.TransportREST, VerifySSL: true}, "", true},
		{config.Router{Host: "router.example", Transport: config.TransportREST, Insecure: true}, "not looked at", false},
		{config.Router{Host: "192.0.2.1", Transport: config.TransportREST, TLSPin: [32]byte{1}}, "", false},
	} {
		if why, near := unproved(c.r); near != c.near || (why == "") != (c.why == "") || !strings.Contains(why, c.why) {
			t.Errorf("%+v: %q, %t", c.r, why, near)
		}
	}
}

func TestRouterClock(t *testing.T) {
	want := time.Date(2026, 11, 26, 10, 0, 1, 0, time.UTC)
	for _, c := range [][3]string{
		{"2026-11-26", "11:00:01", "+01:00"}, {"nov/26/2026", "10:00:01", "0"}, {"2026-11-26", "12:00:01", "7200"}, {"2026-11-26", "10:00:01", ""},
	} {
		if at, ok := clock(c[0], c[1], c[2]); !ok || !at.Equal(want) {
			t.Errorf("%v is %v, %t", c, at, ok)
		}
	}
	for _, c := range [][3]string{{"today", "11:00:01", ""}, {"2026-11-26", "noon", ""}, {"2026-11-26", "11:00:01", "CET"}} {
		if at, ok := clock(c[0], c[1], c[2]); ok {
			t.Errorf("%v is %v", c, at)
		}
	}
}
