package daemon

import (
	"context"
	"fmt"
	"strings"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// remains is what is known, at an exit, of the rates on a router.
type remains struct {
	// rates were read; 0 is unlimited. Those of a direction that is not known are the last ones seen, if any.
	rates link.Rates
	// known says that nothing has made rates doubtful since, read that this exit itself has read them.
	known, read link.Pair[bool]
	// open says that a write may or may not have been carried out.
	open link.Pair[bool]
}

// take books what an exchange that was to write wrote told.
func (r *remains) take(wrote link.Rates, rep link.Report, err error) {
	class, sent := classify(err)
	lost := class == actuate.Unknown || class == actuate.Transient && sent
	read := covers(err) // one queue may be missing while the other was set and read back
	for _, d := range bothWays {
		switch {
		case err == nil || read.Get(d):
			r.rates.Set(d, rep.Get(d).MaxLimit)
			r.known.Set(d, true)
			r.read.Set(d, true)
			r.open.Set(d, false)
		case lost && wrote.Get(d) > 0:
			r.known.Set(d, false)
			r.read.Set(d, false)
			r.open.Set(d, true)
		}
	}
}

// lacks are the wanted rates that this exit has not read back.
func (r *remains) lacks(want link.Rates) (out link.Rates) {
	for _, d := range bothWays {
		if w := want.Get(d); w > 0 && (!r.read.Get(d) || r.rates.Get(d) != w) {
			out.Set(d, w)
		}
	}
	return out
}

// String says what the router has.
func (r *remains) String() string {
	var parts []string
	for _, d := range bothWays {
		name, rate := directionText(d), limitText(r.rates.Get(d))
		switch {
		case r.read.Get(d):
			parts = append(parts, name+"="+rate+" (read back)")
		case r.open.Get(d):
			parts = append(parts, name+" unknown (a write that was not answered may have been carried out)")
		case r.rates.Get(d) > 0:
			parts = append(parts, name+"="+rate+" (when it was read last)")
		default:
			parts = append(parts, name+" unknown (never read)")
		}
	}
	return strings.Join(parts, ", ")
}

// directionText is a direction as the cycle line names it.
func directionText(d link.Direction) string {
	return map[link.Direction]string{link.Down: "DL", link.Up: "UL"}[d]
}

// LimitsText names both limits as the router has them.
func LimitsText(r link.Rates) string {
	return fmt.Sprintf("DL=%s, UL=%s", limitText(r.Down), limitText(r.Up))
}

// limitText is one of them.
func limitText(r unit.Rate) string {
	if r == 0 {
		return "unlimited"
	}
	return r.String()
}

var bothWays = [...]link.Direction{link.Down, link.Up}

// setRates puts rates on a router and verifies them; a zero rate leaves that direction alone. has is what is known of the
// router before, and comes back as what is known after, also beside an error. Without a rate nothing can be missed, so nothing is
// verified: whoever needs to know reads himself, with [readRates]. A rate that is there already is read, not
// written: RouterOS saves every write to flash.
func setRates(router Shaper, want link.Rates, has remains) (remains, error) {
	err := persist(func(ctx context.Context) error {
		var tried link.Pair[bool] // each direction is written once a try, so that this ends
		for {
			var write link.Rates
			for _, d := range bothWays {
				if w := want.Get(d); w > 0 && has.known.Get(d) && has.rates.Get(d) != w && !tried.Get(d) {
					write.Set(d, w)
					tried.Set(d, true)
				}
			}
			var op *link.Rates
			if write != (link.Rates{}) {
				op = &write
			}
			rep, err := router.Exchange(ctx, op)
			if err == nil && rep.Unwritten { // over a new connection it only read: the write is still to come
				for _, d := range bothWays {
					if write.Get(d) > 0 {
						tried.Set(d, false)
					}
				}
			}
			has.take(write, rep, err)
			again := false
			for _, d := range bothWays {
				w := want.Get(d)
				again = again || w > 0 && has.read.Get(d) && has.rates.Get(d) != w && !tried.Get(d)
			}
			switch {
			case again && ctx.Err() == nil: // what was just read is not what is wanted
			case has.lacks(want) == link.Rates{}:
				return nil // something else about the answer may have been odd, but the rates are there
			case err != nil:
				return err
			default:
				return fmt.Errorf("the router reads back %s instead of %s", LimitsText(has.rates), ratesText(want))
			}
		}
	})
	return has, err
}

// readRates reads a router's rates. Beside an error it tells what could be read all the same.
func readRates(router Shaper) (has remains, err error) {
	err = persist(func(ctx context.Context) error {
		rep, err := router.Exchange(ctx, nil)
		has.take(link.Rates{}, rep, err)
		return err
	})
	return has, err
}

// persist tries f until it succeeds, fails for good or a stop has taken long enough.
func persist(f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), exitTime)
	defer cancel()
	for {
		err := f(ctx)
		if class, _ := classify(err); err == nil || class == actuate.Fatal || class == actuate.Misconfigured {
			return err
		}
		if !pause(ctx, exitRetry) {
			return err
		}
	}
}
