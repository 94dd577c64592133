package tracking

import (
	"math"
	"time"

	"wanctl/internal/link"
)

// While probes are known to feel less than data does, the samples are of probes that look like data: slower ones, and the law
// goes on with them. Where none of those is answered either, a queue may stand that nobody tells of: the rate then keeps to
// what is delivered, or to what the line usually carries where that is less.
const (
	// followBy is how much above what was delivered in followFor the rate may be: room to see that more comes through.
	followBy  = 1.15
	followFor = time.Second
	// followParts divides that time: a direction that is idle in one of the parts has not been delivered what it could.
	followParts = 5
)

// look takes over what is told from outside.
func (c *Controller) look(o link.Outside) {
	was := c.outside.Blind
	c.outside = o
	switch {
	case o.Blind && !was:
		c.note(link.Warning, "probes_blind", "the probes do not feel the delay that data does: the rates go by slower ones that "+
			"do, and without those keep to what is delivered.")
	case !o.Blind && was:
		c.note(link.Info, "probes_see", "the probes feel what data does again.")
	}
}

// follow bounds the rate of a direction while the probes are blind and nobody else says whether a queue stands.
func (c *Controller) follow(d link.Direction) {
	if c.now.Sub(c.heardAt) <= freshFor {
		return
	}
	w := &c.ways[d]
	most := math.Inf(1)
	if r, ok := c.usually(d); ok {
		most = r
	}
	if r, ok := c.delivered(d); ok {
		most = min(most, followBy*r)
	}
	if w.rate > most {
		w.climb = 0
		c.set(d, most, link.CauseFollow)
	}
}

// delivered is what a direction that is in use carried in the last second.
func (c *Controller) delivered(d link.Direction) (float64, bool) {
	rate, _, ok := c.ledger.recent(d, c.now, followFor)
	if !ok {
		return 0, false
	}
	to := min(c.now, c.ledger.newest(0).at)
	for range followParts {
		from := to.Add(-followFor / followParts)
		if part, _, ok := c.ledger.carried(d, from, to); !ok || part < idleShare*c.ways[d].rate {
			return 0, false
		}
		to = from
	}
	return rate, true
}
