package config

import (
	"testing"

	"wanctl/internal/unit"
)

// How much of a limit is IP packets, by tc-cake(8)'s counting.
func TestShareOfFraming(t *testing.T) {
	for word, want := range map[string]unit.PPM{
		"none": 1_000_000 * 1500 / 1514, "docsis": 1_000_000 * 1500 / 1518, "conservative": 1_000_000 * 1500 / (33 * 53),
		"adsl-pppoe-llcsnap": 1_000_000 * 1500 / (33 * 53), "vdsl-ptm": 1_000_000 * 1500 / (1522 + 24),
	} {
		for _, a := range accesses {
			if got := a.Share(1500); a.word == word && (got < want-1 || got > want+1) {
				t.Errorf("%s: %v, want %v", word, got, want)
			}
		}
	}
	if got := (Framing{Overhead: 18, Mpu: 64}).Share(40); got != 625_000 {
		t.Errorf("a small packet: %v", got)
	}
}
