package routeros

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

const fullAnswer = "wanctl|found|1|1|.\r\n" +
	"wanctl|set|download|.\r\n" +
	"wanctl|queue|download|95000000|272603902153|184614358|0|1514|1|bridge|lan|.\r\n" +
	"wanctl|queue|upload|18M|28 505 528 775|9|2|0|0|ether1|.   \r\n" +
	"wanctl|wan|205 164 277|77|.\r\n" +
	"wanctl|uptime|4d18h21m|.\r\n" +
	"wanctl|end|.\r\n"

func TestParseReply(t *testing.T) {
	got, err := parseReply(fullAnswer)
	if err != nil {
		t.Fatal(err)
	}
	up := 4*24*time.Hour + 18*time.Hour + 21*time.Minute
	want := reply{
		found: []int64{1, 1},
		set:   map[string]bool{"download": true},
		queues: link.Pair[*link.Queue]{
			Down: &link.Queue{MaxLimit: 95 * unit.Mbps, Bytes: 272603902153, Packets: 184614358, QueuedBytes: 1514, QueuedPackets: 1, Parent: "bridge|lan"},
			Up:   &link.Queue{MaxLimit: 18 * unit.Mbps, Bytes: 28505528775, Packets: 9, Dropped: 2, Parent: "ether1"},
		},
		wan:    &[2]unit.Bytes{205164277, 77},
		uptime: &up,
		end:    true,
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(reply{})); d != "" {
		t.Errorf("reply (-want +got):\n%s", d)
	}
}

func TestParseReplyKeepsForeignText(t *testing.T) {
	got, err := parseReply("Authorised access only\r\n\r\nwanctl|end|.\r\nno such item (4)\r\n")
	if err != nil || got.text != "Authorised access only\nno such item (4)" || !got.end {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestParseReplyRefuses(t *testing.T) {
	for name, out := range map[string]string{
		"cut line":            "wanctl|found|1|1|.\nwanctl|queue|download|95000",
		"cut mark":            "wanctl|",
		"unknown word":        "wanctl|hello|1|.",
		"found twice":         "wanctl|found|1|.\nwanctl|found|1|.",
		"found nothing":       "wanctl|found|.",
		"found x":             "wanctl|found|x|.",
		"set twice":           "wanctl|set|rule|.\nwanctl|set|rule|.",
		"queue twice":         strings.Repeat("wanctl|queue|upload|1|2|3|4|5|6|p|.\n", 2),
		"queue of nowhere":    "wanctl|queue|sideways|1|2|3|4|5|6|p|.",
		"queue field missing": "wanctl|queue|upload|1|2|3|4|5|6|.",
		"queue rate":          "wanctl|queue|upload|fast|2|3|4|5|6|p|.",
		"queue empty rate":    "wanctl|queue|upload||2|3|4|5|6|p|.",
		"queue counter":       "wanctl|queue|upload|1|2|3|-4|5|6|p|.",
		"wan rx":              "wanctl|wan|x|1|.",
		"wan tx":              "wanctl|wan|1||.",
		"wan twice":           "wanctl|wan|1|1|.\nwanctl|wan|1|1|.",
		"uptime":              "wanctl|uptime|yesterday|.",
		"uptime twice":        "wanctl|uptime|1s|.\nwanctl|uptime|1s|.",
		"after the end":       "wanctl|end|.\nwanctl|found|1|.",
		"end with more":       "wanctl|end|1|.",
		"rule too short":      "wanctl|rule|*1|false|false|prerouting|accept|new|m|n|.",
		"rule too long":       "wanctl|rule|*1|false|false|pre|routing|accept|new|m|n|l|.",
		"rule id":             "wanctl|rule|5|false|false|prerouting|accept|new|m|n|l|.",
		"rule two ids":        "wanctl|rule|*1;*2|false|false|prerouting|accept|new|m|n|l|.",
		"rule disabled":       "wanctl|rule|*1|perhaps|false|prerouting|accept|new|m|n|l|.",
		"rule disabled unset": "wanctl|rule|*1||false|prerouting|accept|new|m|n|l|.",
		"rule invalid":        "wanctl|rule|*1|false|perhaps|prerouting|accept|new|m|n|l|.",
		"list twice":          "wanctl|list|1|.\nwanctl|list|1|.",
		"list of some":        "wanctl|list|some|.",
		"echo to a name":      "wanctl|echo|one.one.one.one|203.0.113.2|.",
		"echo as nobody":      "wanctl|echo|1.1.1.1||.",
		"echo too long":       "wanctl|echo|1.1.1.1|203.0.113.2|yes|.",
		"too many echoes":     strings.Repeat("wanctl|echo|1.1.1.1|203.0.113.2|.\n", 17),
		"address of a name":   "wanctl|address|router.lan|ether1|.",
		"address of nothing":  "wanctl|address|203.0.113.2/24|.",
	} {
		if r, err := parseReply(out); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func TestParseRule(t *testing.T) {
	got, err := parseReply("wanctl|rule|*1F|yes||prerouting|mark-connection|new|c-wan2||voip|.\n")
	want := &Rule{ID: "*1F", Chain: "prerouting", Action: "mark-connection", ConnectionState: "new", NewConnectionMark: "c-wan2", SrcAddressList: "voip"}
	if err != nil || cmp.Diff(want, got.rule) != "" {
		t.Errorf("got %+v, %v", got.rule, err)
	}
}

// Where one version prints a port behind an address, another does not.
func TestParsePath(t *testing.T) {
	got, err := parseReply("wanctl|echo|1.1.1.1|203.0.113.2|.\nwanctl|echo|8.8.8.8:0|203.0.113.2:771|.\n" +
		"wanctl|address|203.0.113.2/24|pppoe|out|.\nwanctl|address|10.0.0.1|lo|.\n")
	as := netip.MustParseAddr("203.0.113.2")
	want := Path{
		Echoes:    []Echo{{netip.MustParseAddr("1.1.1.1"), as}, {netip.MustParseAddr("8.8.8.8"), as}},
		Addresses: []Address{{netip.MustParsePrefix("203.0.113.2/24"), "pppoe|out"}, {netip.MustParsePrefix("10.0.0.1/32"), "lo"}},
	}
	if err != nil || !slices.Equal(got.path.Echoes, want.Echoes) || !slices.Equal(got.path.Addresses, want.Addresses) {
		t.Errorf("got %+v, %v", got.path, err)
	}
}

// TestEveryCutIsNoticed: wherever an answer is cut, it is either refused or known to be incomplete.
func TestEveryCutIsNoticed(t *testing.T) {
	whole := strings.TrimRight(fullAnswer, "\r\n")
	for i := range len(whole) {
		if r, err := parseReply(whole[:i]); err == nil && r.end {
			t.Fatalf("cut at %d passes as complete: %q", i, whole[:i])
		}
	}
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb\n":               "a / b",
		"  x\x1b[31m\x00 ":       "x?[31m?",
		"\xff":                   "?",
		strings.Repeat("x", 400): strings.Repeat("x", maxQuoted) + "…",
	} {
		if got := clip(in); got != want {
			t.Errorf("clip(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestKindNames(t *testing.T) {
	seen := map[string]bool{}
	for k := Unreachable; k <= Reply; k++ {
		if s := k.String(); s == "" || seen[s] || strings.HasPrefix(s, "Kind(") {
			t.Errorf("kind %d is called %q", k, s)
		}
		seen[k.String()] = true
	}
	if Kind(0).String() != "Kind(0)" || Kind(99).String() != "Kind(99)" {
		t.Error("kinds out of range have names")
	}
}

func FuzzReply(f *testing.F) {
	f.Add(fullAnswer)
	f.Add("wanctl|rule|*1F|yes||prerouting|mark-connection|new|c-wan2||voip|.\nwanctl|end|.")
	f.Add("no such item (4)\r\n")
	f.Add(simpleAnswer)
	f.Add("wanctl|found||.\nwanctl|queue|upload|||||||.")
	f.Fuzz(func(t *testing.T, out string) {
		r, err := parseReply(out)
		if err != nil {
			return
		}
		for _, q := range []*link.Queue{r.queues.Down, r.queues.Up} {
			if q != nil && (q.MaxLimit < 0 || q.Bytes < 0 || q.Packets < 0 || q.Dropped < 0 || q.QueuedBytes < 0 || q.QueuedPackets < 0) {
				t.Errorf("negative figures %+v from %q", *q, out)
			}
		}
		if len(clip(out)) > 2*maxQuoted+8 {
			t.Errorf("clip keeps %d bytes", len(clip(out)))
		}
	})
}
