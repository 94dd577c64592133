package daemon

import (
	"fmt"
	"slices"

	"wanctl/internal/config"
	"wanctl/internal/probe"
)

// probers are the pingers as the loop knows them, with true nils.
func probers(pingers []Pinger) []Prober {
	all := make([]Prober, len(pingers))
	for i, p := range pingers {
		if p != nil {
			all[i] = p
		}
	}
	return all
}

// sights are the lines as probes and feeds show them.
func (s *Steer) sights(probes []Prober) []Sight {
	all := make([]Sight, len(probes))
	for i := range all {
		all[i] = Sight{Prober: probes[i], Feed: s.readers[i]}
	}
	all[0].Loss = s.loss.loss
	if all[0].Prober != nil {
		all[0].Prober = heard{all[0].Prober, s.loss}
	}
	return all
}

// feeds returns the readers of all lines' feeds, the primary's first; an alternate's is a true nil where none is configured.
func (s *Steer) feeds(cfg *config.Steering) []FeedReader {
	all := []FeedReader{&FeedFile{Path: cfg.Source, BootID: s.boot, WAN: cfg.Steer.Primary}}
	for _, a := range cfg.Alternates {
		if a.StateSource == "" {
			all = append(all, nil)
			continue
		}
		all = append(all, &FeedFile{Path: a.StateSource, BootID: s.boot, WAN: a.Name})
	}
	return all
}

func (s *Steer) openPings(cfg *config.Steering) (pingers []Pinger, err error) {
	s.loss = &sentProbes{}
	for i, o := range steerProbeOptions(cfg, s.Clock, s.log) {
		if o == nil {
			pingers = append(pingers, nil)
			continue
		}
		name := cfg.Steer.Primary
		if i > 0 {
			name = cfg.Alternates[i-1].Name
		} else {
			o.OnSend = s.loss.sent
		}
		p, err := s.Hands.probe(*o)
		if err != nil {
			closePings(pingers)
			return nil, fmt.Errorf("probes of %s: %w", name, err)
		}
		pingers = append(pingers, p)
	}
	return pingers, nil
}

func closePings(pingers []Pinger) {
	for _, p := range pingers {
		if p != nil {
			_ = p.Close()
		}
	}
}

func (s *Steer) startPings() {
	var stops []func()
	for _, p := range s.pingers {
		if p != nil {
			stops = append(stops, startPings(p, s.log))
		}
	}
	s.stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
}

func (s *Steer) probesDiffer(cfg *config.Steering) bool {
	was, is := steerProbeOptions(s.cfg, s.Clock, s.log), steerProbeOptions(cfg, s.Clock, s.log)
	return !slices.EqualFunc(was, is, func(a, b *probe.Options) bool {
		return (a == nil) == (b == nil) && (a == nil || !probesDiffer(*a, *b))
	})
}
