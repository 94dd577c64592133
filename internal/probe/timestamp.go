package probe

import (
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// How a target earns the belief in its clock, and loses it.
const (
	// proofs is how many answers in a row must agree with each other.
	proofs = 8
	// maxSilent is after how many timestamp requests in a row without an answer a target is given up, when it has
	// meanwhile answered leastHeard echoes: silence of the line proves nothing.
	maxSilent, leastHeard = 6, 3
	// maxMute is after what silence a proven target gets echoes in between, so that it can tell the line from itself.
	maxMute = 5 * time.Second
	// maxBroken is how many answers may break a rule without a proof in between: a clock that is set breaks one.
	maxBroken = 6
	// retryTimestamps is how long a target that was given up gets echoes only.
	retryTimestamps = 10 * time.Minute
	// maxProcessing is the longest a target may take from its receive stamp to its transmit stamp.
	maxProcessing = 20 * time.Millisecond
	// granule is what comparisons allow for: the stamps compared are whole milliseconds.
	granule = 2 * time.Millisecond
	// drift is how fast two clocks may part, in parts per million: the most that Linux slews one (MAXFREQ, linux/timex.h).
	drift = 500
)

// day is after what time ICMP timestamps start again from zero.
const day = 24 * time.Hour

// fold returns d as the difference of two times of day: between -12 h and 12 h, so that no midnight makes a jump.
func fold(d time.Duration) time.Duration {
	d %= day
	switch {
	case d >= day/2:
		return d - day
	case d < -day/2:
		return d + day
	}
	return d
}

// near returns the one of d's equals, which are whole days apart, that is within 12 h of ref.
func near(d, ref time.Duration) time.Duration { return ref + fold(d-ref) }

// crossing is one answer on both clocks: ours says when the request left and the reply came, the target's when it received
// the one and transmitted the other, each as time since a beginning of its own.
type crossing struct {
	sent, came        time.Duration
	receive, transmit time.Duration
	// daily says that the target's clock starts again from zero every day.
	daily bool
}

// near returns the reading of d that is nearest to ref.
func (c crossing) near(d, ref time.Duration) time.Duration {
	if c.daily {
		return near(d, ref)
	}
	return d
}

// processing is how long the target says that it took.
func (c crossing) processing() time.Duration {
	d := c.transmit - c.receive
	if c.daily && d < 0 {
		d += day // answered over midnight
	}
	return d
}

// standard says whether the target's stamps are in an order that leaves time to travel.
func (c crossing) standard() bool {
	p := c.processing()
	return p >= 0 && p <= maxProcessing && p <= c.came-c.sent+granule
}

// sighting is one answer to a timestamp request.
type sighting struct {
	// sent is when the request left by our clock, as time of day, which may exceed a day; rtt is its round trip.
	sent, rtt time.Duration
	// receive and transmit are the target's stamps as they came.
	receive, transmit uint32
}

// stampTime converts a stamp that is within its day.
func stampTime(ms uint32) time.Duration { return time.Duration(ms) * time.Millisecond }

// crossing returns the answer by the two clocks, and whether its stamps are times of day at all: milliseconds since midnight
// UT without the non-standard bit (RFC 792). Zero is one of them, once a day: a target that has no clock and always says
// zero says that time stands still.
func (s sighting) crossing() (c crossing, ok bool) {
	c = crossing{sent: s.sent, came: s.sent + s.rtt, receive: stampTime(s.receive), transmit: stampTime(s.transmit), daily: true}
	return c, c.receive < day && c.transmit < day
}

// remoteClock is what we know of a target's clock: whether it answers timestamp requests, and whether to believe it.
type remoteClock struct {
	echo       bool          // the newest probe was an echo
	silent     int           // timestamp requests since the last answer to one
	mute       unit.Time     // when the first of them left
	heard      int           // echoes answered since then
	broken     int           // answers that broke a rule since the last proven one
	retry      unit.Time     // given up until then; 0 is not given up
	agreed     int           // answers in a row that agree, up to proofs
	moved      bool          // their stamps differ
	stamp      time.Duration // the newest receive stamp of them
	proven     bool
	generation uint32 // how often it was proven

	// The target's clock is ahead of ours by at least low and at most high: what they agree on, at the instant at.
	low, high, at time.Duration
}

// ask says whether the next probe of the target asks for timestamps, and counts on it. A proven target is asked for
// nothing else; another one, and one that has fallen silent, gets an echo in between.
func (k *remoteClock) ask(now unit.Time) bool {
	k.again(now)
	switch {
	case k.retry != 0:
		return false
	case k.silent >= maxSilent && k.heard >= leastHeard:
		k.reset(now.Add(retryTimestamps))
		return false
	}
	trusted := k.proven && (k.silent < maxSilent || now.Sub(k.mute) < maxMute)
	ask := trusted || k.echo
	if k.echo = !ask; ask {
		if k.silent == 0 {
			k.mute = now
		}
		k.silent++
	}
	return ask
}

// again lets a target that was given up prove its clock anew, when it is time.
func (k *remoteClock) again(now unit.Time) {
	if k.retry != 0 && now >= k.retry {
		k.reset(0)
	}
}

// unsent takes back a request that never left.
func (k *remoteClock) unsent() { k.silent = max(k.silent-1, 0) }

// reset forgets all; until retry the target has echoes only.
func (k *remoteClock) reset(retry unit.Time) {
	*k = remoteClock{generation: k.generation, retry: retry}
}

// answered counts a genuine answer, in time or not.
func (k *remoteClock) answered(timestamps bool) {
	if timestamps {
		k.silent, k.heard = 0, 0
		return
	}
	k.heard++
}

// judge takes in an answer to a timestamp request and returns its delays, and whether they are to be believed.
func (k *remoteClock) judge(s sighting, now unit.Time) (d link.Pair[unit.Millis], ok bool) {
	c, ok := s.crossing()
	return k.weigh(c, ok, now)
}

// weigh takes in an answer by the two clocks, and whether its stamps are such at all, and returns its delays, and whether
// they are to be believed.
func (k *remoteClock) weigh(c crossing, stamped bool, now unit.Time) (d link.Pair[unit.Millis], ok bool) {
	if k.retry != 0 {
		return d, false // it comes from before the target was given up
	}
	var up, down time.Duration
	if stamped && c.standard() {
		up, down, ok = k.compare(c)
	} else {
		k.forget()
	}
	switch {
	case ok && k.proven:
		k.broken = 0
		return link.Pair[unit.Millis]{Down: unit.ToMillis(down), Up: unit.ToMillis(up)}, true
	case !ok:
		if k.broken++; k.broken >= maxBroken {
			k.reset(now.Add(retryTimestamps))
		}
	}
	return d, false
}

// compare turns an answer into delays and says whether they agree with those before. A packet takes more than no time:
// so the target's clock is ahead by no more than the measured way up and behind by no more than the measured way down.
// Those bounds of all answers must leave room for one and the same offset. No queue can break that; a clock that was set
// by more than the round trip, that stands still or runs at another speed does.
func (k *remoteClock) compare(c crossing) (up, down time.Duration, ok bool) {
	up, down = c.receive-c.sent, c.came-c.transmit
	if k.agreed > 0 {
		// The middle tells on which side of a day the differences lie, also where they are about 12 h.
		middle := k.low + (k.high-k.low)/2
		up, down = c.near(up, middle), c.near(down, -middle)
		apart := (c.came - k.at).Abs() / 1_000_000 * drift
		k.low, k.high = max(k.low-apart, -down), min(k.high+apart, up)
		ok = k.low <= k.high+granule
	}
	if !ok {
		first := k.agreed == 0
		k.forget() // the clock was set: what it says from here on may agree again
		up = c.near(up, 0)
		down = c.near(down, -up)
		k.low, k.high = -down, up
		k.stamp, ok = c.receive, first
	}
	k.at = c.came
	k.moved = k.moved || c.receive != k.stamp
	k.stamp = c.receive
	if k.agreed < proofs {
		k.agreed++
	}
	if !k.proven && k.agreed == proofs && k.moved {
		k.proven = true
		k.generation++
	}
	return up, down, ok
}

// forget drops what the answers agree on.
func (k *remoteClock) forget() { k.agreed, k.moved, k.proven = 0, false, false }
