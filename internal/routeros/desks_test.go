package routeros

import (
	"slices"
	"strings"
	"testing"
)

// notInTheTrees are menus that the saved trees leave out: those of IPv6 addresses, and of hardware that a virtual router lacks.
var notInTheTrees = []string{"/ipv6/address", "/interface/ethernet/switch"}

// TestDesksExistOnEveryVersion looks up every property that an admin may read or set.
func TestDesksExistOnEveryVersion(t *testing.T) {
	for version, tree := range schema(t) {
		for menu, d := range desks {
			if slices.Contains(notInTheTrees, menu) {
				continue
			}
			has := tree[strings.TrimPrefix(menu, "/")]
			if has.Commands == nil {
				t.Errorf("%s has no %s", version, menu)
				continue
			}
			for _, verb := range []string{"add", "set"} {
				if verb == "add" && (d.single || d.writable == nil) || d.writable == nil {
					continue
				}
				for _, p := range d.writable {
					if !slices.Contains(has.Commands[verb], p) {
						t.Errorf("%s: %s %s has no %s", version, menu, verb, p)
					}
				}
			}
			for command, arguments := range map[string][]string{"move": {"numbers", "destination"}, "add": {"place-before"}} {
				for _, a := range arguments {
					if d.ordered && d.writable != nil && !slices.Contains(has.Commands[command], a) {
						t.Errorf("%s: %s %s has no %s", version, menu, command, a)
					}
				}
			}
			for _, p := range d.readable {
				if has.Readable != nil && !slices.Contains(has.Readable, p) {
					t.Errorf("%s: %s has no property %s", version, menu, p)
				}
			}
		}
	}
}

// What a listing prints is read back whole, whatever the values hold, and what is cut or made up is refused.
func TestListings(t *testing.T) {
	const two = "wanctl|item|*1|.\r\nwanctl|name|4|a|.b|.\r\nwanctl|comment|27|x\nwanctl|item|*9|.\nwanctl|y|.\r\nwanctl|item|*A|.\r\nwanctl|end|.\r\n"
	rows, _, err := parseListing(two)
	if err != nil || len(rows) != 2 || rows[0]["name"] != "a|.b" || rows[0]["comment"] != "x\nwanctl|item|*9|.\nwanctl|y" || rows[1][".id"] != "*A" {
		t.Errorf("%v %q", err, rows)
	}
	if rows, _, err := parseListing("wanctl|item||.\nwanctl|version|4|7.24|.\nwanctl|end|."); err != nil || len(rows) != 1 || rows[0]["version"] != "7.24" {
		t.Errorf("%v %q", err, rows)
	}
	for _, bad := range []string{
		"", "wanctl|item|*1|.\n", "bad command name\n", "wanctl|item|x|.\nwanctl|end|.", "wanctl|name|1|a|.\nwanctl|end|.", "wanctl|item|*1|.\nwanctl|name|9|a|.\nwanctl|end|.",
		"wanctl|item|*1|.\nwanctl|name|-1|a|.\nwanctl|end|.", "wanctl|item|*1|.\nwanctl|name|a|.\nwanctl|end|.", "wanctl|item", two + "more", "wanctl|x",
	} {
		if rows, _, err := parseListing(bad); err == nil {
			t.Errorf("%q is %q", bad, rows)
		}
	}
}

func FuzzListing(f *testing.F) {
	f.Add("wanctl|item|*1|.\nwanctl|name|1|a|.\nwanctl|end|.")
	f.Add("wanctl|item||.\r\nwanctl|end|.\r\n")
	f.Fuzz(func(t *testing.T, s string) {
		rows, _, err := parseListing(s)
		if err == nil && !strings.Contains(s, "wanctl|end|.") {
			t.Errorf("%q has no end, and is %q", s, rows)
		}
	})
}
