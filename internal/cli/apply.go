package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"wanctl/internal/cake"
	"wanctl/internal/lab/rosim"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

type applier interface {
	rosim.Applier
	Close() error
}

// kernelPlace is where in the kernel an emulated queue or interface lives.
type kernelPlace struct {
	dev   string
	class cake.Handle // of an HTB class; queues only
	cake  bool        // the interface's own CAKE instead of a class
	conn  *cake.Conn
}

// set gives a queue its rate.
func (p kernelPlace) set(r unit.Rate) error {
	if p.cake {
		_, err := p.conn.SetBandwidth(p.dev, r)
		return err
	}
	_, err := p.conn.SetRate(p.dev, p.class, r)
	return err
}

// read returns a queue as RouterOS could tell it: what CAKE tells of itself is not among that. Whether its drops are is a
// matter of the emulator's dialect.
func (p kernelPlace) read() (link.Queue, error) {
	if p.cake {
		var c cake.Cake
		err := p.conn.ReadCake(p.dev, &c)
		q := c.Queue()
		q.Cake, q.Marked = link.Cake{}, 0
		return q, err
	}
	c, err := p.conn.Class(p.dev, p.class)
	return link.Queue{
		MaxLimit: c.Rate, Bytes: c.Bytes, Packets: c.Packets, Dropped: c.Dropped,
		QueuedBytes: c.QueuedBytes, QueuedPackets: c.QueuedPackets,
	}, err
}

// kernelApplier lets emulated queues set real CAKE qdiscs and HTB classes, and shows real counters.
type kernelApplier struct {
	queues, ifaces map[string]kernelPlace
	conns          map[string]*cake.Conn // by namespace

	mu   sync.Mutex
	errs []error // what could not be read, for Close to tell
}

// newApplier connects the named queues and interfaces with the kernel; nil when there are none. Everything named must
// exist.
func newApplier(queues, ifaces []string) (applier, error) {
	if len(queues)+len(ifaces) == 0 {
		return nil, nil //nolint:nilnil // no applier is the usual case
	}
	a := &kernelApplier{queues: map[string]kernelPlace{}, ifaces: map[string]kernelPlace{}, conns: map[string]*cake.Conn{}}
	var errs []error
	for _, s := range queues {
		name, p, err := a.place(s, true)
		if err == nil {
			_, err = p.read()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--apply %q: %w", s, err))
			continue
		}
		a.queues[name] = p
	}
	for _, s := range ifaces {
		name, p, err := a.place(s, false)
		if err == nil {
			_, err = p.conn.Interface(p.dev)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("--apply-iface %q: %w", s, err))
			continue
		}
		a.ifaces[name] = p
	}
	if len(errs) > 0 {
		return nil, errors.Join(append(errs, a.Close())...)
	}
	return a, nil
}

// place parses NAME=dev:IF,cake[,netns:NAME] and NAME=dev:IF,class:1:1[,netns:NAME], for an interface without the middle.
func (a *kernelApplier) place(spec string, queue bool) (string, kernelPlace, error) {
	form := "NAME=dev:IF[,netns:NAME]"
	want := []string{"dev", "netns"}
	if queue {
		form, want = "NAME=dev:IF,cake[,netns:NAME] or NAME=dev:IF,class:1:1[,netns:NAME]", append(want, "class", "cake")
	}
	name, rest, ok := strings.Cut(spec, "=")
	if !ok || name == "" {
		return "", kernelPlace{}, fmt.Errorf("is not of the form %s", form)
	}
	got := map[string]string{}
	for _, f := range strings.Split(rest, ",") {
		k, v, ok := strings.Cut(f, ":")
		alone := k == "cake" // the one word without a value
		if _, twice := got[k]; ok == alone || (v == "") != alone || twice || !slices.Contains(want, k) {
			return "", kernelPlace{}, fmt.Errorf("%q does not belong there; the form is %s", f, form)
		}
		got[k] = v
	}
	p := kernelPlace{dev: got["dev"]}
	_, p.cake = got["cake"]
	_, class := got["class"]
	if p.dev == "" || queue && p.cake == class {
		return "", kernelPlace{}, fmt.Errorf("is not of the form %s", form)
	}
	var err error
	if class {
		if p.class, err = cake.ParseHandle(got["class"]); err != nil {
			return "", kernelPlace{}, err
		}
	}
	ns := got["netns"]
	if p.conn = a.conns[ns]; p.conn == nil {
		if p.conn, err = cake.Open(cake.Options{NetNS: ns}); err != nil {
			return "", kernelPlace{}, err
		}
		a.conns[ns] = p.conn
	}
	return name, p, nil
}

// Apply sets a queue's CAKE or class. A queue without one is in memory alone.
func (a *kernelApplier) Apply(queue string, limit unit.Rate) error {
	p, ok := a.queues[queue]
	if !ok {
		return nil
	}
	if limit == 0 { // unlimited: HTB has no such thing, and CAKE is not to lose its shaper
		limit = unit.MaxRate
	}
	return p.set(limit)
}

// Queue returns a queue's counters.
func (a *kernelApplier) Queue(name string) (link.Queue, bool) {
	p, ok := a.queues[name]
	if !ok {
		return link.Queue{}, false
	}
	q, err := p.read()
	if err != nil {
		a.note(err)
		return link.Queue{}, false
	}
	return q, true
}

// Interface returns an interface's counters.
func (a *kernelApplier) Interface(name string) (rx, tx unit.Bytes, ok bool) {
	p, ok := a.ifaces[name]
	if !ok {
		return 0, 0, false
	}
	i, err := p.conn.Interface(p.dev)
	if err != nil {
		a.note(err)
		return 0, 0, false
	}
	return i.Rx, i.Tx, true
}

// note keeps the first few failed readings.
func (a *kernelApplier) note(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.errs) < 8 {
		a.errs = append(a.errs, err)
	}
}

// Close ends the connections and tells what could not be read.
func (a *kernelApplier) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	errs := a.errs
	for _, c := range a.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}
