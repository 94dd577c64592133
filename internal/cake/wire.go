package cake

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"wanctl/internal/unit"
)

// Handle names a qdisc or class of an interface, as tc writes it: major:minor, in hexadecimal.
type Handle uint32

// ParseHandle reads "1:1a". The minor number may be missing ("1:"), which names a qdisc.
func ParseHandle(s string) (Handle, error) {
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return 0, fmt.Errorf("class %q is not of the form 1:1a", s)
	}
	a, err := strconv.ParseUint(major, 16, 16)
	if err != nil {
		return 0, fmt.Errorf("class %q: major number: want up to four hexadecimal digits", s)
	}
	var b uint64
	if minor != "" {
		if b, err = strconv.ParseUint(minor, 16, 16); err != nil {
			return 0, fmt.Errorf("class %q: minor number: want up to four hexadecimal digits", s)
		}
	}
	return Handle(a<<16 | b), nil
}

// String writes the handle as tc does.
func (h Handle) String() string {
	if h&0xffff == 0 {
		return fmt.Sprintf("%x:", uint32(h>>16))
	}
	return fmt.Sprintf("%x:%x", uint32(h>>16), uint32(h&0xffff))
}

// Class is an HTB class.
type Class struct {
	Handle, Parent Handle
	// Rate is what the class always gets, Ceil the most it may borrow to.
	Rate, Ceil unit.Rate
	// Prio is its place among those that borrow, 0 first; Quantum the bytes of its turn; Level 0 is a leaf.
	Prio, Quantum, Level uint32
	// Bytes and Packets count what was sent since the class was made; Dropped what was thrown away.
	Bytes            unit.Bytes
	Packets, Dropped int64
	// QueuedBytes and QueuedPackets are the backlog now.
	QueuedBytes   unit.Bytes
	QueuedPackets int64

	burst, cburst uint32 // in ticks
}

// Burst is how long the class may send at line speed after a pause.
func (c Class) Burst() unit.Millis { return unit.Millis(float64(c.burst) * tick / 1e6) }

// Interface is a network interface with its byte counters.
type Interface struct {
	Index  int32
	Name   string
	Rx, Tx unit.Bytes
}

// MinRate is the lowest rate of a class: below it one packet takes more than ten seconds.
const MinRate = unit.Kbps

const (
	// tick is the unit of bursts in nanoseconds: 1 << PSCHED_SHIFT of net/pkt_sched.h, as /proc/net/psched says.
	tick = 64
	// burstTime bounds how far a class may run ahead of its rate, in nanoseconds. A late timer costs no rate while it
	// is late by less than this, and a burst adds no more than this to the next queue's delay: 2 ms is under half of
	// the smallest threshold in use (5 ms).
	burstTime = 2_000_000
	// burstFrames is the least burst: with less than a full frame (Ethernet, 1514 bytes) a class sends nothing on time.
	burstFrames = 2 * 1514

	tcmsgLen   = 20 // struct tcmsg, linux/rtnetlink.h
	ifinfoLen  = 16 // struct ifinfomsg, linux/rtnetlink.h
	htbOptLen  = 44 // struct tc_htb_opt, linux/pkt_sched.h
	ratespec   = 12 // struct tc_ratespec, linux/pkt_sched.h
	ethernet   = 1  // TC_LINKLAYER_ETHERNET: the kernel computes times itself and needs no rate table
	rate32     = math.MaxUint32
	kindHTB    = "htb"
	attrParms  = 1 // TCA_HTB_PARMS
	attrRate64 = 6 // TCA_HTB_RATE64
	attrCeil64 = 7 // TCA_HTB_CEIL64
	statsBasic = 1 // TCA_STATS_BASIC, linux/gen_stats.h
	statsQueue = 3 // TCA_STATS_QUEUE
	statsPkt64 = 8 // TCA_STATS_PKT64
)

var native = binary.NativeEndian

// wireRate is r as the kernel can hold it: whole bytes per second.
func wireRate(r unit.Rate) unit.Rate { return r / 8 * 8 }

// burstTicks is the burst for a rate, in ticks.
func burstTicks(r unit.Rate) uint32 {
	frames := int64(burstFrames) * 8 * 1_000_000_000 / int64(r)
	return uint32(min(max(burstTime, frames)/tick, math.MaxUint32))
}

func encodeClassRequest(index int32) []byte {
	b := make([]byte, tcmsgLen)
	native.PutUint32(b[4:], uint32(index))
	return b
}

func encodeClass(index int32, c Class) ([]byte, error) {
	head := make([]byte, tcmsgLen)
	native.PutUint32(head[4:], uint32(index))
	native.PutUint32(head[8:], uint32(c.Handle))
	native.PutUint32(head[12:], uint32(c.Parent))

	opt := make([]byte, htbOptLen)
	rate, ceil := uint64(c.Rate/8), uint64(c.Ceil/8)
	opt[1], opt[ratespec+1] = ethernet, ethernet
	native.PutUint32(opt[8:], uint32(min(rate, rate32)))
	native.PutUint32(opt[ratespec+8:], uint32(min(ceil, rate32)))
	native.PutUint32(opt[24:], c.burst)
	native.PutUint32(opt[28:], c.cburst)
	native.PutUint32(opt[32:], c.Quantum)
	native.PutUint32(opt[36:], c.Level)
	native.PutUint32(opt[40:], c.Prio)

	ae := netlink.NewAttributeEncoder()
	ae.String(unix.TCA_KIND, kindHTB)
	ae.Nested(unix.TCA_OPTIONS, func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(attrParms, opt)
		if rate >= rate32 {
			ae.Uint64(attrRate64, rate)
		}
		if ceil >= rate32 {
			ae.Uint64(attrCeil64, ceil)
		}
		return nil
	})
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(head, attrs...), nil
}

// decodeClass reads one message of a dump; ok is false for a class of another kind.
func decodeClass(b []byte) (c Class, ok bool, err error) {
	if len(b) < tcmsgLen {
		return Class{}, false, fmt.Errorf("%w: %d bytes of a class", errReply, len(b))
	}
	c.Handle, c.Parent = Handle(native.Uint32(b[8:])), Handle(native.Uint32(b[12:]))
	ad, err := netlink.NewAttributeDecoder(b[tcmsgLen:])
	if err != nil {
		return Class{}, false, fmt.Errorf("%w: %w", errReply, err)
	}
	var options, stats []byte
	for ad.Next() {
		switch ad.Type() {
		case unix.TCA_KIND:
			ok = ad.String() == kindHTB
		case unix.TCA_OPTIONS:
			options = ad.Bytes()
		case unix.TCA_STATS2:
			stats = ad.Bytes()
		}
	}
	if err := ad.Err(); err != nil {
		return Class{}, false, fmt.Errorf("%w: %w", errReply, err)
	}
	if !ok {
		return Class{}, false, nil
	}
	if err := c.options(options); err != nil {
		return Class{}, false, err
	}
	if err := c.stats(stats); err != nil {
		return Class{}, false, err
	}
	return c, true, nil
}

// each calls f for every attribute in b.
func each(b []byte, f func(typ uint16, v []byte) error) error {
	ad, err := netlink.NewAttributeDecoder(b)
	if err != nil {
		return fmt.Errorf("%w: %w", errReply, err)
	}
	for ad.Next() {
		if err := f(ad.Type(), ad.Bytes()); err != nil {
			return err
		}
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("%w: %w", errReply, err)
	}
	return nil
}

// short is the error for an attribute that ends too early.
func short(what string, v []byte) error {
	return fmt.Errorf("%w: %d bytes of %s", errReply, len(v), what)
}

func (c *Class) options(b []byte) error {
	var rate, ceil uint64
	seen := false
	err := each(b, func(typ uint16, v []byte) error {
		switch typ {
		case attrParms:
			if len(v) < htbOptLen {
				return short("parameters", v)
			}
			seen = true
			rate = max(rate, uint64(native.Uint32(v[8:])))
			ceil = max(ceil, uint64(native.Uint32(v[ratespec+8:])))
			c.burst, c.cburst = native.Uint32(v[24:]), native.Uint32(v[28:])
			c.Quantum, c.Level, c.Prio = native.Uint32(v[32:]), native.Uint32(v[36:]), native.Uint32(v[40:])
		case attrRate64, attrCeil64:
			if len(v) < 8 {
				return short("a rate", v)
			}
			if typ == attrRate64 {
				rate = max(rate, native.Uint64(v))
			} else {
				ceil = max(ceil, native.Uint64(v))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !seen {
		return short("parameters", nil)
	}
	if rate > math.MaxInt64/8 || ceil > math.MaxInt64/8 {
		return fmt.Errorf("%w: rate %d B/s, ceiling %d B/s", errReply, rate, ceil)
	}
	c.Rate, c.Ceil = unit.Rate(rate)*8, unit.Rate(ceil)*8
	return nil
}

func (c *Class) stats(b []byte) error {
	return each(b, func(typ uint16, v []byte) error {
		switch typ {
		case statsBasic: // struct gnet_stats_basic
			if len(v) < 12 {
				return short("counters", v)
			}
			c.Bytes = clampBytes(native.Uint64(v))
			c.Packets = max(c.Packets, int64(native.Uint32(v[8:])))
		case statsPkt64:
			if len(v) < 8 {
				return short("counters", v)
			}
			c.Packets = int64(clampBytes(native.Uint64(v)))
		case statsQueue: // struct gnet_stats_queue
			if len(v) < 12 {
				return short("backlog", v)
			}
			c.QueuedPackets = int64(native.Uint32(v))
			c.QueuedBytes = unit.Bytes(native.Uint32(v[4:]))
			c.Dropped = int64(native.Uint32(v[8:]))
		}
		return nil
	})
}

func clampBytes(n uint64) unit.Bytes { return unit.Bytes(min(n, math.MaxInt64)) }

func encodeLinkRequest(name string) ([]byte, error) {
	if name == "" || len(name) >= unix.IFNAMSIZ {
		return nil, unix.ENODEV
	}
	ae := netlink.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	attrs, err := ae.Encode()
	if err != nil {
		return nil, fmt.Errorf("encode: %w", err)
	}
	return append(make([]byte, ifinfoLen), attrs...), nil
}

func decodeLink(b []byte) (Interface, error) {
	if len(b) < ifinfoLen {
		return Interface{}, short("an interface", b)
	}
	i := Interface{Index: int32(native.Uint32(b[4:]))}
	err := each(b[ifinfoLen:], func(typ uint16, v []byte) error {
		switch typ {
		case unix.IFLA_IFNAME:
			i.Name = strings.TrimRight(string(v), "\x00")
		case unix.IFLA_STATS64: // struct rtnl_link_stats64: packets received and sent, then bytes
			if len(v) < 32 {
				return short("interface counters", v)
			}
			i.Rx, i.Tx = clampBytes(native.Uint64(v[16:])), clampBytes(native.Uint64(v[24:]))
		}
		return nil
	})
	return i, err
}
