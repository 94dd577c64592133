package routeros

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// ungroup joins digits that RouterOS prints in groups of three, with a space or a no-break space (as UTF-8 or as the
// bare byte 0xA0) between them. It fails for anything but digits so grouped.
func ungroup(s string) (string, bool) {
	s = strings.ReplaceAll(s, "\u00a0", " ")
	s = strings.ReplaceAll(s, "\xa0", " ")
	groups := strings.Split(s, " ")
	for i, g := range groups {
		if g == "" || (len(groups) > 1 && len(g) > 3) || (i > 0 && len(g) != 3) {
			return "", false
		}
		for _, c := range []byte(g) {
			if c < '0' || c > '9' {
				return "", false
			}
		}
	}
	return strings.Join(groups, ""), true
}

// parseCount reads a counter: digits, perhaps grouped, 0 to 2⁶³−1.
func parseCount(s string) (int64, error) {
	plain, ok := ungroup(s)
	if !ok {
		return 0, fmt.Errorf("%q is not a whole number", clip(s))
	}
	n, err := strconv.ParseInt(plain, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is too large", clip(s))
	}
	return n, nil
}

// parseRate reads a rate as get and print show it: 10000000, "10 000 000", 10M, 1.5M, 34200k, 27.8kbps. Suffixes are
// decimal. The result is exact: a fraction finer than 1 bit/s is an error.
func parseRate(s string) (unit.Rate, error) {
	number := strings.TrimSuffix(s, "bps")
	scale, decimals := int64(1), 0
	if number != "" {
		switch number[len(number)-1] {
		case 'k', 'K':
			scale, decimals = 1e3, 3
		case 'M':
			scale, decimals = 1e6, 6
		case 'G':
			scale, decimals = 1e9, 9
		}
	}
	if scale > 1 {
		number = number[:len(number)-1]
	}
	whole, fraction, point := strings.Cut(number, ".")
	n, err := parseCount(whole)
	if err != nil {
		return 0, fmt.Errorf("%q is not a rate", clip(s))
	}
	if n > math.MaxInt64/scale {
		return 0, fmt.Errorf("rate %q is too large", clip(s))
	}
	n *= scale
	if point {
		if fraction == "" || len(fraction) > decimals || strings.Trim(fraction, "0123456789") != "" {
			return 0, fmt.Errorf("%q is not a rate", clip(s))
		}
		f, err := strconv.ParseInt(fraction+strings.Repeat("0", decimals-len(fraction)), 10, 64)
		if err != nil || n > math.MaxInt64-f {
			return 0, fmt.Errorf("rate %q is too large", clip(s))
		}
		n += f
	}
	return unit.Rate(n), nil
}

// parseBool reads a flag as RouterOS prints it, depending on the field: true or yes, false or no. An unset flag is empty.
func parseBool(s string) (bool, error) {
	switch s {
	case "true", "yes":
		return true, nil
	case "false", "no", "":
		return false, nil
	}
	return false, fmt.Errorf("%q is neither yes nor no", clip(s))
}

// spans are RouterOS's units of time, longest first; a duration names each at most once, in this order.
var spans = []struct {
	suffix string
	length time.Duration
}{
	{"w", 7 * 24 * time.Hour},
	{"d", 24 * time.Hour},
	{"h", time.Hour},
	{"m", time.Minute},
	{"s", time.Second},
	{"ms", time.Millisecond},
	{"us", time.Microsecond},
	{"ns", time.Nanosecond},
}

// parseDuration reads a time as RouterOS prints it: 4d18h21m, 1s500us, 00:00:15, 00:00:00.100, 1w2d03:04:05.
func parseDuration(s string) (time.Duration, error) {
	bad := fmt.Errorf("%q is not a duration", clip(s))
	if s == "" {
		return 0, bad
	}
	var total time.Duration
	add := func(n int64, unit time.Duration) bool {
		if n > (math.MaxInt64-int64(total))/int64(unit) {
			return false
		}
		total += time.Duration(n) * unit
		return true
	}
	next := 0
	for rest := s; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.ParseInt(rest[:digits], 10, 64)
		if err != nil {
			return 0, bad
		}
		if rest[digits:] != "" && rest[digits] == ':' {
			clock, ok := parseClock(rest)
			if next > 2 || !ok || !add(int64(clock), time.Nanosecond) { // only weeks and days stand before a clock
				return 0, bad
			}
			return total, nil
		}
		letters := len(rest[digits:]) - len(strings.TrimLeft(rest[digits:], "dhmnsuw"))
		suffix := rest[digits : digits+letters]
		for next < len(spans) && spans[next].suffix != suffix {
			next++
		}
		if next == len(spans) || !add(n, spans[next].length) {
			return 0, bad
		}
		next++
		rest = rest[digits+letters:]
	}
	return total, nil
}

// parseClock reads HH:MM:SS with an optional fraction of at most nine digits.
func parseClock(s string) (time.Duration, bool) {
	clock, fraction, point := strings.Cut(s, ".")
	parts := strings.Split(clock, ":")
	if len(parts) != 3 || (point && (fraction == "" || len(fraction) > 9)) {
		return 0, false
	}
	var total int64
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || len(p) != 2 || (i > 0 && n > 59) {
			return 0, false
		}
		total = total*60 + int64(n)
	}
	d := time.Duration(total) * time.Second
	if point {
		n, err := strconv.ParseUint(fraction+strings.Repeat("0", 9-len(fraction)), 10, 32)
		if err != nil {
			return 0, false
		}
		d += time.Duration(n)
	}
	return d, true
}
