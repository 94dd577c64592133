package cake

import (
	"fmt"

	"golang.org/x/sys/unix"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Handles that the kernel gives a meaning (linux/pkt_sched.h).
const (
	// Root is the parent of an interface's own qdisc (TC_H_ROOT).
	Root Handle = 0xffffffff
	// Ingress is the parent of the qdisc for what comes in (TC_H_INGRESS); clsact has the same.
	Ingress Handle = 0xfffffff1
)

// Qdisc is a queueing discipline of an interface with the counters every kind has.
type Qdisc struct {
	// Index is the interface's, Handle 0 means that the kernel made it by itself.
	Index          int32
	Handle, Parent Handle
	// Kind is its name as tc knows it: "cake", "fq_codel", "mq".
	Kind string
	// Offloaded says that hardware does its work.
	Offloaded bool
	// Bytes and Packets were sent since it was made; Dropped, Requeued and Overlimits count packets and events.
	Bytes                         unit.Bytes
	Packets                       int64
	Dropped, Requeues, Overlimits int64
	// QueuedBytes and QueuedPackets are the backlog now.
	QueuedBytes   unit.Bytes
	QueuedPackets int64
}

// Cake is a CAKE qdisc: its counters, its options and what it tells of itself.
type Cake struct {
	Qdisc
	Settings
	Stats
}

// Marked counts the packets that got an ECN mark instead of being dropped.
func (c *Cake) Marked() (n int64) {
	for _, t := range c.Tins.Tin[:c.Tins.N] {
		n += t.Marked
	}
	return n
}

// Queue is the qdisc as every room knows queues.
func (c *Cake) Queue() link.Queue {
	return link.Queue{
		MaxLimit: c.Bandwidth, Bytes: c.Bytes, Packets: c.Packets, Dropped: c.Dropped, Marked: c.Marked(),
		QueuedBytes: c.QueuedBytes, QueuedPackets: c.QueuedPackets,
		Cake: link.Cake{Capacity: c.Capacity, MemoryUsed: c.MemoryUsed, MemoryLimit: c.MemoryLimit, Tins: c.Tins},
	}
}

// Stats are CAKE's own (TCA_CAKE_STATS_* of linux/pkt_sched.h).
type Stats struct {
	// Capacity is CAKE's estimate of the line; without autorate-ingress it stays at the rate CAKE was made with.
	Capacity                unit.Rate
	MemoryUsed, MemoryLimit unit.Bytes
	// AvgOffset is the mean bytes of link-layer header in front of the network layer's; the others are the smallest and
	// largest packets, as the network layer has them and after the framing was added. MinNet and MinAdjusted are
	// 65535 before the first packet.
	AvgOffset                int64
	MinNet, MaxNet           int64
	MinAdjusted, MaxAdjusted int64
	Tins                     link.Tins
}

// Diffserv is how packets are sorted into tins by their DSCP (CAKE_DIFFSERV_* of linux/pkt_sched.h).
type Diffserv uint32

// The modes.
const (
	Diffserv3 Diffserv = iota
	Diffserv4
	Diffserv8
	Besteffort
	Precedence
)

// String is tc's keyword.
func (d Diffserv) String() string {
	return word([]string{"diffserv3", "diffserv4", "diffserv8", "besteffort", "precedence"}, d)
}

// FlowMode is what CAKE is fair between (CAKE_FLOW_* of linux/pkt_sched.h).
type FlowMode uint32

// The modes.
const (
	FlowBlind FlowMode = iota
	SrcHost
	DstHost
	Hosts
	Flows
	DualSrcHost
	DualDstHost
	TripleIsolate
)

// String is tc's keyword.
func (f FlowMode) String() string {
	return word([]string{
		"flowblind", "srchost", "dsthost", "hosts", "flows", "dual-srchost", "dual-dsthost", "triple-isolate",
	}, f)
}

// AckFilter is whether superfluous TCP acknowledgements are dropped (CAKE_ACK_* of linux/pkt_sched.h).
type AckFilter uint32

// The modes.
const (
	NoAckFilter AckFilter = iota
	FilterAcks
	AggressiveAckFilter
)

// String is tc's keyword.
func (a AckFilter) String() string {
	return word([]string{"no-ack-filter", "ack-filter", "ack-filter-aggressive"}, a)
}

// Atm is how the line cuts packets into cells (CAKE_ATM_* of linux/pkt_sched.h).
type Atm uint32

// The ways.
const (
	NoAtm Atm = iota
	// ATM cells carry 48 bytes in 53 (ADSL).
	ATM
	// PTM encodes 64 bytes in 65 (VDSL2).
	PTM
)

// String is tc's keyword.
func (a Atm) String() string { return word([]string{"noatm", "atm", "ptm"}, a) }

func word[T ~uint32](words []string, v T) string {
	if int(v) < len(words) {
		return words[v]
	}
	return fmt.Sprintf("unknown-%d", uint32(v))
}

// Settings are everything CAKE can be told (TCA_CAKE_* of linux/pkt_sched.h).
type Settings struct {
	// Bandwidth is the shaper's rate in whole bytes per second; 0 is unlimited.
	Bandwidth unit.Rate
	Diffserv  Diffserv
	Flow      FlowMode
	// Nat looks addresses up in the connection tracking, so that hosts behind this one's NAT are told apart.
	Nat bool
	// RTT and Target are the queue management's, in microseconds.
	RTT, Target uint32
	// Overhead is added to each packet, Mpu is the least size after that, in bytes; Atm is the cells. Raw counts packets
	// as Linux has them instead of from the network layer up.
	Overhead int32
	Mpu      uint32
	Atm      Atm
	Raw      bool
	// Ingress counts what was dropped as passed, because it has crossed the line already.
	Ingress   bool
	AckFilter AckFilter
	SplitGSO  bool
	// Wash clears the DSCP after sorting.
	Wash bool
	// Autorate lets CAKE estimate the rate itself.
	Autorate bool
	// Fwmark is the mask of the firewall mark that chooses the tin; 0 is none.
	Fwmark uint32
	// Memory bounds the queue in bytes; 0 lets CAKE choose by the rate.
	Memory uint32
}

// Interned, so that reading one allocates nothing.
var kinds = func() map[string]string {
	m := map[string]string{}
	for _, k := range []string{
		"cake", "cake_mq", "mq", "mqprio", "noqueue", "pfifo_fast", "pfifo", "bfifo", "fq", "fq_codel", "codel", "htb", "hfsc",
		"tbf", "netem", "sfq", "ingress", "clsact", "prio", "drr", "qfq", "red", "fq_pie", "pie", "taprio", "ifb",
	} {
		m[k] = k
	}
	return m
}()

const (
	kindCake     = "cake"
	kindIngress  = "ingress"
	kindClsact   = "clsact"
	kindIFB      = "ifb"
	kindMatchall = "matchall"
	kindMirred   = "mirred"
)

// Attributes of struct tcmsg's messages that golang.org/x/sys does not name (linux/rtnetlink.h).
const (
	tcaKind      = unix.TCA_KIND
	tcaOptions   = unix.TCA_OPTIONS
	tcaStats2    = unix.TCA_STATS2
	tcaHWOffload = 12 // TCA_HW_OFFLOAD
)

// linux/gen_stats.h
const statsApp = 4 // TCA_STATS_APP

// linux/pkt_sched.h, in their order.
const (
	_ = iota
	_ // TCA_CAKE_PAD
	cakeBaseRate64
	cakeDiffservMode
	cakeAtm
	cakeFlowMode
	cakeOverhead
	cakeRTT
	cakeTarget
	cakeAutorate
	cakeMemory
	cakeNat
	cakeRaw
	cakeWash
	cakeMpu
	cakeIngress
	cakeAckFilter
	cakeSplitGSO
	cakeFwmark
)

const (
	_ = iota
	_ // TCA_CAKE_STATS_PAD
	statCapacity64
	statMemoryLimit
	statMemoryUsed
	statAvgNetoff
	statMinNetlen
	statMaxNetlen
	statMinAdjlen
	statMaxAdjlen
	statTins
)

const (
	_ = iota
	_ // TCA_CAKE_TIN_STATS_PAD
	tinSentPackets
	tinSentBytes64
	tinDroppedPackets
	_ // TCA_CAKE_TIN_STATS_DROPPED_BYTES64, which no kernel fills
	tinAckDropped
	_ // TCA_CAKE_TIN_STATS_ACKS_DROPPED_BYTES64
	tinMarked
	_ // TCA_CAKE_TIN_STATS_ECN_MARKED_BYTES64
	_ // TCA_CAKE_TIN_STATS_BACKLOG_PACKETS
	tinBacklogBytes
	tinThreshold64
	tinTargetUS
	tinIntervalUS
	tinWayHits
	tinWayMisses
	tinWayCollisions
	tinPeakUS
	tinAvgUS
	tinBaseUS
	tinSparse
	tinBulk
	tinUnresponsive
	tinMaxLen
	tinQuantum
)
