package rosim

import (
	"math"
	"sort"
	"strconv"
	"strings"
	"time"
)

// kind is the type of a script value, as :typeof names it.
type kind uint8

const (
	kindNothing kind = iota
	kindString
	kindNumber
	kindBool
	kindID
	kindTime
	kindArray
)

// String returns the name :typeof prints.
func (k kind) String() string {
	switch k {
	case kindNothing:
		return "nothing"
	case kindString:
		return "str"
	case kindNumber:
		return "num"
	case kindBool:
		return "bool"
	case kindID:
		return "id"
	case kindTime:
		return "time"
	case kindArray:
		return "array"
	}
	return "nothing"
}

// value is one value of the script language. The zero value is nothing.
type value struct {
	kind kind
	str  string
	num  int64 // number, bool (0 or 1), id, or nanoseconds of a time
	arr  []entry
}

// entry is one element of an array; key is empty for a positional element.
type entry struct {
	key string
	val value
}

func str(s string) value { return value{kind: kindString, str: s} }
func num(n int64) value  { return value{kind: kindNumber, num: n} }
func id(n uint64) value  { return value{kind: kindID, num: int64(n & math.MaxInt64)} }
func span(d time.Duration) value {
	return value{kind: kindTime, num: int64(d)}
}

func truth(b bool) value {
	if b {
		return value{kind: kindBool, num: 1}
	}
	return value{kind: kindBool}
}

func list(vals ...value) value {
	v := value{kind: kindArray}
	for _, x := range vals {
		v.arr = append(v.arr, entry{val: x})
	}
	return v
}

// text is the value as :put prints it.
func (v value) text(f durationStyle) string {
	switch v.kind {
	case kindNothing:
		return ""
	case kindString:
		return v.str
	case kindNumber:
		return strconv.FormatInt(v.num, 10)
	case kindBool:
		if v.num != 0 {
			return "true"
		}
		return "false"
	case kindID:
		return "*" + strings.ToUpper(strconv.FormatInt(v.num, 16))
	case kindTime:
		if f == durationUnits {
			return unitsDuration(time.Duration(v.num))
		}
		return clockDuration(time.Duration(v.num))
	case kindArray:
		var b strings.Builder
		for i, e := range v.arr {
			if i > 0 {
				b.WriteByte(';')
			}
			if e.key != "" {
				b.WriteString(e.key)
				b.WriteByte('=')
			}
			b.WriteString(e.val.text(f))
			if b.Len() > maxText {
				break
			}
		}
		return b.String()
	}
	return ""
}

// empty says that the value is nothing, an empty string or an empty array: the three equal each other.
func (v value) empty() bool {
	switch v.kind {
	case kindNothing:
		return true
	case kindString:
		return v.str == ""
	case kindArray:
		return len(v.arr) == 0
	case kindNumber, kindBool, kindID, kindTime:
		return false
	}
	return false
}

// equal compares as `=` does: a bool or an id never equals a string, a number equals the string that spells it.
func equal(a, b value) bool {
	if a.empty() || b.empty() {
		return a.empty() && b.empty()
	}
	if a.kind == kindArray && b.kind == kindArray {
		if len(a.arr) != len(b.arr) {
			return false
		}
		for i := range a.arr {
			if a.arr[i].key != b.arr[i].key || !equal(a.arr[i].val, b.arr[i].val) {
				return false
			}
		}
		return true
	}
	if a.kind == b.kind {
		if a.kind == kindString {
			return a.str == b.str
		}
		return a.num == b.num
	}
	if a.kind == kindArray && len(a.arr) == 1 && a.arr[0].key == "" {
		return equal(a.arr[0].val, b)
	}
	if b.kind == kindArray && len(b.arr) == 1 && b.arr[0].key == "" {
		return equal(a, b.arr[0].val)
	}
	if a.kind == kindNumber && b.kind == kindString || a.kind == kindString && b.kind == kindNumber {
		return a.text(durationClock) == b.text(durationClock)
	}
	return false
}

// order compares for < and >; ok is false when the two have no order.
func order(a, b value) (c int, ok bool) {
	if a.kind == kindString && b.kind == kindString {
		return strings.Compare(a.str, b.str), true
	}
	an, aok := a.number()
	bn, bok := b.number()
	if !aok || !bok {
		return 0, false
	}
	switch {
	case an < bn:
		return -1, true
	case an > bn:
		return 1, true
	}
	return 0, true
}

// number is the value as a number: numbers, times, and strings that spell a number.
func (v value) number() (int64, bool) {
	switch v.kind {
	case kindNumber, kindTime:
		return v.num, true
	case kindString:
		return parseNumber(v.str)
	case kindArray:
		if len(v.arr) == 1 {
			return v.arr[0].val.number()
		}
		return 0, false
	case kindNothing, kindBool, kindID:
		return 0, false
	}
	return 0, false
}

// boolean is the value as a condition; ok is false when it is none.
func (v value) boolean() (b, ok bool) {
	switch v.kind {
	case kindBool:
		return v.num != 0, true
	case kindString:
		return parseBool(v.str)
	case kindNothing:
		return false, true
	case kindNumber, kindID, kindTime, kindArray:
		return false, false
	}
	return false, false
}

// index is `value->key`.
func (v value) index(key value) value {
	if v.kind != kindArray {
		return value{}
	}
	if key.kind == kindNumber {
		if key.num >= 0 && key.num < int64(len(v.arr)) {
			return v.arr[key.num].val
		}
		return value{}
	}
	k := key.text(durationClock)
	for _, e := range v.arr {
		if e.key == k && k != "" {
			return e.val
		}
	}
	return value{}
}

// sortKeys orders a keyed array by key, as the console stores them.
func (v value) sortKeys() value {
	sort.SliceStable(v.arr, func(i, j int) bool { return v.arr[i].key < v.arr[j].key })
	return v
}

// literal reads an unquoted word: a number, true or false, an id, a time, or else a string. The spelling stays in
// str, so that a name such as 007 survives where a string is wanted; yes and no become a bool only where one is wanted.
func literal(w string) value {
	v := value{str: w}
	if n, ok := parseNumber(w); ok {
		v.kind, v.num = kindNumber, n
	} else if w == "true" || w == "false" {
		v = truth(w == "true")
		v.str = w
	} else if n, ok := parseID(w); ok {
		v = id(n)
		v.str = w
	} else if d, ok := parseDuration(w); ok {
		v.kind, v.num = kindTime, int64(d)
	} else {
		v.kind = kindString
	}
	return v
}

// spelling is the value where a string is wanted: as it was written when it was a literal.
func (v value) spelling() string {
	if v.str != "" {
		return v.str
	}
	return v.text(durationUnits)
}

func parseNumber(w string) (int64, bool) {
	digits := strings.TrimPrefix(w, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	if rest, ok := strings.CutPrefix(w, "0x"); ok {
		n, err := strconv.ParseInt(rest, 16, 64)
		return n, err == nil && n >= 0
	}
	n, err := strconv.ParseInt(w, 10, 64)
	return n, err == nil
}

func parseBool(w string) (b, ok bool) {
	switch w {
	case "yes", "true":
		return true, true
	case "no", "false":
		return false, true
	}
	return false, false
}

func parseID(w string) (uint64, bool) {
	if len(w) < 2 || w[0] != '*' {
		return 0, false
	}
	n, err := strconv.ParseUint(w[1:], 16, 63)
	return n, err == nil
}

// durationStyle is how a time is spelled.
type durationStyle uint8

const (
	durationClock durationStyle = iota // 1w2d03:04:05.100, as :put and as-value print it
	durationUnits                      // 4d18h21m, as print shows it
)

// clockDuration spells a time as weeks, days and a clock.
func clockDuration(d time.Duration) string {
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
		if d < 0 {
			d = math.MaxInt64
		}
	}
	const day, week = 24 * time.Hour, 7 * 24 * time.Hour
	if w := d / week; w > 0 {
		b.WriteString(strconv.FormatInt(int64(w), 10) + "w")
	}
	if n := d % week / day; n > 0 {
		b.WriteString(strconv.FormatInt(int64(n), 10) + "d")
	}
	d %= day
	for i, n := range []time.Duration{d / time.Hour, d % time.Hour / time.Minute, d % time.Minute / time.Second} {
		if i > 0 {
			b.WriteByte(':')
		}
		b.WriteString(pad2(int64(n)))
	}
	if frac := int64(d % time.Second); frac > 0 {
		s := strconv.FormatInt(frac+1_000_000_000, 10)[1:]
		for strings.HasSuffix(s, "000") {
			s = s[:len(s)-3]
		}
		b.WriteString("." + s)
	}
	return b.String()
}

func pad2(n int64) string {
	if n < 10 {
		return "0" + strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10)
}

var durationSteps = []struct {
	name string
	d    time.Duration
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

// unitsDuration spells a time with a unit behind each part.
func unitsDuration(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
		if d < 0 {
			d = math.MaxInt64
		}
	}
	for _, u := range durationSteps {
		if n := d / u.d; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			d %= u.d
		}
	}
	return b.String()
}

// parseDuration reads both spellings; a bare number is no time.
func parseDuration(w string) (time.Duration, bool) {
	if w == "" || w[0] < '0' || w[0] > '9' {
		return 0, false
	}
	var total time.Duration
	rest, seen := w, false
	for rest != "" {
		i := 0
		for i < len(rest) && rest[i] >= '0' && rest[i] <= '9' {
			i++
		}
		if i == 0 || i > 9 {
			return 0, false
		}
		if i < len(rest) && rest[i] == ':' {
			return clockPart(total, rest)
		}
		n, _ := strconv.ParseInt(rest[:i], 10, 64)
		rest = rest[i:]
		var unit time.Duration
		for _, name := range []string{"ms", "us", "ns", "w", "d", "h", "m", "s"} {
			if tail, ok := strings.CutPrefix(rest, name); ok {
				rest = tail
				for _, u := range durationSteps {
					if u.name == name {
						unit = u.d
					}
				}
				break
			}
		}
		if unit == 0 || n > int64(math.MaxInt64/unit/8) {
			return 0, false
		}
		total += time.Duration(n) * unit
		if total < 0 {
			return 0, false
		}
		seen = true
	}
	return total, seen
}

func clockPart(total time.Duration, w string) (time.Duration, bool) {
	parts := strings.Split(w, ":")
	if len(parts) != 3 {
		return 0, false
	}
	whole, frac, hasFrac := strings.Cut(parts[2], ".")
	var n [3]int64
	for i, p := range []string{parts[0], parts[1], whole} {
		x, err := strconv.ParseInt(p, 10, 32)
		if err != nil || x < 0 {
			return 0, false
		}
		n[i] = x
	}
	total += time.Duration(n[0])*time.Hour + time.Duration(n[1])*time.Minute + time.Duration(n[2])*time.Second
	if hasFrac {
		if frac == "" || len(frac) > 9 {
			return 0, false
		}
		x, err := strconv.ParseInt((frac + "00000000")[:9], 10, 64)
		if err != nil || x < 0 {
			return 0, false
		}
		total += time.Duration(x)
	}
	return total, total >= 0
}

// parseRate reads a configured rate: digits with an optional k, M or G.
func parseRate(w string) (int64, bool) {
	mult := int64(1)
	if w != "" {
		switch w[len(w)-1] {
		case 'k':
			mult = 1_000
		case 'M':
			mult = 1_000_000
		case 'G':
			mult = 1_000_000_000
		}
	}
	if mult > 1 {
		w = w[:len(w)-1]
	}
	if w == "" {
		return 0, false
	}
	for i := range len(w) {
		if w[i] < '0' || w[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(w, 10, 64)
	if err != nil || n > math.MaxInt64/mult {
		return math.MaxInt64, true
	}
	return n * mult, true
}

// compactRate spells a rate with the largest suffix that loses nothing: 10M, 95500k, 12345678.
func compactRate(n int64) string {
	for _, u := range []struct {
		d int64
		s string
	}{{1_000_000_000, "G"}, {1_000_000, "M"}, {1_000, "k"}} {
		if n != 0 && n%u.d == 0 {
			return strconv.FormatInt(n/u.d, 10) + u.s
		}
	}
	return strconv.FormatInt(n, 10)
}

// grouped spells a number with a space between groups of three digits, as the stats printers do.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	neg := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(s, "-")
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	if neg {
		return "-" + s
	}
	return s
}
