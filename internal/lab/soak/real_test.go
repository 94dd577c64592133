package soak

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"wanctl/internal/daemon"
)

// The limits of the real run: what an hour can tell. A leak that is slower than these is for the month to find.
var (
	realHeap = Limit{Growth: 300e3, Why: "what two collections may leave more or less; a leak that is slower is for the month to find"}
	realRSS  = Limit{Growth: 2e6, Why: "pages come and go in spans of up to 4 MB, while the heap is under its limit"}
	// The emulator keeps the newest 20 000 commands and changes, and up to twice as many before it drops the others.
	emulatorRSS = Limit{Growth: 4e6, Bound: 160e6, Why: "the emulator's records: at most 40 000 commands of up to 3 kB, and as many changes"}
	// A process holds one descriptor and thread more for a moment while it reads, saves or is asked.
	realExact = Limit{Growth: 1.5, Why: "the same all the time, but for one that is open for a moment"}
	// The runtime makes a thread where one is stuck in a system call, and keeps it.
	threads = Limit{Growth: 4, Why: "the runtime keeps a thread for each system call that ever lasted: about as many as there are cores and saved files"}
)

// child is one process of the real run.
type child struct {
	name string
	cmd  *exec.Cmd
	done chan error
	log  string
}

// actual is the real run: four processes in a network namespace.
type actual struct {
	t *testing.T
	*site
	space    *space
	children []*child
	// short is a run of seconds. It proves that the run itself works: they end in the midst of what a minute evens out, connections
	// that time out, a collection that has not run. So ten times as much may rise.
	short bool
	figures
}

func (r *actual) start(name string, env []string, args ...string) {
	r.t.Helper()
	bin := *program
	if bin == "" {
		bin = os.Args[0]
		env = append(env, asWanctl+"=1")
	}
	c := &child{name: name, cmd: exec.Command(bin, args...), done: make(chan error, 1), log: r.path("out", name)}
	f, err := os.OpenFile(c.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	c.cmd.Env = append(os.Environ(), env...)
	c.cmd.Stdout, c.cmd.Stderr = f, f
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // none outlives this process, however it ends
	if err := r.space.run(c.cmd.Start); err != nil {
		r.t.Fatal(err)
	}
	go func() { c.done <- c.cmd.Wait() }()
	r.children = append(r.children, c)
}

// end stops the controllers first, as long as there is a router to leave in order.
func (r *actual) end() {
	for i := len(r.children) - 1; i >= 0; i-- {
		c := r.children[i]
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		if err := <-c.done; err != nil {
			b, _ := os.ReadFile(c.log)
			r.t.Errorf("%s: %v\n%s", c.name, err, b[max(0, len(b)-3000):])
		}
	}
}

// until waits for cond, and fails when a process ends before it comes.
func (r *actual) until(what string, cond func() bool) {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(20 * time.Millisecond) {
		r.alive()
		if time.Now().After(end) {
			r.t.Fatalf("never: %s", what)
		}
	}
}

func (r *actual) alive() {
	r.t.Helper()
	for _, c := range r.children {
		select {
		case err := <-c.done:
			c.done <- err
			b, _ := os.ReadFile(c.log)
			r.t.Fatalf("%s ended: %v\n%s", c.name, err, b)
		default:
		}
	}
}

// newReal builds the namespace and starts everything.
func newReal(t *testing.T, length time.Duration) *actual {
	t.Helper()
	// The smallest there is: in an hour a log is full again and again.
	r := &actual{t: t, site: &site{dir: memory(t), router: map[string]string{}, logMax: 64 << 10}}
	r.short = length < time.Minute
	var err error
	if r.space, err = newSpace(); err != nil {
		if *realTime > 0 {
			t.Fatalf("the real run needs root, for a network namespace with a TUN device: %v", err)
		}
		t.Skipf("needs root: a network namespace, /dev/net/tun and ip: %v", err)
	}
	t.Cleanup(r.space.close)
	for _, d := range []string{"out", "run", "state", "log", "emulator"} {
		if err := os.MkdirAll(r.path(d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.put(t, "password", password+"\n")
	args := []string{
		"emulate", "--listen", "127.0.0.1:2222", "--api-tls", "127.0.0.1:8729", "--rest-tls", "127.0.0.1:8443", "--dir", r.path("emulator"),
		"--latency", "50ms", "--jitter", "50ms", "--stall-every", "500",
	}
	faults := []string{
		"disconnect", "reboot=" + (length / 100).String(), "cut=reply", "garble=bytes", "half-open", "half-open=off", "foreign=WAN-Download-ATT=50M",
	}
	if r.short { // who waits for a silent router waits for longer than the run lasts
		faults = []string{"disconnect", "cut=reply"}
	}
	for at := length / 10; at < length*4/5; at += length / 5 { // four times: the end is quiet, for a stop in order
		for i, f := range faults {
			args = append(args, "--fault", (at+time.Duration(i)*length/60).String()+":"+f)
			r.count(strings.SplitN(f, "=", 2)[0], 1)
		}
	}
	r.start("emulator", []string{"WANCTL_EMULATE_PASSWORD=" + password}, args...)
	r.until("the emulator listens", func() bool {
		_, err := os.Stat(r.path("emulator", "router.yaml"))
		return err == nil
	})
	b, err := os.ReadFile(r.path("emulator", "certificate.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	sum := sha256.Sum256(block.Bytes)
	pin := hex.EncodeToString(sum[:])
	r.router[att] = sshRouter("127.0.0.1", 2222, r.path("emulator", "client_key"), r.path("emulator", "known_hosts"))
	r.router[spectrum] = passwordRouter("127.0.0.1", 8729, "api", r.path("password"), pin)
	r.router[steering] = passwordRouter("127.0.0.1", 8443, "rest", r.path("password"), pin)
	env := []string{"STATE_DIRECTORY=" + r.path("state"), "RUNTIME_DIRECTORY=" + r.path("run"), "NOTIFY_SOCKET="}
	for _, name := range []string{att, spectrum, steering} {
		r.put(t, name+".yaml", r.config(name, false))
		verb := "autorate"
		if name == steering {
			verb = "steer"
		}
		r.start(name, env, verb, r.path(name+".yaml"))
	}
	r.until("all three are well", func() bool {
		all, _, err := daemon.ReadStatus(r.path("run"))
		well := err == nil && len(all) == 3
		for _, s := range all {
			well = well && s.Healthy
		}
		return well
	})
	return r
}

// config is a configuration: ATT is under the other policy.
func (r *actual) config(name string, changed bool) string {
	text := r.text(r.t, name, changed)
	if name == att {
		text = strings.Replace(text, "interval_ms: ", "policy: tracking\n  interval_ms: ", 1)
	}
	return text
}

// add notes a figure.
func (r *actual) add(of, name string, unit Unit, limit Limit, hours, value float64) {
	if r.short {
		limit.Growth *= 10
	}
	r.figures.add(of, name, unit, limit, hours, value)
}

// play samples until the time is over; every tenth of it is a minute of an hour's ten.
func (r *actual) play(length time.Duration) {
	began := time.Now()
	every := max(length/360, 250*time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	said, steered := time.Now(), false
	var reloads, renames int
	for now := range tick.C {
		since := now.Sub(began)
		if since >= length || interrupted() {
			break
		}
		// A third of the time Spectrum is congested, ten times.
		congested := since%(length/10) < length/30
		r.space.extra.Store(0)
		if congested {
			r.space.extra.Store(int64(120 * time.Millisecond))
		}
		if n := int(since / (length / 20)); n > reloads {
			reloads = n
			r.count("reload", 1)
			for _, c := range r.children[1:] {
				r.put(r.t, c.name+".yaml", r.config(c.name, n%4 == 1))
				if err := c.cmd.Process.Signal(syscall.SIGHUP); err != nil {
					r.t.Error(err)
				}
			}
		}
		if n := int(since / (length / 12)); n > renames { // by somebody else, beside our own rotation
			renames = n
			r.count("log renamed", 1)
			log := r.path("log", "steering.log")
			if err := os.Rename(log, log+".old"); err != nil {
				r.t.Error(err)
			}
			_ = r.children[len(r.children)-1].cmd.Process.Signal(syscall.SIGHUP)
		}
		r.alive()
		line, on := r.sample(since)
		if on != steered {
			steered = on
			r.count("steering moves", 1)
		}
		if *realTime > 0 && now.Sub(said) >= time.Minute {
			said = now
			say(fmt.Sprintf("%s of %s: %s", since.Round(time.Second), length, line))
		}
	}
	r.report.Hours = time.Since(began).Hours()
	r.report.RealTime = r.report.Hours
}

// sample takes the figures of all processes and directories.
func (r *actual) sample(since time.Duration) (line string, steered bool) {
	at := since.Hours()
	for _, c := range r.children {
		p, err := ReadProcess(c.cmd.Process.Pid)
		if err != nil {
			r.t.Fatal(err)
		}
		limit := realRSS
		if c.name == "emulator" {
			limit = emulatorRSS
		}
		r.add(c.name, "resident", Bytes, limit, at, float64(p.Resident))
		r.add(c.name, "resident, of no file", Bytes, limit, at, float64(p.Anonymous))
		r.add(c.name, "descriptors", Count, realExact, at, float64(p.Descriptors))
		r.add(c.name, "threads", Count, threads, at, float64(p.Threads))
		line += fmt.Sprintf("%s %s %d fds, ", c.name, Bytes.text(float64(p.Resident)), p.Descriptors)
	}
	all, dead, err := daemon.ReadStatus(r.path("run"))
	if err != nil || len(dead) > 0 || len(all) != 3 {
		r.t.Fatalf("the status is of %d, %v, %v", len(all), dead, err)
	}
	for _, s := range all {
		r.add(s.Name, "heap in use", Bytes, realHeap, at, float64(s.Vitals.HeapLiveBytes))
		r.add(s.Name, "goroutines", Count, realExact, at, float64(s.Vitals.Goroutines))
		if s.Steer != nil {
			steered = s.Steer.Rule == "enabled"
			line += s.Steer.State
		}
	}
	for _, d := range []struct {
		name         string
		files, bytes Limit
	}{
		{"state", realExact, stateBytes},
		{"run", realExact, runBytes},
		{"log", realExact.upTo(logFileBound), logBytes.upTo(r.logBound())},
	} {
		files, bytes, err := ReadTree(r.path(d.name))
		if err != nil {
			r.t.Fatal(err)
		}
		r.add(d.name, "files", Count, d.files, at, float64(files))
		r.add(d.name, "bytes", Bytes, d.bytes, at, float64(bytes))
	}
	return line, steered
}

// Real processes take no more at the end than at the start.
func TestReal(t *testing.T) {
	length := 8 * time.Second
	switch {
	case *realTime > 0:
		length = *realTime
	case *days > 0:
		return // only the other one is wanted
	}
	r := newReal(t, length)
	r.report.What = "two lines and steering, real processes"
	r.play(length)
	r.end()
	judge(t, &r.report, "real")
	if *realTime >= 10*time.Minute && r.report.Happened["steering moves"] < 4 {
		t.Errorf("steering moved and returned %d times: too little to be proved by", r.report.Happened["steering moves"])
	}
}
