package link_test

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"wanctl/internal/link"
)

func TestOwnersCommentIsReadBack(t *testing.T) {
	plain := regexp.MustCompile(`\Awanctl: owner=[0-9a-f]{16} host=[A-Za-z0-9._%~-]{1,96} pid=[0-9]{1,10}(?: (?:queue|simple|rule)=[A-Za-z0-9._%~-]{1,96}){1,2}\z`)
	rapid.Check(t, func(t *rapid.T) {
		o := link.Owner{
			ID: rapid.StringMatching(`[0-9a-f]{16}`).Draw(t, "id"), Host: rapid.StringMatching(`[a-z0-9.-]{1,63}`).Draw(t, "host"),
			PID: rapid.IntRange(1, 4194304).Draw(t, "pid"),
		}
		o.Controls = []string{rapid.SampledFrom([]func(string) string{link.QueueThing, link.SimpleThing}).Draw(t, "kind")(rapid.String().Draw(t, "queue"))}
		if rapid.Bool().Draw(t, "two") {
			o.Controls = append(o.Controls, link.RuleThing(rapid.String().Draw(t, "rule")))
		}
		comment := o.Comment()
		if !plain.MatchString(comment) {
			t.Fatalf("%q is not plain", comment)
		}
		back, ok := link.ParseOwner(comment)
		if !ok || back.ID != o.ID || back.Host != o.Host || back.PID != o.PID || !slices.Equal(back.Controls, o.Controls) {
			t.Fatalf("%q reads as %+v, %t", comment, back, ok)
		}
		if !back.Overlaps(o.Controls[:1]) || back.Overlaps([]string{"queue=another one"}) {
			t.Fatalf("%+v overlaps wrongly", back)
		}
	})
}

func TestWhatIsNoOwnersComment(t *testing.T) {
	good := link.Owner{ID: "0123456789abcdef", Host: "pi4", PID: 7, Controls: []string{link.QueueThing("WAN-Download"), link.RuleThing("a b")}}
	if c := good.Comment(); c != "wanctl: owner=0123456789abcdef host=pi4 pid=7 queue=WAN-Download rule=a%20b" {
		t.Errorf("%q", c)
	}
	if s := good.String(); s != "wanctl on pi4 (process 7)" {
		t.Errorf("%q", s)
	}
	for _, c := range []string{
		"", "wanctl:", "a note", "wanctl: owner=0123456789abcdef host=pi4 pid=7",
		"wanctl: owner=0123456789abcde host=pi4 pid=7 queue=a", "wanctl: owner=0123456789abcdeX host=pi4 pid=7 queue=a",
		"wanctl: owner=0123456789abcdef host= pid=7 queue=a", "wanctl: owner=0123456789abcdef host=a pid=x queue=a",
		"wanctl: owner=0123456789abcdef host=a pid=0 queue=a", "wanctl: owner=0123456789abcdef host=a pid=1 color=a",
		"wanctl: host=a owner=0123456789abcdef pid=1 queue=a", "owner: owner=0123456789abcdef host=a pid=1 queue=a",
	} {
		if o, ok := link.ParseOwner(c); ok {
			t.Errorf("%q reads as %+v", c, o)
		}
	}
}

func TestMarkAddress(t *testing.T) {
	reserved := netip.MustParsePrefix("240.0.0.0/5")
	rapid.Check(t, func(t *rapid.T) {
		a, b := link.QueueThing(rapid.String().Draw(t, "a")), link.RuleThing(rapid.String().Draw(t, "b"))
		got := link.MarkAddress(a, b)
		if addr, err := netip.ParseAddr(got); err != nil || !reserved.Contains(addr) {
			t.Fatalf("%q: %v", got, err)
		}
		if got != link.MarkAddress(b, a) {
			t.Fatal("the order counts")
		}
	})
	if a, b := link.MarkAddress("queue=a"), link.MarkAddress("queue=b"); a == b {
		t.Errorf("%s twice", a)
	}
	long, longer := strings.Repeat("ü", 300), strings.Repeat("ü", 301)
	if a, b := link.QueueThing(long), link.QueueThing(longer); a == b || len(a) > len("queue=")+96 {
		t.Errorf("%q and %q", a, b)
	}
}
