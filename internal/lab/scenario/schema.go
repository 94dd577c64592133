package scenario

import (
	"strconv"
	"strings"
	"time"
)

// typ is what a key's value must be.
type typ uint8

const (
	typeText     typ = iota
	typeName         // letters, digits, _ . and -
	typeNumber       // a finite number
	typeInteger      // a whole number
	typeBool         // true or false
	typeWord         // one of a few words
	typeDuration     // 20s, 400ms; bounds are in seconds
	typeSize         // 160B, 200kB, 2.5MB; bounds are in bytes
	typeSection      // keys
	typeList         // a list of sections; bounds are its length
	typeCapacity     // a section, or a number that stands for its mbps
	typeSpans        // name: 20s-40s
)

// want names the type for messages and the docs.
func (t typ) want() string {
	switch t {
	case typeText:
		return "text"
	case typeName:
		return "a name"
	case typeNumber:
		return "a number"
	case typeInteger:
		return "a whole number"
	case typeBool:
		return "true or false"
	case typeWord:
		return "a word"
	case typeDuration:
		return "a time such as 20s or 400ms"
	case typeSize:
		return "a size such as 160B, 200kB or 2.5MB"
	case typeSection:
		return "a section of keys"
	case typeList:
		return "a list of sections"
	case typeCapacity:
		return "a number of Mbit/s, or a section of keys"
	case typeSpans:
		return "lines of \"name: 20s-40s\""
	}
	return "something"
}

// key is one row of the schema. The table drives parsing, defaults, bounds and the check of docs/scenarios.md, so that
// none of them can differ from another.
type key struct {
	// path has the names of the sections, without list indices; "up" has the rows of "down".
	path string
	typ  typ
	// unit is printed behind numbers.
	unit string
	// def is the default as a file would write it; defWords tells one that is no constant, or that there is none.
	def, defWords string
	// min and max bound the value, inclusive.
	min, max float64
	// words are the values of a typeWord.
	words []string
}

const (
	hour = 3600
	// maxMbps is far above what the laboratory's kernel carries on any machine, but no mistake of a zero.
	maxMbps = 10_000
)

var schema = []key{
	{path: "about", typ: typeText, defWords: "empty"},
	{path: "duration", typ: typeDuration, def: "60s", min: 1, max: hour},
	{path: "seed", typ: typeInteger, def: "1", min: 0, max: 1 << 53},
	{path: "untuned", typ: typeBool, def: "false"},
	{path: "command_delay", typ: typeDuration, def: "0s", max: 10},

	{path: "links", typ: typeList, defWords: "required", min: 1, max: 4},
	{path: "links.name", typ: typeName, defWords: "wan1, wan2, …"},
	{path: "links.delay", typ: typeDuration, def: "20ms", max: 2},
	{path: "links.fifo", typ: typeDuration, def: "300ms", min: 0.001, max: 10},
	{path: "links.icmp", typ: typeWord, def: "alike", words: []string{string(ICMPAlike), string(ICMPFirst)}},
	{path: "links.down", typ: typeCapacity, defWords: "required"},
	{path: "links.down.mbps", typ: typeNumber, unit: "Mbit/s", defWords: "required; with a twin its 95th percentile", min: 0.1, max: maxMbps},
	{path: "links.down.fifo", typ: typeDuration, defWords: "the link's", min: 0.001, max: 10},
	{path: "links.down.loss_percent", typ: typeNumber, unit: "%", def: "0", max: 50},
	{path: "links.down.loaded_delay", typ: typeDuration, def: "0s", max: 2},
	{path: "links.down.loaded_percent", typ: typeNumber, unit: "%", def: "30", min: 1, max: 99},
	{path: "links.down.steps", typ: typeList, defWords: "none", min: 1, max: 10_000},
	{path: "links.down.steps.at", typ: typeDuration, defWords: "required", max: hour},
	{path: "links.down.steps.mbps", typ: typeNumber, unit: "Mbit/s", defWords: "required", max: maxMbps},
	{path: "links.down.ramp", typ: typeList, defWords: "none", min: 1, max: 1000},
	{path: "links.down.ramp.at", typ: typeDuration, defWords: "required", max: hour},
	{path: "links.down.ramp.mbps", typ: typeNumber, unit: "Mbit/s", defWords: "required", max: maxMbps},
	{path: "links.down.square", typ: typeSection, defWords: "none"},
	{path: "links.down.square.mbps", typ: typeNumber, unit: "Mbit/s", defWords: "required", max: maxMbps},
	{path: "links.down.square.period", typ: typeDuration, def: "10s", min: 0.1, max: hour},
	{path: "links.down.square.from", typ: typeDuration, defWords: "half a period", max: hour},
	{path: "links.down.square.to", typ: typeDuration, defWords: "the end", max: hour},
	{path: "links.down.trace", typ: typeSection, defWords: "none"},
	{path: "links.down.trace.file", typ: typeText, defWords: "required"},
	{path: "links.down.trace.format", typ: typeWord, defWords: "csv for names in .csv and .csv.gz, else mahimahi", words: []string{formatMahimahi, formatCSV}},
	{path: "links.down.trace.bin", typ: typeDuration, def: "20ms", min: 0.005, max: 60},
	{path: "links.down.trace.smooth", typ: typeDuration, defWords: "the bin", min: 0.005, max: 60},
	{path: "links.down.trace.offset", typ: typeDuration, def: "0s", max: 24 * hour},
	{path: "links.down.trace.length", typ: typeDuration, defWords: "to the trace's end", min: 0.1, max: 24 * hour},
	{path: "links.down.trace.loop", typ: typeBool, def: "true"},
	{path: "links.down.trace.min_mbps", typ: typeNumber, unit: "Mbit/s", def: "0", max: maxMbps},
	{path: "links.down.twin", typ: typeSection, defWords: "none; required beside trace"},
	{path: "links.down.twin.kind", typ: typeWord, defWords: "required", words: twinKinds()},
	{path: "links.down.twin.mean", typ: typeNumber, unit: "Mbit/s", defWords: "required", min: 0.1, max: maxMbps},
	{path: "links.down.twin.p5", typ: typeNumber, unit: "Mbit/s", defWords: "by kind", max: maxMbps},
	{path: "links.down.twin.p95", typ: typeNumber, unit: "Mbit/s", defWords: "by kind", min: 0.1, max: maxMbps},
	{path: "links.down.twin.correlation", typ: typeDuration, defWords: "by kind", min: 0.1, max: hour},
	{path: "links.down.twin.jitter_percent", typ: typeNumber, unit: "%", defWords: "by kind", max: 100},
	{path: "links.down.twin.outage_percent", typ: typeNumber, unit: "%", defWords: "by kind", max: 50},
	{path: "links.down.twin.bin", typ: typeDuration, def: "20ms", min: 0.005, max: 60},
	{path: "links.down.outages", typ: typeList, defWords: "none", min: 1, max: 1000},
	{path: "links.down.outages.at", typ: typeDuration, defWords: "required", max: hour},
	{path: "links.down.outages.for", typ: typeDuration, defWords: "required", min: 0.001, max: hour},

	{path: "flows", typ: typeList, defWords: "none", min: 0, max: 32},
	{path: "flows.kind", typ: typeWord, def: "bulk", words: []string{string(Bulk), string(Video), string(Web), string(Call), string(Steady)}},
	{path: "flows.link", typ: typeName, defWords: "the only link; required with several"},
	{path: "flows.dir", typ: typeWord, def: "down", words: []string{"down", "up"}},
	{path: "flows.count", typ: typeInteger, def: "1", min: 1, max: 256},
	{path: "flows.from", typ: typeDuration, defWords: "5s, at most a tenth of duration", max: hour},
	{path: "flows.to", typ: typeDuration, defWords: "the end", max: hour},
	{path: "flows.congestion", typ: typeWord, def: "cubic", words: []string{"cubic", "reno", "bbr"}},
	{path: "flows.size", typ: typeSize, defWords: "video 2.5MB, web 200kB, call 160B, steady 1200B", min: 1, max: 1e9},
	{path: "flows.every", typ: typeDuration, defWords: "video 4s, web 1s, call 20ms", min: 0.001, max: 600},
	{path: "flows.mbps", typ: typeNumber, unit: "Mbit/s", defWords: "steady: required", min: 0.001, max: maxMbps},

	{path: "reflectors", typ: typeList, defWords: "five, with extra 0, 2, 5, 10 and 15ms", min: 1, max: 16},
	{path: "reflectors.extra", typ: typeDuration, def: "0s", max: 2},
	{path: "reflectors.per_second", typ: typeInteger, def: "0", max: 100_000},
	{path: "reflectors.changes", typ: typeList, defWords: "none", min: 0, max: 1000},
	{path: "reflectors.changes.at", typ: typeDuration, defWords: "required", max: hour},
	{path: "reflectors.changes.dead", typ: typeBool, defWords: "as before"},
	{path: "reflectors.changes.extra", typ: typeDuration, defWords: "as before", max: 2},

	{path: "faults", typ: typeList, defWords: "none", min: 0, max: 100},
	{path: "faults.at", typ: typeDuration, defWords: "required", max: hour},
	{path: "faults.kind", typ: typeWord, defWords: "required", words: []string{string(LinkDown), string(KillController), string(RouterReboot), string(QdiscGone)}},
	{path: "faults.link", typ: typeName, defWords: "the only link; required with several"},
	{path: "faults.for", typ: typeDuration, def: "5s", min: 0.001, max: hour},

	{path: "phases", typ: typeSpans, defWords: "none", max: 16},
}

// rows finds a row by its path.
var rows = func() map[string]*key {
	m := map[string]*key{}
	for i := range schema {
		m[schema[i].path] = &schema[i]
	}
	return m
}()

// row finds the row of a key in a section whose pattern is given.
func row(pattern, name string) (*key, bool) {
	if pattern == "links" && name == "up" {
		name = "down"
	}
	k, ok := rows[join(pattern, name)]
	return k, ok
}

// children lists the keys right below a section.
func children(pattern string) []string {
	var out []string
	for _, k := range schema {
		rest, ok := strings.CutPrefix(k.path, pattern+".")
		if pattern == "" {
			rest, ok = k.path, true
		}
		if ok && !strings.Contains(rest, ".") {
			out = append(out, rest)
			if k.path == "links.down" {
				out = append(out, "up")
			}
		}
	}
	return out
}

// elsewhere lists the sections that have a key of this name.
func elsewhere(name string) []string {
	var out []string
	for _, k := range schema {
		i := strings.LastIndexByte(k.path, '.')
		if k.path[i+1:] != name {
			continue
		}
		if i < 0 {
			out = append(out, "no section")
			continue
		}
		out = append(out, k.path[:i])
	}
	return out
}

// bounds prints the range with its unit: "1s to 1h", "0.1 to 10000 Mbit/s"; empty for types without one.
func (k *key) bounds() string {
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch k.typ {
	case typeDuration:
		return seconds(k.min) + " to " + seconds(k.max)
	case typeNumber, typeInteger:
		s := num(k.min) + " to " + num(k.max)
		if k.unit != "" {
			s += " " + k.unit
		}
		return s
	case typeSize:
		return num(k.min) + "B to " + num(k.max/1e6) + "MB"
	case typeList, typeSpans:
		return num(k.min) + " to " + num(k.max) + " entries"
	case typeWord:
		return strings.Join(k.words, ", ")
	case typeBool:
		return "true, false"
	case typeText, typeName, typeSection, typeCapacity:
	}
	return ""
}

// seconds prints a bound of a duration as a file would write it.
func seconds(f float64) string { return short(time.Duration(f * 1e9)) }

// short prints a duration without the empty parts that time.Duration prints: "1h", not "1h0m0s".
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
