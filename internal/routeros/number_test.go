package routeros

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"wanctl/internal/unit"
)

func TestParseRate(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want unit.Rate
	}{
		{"0", 0},
		{"50000000", 50 * unit.Mbps},
		{"50 000 000", 50 * unit.Mbps},
		{"50\u00a0000\u00a0000", 50 * unit.Mbps},
		{"50\xa0000\xa0000", 50 * unit.Mbps},
		{"10M", 10 * unit.Mbps},
		{"34200k", 34200 * unit.Kbps},
		{"34 200k", 34200 * unit.Kbps},
		{"1.5M", 1500 * unit.Kbps},
		{"34.200001M", 34200001},
		{"1G", unit.Gbps},
		{"27.8kbps", 27800},
		{"1234bps", 1234},
	} {
		if got, err := parseRate(tt.in); err != nil || got != tt.want {
			t.Errorf("parseRate(%q) = %d, %v; want %d", tt.in, got, err, tt.want)
		}
	}
	for _, in := range []string{
		"", "k", "M", "bps", "-1", "+1", "1.", ".5M", "1.5", "1.2345k", "1.5.5M", "10m", "10MM", "10 M", "1 0", "1 00",
		"1234 567", "1  000", " 1", "1 ", "ten", "0x10", "unlimited", "99999999999G", "9223372036854775808", "9223372036G.9",
		"9223372036.9G", "1.-5M",
	} {
		if got, err := parseRate(in); err == nil {
			t.Errorf("parseRate(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseCount(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "272603902153": 272603902153, "28 505 528 775": 28505528775, "9223372036854775807": math.MaxInt64,
	} {
		if got, err := parseCount(in); err != nil || got != want {
			t.Errorf("parseCount(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "-1", "1M", "55.0MiB", "9223372036854775808", "1\n000"} {
		if got, err := parseCount(in); err == nil {
			t.Errorf("parseCount(%q) = %d, want an error", in, got)
		}
	}
}

func TestParseDuration(t *testing.T) {
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"0s":              0,
		"4d18h21m":        4*day + 18*time.Hour + 21*time.Minute,
		"1w2d03:04:05":    9*day + 3*time.Hour + 4*time.Minute + 5*time.Second,
		"2d00:00:00":      2 * day,
		"00:00:15":        15 * time.Second,
		"00:00:00.100":    100 * time.Millisecond,
		"00:00:00.000060": 60 * time.Microsecond,
		"1h2m3s500ms":     time.Hour + 2*time.Minute + 3*time.Second + 500*time.Millisecond,
		"1s500us":         time.Second + 500*time.Microsecond,
		"100ms":           100 * time.Millisecond,
		"60w":             60 * 7 * day,
	} {
		if got, err := parseDuration(in); err != nil || got != want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "5", "1x", "s", "1s2m", "1s1s", "-1s", "1h00:00:15", "00:15", "0:00:15", "00:60:00", "00:00:60", "00:00:15.",
		"00:00:15.1234567890", "00:00:00:15", "99999999w", "1w99:00:00x", "1.5s", "00:00:-1", "00:00:1a", "9999999999999999999s",
	} {
		if got, err := parseDuration(in); err == nil {
			t.Errorf("parseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestParseBool(t *testing.T) {
	for in, want := range map[string]bool{"true": true, "yes": true, "false": false, "no": false, "": false} {
		if got, err := parseBool(in); err != nil || got != want {
			t.Errorf("parseBool(%q) = %t, %v", in, got, err)
		}
	}
	if _, err := parseBool("maybe"); err == nil {
		t.Error("parseBool takes maybe")
	}
}

// group writes digits as RouterOS does where it groups them.
func group(s, gap string) string {
	var b strings.Builder
	for i, c := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteString(gap)
		}
		b.WriteRune(c)
	}
	return b.String()
}

func TestNumbersSurviveEveryPrinting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Int64Range(0, math.MaxInt64).Draw(t, "n")
		gap := rapid.SampledFrom([]string{"", " ", "\u00a0", "\xa0"}).Draw(t, "gap")
		text := group(strconv.FormatInt(n, 10), gap)
		if got, err := parseCount(text); err != nil || got != n {
			t.Fatalf("parseCount(%q) = %d, %v; want %d", text, got, err, n)
		}
		k := n / 1000
		if got, err := parseRate(group(strconv.FormatInt(k, 10), gap) + "k"); err != nil || got != unit.Rate(k*1000) {
			t.Fatalf("%dk: %d, %v", k, got, err)
		}
	})
}

func TestDurationSurvivesEveryPrinting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := rapid.Int64Range(0, 100*366*24*3600).Draw(t, "s")
		want := time.Duration(seconds) * time.Second
		var text string
		for _, u := range []struct {
			suffix string
			length int64
		}{{"w", 7 * 24 * 3600}, {"d", 24 * 3600}} {
			if n := seconds / u.length; n > 0 {
				text += strconv.FormatInt(n, 10) + u.suffix
				seconds %= u.length
			}
		}
		two := func(n int64) string { return strconv.FormatInt(n/10, 10) + strconv.FormatInt(n%10, 10) }
		if rapid.Bool().Draw(t, "clock") {
			text += two(seconds/3600) + ":" + two(seconds/60%60) + ":" + two(seconds%60)
		} else {
			text += strconv.FormatInt(seconds/3600, 10) + "h" + strconv.FormatInt(seconds/60%60, 10) + "m" + strconv.FormatInt(seconds%60, 10) + "s"
		}
		if got, err := parseDuration(text); err != nil || got != want {
			t.Fatalf("parseDuration(%q) = %v, %v; want %v", text, got, err, want)
		}
	})
}

func FuzzNumbers(f *testing.F) {
	for _, s := range []string{"10M", "28 505 528 775", "4d18h21m", "1w2d03:04:05.5", "27.8kbps", "\xa0", "1h:"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := parseRate(s); err == nil && r < 0 {
			t.Errorf("rate %q is %d", s, r)
		}
		if n, err := parseCount(s); err == nil && n < 0 {
			t.Errorf("count %q is %d", s, n)
		}
		if d, err := parseDuration(s); err == nil && d < 0 {
			t.Errorf("duration %q is %d", s, d)
		}
	})
}
