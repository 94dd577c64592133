package routeros

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// downFirst and upFirst are the two orders of writing.
var (
	downFirst = [2]link.Direction{link.Down, link.Up}
	upFirst   = [2]link.Direction{link.Up, link.Down}
)

var att = Queues{Down: "WAN-Download-ATT", Up: "WAN-Upload-ATT"}

// cable is a line with one simple queue.
var cable = Queues{Simple: "WAN-Cable", WAN: "ether1"}

// built returns a line that must build.
func built(line string, err error) string {
	if err != nil {
		panic(err)
	}
	return line
}

// TestLines keeps every line we can send as a golden file: these are what a router must understand.
func TestLines(t *testing.T) {
	named := att
	named.WAN = "ether1"
	lines := []struct {
		name string
		line func() (string, error)
	}{
		{"read both queues", func() (string, error) { return exchangeLine(att, nil, downFirst) }},
		{"read both queues and a named interface", func() (string, error) { return exchangeLine(named, nil, downFirst) }},
		{"set both rates", func() (string, error) {
			return exchangeLine(att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, downFirst)
		}},
		{"set both rates, upload first", func() (string, error) {
			return exchangeLine(att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, upFirst)
		}},
		{"set the upload rate", func() (string, error) { return exchangeLine(att, &link.Rates{Up: 5_700_000}, downFirst) }},
		{"read one queue", func() (string, error) { return queueLine("WAN-Download-Spectrum") }},
		{"read a simple queue", func() (string, error) { return simpleLine(cable, nil) }},
		{"read a simple queue, and the interface that is its dst", func() (string, error) { return simpleLine(Queues{Simple: "WAN-Cable"}, &link.Rates{}) }},
		{"set both rates of a simple queue", func() (string, error) {
			return simpleLine(cable, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps})
		}},
		{"set a simple queue's upload rate", func() (string, error) { return simpleLine(cable, &link.Rates{Up: 5_700_000}) }},
		{"set a simple queue's download rate", func() (string, error) { return simpleLine(cable, &link.Rates{Down: 57_000_000}) }},
		{"read one simple queue", func() (string, error) { return oneSimpleLine("WAN-Cable") }},
		{"read the rule", func() (string, error) {
			return ruleLine("ADAPTIVE: Steer latency-sensitive to WAN2", "")
		}},
		{"enable the rule", func() (string, error) { return ruleLine(`50% "off" at $5`, "enable") }},
		{"disable the rule", func() (string, error) { return ruleLine(`C:\wan`, "disable") }},
		{"read a rule and its list", func() (string, error) {
			return holdLine(task{purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT"})
		}},
		{"hold the list", func() (string, error) {
			return holdLine(task{purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT", verb: "hold", lasts: time.Minute})
		}},
		{"empty the list", func() (string, error) {
			return holdLine(task{purpose: listedRule, comment: "STEER", list: "wanctl-steer-ATT", verb: "drop"})
		}},
		{"read where an address's echoes go", func() (string, error) { return pathLine(netip.MustParseAddr("192.168.88.5")) }},
		{"read the owner marks", func() (string, error) { return markLine(task{mark: lookMarks}) }},
		{"make an owner mark", func() (string, error) {
			return markLine(task{mark: makeMark, address: "240.1.2.3", comment: markComment})
		}},
		{"refresh an owner mark", func() (string, error) { return markLine(task{mark: refreshMark, id: "*7A"}) }},
		{"remove an owner mark", func() (string, error) { return markLine(task{mark: removeMark, id: "*7A"}) }},
	}
	var b strings.Builder
	for _, l := range lines {
		line, err := l.line()
		if err != nil {
			t.Fatalf("%s: %v", l.name, err)
		}
		if err := guard(line); err != nil {
			t.Errorf("%s: %v", l.name, err)
		}
		b.WriteString("# " + l.name + "\n" + line + "\n\n")
	}
	golden(t, "lines.golden", b.String())
}

// golden compares a text with the file kept of it, which -update writes.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("it differs from %s (-want +got):\n%s", file, d)
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	rates := func(d, u unit.Rate) *link.Rates { return &link.Rates{Down: d, Up: u} }
	for _, tt := range []struct {
		name string
		q    Queues
		want *link.Rates
		says string
	}{
		{"no name", Queues{Down: "", Up: "u"}, nil, "empty"},
		{"same name twice", Queues{Down: "q", Up: "q"}, nil, "same queue"},
		{"long name", Queues{Down: strings.Repeat("x", 256), Up: "u"}, nil, "256 bytes"},
		{"newline", Queues{Down: "d", Up: "u\n/system reset-configuration"}, nil, "U+000A"},
		{"zero byte", Queues{Down: "d\x00", Up: "u"}, nil, "U+0000"},
		{"escape", Queues{Down: "d", Up: "u", WAN: "e\x1b[A"}, nil, "U+001B"},
		{"control of the second row", Queues{Down: "d\u0085", Up: "u"}, nil, "U+0085"},
		{"line separator", Queues{Down: "d\u2028", Up: "u"}, nil, "U+2028"},
		{"not UTF-8", Queues{Down: "d\xff", Up: "u"}, nil, "UTF-8"},
		{"negative rate", att, rates(-1, 0), "outside"},
		{"absurd rate", att, rates(0, unit.MaxRate+1), "outside"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			line, err := exchangeLine(tt.q, tt.want, downFirst)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("got %q, %v; want an error with %q", line, err, tt.says)
			}
		})
	}
	if _, err := queueLine(""); err == nil {
		t.Error("a queue without a name is read")
	}
	if _, err := ruleLine("a\rb", ""); err == nil {
		t.Error("a comment with a carriage return is sent")
	}
}

// TestNoRateMeansNoWrite: a rate of 0 would remove the limit.
func TestNoRateMeansNoWrite(t *testing.T) {
	line := built(exchangeLine(att, &link.Rates{}, downFirst))
	if strings.Contains(line, "max-limit=") {
		t.Errorf("zero rates write: %s", line)
	}
	for _, bad := range []string{"max-limit=0", "max-limit=00", "max-limit=-1", "max-limit=1k", "max-limit=1000000000000"} {
		whole := strings.Replace(built(exchangeLine(att, &link.Rates{Down: 7}, downFirst)), "max-limit=7", bad, 1)
		if guard(whole) == nil {
			t.Errorf("the guard passes %s", bad)
		}
	}
}

func TestGuardRefuses(t *testing.T) {
	write := built(exchangeLine(att, &link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps}, downFirst))
	rule := built(ruleLine("STEER", "enable"))
	path := built(pathLine(netip.MustParseAddr("192.168.88.5")))
	for name, line := range map[string]string{
		"empty":                "",
		"a command":            "/system/reset-configuration",
		"a print":              "/queue/tree/print",
		"a tail":               write + ";/system/reboot",
		"a tail after space":   write + " ",
		"a head":               ":put 1;" + write,
		"a second line":        write + "\n/system/reboot",
		"two lines":            write + write,
		"an open string":       strings.Replace(write, `"WAN-Upload-ATT"`, `"WAN-Upload-ATT`, 1),
		"an empty name":        strings.Replace(write, `"WAN-Upload-ATT"`, `""`, 1),
		"a bare name":          strings.Replace(write, `"WAN-Upload-ATT"`, `x`, 1),
		"a variable in a name": strings.Replace(write, `"WAN-Upload-ATT"`, `"$x"`, 1),
		"a foreign escape":     strings.Replace(write, `"WAN-Upload-ATT"`, `"\n"`, 1),
		"a pattern":            strings.Replace(rule, "comment=", "comment~", 1),
		"another menu":         strings.ReplaceAll(rule, "/ip/firewall/mangle", "/ip/firewall/filter"),
		"removal":              strings.Replace(rule, "enable $r", "remove $r", 1),
		"another property":     strings.Replace(write, "set $d max-limit", "set $d queue", 1),
		"write without check":  strings.Replace(write, ":if ([:len $d]=1) do={/queue", ":if (true) do={/queue", 1),
		"three writes": strings.Replace(write, `:if ([:len $d]=1) do={/queue/tree set $d`,
			`:if ([:len $d]=1) do={/queue/tree set $d max-limit=1;:put "wanctl|set|download|."};:if ([:len $d]=1) do={/queue/tree set $d`, 1),
		"another pattern":    strings.Replace(path, `(:|\$)`, `.*`, 1),
		"an open pattern":    strings.Replace(path, `"^192`, `"192`, 1),
		"a dot for any byte": strings.Replace(path, `\\.`, `.`, 1),
		"all connections":    strings.Replace(path, "protocol=icmp ", "", 1),
		"a connection's end": strings.Replace(path, "connection get $i dst-address", "connection remove $i", 1),
		"not UTF-8":          strings.Replace(write, `WAN-Upload-ATT`, "\xff", 1),
	} {
		if line == write || line == rule || line == path {
			t.Fatalf("%s: the line was not altered", name)
		}
		if guard(line) == nil {
			t.Errorf("the guard passes %s: %s", name, line)
		}
	}
}

// hostile draws names made of what means something to RouterOS.
func hostile() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.StringOfN(rapid.SampledFrom([]rune("\"$\\[]{}();=|.:#~*?!' \tab1\n\r\x00\x1b\u0085é漢\u00a0")), 1, 40, -1),
		rapid.SampledFrom([]string{
			`";/system/reboot;:put "`, `$[/system/reboot]`, `[/system/reboot]`, `\";/system/reboot`, `\`, `x\`, `"`, `$`, `wanctl|end|.`, `a;b`,
		}),
		rapid.String(),
	)
}

// strip takes the quoted strings out of a line, by RouterOS's rules of quoting, and returns the rest and the strings
// as the router would see them; ok is false when a string does not end or a variable stands in one.
func strip(line string) (rest string, texts []string, ok bool) {
	var out, text strings.Builder
	inside := false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case !inside:
			out.WriteByte(c)
			if c == '"' {
				inside = true
				text.Reset()
			}
		case c == '"':
			out.WriteByte(c)
			texts = append(texts, text.String())
			inside = false
		case c == '$':
			return "", nil, false
		case c == '\\':
			i++
			if i == len(line) || !strings.ContainsRune(`"\$`, rune(line[i])) {
				return "", nil, false
			}
			text.WriteByte(line[i])
		default:
			text.WriteByte(c)
		}
	}
	return out.String(), texts, !inside
}

func TestHostileNamesStayNames(t *testing.T) {
	plain, _, _ := strip(built(exchangeLine(Queues{Down: "a", Up: "b", WAN: "c"}, &link.Rates{Down: 1, Up: 2}, downFirst)))
	plainRule, _, _ := strip(built(ruleLine("a", "disable")))
	rapid.Check(t, func(t *rapid.T) {
		q := Queues{Down: hostile().Draw(t, "down"), Up: hostile().Draw(t, "up"), WAN: hostile().Draw(t, "wan")}
		line, err := exchangeLine(q, &link.Rates{Down: 1, Up: 2}, downFirst)
		if err == nil {
			if err := guard(line); err != nil {
				t.Fatalf("the guard refuses our own line %q", line)
			}
			rest, texts, ok := strip(line)
			if q.WAN == "" && ok {
				return // another shape
			}
			if !ok || rest != plain {
				t.Fatalf("names changed the command:\n%s\n%s", rest, plain)
			}
			var held int
			for _, want := range []string{q.Down, q.Up, q.WAN} {
				for _, got := range texts {
					if got == want {
						held++
						break
					}
				}
			}
			if held != 3 {
				t.Fatalf("the names %q arrive as %q", q, texts)
			}
		} else if q.Down != q.Up && checkName("", q.Down) == nil && checkName("", q.Up) == nil && (q.WAN == "" || checkName("", q.WAN) == nil) {
			t.Fatalf("refused for no reason: %v", err)
		}
		if line, err := ruleLine(q.Down, "disable"); err == nil {
			if rest, texts, ok := strip(line); !ok || rest != plainRule || guard(line) != nil || texts[0] != q.Down {
				t.Fatalf("comment %q changed the command: %s", q.Down, line)
			}
		}
		for _, c := range []string{"\n", "\r", "\x00", "\x1b", "\x7f", "\u0085"} {
			if strings.Contains(line, c) {
				t.Fatalf("control character %q in %q", c, line)
			}
		}
	})
}

func FuzzGuard(f *testing.F) {
	f.Add("WAN-Download-ATT")
	f.Add(`";/system/reboot;"`)
	f.Add("é\\$[\"")
	plain, _, _ := strip(built(queueLine("a")))
	f.Fuzz(func(t *testing.T, name string) {
		line, err := queueLine(name)
		if err != nil {
			return
		}
		rest, texts, ok := strip(line)
		if guard(line) != nil || !ok || rest != plain || texts[0] != name {
			t.Errorf("%q makes %q", name, line)
		}
	})
}
