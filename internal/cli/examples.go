package cli

import (
	"bytes"
	"fmt"

	"wanctl/configs"
	"wanctl/internal/config"
)

// example parses a shipped configuration.
func (a *App) example(name string) (*config.File, error) {
	b, err := configs.Files.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("read the built-in %s: %w", name, err)
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

func (a *App) sites() (*sites, error) {
	var s sites
	for _, name := range []string{"spectrum_config.yaml", "att_config.yaml", "steering_config_v2.yaml"} {
		f, err := a.example(name)
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
