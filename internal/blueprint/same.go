package blueprint

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// defaults are RouterOS's own of the properties that a plan sets: what is not printed stands on them.
var defaults = map[string]string{
	"bucket-size": "0.1", "burst-limit": "0", "burst-threshold": "0", "burst-time": "0s", "limit-at": "0", "max-limit": "0", "packet-mark": "",
	"disabled": "no", "cake-bandwidth": "0", "cake-diffserv": "diffserv3", "cake-flowmode": "triple-isolate", "cake-nat": "no", "cake-wash": "no",
	"cake-ack-filter": "none", "cake-rtt": "100ms", "cake-atm": "none", "cake-autorate-ingress": "no", "cake-overhead": "", "cake-mpu": "",
	"total-max-limit": "0", "packet-marks": "",
	"passthrough": "yes", "fib": "no", "rp-filter": "no", "routing-table": "main", "check-gateway": "none",
}

// same says whether a property has a value, whatever the way it is written in.
func same(key, is, want string) bool {
	if is == "" {
		is = defaults[key]
	}
	if is == want {
		return true
	}
	if slices.Contains(pairKeys, key) && (strings.Contains(is, "/") || strings.Contains(want, "/")) {
		return samePair(key, is, want)
	}
	switch key {
	case "max-limit", "limit-at", "total-max-limit", "burst-limit", "burst-threshold", "cake-bandwidth":
		a, ok1 := rateOf(is)
		b, ok2 := rateOf(want)
		return ok1 && ok2 && a == b
	case "burst-time", "cake-rtt", "address-list-timeout", "interval":
		a, ok1 := duration(is)
		b, ok2 := duration(want)
		return ok1 && ok2 && a == b
	case "bucket-size", "cake-overhead", "cake-mpu", "distance", "dscp":
		a, err1 := strconv.ParseFloat(is, 64)
		b, err2 := strconv.ParseFloat(want, 64)
		return err1 == nil && err2 == nil && a == b
	case "connection-state", "tcp-flags":
		return slices.Equal(set(is), set(want))
	case "policy":
		return slices.Equal(Rights(is), Rights(want))
	case "disabled", "passthrough", "cake-nat", "cake-wash", "cake-autorate-ingress", "fib":
		return Truth(is) == Truth(want)
	case "address", "src-address", "dst-address": // one host is itself with /32
		return strings.TrimSuffix(is, "/32") == strings.TrimSuffix(want, "/32")
	}
	return false
}

// Truth reads a yes or no: the command line prints yes, the API true.
func Truth(s string) bool { return s == "yes" || s == "true" }

// set are the words of a list, in order.
func set(s string) []string {
	words := Members(s)
	slices.Sort(words)
	return slices.Compact(words)
}

// Rights are the policies that a group has; RouterOS prints those it lacks, too, as "!ftp".
func Rights(s string) []string {
	return slices.DeleteFunc(set(s), func(w string) bool { return w == "" || strings.HasPrefix(w, "!") })
}

// rateOf reads a rate as RouterOS writes it: digits with k, M or G behind them.
func rateOf(s string) (int64, bool) {
	times := int64(1)
	if n := len(s); n > 0 {
		switch s[n-1] {
		case 'k':
			times = 1_000
		case 'M':
			times = 1_000_000
		case 'G':
			times = 1_000_000_000
		}
		if times > 1 {
			s = s[:n-1]
		}
	}
	v, err := strconv.ParseInt(s, 10, 64)
	if err != nil || v < 0 || v > 1<<62/times {
		return 0, false
	}
	return v * times, true
}

// duration reads a time in RouterOS's forms: "100ms", "1s500ms", "00:00:00.100", "1d02:00:00".
func duration(s string) (time.Duration, bool) {
	var sum time.Duration
	for _, u := range []struct {
		letter string
		is     time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		if n, rest, ok := strings.Cut(s, u.letter); ok {
			v, err := strconv.ParseUint(n, 10, 16)
			if err != nil {
				return 0, false
			}
			sum, s = sum+time.Duration(v)*u.is, rest
		}
	}
	if s == "" {
		return sum, sum > 0
	}
	if !strings.Contains(s, ":") {
		v, err := time.ParseDuration(s)
		return sum + v, err == nil && v >= 0
	}
	parts := strings.Split(s, ":")
	if len(parts) != 3 {
		return 0, false
	}
	v, err := time.ParseDuration(parts[0] + "h" + parts[1] + "m" + parts[2] + "s")
	return sum + v, err == nil && v >= 0
}
