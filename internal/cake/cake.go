// Package cake sets and reads Linux queueing through netlink: CAKE qdiscs, what they need around them, and HTB classes.
package cake

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// Options say where the queues are.
type Options struct {
	// NetNS is the network namespace: a name as `ip netns` knows it, or the path of a namespace file. Empty is the
	// caller's own.
	NetNS string
}

// Conn speaks with the kernel of one network namespace. Its methods are safe for concurrent use; one request is under
// way at a time.
type Conn struct {
	where string

	mu  sync.Mutex
	nl  *netlink.Conn
	raw *exchange // the same socket, without allocation

	links   [2]Interface // what Exchange reads into, so that it allocates nothing
	counted Interface    // and what Counters does
	cakes   [2]Cake
}

// namedNetNS is where `ip netns` keeps its names (ip-netns(8)).
const namedNetNS = "/run/netns"

// Open connects to the kernel. It fails with [NoSuchNamespace] or [Permission]: entering a namespace needs CAP_SYS_ADMIN.
func Open(o Options) (*Conn, error) {
	c := &Conn{where: o.NetNS}
	cfg := &netlink.Config{}
	if o.NetNS != "" {
		path := o.NetNS
		if !strings.Contains(path, "/") {
			path = filepath.Join(namedNetNS, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, c.fail("open the network namespace", o.NetNS, err)
		}
		defer f.Close()
		cfg.NetNS = int(f.Fd())
	}
	nl, err := netlink.Dial(unix.NETLINK_ROUTE, cfg)
	if err != nil {
		return nil, c.fail("connect to the kernel", "netlink", err)
	}
	// The kernel's own text ("Parent Qdisc doesn't exists") says more than an error number; old kernels have none.
	_ = nl.SetOption(netlink.ExtendedAcknowledge, true)
	rc, err := nl.SyscallConn()
	if err != nil {
		return nil, errors.Join(c.fail("connect to the kernel", "netlink", err), nl.Close())
	}
	c.nl, c.raw = nl, newExchange(rc)
	return c, nil
}

// Close ends the connection.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nl.Close()
}

// Interface returns what an interface has counted.
func (c *Conn) Interface(name string) (Interface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.iface(name)
}

func (c *Conn) iface(name string) (Interface, error) {
	const op = "read interface"
	req, err := encodeLinkRequest(name)
	if err != nil {
		return Interface{}, c.fail(op, name, err)
	}
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETLINK, Flags: netlink.Request}, Data: req,
	})
	if err != nil {
		return Interface{}, c.fail(op, name, err)
	}
	for _, m := range msgs {
		i, err := decodeLink(m.Data)
		if err != nil {
			return Interface{}, c.fail(op, name, err)
		}
		if i.Name == name {
			return i, nil
		}
	}
	return Interface{}, c.fail(op, name, unix.ENODEV)
}

// Class returns an HTB class of an interface with its counters: bytes and packets as the class itself sent them,
// backlog and drops as the sum over its leaves, because the kernel keeps those there alone.
func (c *Conn) Class(dev string, h Handle) (Class, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	cl, _, err := c.class(dev, h)
	return cl, err
}

func (c *Conn) class(dev string, h Handle) (Class, int32, error) {
	const op = "read class"
	thing := h.String() + " of " + dev
	i, err := c.iface(dev)
	if err != nil {
		return Class{}, 0, err
	}
	msgs, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_GETTCLASS, Flags: netlink.Request | netlink.Dump},
		Data:   encodeClassRequest(i.Index),
	})
	if err != nil {
		return Class{}, 0, c.fail(op, thing, err)
	}
	var all []Class
	for _, m := range msgs {
		cl, ok, err := decodeClass(m.Data)
		if err != nil {
			return Class{}, 0, c.fail(op, thing, err)
		}
		if ok {
			all = append(all, cl)
		}
	}
	cl, err := gather(all, h)
	if err != nil {
		return Class{}, 0, c.fail(op, thing, err)
	}
	return cl, i.Index, nil
}

// gather returns class h with backlog and drops of all leaves below it.
func gather(all []Class, h Handle) (Class, error) {
	parent := make(map[Handle]Handle, len(all))
	found := -1
	for i, cl := range all {
		parent[cl.Handle] = cl.Parent
		if cl.Handle == h {
			found = i
		}
	}
	if found < 0 {
		return Class{}, unix.ENOENT
	}
	out := all[found]
	for _, cl := range all {
		// HTB has at most eight levels (TC_HTB_MAXDEPTH in linux/pkt_sched.h): a longer chain is not one.
		at, under := cl.Parent, false
		for range 8 {
			if under = at == h; under {
				break
			}
			up, ok := parent[at]
			if !ok {
				break
			}
			at = up
		}
		if under && cl.Handle != h {
			out.QueuedBytes += cl.QueuedBytes
			out.QueuedPackets += cl.QueuedPackets
			out.Dropped += cl.Dropped
		}
	}
	return out, nil
}

// SetRate makes r both rate and ceiling of an HTB class that exists, reads it back and returns what is in force. It
// does not write when all is as wanted. r is at least [MinRate]; priority and quantum stay.
func (c *Conn) SetRate(dev string, h Handle, r unit.Rate) (Class, error) {
	const op = "set rate of class"
	c.mu.Lock()
	defer c.mu.Unlock()
	thing := h.String() + " of " + dev
	if r < MinRate || r > unit.MaxRate {
		return Class{}, c.fail(op, thing, fmt.Errorf("%w: %d bit/s", errRate, r))
	}
	now, index, err := c.class(dev, h)
	if err != nil {
		return Class{}, err
	}
	want := now
	want.Rate, want.Ceil = wireRate(r), wireRate(r)
	want.burst = burstTicks(r)
	want.cburst = want.burst
	if want == now {
		return now, nil
	}
	data, err := encodeClass(index, want)
	if err != nil {
		return Class{}, c.fail(op, thing, err)
	}
	// Without NLM_F_CREATE the kernel changes what exists and makes nothing new.
	if _, err := c.nl.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.RTM_NEWTCLASS, Flags: netlink.Request | netlink.Acknowledge}, Data: data,
	}); err != nil {
		return Class{}, c.fail(op, thing, err)
	}
	got, _, err := c.class(dev, h)
	if err != nil {
		return Class{}, err
	}
	if got.Rate != want.Rate || got.Ceil != want.Ceil {
		return got, c.fail(op, thing, fmt.Errorf("%w: wanted %d bit/s, have rate %d and ceiling %d bit/s",
			errReadBack, want.Rate, got.Rate, got.Ceil))
	}
	return got, nil
}
