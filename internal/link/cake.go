package link

import (
	"encoding/json"

	"wanctl/internal/unit"
)

// MaxTins is how many priority classes a CAKE queue has at most (TC_CAKE_MAX_TINS, linux/pkt_sched.h).
const MaxTins = 8

// Ifb is what wanctl calls the ifb whose CAKE shapes what comes in by an interface of this host. An interface's name has at most 15
// characters (IFNAMSIZ of linux/if.h, 16 with its zero byte).
func Ifb(iface string) string { return "ifb4" + iface[:min(len(iface), 11)] }

// Cake is what a CAKE queue tells of itself beyond its counters. The zero value is none of it.
type Cake struct {
	// Capacity is CAKE's own estimate of the line, 0 where it makes none (it does with autorate-ingress alone).
	Capacity unit.Rate `json:"capacity_bps,omitempty"`
	// MemoryUsed is the most the queue has held since it was made, MemoryLimit what it may hold, in bytes of buffers.
	MemoryUsed  unit.Bytes `json:"memory_used"`
	MemoryLimit unit.Bytes `json:"memory_limit"`
	// Tins are its priority classes, the least important first, as tc prints them.
	Tins Tins `json:"tins"`
}

// Tins holds up to [MaxTins] classes without an allocation.
type Tins struct {
	// N is how many there are; the rest of Tin is zero.
	N   int
	Tin [MaxTins]Tin
}

// MarshalJSON writes the list of those there are.
func (t Tins) MarshalJSON() ([]byte, error) { return json.Marshal(t.Tin[:min(max(t.N, 0), MaxTins)]) }

// UnmarshalJSON reads a list of at most [MaxTins].
func (t *Tins) UnmarshalJSON(b []byte) error {
	var l []Tin
	if err := json.Unmarshal(b, &l); err != nil {
		return err
	}
	*t = Tins{N: min(len(l), MaxTins)}
	copy(t.Tin[:], l)
	return nil
}

// Tin is one priority class of a CAKE queue. Counters count since the queue was made.
type Tin struct {
	// Threshold is the rate above which the class loses its priority.
	Threshold unit.Rate `json:"threshold_bps"`
	// Bytes and Packets were accepted; Dropped, Marked (ECN) and AckDropped (by the ack filter) packets of them were.
	Bytes      unit.Bytes `json:"bytes"`
	Packets    int64      `json:"packets"`
	Dropped    int64      `json:"dropped"`
	Marked     int64      `json:"marked"`
	AckDropped int64      `json:"ack_dropped"`
	// QueuedBytes is the depth now.
	QueuedBytes unit.Bytes `json:"queued_bytes"`
	// Target and Interval are those of the queue management at the rate in force.
	Target   unit.Millis `json:"target_ms"`
	Interval unit.Millis `json:"interval_ms"`
	// PeakDelay, AvgDelay and BaseDelay are the queue's own sojourn times, averaged by CAKE with fast rise, evenly, and
	// with fast fall.
	PeakDelay unit.Millis `json:"peak_delay_ms"`
	AvgDelay  unit.Millis `json:"avg_delay_ms"`
	BaseDelay unit.Millis `json:"base_delay_ms"`
	// SparseFlows, BulkFlows and UnresponsiveFlows are how many are queued now.
	SparseFlows       int64 `json:"sparse_flows"`
	BulkFlows         int64 `json:"bulk_flows"`
	UnresponsiveFlows int64 `json:"unresponsive_flows"`
	// WayHits, WayMisses and WayCollisions tell how well flows were kept apart.
	WayHits       int64 `json:"way_hits"`
	WayMisses     int64 `json:"way_misses"`
	WayCollisions int64 `json:"way_collisions"`
	// MaxPacket is the largest packet seen and Quantum the bytes of a flow's turn.
	MaxPacket unit.Bytes `json:"max_packet"`
	Quantum   unit.Bytes `json:"quantum"`
}

// Delay is the largest average sojourn time among the classes that hold packets or have flows: what the queue itself adds.
func (c Cake) Delay() (worst unit.Millis) {
	for _, t := range c.Tins.Tin[:min(max(c.Tins.N, 0), MaxTins)] {
		if t.QueuedBytes > 0 || t.BulkFlows+t.SparseFlows > 0 {
			worst = max(worst, t.AvgDelay)
		}
	}
	return worst
}
