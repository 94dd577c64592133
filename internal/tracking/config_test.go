package tracking

import (
	"strings"
	"testing"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

func TestValidate(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, ""},
		{Config{Profile: Throughput, Max: link.Rates{Down: unit.MaxRate, Up: 1}}, ""},
		{Config{Min: link.Rates{Down: 5, Up: 5}, Max: link.Rates{Down: 5}}, ""},
		{Config{Profile: 3}, "no profile Profile(3)"},
		{Config{Min: link.Rates{Down: -1}}, "download between"},
		{Config{Min: link.Rates{Up: 6}, Max: link.Rates{Up: 5}}, "upload between"},
		{Config{Max: link.Rates{Up: -5}}, "upload between"},
		{Config{Max: link.Rates{Down: unit.MaxRate + 1}}, "download between"},
	} {
		err := c.cfg.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.cfg, err, c.want)
		}
		if k, made := New(c.cfg); (made == nil) != (c.want == "") || (k == nil) != (made != nil) {
			t.Errorf("%+v: New says %v", c.cfg, made)
		}
	}
	if Latency.String() != "latency" || Balanced.String() != "balanced" || Throughput.String() != "throughput" {
		t.Error("the profiles have other names")
	}
}
