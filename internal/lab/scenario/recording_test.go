package scenario

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"wanctl/internal/unit"
)

func TestAWholeRecordingIsACapacity(t *testing.T) {
	dir := t.TempDir()
	var packets strings.Builder
	for i := range 10_000 { // 12 Mbit/s for 5 s, then 24 for 2.5 s
		ms := i + 1
		if i >= 5000 {
			ms = 5000 + (i-5000+2)/2
		}
		fmt.Fprintln(&packets, ms)
	}
	for name, text := range map[string]string{
		"a.down": packets.String(), "b.csv": "0,10\n2,0\n4,30\n", "quiet": "1\n60000\n", "words": "none\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, long, err := Recording(dir, "a.down", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if long != 7480*time.Millisecond || p.Nominal < 23*unit.Mbps || p.Nominal > 25*unit.Mbps || p.Steps[0].Rate < 11*unit.Mbps {
		t.Errorf("%v of %v, first %v", long, p.Nominal, p.Steps[0])
	}
	p, long, err = Recording(dir, "b.csv", 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if last := p.Steps[len(p.Steps)-1]; long != 3*time.Second || p.Nominal != 10*unit.Mbps || last.Rate != 0 || last.At > 2100*time.Millisecond {
		t.Errorf("%v of %v, last %v", long, p.Nominal, last)
	}
	for name, want := range map[string]string{
		"quiet": "carries nearly nothing", "words": "whole number of milliseconds", "../a.down": "leads out of", "none": "no such trace",
	} {
		if _, _, err := Recording(dir, name, time.Minute); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if _, _, err := Recording(dir, "a.down", time.Millisecond); err == nil || !strings.Contains(err.Error(), "shorter than") {
		t.Errorf("nothing of it: %v", err)
	}
}
