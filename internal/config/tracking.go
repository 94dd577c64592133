package config

import (
	"wanctl/internal/link"
	"wanctl/internal/reflector"
	"wanctl/internal/shaper"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// trackingReflectors are all hosts: the policy judges each by its own baseline. It finds some where none is named.
func (p *parser) trackingReflectors(w *WAN) {
	at, key := p.at(cm+".ping_hosts"), cm+".ping_hosts"
	w.MedianOfThree = true
	if p.has(cm + ".irtt") {
		p.require(cm + ".irtt.server")
	}
	if p.has(cm+".use_median_of_three") && !p.flag(cm+".use_median_of_three") {
		p.warnf(p.at(cm+".use_median_of_three"), cm+".use_median_of_three", "remove it",
			"has no effect under policy tracking, which judges each host by itself")
	}
	if !p.has(key) && !p.lost(key) && w.Probe.Source.Is6() {
		p.errorf(p.at("ping_source_ip"), "ping_source_ip", "name five IPv6 hosts in "+key+", or leave ping_source_ip out",
			"is an IPv6 address, and the reflectors that wanctl knows are IPv4")
	}
	switch n := len(w.PingHosts); {
	case n == 0: // our own choice, or a finding already
	case n == 1:
		p.warnf(at, key, "name five of at least three operators", "with one host wanctl cannot tell the reflector from the line")
	case n < 3:
		p.warnf(at, key, "name five of at least three operators", "with %d hosts a single liar moves the rates; with five, two cannot", n)
	}
}

// The thresholds of the states where a configuration names none.
const trackingTarget, trackingWarn unit.Millis = 15, 45

// tracking assembles the configuration of the policy from checked values, and the limits that the states need from it.
func (p *parser) tracking(w *WAN) *tracking.Config {
	t := &tracking.Config{Hosts: min(len(w.Candidates()), reflector.DefaultUse)}
	if w.IRTT.Host != "" {
		t.Hosts++
	}
	switch w.Profile {
	case tracking.Latency.String():
		t.Profile = tracking.Latency
	case tracking.Throughput.String():
		t.Profile = tracking.Throughput
	default:
		t.Profile = tracking.Balanced
	}
	for _, d := range []struct {
		dir   link.Direction
		key   string
		sides *shaper.Direction
	}{{link.Down, cm + ".download", &w.Shaper.Down}, {link.Up, cm + ".upload", &w.Shaper.Up}} {
		lowest := unit.Rate(0)
		for _, k := range []string{".floor_red_mbps", ".floor_mbps"} {
			if p.has(d.key + k) {
				lowest = p.mbps(d.key + k)
			}
		}
		highest := unit.Rate(0)
		if p.has(d.key + ".ceiling_mbps") {
			highest = p.mbps(d.key + ".ceiling_mbps")
		}
		t.Min.Set(d.dir, lowest)
		t.Max.Set(d.dir, highest)
		if highest == 0 {
			highest = tracking.Unlimited
		}
		if lowest == 0 {
			lowest = min(tracking.Least, highest)
		}
		d.sides.Ceiling = highest
		for i := range d.sides.Floor {
			d.sides.Floor[i] = lowest
		}
		if !p.has(p.own(d.key, "target_bloat_ms")) {
			d.sides.Target = trackingTarget
		}
		if !p.has(p.own(d.key, "warn_bloat_ms")) {
			d.sides.Warn = trackingWarn
		}
	}
	// Without floors of its own the download has all four states.
	w.Shaper.Down.FourState = !p.has(cm + ".download.floor_mbps")
	return t
}
