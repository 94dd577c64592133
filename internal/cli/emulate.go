package cli

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"wanctl/internal/lab/rosim"
	"wanctl/internal/unit"
)

type emulateCmd struct {
	Listen string `default:"127.0.0.1:2222" help:"Address of the SSH server."`
	emulatorDoors
	Dir        string        `placeholder:"DIR" help:"Where keys, known_hosts, password and certificate are kept; default: a directory in the state directory."`
	User       string        `default:"wanctl" help:"Account that the client key logs in to."`
	ReadOnly   bool          `help:"That account lacks the write policy."`
	Policy     []string      `placeholder:"RIGHT" help:"That account's rights, e.g. read,write,api; default: those of RouterOS's group write."`
	Import     []string      `placeholder:"FILE" sep:"none" help:"Begin with nothing but the ports of an RB5009 and read this configuration, as /export prints it."`
	Dialect    string        `default:"usual" help:"How the router behaves where sources differ: ${dialects}."`
	Set        []string      `placeholder:"NAME=VALUE" sep:"none" help:"Change one switch of the dialect, e.g. exit-status=missing; \"list\" lists them."`
	Version_   string        `name:"routeros-version" aliases:"profile" default:"7.22.3" help:"RouterOS version it claims to be, which decides what there is: 7.14, 7.18, 7.22.3, 7.24 or another one. --profile is the same."` //nolint:revive // Version is kong's
	Latency    time.Duration `help:"Time that each command takes."`
	Measured   bool          `name:"measured-times" help:"The times measured on one virtual router: --latency 1ms --clamp-after 150."`
	StallEvery int           `name:"stall-every" placeholder:"N" help:"About one command in N takes 2 to 8 s more; 0 is never."`
	Jitter     time.Duration `help:"Random time on top of it."`
	Fault      []string      `placeholder:"TIME:FAULT" sep:"none" help:"A fault that happens by itself, e.g. 60s:reboot=30s; \"list\" lists them."`
	FastTrack  bool          `name:"fasttrack" help:"Traffic bypasses the queues: interfaces count it, queues do not."`
	DummyRule  bool          `help:"The dynamic FastTrack counter rule stands before every other mangle rule."`
	ClampAfter int           `placeholder:"N" help:"After N commands without a pause of 5 s each takes 20 ms more; 0 is never."`
	MaxSess    int           `name:"max-sessions" default:"20" help:"Connections that each door serves at once."`
	MaxChan    int           `name:"max-channels" default:"10" help:"Channels that one connection may have open."`
	KeyType    string        `name:"host-key-type" default:"ed25519" enum:"ed25519,rsa" help:"Type of the host key: ed25519 or rsa."`
	Apply      []string      `placeholder:"QUEUE=SPEC" sep:"none" help:"Let a queue's max-limit set a real CAKE qdisc, NAME=dev:IF,cake[,netns:NAME], or HTB class, NAME=dev:IF,class:1:1[,netns:NAME]."`
	ApplyIface []string      `name:"apply-iface" placeholder:"NAME=SPEC" sep:"none" help:"Let an interface show a real one's counters: NAME=dev:IF[,netns:NAME]."`
	ApplyRule  string        `name:"apply-rule" placeholder:"SPEC" help:"Carry the steering rule out with nftables: table:T,chain:C,mark:N[,netns:NAME]."`
	Journal    string        `placeholder:"FILE" help:"Write every request and every change of a limit or rule there, one JSON object a line."`
	RuleFor    string        `name:"rule" placeholder:"COMMENT" help:"Comment of the steering rule, instead of the example's."`
	Queues     []string      `name:"queue" placeholder:"NAME=MBPS" sep:"none" help:"A further queue tree entry with its max-limit in Mbit/s."`
	Simple     []string      `name:"simple-queue" placeholder:"NAME=UP/DOWN" sep:"none" help:"A simple queue from bridge to ether1 with its max-limit in Mbit/s."`
	PrintReady bool          `name:"print-ready" help:"Print addresses and router section when it listens." default:"true" negatable:""`
}

// Help shows how to use it with the other commands.
func (emulateCmd) Help() string {
	return `A router in memory behind a real SSH server, with the queues and the rule of the shipped examples. Into its directory
it writes a client key, a known_hosts file and, once it listens, router.yaml: the router section of a configuration
file that uses them. WANCTL_EMULATE_PASSWORD in the environment sets a password, too; it logs in beside the key with
--set allow-password-with-key.

--doors opens the binary API and REST as well, in clear and over TLS; --api, --api-tls, --rest and --rest-tls open single
ones, anywhere. All doors lead to the same router. They take the password, which is made and kept in the directory unless
the environment has one, and the TLS doors show a certificate that is kept there, too; what is printed says how to connect.
In clear the password can be read on the way: keep such doors on loopback.

--import reads a router's own configuration: what "/export file=x" writes. Menus that are not emulated are left out, with
a line that says so; a mistake is named with file, line and column. Traffic is not in it: --fault 0s:offer=QUEUE=50M brings some.

A dialect is a set of switches: how this router does what sources contradict each other on. --set changes one more. A
fault is something that happens: now with 0s, later with a longer time.

Examples:

    wanctl emulate --latency 150ms --fault 60s:reboot=30s
    wanctl emulate --doors --profile 7.24 --policy read,write,api,rest-api
    wanctl emulate --import house.rsc --measured-times
    wanctl emulate --dialect reflect --set exit-status=missing --set empty-find=silent
    wanctl emulate --fault 30s:wrong-password=wanctl --fault 30s:disconnect`
}

// Run serves until it is stopped.
func (c emulateCmd) Run(app *App) error {
	if len(c.Fault) == 1 && c.Fault[0] == "list" {
		for _, l := range rosim.FaultNames() {
			fmt.Fprintln(app.Stdout, l)
		}
		return nil
	}
	if len(c.Set) == 1 && c.Set[0] == "list" {
		for _, l := range rosim.SwitchNames() {
			fmt.Fprintln(app.Stdout, l)
		}
		return nil
	}
	password := emulatorSecret{value: app.Getenv(passwordVariable)}
	o, err := c.options(password.value)
	if err != nil {
		return err
	}
	dir := c.Dir
	if dir == "" {
		dir = filepath.Join(app.dirs("").State, "emulate")
	}
	if dir, err = filepath.Abs(dir); err != nil { // the snippet is used from anywhere
		return fmt.Errorf("find the emulator's directory: %w", err)
	}
	host, client, err := emulatorKeys(dir, c.KeyType)
	if err != nil {
		return err
	}
	ready := filepath.Join(dir, "router.yaml")
	if err := os.Remove(ready); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the snippet of the last run: %w", err)
	}
	o.HostKeys = []ssh.Signer{host}
	if c.any() {
		if password, err = emulatorPassword(dir, password.value); err != nil {
			return err
		}
		o.Users[len(o.Users)-1].Password = password.value
		if o.Certificate, err = emulatorCertificate(dir); err != nil {
			return err
		}
	}
	applier, err := newApplier(c.Apply, c.ApplyIface)
	if err != nil {
		return err
	}
	if c.ApplyRule != "" {
		rule, err := newKernelRule(c.ApplyRule, c.comment())
		if err != nil {
			return fmt.Errorf("--apply-rule %q: %w", c.ApplyRule, err)
		}
		if applier == nil {
			applier = &kernelApplier{}
		}
		applier = ruledApplier{applier, rule}
	}
	if applier != nil {
		defer func() {
			if err := applier.Close(); err != nil {
				fmt.Fprintf(app.Stderr, "wanctl: --apply: some counters could not be read: %v\n", err)
			}
		}()
		o.Applier = applier
	}
	r, err := rosim.NewRouter(o)
	if err != nil {
		return err
	}
	r.AuthorizeKey(c.User, client.PublicKey())
	if err := importFiles(app, r, c.Import); err != nil {
		return err
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w (choose another with --listen)", err)
	}
	doors, err := c.open(r)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	defer closeDoors(doors)
	warnClosed(app, r, doors)
	ctx, cancel := app.context()
	defer cancel()
	known := filepath.Join(dir, "known_hosts")
	if err := os.WriteFile(known, []byte(r.KnownHosts(ln.Addr().String())), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write known_hosts: %w", err), ln.Close())
	}
	snippet := routerSnippet(ln.Addr(), c.User, filepath.Join(dir, "client_key"), known)
	if err := putFile(ready, snippet); err != nil {
		return errors.Join(err, ln.Close())
	}
	if c.PrintReady {
		fmt.Fprintf(app.Stdout, "listening on %s\nhost key %s\n\n%s", ln.Addr(), r.HostKeyFingerprint(), snippet)
		fmt.Fprint(app.Stdout, doorsText(doors, c.User, password, filepath.Join(dir, "certificate.pem"), r.CertificateFingerprint()))
	}
	if c.Journal != "" {
		f, err := os.OpenFile(c.Journal, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			return errors.Join(fmt.Errorf("open the journal: %w (choose another with --journal)", err), ln.Close())
		}
		defer f.Close()
		written := make(chan struct{})
		go func() {
			defer close(written)
			if err := journalEmulator(ctx, r, f); err != nil {
				fmt.Fprintln(app.Stderr, "wanctl:", err)
			}
		}()
		defer func() { cancel(); <-written }()
	}
	return serveDoors(ctx, r, ln, doors)
}

// routerSnippet is the router section of a configuration file for this emulator.
func routerSnippet(addr net.Addr, user, key, known string) string {
	host, port, _ := net.SplitHostPort(addr.String())
	return fmt.Sprintf("router:\n  host: %s\n  port: %s\n  user: %s\n  ssh_key: %s\n  known_hosts: %s\n", host, port, user, key, known)
}

// putFile replaces path as a whole: who sees it, sees all of it.
func putFile(path, content string) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, []byte(content), 0o600); err != nil {
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// comment is the steering rule's.
func (c emulateCmd) comment() string {
	if c.RuleFor != "" {
		return c.RuleFor
	}
	return rosim.SteeringComment
}

func (c emulateCmd) options(password string) (rosim.Options, error) {
	o := rosim.DefaultOptions()
	if len(c.Import) > 0 {
		o = rosim.BareOptions()
	}
	d, ok := rosim.Dialects()[c.Dialect]
	if !ok {
		return o, fmt.Errorf("no dialect %q; there are %s", c.Dialect, dialectNames())
	}
	for _, setting := range c.Set {
		if err := d.Set(setting); err != nil {
			return o, fmt.Errorf("--set: %w (\"--set list\" explains them)", err)
		}
	}
	o.Dialect = d
	o.Version, o.Latency, o.Jitter = c.Version_, c.Latency, c.Jitter
	o.FastTrack, o.DummyRule, o.ClampAfter = c.FastTrack, c.DummyRule, c.ClampAfter
	o.MaxSessions, o.MaxChannels = c.MaxSess, c.MaxChan
	if o.StallEvery = c.StallEvery; c.StallEvery < 0 {
		return o, fmt.Errorf("--stall-every %d: at least 0 is needed", c.StallEvery)
	}
	if c.Measured {
		o.MeasuredTimes()
	}
	for flag, n := range map[string]int{"--max-sessions": c.MaxSess, "--max-channels": c.MaxChan} {
		if n < 1 {
			return o, fmt.Errorf("%s %d: at least 1 is needed", flag, n)
		}
	}
	if c.RuleFor != "" {
		for i := range o.Rules {
			if o.Rules[i].Comment == rosim.SteeringComment {
				o.Rules[i].Comment = c.RuleFor
			}
		}
	}
	for _, q := range c.Queues {
		name, rate, _ := strings.Cut(q, "=")
		var mbps float64
		if _, err := fmt.Sscanf(rate, "%g", &mbps); err != nil {
			return o, fmt.Errorf("--queue %q is not of the form NAME=MBPS", q)
		}
		r, err := unit.FromMbps(mbps)
		if err != nil {
			return o, fmt.Errorf("--queue %q: %w", q, err)
		}
		o.Queues = append(o.Queues, rosim.Queue{Name: name, Parent: "ether3", Type: "cake-upload", MaxLimit: r})
	}
	for _, q := range c.Simple {
		name, rates, _ := strings.Cut(q, "=")
		up, down, _ := strings.Cut(rates, "/")
		u, err1 := strconv.ParseFloat(up, 64)
		d, err2 := strconv.ParseFloat(down, 64)
		if err1 != nil || err2 != nil {
			return o, fmt.Errorf("--simple-queue %q is not of the form NAME=UP/DOWN", q)
		}
		ur, err1 := unit.FromMbps(u)
		dr, err2 := unit.FromMbps(d)
		if err := errors.Join(err1, err2); err != nil {
			return o, fmt.Errorf("--simple-queue %q: %w", q, err)
		}
		o.SimpleQueues = append(o.SimpleQueues, rosim.SimpleQueue{
			Name: name, Target: "bridge", Dst: "ether1", Type: "cake-upload/cake-download", WAN: "ether1", MaxLimit: fmt.Sprintf("%d/%d", int64(ur), int64(dr)),
		})
	}
	users := o.Users[:0]
	for _, u := range o.Users {
		if u.Name != c.User && u.Name != rosim.DefaultUser { // nobody could log in to that one
			users = append(users, u)
		}
	}
	me := rosim.User{Name: c.User, Password: password, ReadOnly: c.ReadOnly}
	if len(c.Policy) > 0 {
		if c.ReadOnly {
			return o, errors.New("--policy and --read-only both say what the account may do: leave one out")
		}
		me.Group = "emulated"
		o.Groups = append(o.Groups, rosim.Group{Name: me.Group, Policy: c.Policy})
	}
	o.Users = append(users, me)
	for _, f := range c.Fault {
		tf, err := rosim.ParseTimedFault(f)
		if err != nil {
			return o, err
		}
		o.Faults = append(o.Faults, tf)
	}
	return o, nil
}

// emulatorKeys reads, or makes, the emulator's host key and the key its client uses.
func emulatorKeys(dir, kind string) (host, client ssh.Signer, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, fmt.Errorf("make the emulator's directory: %w", err)
	}
	name := "host_key"
	if kind != "ed25519" {
		name += "_" + kind
	}
	if host, err = keyAt(filepath.Join(dir, name), kind); err != nil {
		return nil, nil, err
	}
	client, err = keyAt(filepath.Join(dir, "client_key"), "ed25519")
	return host, client, err
}

func keyAt(path, kind string) (ssh.Signer, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if b, err = newKey(kind); err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key of the emulator: %w", err)
	}
	s, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("key %s: %w (remove it to have a new one made)", path, err)
	}
	return s, nil
}

// newKey makes a key in OpenSSH's form.
func newKey(kind string) ([]byte, error) {
	var key crypto.PrivateKey
	var err error
	if kind == "rsa" {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(key, "wanctl emulate")
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	return pem.EncodeToMemory(block), nil
}

func dialectNames() string {
	var names []string
	for n := range rosim.Dialects() {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
