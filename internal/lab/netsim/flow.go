package netsim

import "math"

// Constants of Cubic: RFC 9438 (C, beta, the Reno-friendly slope) and RFC 6928 (initial window).
const (
	cubicC        = 0.4
	cubicBeta     = 0.7
	cubicFriendly = 3 * (1 - cubicBeta) / (1 + cubicBeta)
	firstWindow   = 10 * Packet
	leastWindow   = 2 * Packet
)

// Times of the sender, in nanoseconds.
const (
	// retransmitAfter is how long a sender waits for any acknowledgement before it starts over; RFC 6298's minimum.
	retransmitAfter = int64(1e9)
	// forgetAfter is the idle time after which a sender forgets its window and starts slowly again.
	forgetAfter = int64(1e9)
)

// flow is one connection as a fluid: its bytes stand in the shaper, in the ISP's FIFO or in the pipe (delivered, not
// yet acknowledged). A window flow sends while these three are less than its window.
type flow struct {
	open bool // constant rate without a window: UDP
	bulk bool // counts as demand

	rate    float64 // bytes/ns: the open rate, or what the source itself can send at most; 0 is no limit
	backlog float64 // bytes the application still has to send; +Inf is endless
	closing bool    // gone as soon as its bytes are gone

	window, threshold, peak float64
	friendly                float64
	cube                    float64 // K, seconds
	epoch                   int64
	lossDue                 int64 // when the sender hears of a loss; 0 is none
	deaf                    int64 // losses before this were answered already
	heard                   int64 // last acknowledgement
	least                   int64 // shortest round trip so far
	born                    int64 // nothing is sent before this
	patience                int64 // retransmission timeout now
	limited                 bool

	shaper, fifo, pipe float64 // bytes standing
	gone               float64 // bytes lost that the sender still counts as under way
	stopped            bool    // nobody wants the rest: nothing is sent again
	x                  float64 // bytes moving between stages in this step
	served             float64 // bytes that left the shaper in this step
	codel              codel
	total              *float64 // bytes delivered, shared by the flows of one spec

	// echo carries the acknowledgements, the other way: an open flow of what was delivered here; pending are its bytes of
	// the next step.
	echo    *flow
	pending float64
}

func newFlow(now int64, total *float64) *flow {
	return &flow{total: total, window: firstWindow, threshold: math.Inf(1), heard: now, least: math.MaxInt64 / 2, patience: retransmitAfter, epoch: now}
}

// ackShare is what acknowledgements weigh: one of 66 bytes, with its headers, for each two packets (Linux: delayed
// acknowledgements with timestamps).
const ackShare = 66.0 / (2 * Packet)

// flight is what the sender believes to be under way.
func (f *flow) flight() float64 { return f.shaper + f.fifo + f.pipe + f.gone }

// quiet says that nothing of the flow moves until somebody gives it bytes.
func (f *flow) quiet() bool {
	return f.open || (f.backlog < 1 && f.shaper == 0 && f.fifo == 0 && f.pipe < 1 && f.gone < 1)
}

// finished says that a closing flow has nothing left.
func (f *flow) finished() bool {
	return f.closing && f.shaper == 0 && f.fifo == 0 && (f.open || (f.backlog < 1 && f.pipe < 1 && f.gone < 1))
}

// offer gives the application n more bytes to send at now.
func (f *flow) offer(now int64, n float64) {
	if f.backlog < 1 && now-f.heard > forgetAfter {
		f.threshold = max(min(f.threshold, f.window), 0.75*f.window)
		f.window = min(f.window, firstWindow)
	}
	if f.flight() < 1 {
		f.heard = now
	}
	f.backlog += n
}

// send moves what the sender sends in a step into f.x. ack is the delay in ns from delivery to acknowledgement, queue
// the data's own queueing delay.
func (f *flow) send(now, dt, ack, queue int64) {
	f.x = 0
	if f.open {
		if !f.closing {
			f.x = float64(f.rate*float64(dt)) + f.pending
		}
		f.pending = 0
		return
	}
	acked := f.pipe * min(1, float64(dt)/float64(max(ack, 1)))
	if f.pipe < 1 {
		acked = f.pipe
	}
	f.pipe -= acked
	rtt := ack + queue
	if acked >= 1 {
		f.heard, f.patience = now, retransmitAfter
		f.again(f.gone * min(1, float64(dt)/float64(max(ack, 1))))
		f.grow(now, acked, rtt)
	}
	if f.lossDue != 0 && now >= f.lossDue {
		f.lossDue = 0
		if now >= f.deaf {
			f.cut(now)
			f.deaf = now + rtt
		}
	}
	if flight := f.flight(); flight >= 1 && now-f.heard > f.patience+2*rtt {
		f.threshold = max(flight/2, leastWindow)
		f.window, f.heard, f.epoch = leastWindow, now, now
		f.again(f.gone)
		f.patience = min(2*f.patience, 60*retransmitAfter)
	}
	room := max(f.window-f.flight(), 0)
	wish := f.backlog
	if now < f.born {
		wish = 0
	}
	if f.rate > 0 {
		wish = min(wish, float64(f.rate*float64(dt)))
	}
	f.x = min(room, wish)
	f.limited = room < wish
	f.backlog -= f.x
}

// again sends b lost bytes anew.
func (f *flow) again(b float64) {
	if f.gone-b < 1 {
		b = f.gone
	}
	f.gone -= b
	if !f.stopped {
		f.backlog += b
	}
}

// grow opens the window for acknowledged bytes.
func (f *flow) grow(now int64, acked float64, rtt int64) {
	f.least = min(f.least, rtt)
	if !f.limited {
		f.epoch = max(f.epoch, now-int64(f.cube*1e9)) // an application that pauses does not earn window by waiting
		return
	}
	if f.window < f.threshold {
		f.window += acked
		// HyStart (Linux tcp_cubic.c): leave slow start when the round trip grew by an eighth, 4 to 16 ms; be it in the
		// other direction, where the acknowledgements wait.
		if rtt > f.least+min(max(f.least/8, 4e6), 16e6) {
			f.threshold = f.window
			f.peak, f.friendly, f.cube, f.epoch = f.window, f.window, 0, now
		}
		return
	}
	t := float64(now-f.epoch+rtt)/1e9 - f.cube
	target := f.peak + float64(cubicC*Packet)*t*t*t
	f.friendly += cubicFriendly * Packet * acked / f.window
	target = min(max(target, f.friendly), 1.5*f.window)
	if target > f.window {
		f.window += (target - f.window) * min(1, acked/f.window)
	}
}

// cut answers a loss.
func (f *flow) cut(now int64) {
	if f.window < f.peak {
		f.peak = f.window * (1 + cubicBeta) / 2
	} else {
		f.peak = f.window
	}
	f.window = max(f.window*cubicBeta, leastWindow)
	f.threshold, f.friendly, f.epoch = f.window, f.window, now
	f.cube = math.Cbrt(max(f.peak-f.window, 0) / Packet / cubicC)
}

// lose tells the sender, at the instant due, that something was lost.
func (f *flow) lose(due int64) {
	if !f.open && f.lossDue == 0 {
		f.lossDue = due
	}
}

// miss books b bytes as lost.
func (f *flow) miss(b float64) {
	if !f.open {
		f.gone += b
	}
}

// CoDel's constants (RFC 8289) as CAKE uses them.
const (
	codelTarget   = int64(5e6)
	codelInterval = int64(100e6)
)

// codel is one queue's drop law.
type codel struct {
	above    int64 // instant from which a standing queue is dropped from; 0 is not above target
	next     int64
	count    int
	dropping bool
}

// drops says how many packets to drop now, for a queue of b bytes whose sojourn is given.
func (c *codel) drops(now, sojourn, target int64, b float64) int {
	if sojourn < target || b < Packet {
		c.above, c.dropping = 0, false
		return 0
	}
	if c.above == 0 {
		c.above = now + codelInterval
	}
	if now < c.above {
		return 0
	}
	n := 0
	if !c.dropping {
		c.dropping = true
		if now-c.next < 8*codelInterval && c.count > 2 {
			c.count -= 2
		} else {
			c.count = 1
		}
		n = 1
		c.next = now + c.pause()
	}
	for now >= c.next && n < 1000 {
		n++
		c.count++
		c.next += c.pause()
	}
	return n
}

func (c *codel) pause() int64 { return int64(float64(codelInterval) / math.Sqrt(float64(c.count))) }
