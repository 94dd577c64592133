package rosim

import (
	"math"
	"net/netip"
	"strconv"
	"time"
)

// figures are an interface's rates over one round of monitor-traffic.
func (p *performance) figures(name string, last *[2]int64, over time.Duration) (row, error) {
	p.router.mu.Lock()
	defer p.router.mu.Unlock()
	p.router.advance()
	it := named(p.router.interfaces(), name)
	if it == nil {
		return nil, (&prop{name: "interface"}).mismatch()
	}
	now := [2]int64{it.vals["rx-byte"].num, it.vals["tx-byte"].num}
	out := row{{"name", name}}
	for i, dir := range []string{"rx", "tx"} {
		bits := int64(0)
		if over > 0 {
			bits = int64(float64(max(now[i]-last[i], 0)) * 8 / over.Seconds())
		}
		out = append(
			out,
			pair{dir + "-packets-per-second", strconv.FormatInt(bits/8/packetSize, 10)},
			pair{dir + "-bits-per-second", strconv.FormatInt(bits, 10)},
		)
	}
	*last = now
	return out, nil
}

// monitor is monitor-traffic: a record each interval until it is cancelled, or for duration; the rates are those of the
// time since the record before, the first's those of one short measurement.
func (p *performance) monitor(c *call) error {
	every, err := p.interval(c, 20*time.Millisecond)
	if err != nil {
		return err
	}
	if every == 0 {
		every = time.Second
	}
	end := time.Duration(math.MaxInt64)
	if s, ok := p.arg("duration"); ok {
		d, ok := parseDuration(s)
		if !ok {
			return problemf("invalid value for argument duration")
		}
		end = d
	}
	name, _ := p.arg("interface")
	var last [2]int64
	if _, err := p.figures(name, &last, 0); err != nil {
		return err
	}
	const first = 10 * time.Millisecond
	span := first
	for took := time.Duration(0); took <= end; took += every {
		if err := p.pause(span); err != nil {
			return err
		}
		r, err := p.figures(name, &last, span)
		if err != nil {
			return err
		}
		if c.has("once") {
			return p.emit(r)
		}
		r = append(r, pair{".section", strconv.Itoa(p.section)})
		p.section++
		if err := p.emit(r); err != nil {
			return err
		}
		span = every
	}
	return nil
}

func runMonitorTraffic(r *run, _ *call) (value, error) {
	return value{}, r.only("monitor-traffic")
}

func runPing(r *run, _ *call) (value, error) { return value{}, r.only("ping") }

func (r *run) only(cmd string) error {
	return problemf("failure: the emulator has %s over the API and REST only", cmd)
}

// ping sends echoes, a second apart unless told otherwise, and answers with a record for each.
func (p *performance) ping(c *call) error {
	s, _ := p.arg("address")
	addr, err := netip.ParseAddr(s)
	if err != nil {
		return problemf("invalid value for argument address")
	}
	every, err := p.interval(c, 10*time.Millisecond)
	if err != nil {
		return err
	}
	if every == 0 {
		every = time.Second
	}
	count := int64(math.MaxInt64)
	if s, ok := p.arg("count"); ok {
		n, ok := parseNumber(s)
		if !ok || n < 1 {
			return problemf("invalid value for argument count")
		}
		count = n
	}
	var sent, received int64
	least, most, sum := time.Duration(math.MaxInt64), time.Duration(0), time.Duration(0)
	for ; sent < count; sent++ {
		if sent > 0 {
			if err := p.pause(every); err != nil {
				return err
			}
		}
		out := row{{"seq", strconv.FormatInt(sent, 10)}, {"host", addr.String()}}
		rtt, answered := p.router.opt.Echo(addr)
		if answered {
			received++
			least, most, sum = min(least, rtt), max(most, rtt), sum+rtt
			out = append(out, pair{"size", "56"}, pair{"ttl", "58"}, pair{"time", unitsDuration(rtt)})
		} else {
			out = append(out, pair{"status", "timeout"})
		}
		n := sent + 1
		out = append(
			out, pair{"sent", strconv.FormatInt(n, 10)}, pair{"received", strconv.FormatInt(received, 10)},
			pair{"packet-loss", strconv.FormatInt((n-received)*100/n, 10)},
		)
		if received > 0 {
			mean := (sum / time.Duration(received)).Truncate(time.Microsecond)
			out = append(out, pair{"min-rtt", unitsDuration(least)}, pair{"avg-rtt", unitsDuration(mean)}, pair{"max-rtt", unitsDuration(most)})
		}
		if err := p.emit(out); err != nil {
			return err
		}
	}
	return nil
}
