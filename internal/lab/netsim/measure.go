package netsim

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// oneCallRate is what a call sends in each direction, headers included: 50 packets of 200 bytes a second.
const oneCallRate = 80 * unit.Kbps

// outage is the capacity below which nobody can shape a delay away: one packet in 100 ms.
const outageWindow = int64(100 * time.Millisecond)

// Delays is the truth about a small packet's added delay: what queues and the provider add to propagation, without
// the jitter of a measurement. Outages count apart and are in no other figure.
type Delays struct {
	// Down and Up are one way, Both their sum: what a probe would see over its idle round trip.
	Down, Up, Both Histogram
	// Above30 and Above100 are how long Both stood above 30 and 100 ms.
	Above30, Above100 time.Duration
	// Outage is how long a direction carried less than one packet per 100 ms.
	Outage time.Duration
	// Lost is the time-weighted number of seconds' worth of packets lost (a tenth lost for 10 s is 1 s).
	Lost time.Duration
}

// add records that the delays stood for weight steps.
func (d *Delays) add(down, up, step time.Duration, weight int64, out bool, lost float64) {
	span := step * time.Duration(weight)
	d.Lost += time.Duration(lost * float64(span))
	if out {
		d.Outage += span
		return
	}
	both := down + up
	d.Down.Add(down, weight)
	d.Up.Add(up, weight)
	d.Both.Add(both, weight)
	if both > 30*time.Millisecond {
		d.Above30 += span
	}
	if both > 100*time.Millisecond {
		d.Above100 += span
	}
}

func (d *Delays) merge(o *Delays) {
	d.Down.Merge(&o.Down)
	d.Up.Merge(&o.Up)
	d.Both.Merge(&o.Both)
	d.Above30 += o.Above30
	d.Above100 += o.Above100
	d.Outage += o.Outage
	d.Lost += o.Lost
}

// Traffic is the truth about one direction's bytes.
type Traffic struct {
	// Sent by all flows, with the acknowledgements of the other direction's; Delivered to their receivers; Queued stands in the shaper and the FIFO.
	Sent, Delivered, Queued unit.Bytes
	// TailDropped by the ISP's FIFO, FairDropped by our shaper, LineDropped at random.
	TailDropped, FairDropped, LineDropped unit.Bytes
	// Offered is the capacity while there was demand (bulk limited by the network, or a standing queue); Used is
	// what was delivered then.
	Offered, Used unit.Bytes
}

// Use is Used over Offered; 0 when there never was demand.
func (t Traffic) Use() float64 {
	if t.Offered == 0 {
		return 0
	}
	return float64(t.Used) / float64(t.Offered)
}

// Truth is everything that the simulator knows about one line since the start.
type Truth struct {
	// Line is sampled all the time, Calls only while calls are on the line, once per call.
	Line, Calls Delays
	Traffic     link.Pair[Traffic]
}

// Call is one latency-sensitive connection. It stays on Link from its first packet to its last.
type Call struct {
	// Flow is the index in Scenario.Flows that it came from.
	Flow       int
	Kind       Kind
	Link       int
	Start, End unit.Time // End is 0 while it lasts
	Delays     Delays
}

// Sample is one point of a line's time series; the rates are means since the point before it.
type Sample struct {
	At       unit.Time
	Capacity link.Rates
	// Shaper is the rate in force at At; 0 is none.
	Shaper link.Rates
	// Delivered is what all flows got.
	Delivered link.Rates
	// Added is the mean, AddedMax the largest added delay of a round trip.
	Added, AddedMax unit.Millis
	// Calls is how many calls use the line.
	Calls int
	// Outage says that some of the time the line was out.
	Outage bool
}

// View is a line as it is now.
type View struct {
	Capacity, Shaper link.Rates
	// FIFO and Queue are what stands in the ISP's FIFO and in our shaper.
	FIFO, Queue link.Pair[unit.Bytes]
	// Down and Up are a small packet's added delay.
	Down, Up unit.Millis
	Calls    int
}

// gauge collects the point of a series that is under way.
type gauge struct {
	every     int64 // ns; 0 is no series
	next      int64
	from      link.Pair[float64] // delivered at the last point
	capacity  link.Pair[float64]
	since     int64
	delay     float64
	steps     int64
	max       time.Duration
	out       bool
	collected []Sample
}
