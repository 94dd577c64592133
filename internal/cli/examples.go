package cli

import (
	"bytes"
	"fmt"

	"wanctl/configs"
	"wanctl/internal/config"
)

// example parses a shipped configuration, as it is or with the other policy.
func (a *App) example(name, policy string) (*config.File, error) {
	b, err := configs.Files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the built-in %s: %w", name, err)
	}
	if policy == "tracking" {
		b = bytes.Replace(b, []byte("interval_ms: 2000"), []byte("policy: tracking"), 1)
	}
	d := a.dirs("")
	f, ds := config.Parse(name, bytes.NewReader(b), config.Options{Dirs: config.Dirs{Run: d.Run, State: d.State}})
	if err := ds.Err(); err != nil {
		return nil, err
	}
	return f, nil
}

// sites are the two production lines and their steering, as shipped.
type sites struct {
	cable, vdsl *config.WAN
	steering    *config.Steering
}

func (a *App) sites(policy string) (*sites, error) {
	var s sites
	for _, name := range []string{"spectrum_config.yaml", "att_config.yaml", "steering_config_v2.yaml"} {
		f, err := a.example(name, policy)
		if err != nil {
			return nil, err
		}
		switch {
		case f.Steering != nil:
			s.steering = f.Steering
		case f.WAN.Name == "ATT":
			s.vdsl = f.WAN
		default:
			s.cable = f.WAN
		}
	}
	return &s, nil
}
