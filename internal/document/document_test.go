package document

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// read is a file's keys, or all that is wrong with it.
func read(f Form, text string) (keys, wrong []string) {
	report := func(at Pos, key, hint, message string) {
		wrong = append(wrong, fmt.Sprintf("%d:%d: %s: %s (%s)", at.Line, at.Column, key, message, hint))
	}
	root := f.Root(strings.NewReader(text), report)
	if root == nil {
		return nil, wrong
	}
	for _, e := range f.Entries(root, "", report) {
		keys = append(keys, e.Key)
	}
	return keys, wrong
}

func TestRoot(t *testing.T) {
	plain := Form{Name: "story", MaxSize: 1 << 20, TooLarge: "cut it", Empty: "write one"}
	tight, merge, secret := plain, plain, plain
	tight.MaxSize, merge.Merge, secret.Secret = 4, true, true
	aliases := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'h'; c++ {
		aliases += fmt.Sprintf("%c: &%c [%s]\n", c, c, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c, ", c-1), 10), ", "))
	}
	for _, c := range []struct {
		name string
		form Form
		text string
		keys string // blank between
		want string // of the only finding; empty: there is none
	}{
		{"keys", plain, "a: 1\nb: 2\n", "a b", ""},
		{"empty", plain, "# nothing\n", "", "1:1: : the file is empty (write one)"},
		{"too large", tight, "a: 12\n", "", "0:0: : is larger than 0 KiB, no story is (cut it)"},
		{"encoding", plain, "a: 1\nb: \xff\n", "", "2:4: : byte 0xff is not UTF-8 (save the file as UTF-8)"},
		{"control", plain, "a: \x01\n", "", "1:4: : control character 0x01 (remove it)"},
		{"list", plain, "- a\n", "", "1:1: : found a list, want a section of \"key: value\" lines ()"},
		{"two", plain, "a: 1\n---\nb: 2\n", "", "a second document starts here (write one file per story, without a second ---)"},
		{"deep", plain, strings.Repeat("[", 50), "", "is nested deeper than 32 levels"},
		{"bomb", plain, aliases, "", "unfolds to more than 50000 values through its aliases (write the values out)"},
		{"ring", plain, "a: &a [*a]\n", "", "unfolds to more than 50000 values"},
		{"twice", plain, "a: 1\na: 2\n", "a", "2:1: a: is given twice, first in line 1 (keep one of them)"},
		{"no merge", plain, "a: &a {b: 1}\n<<: *a\n", "a", "2:1: <<: sections are not merged here"},
		{"merge", merge, "a: &a {b: 1, a: 2}\n<<: *a\n", "a b", ""},
		{"merge of a word", merge, "a: 1\n<<: a\n", "a", "2:5: <<: found the text \"a\", want a section to merge ()"},
		{"alias", plain, "a: *hunter2\n", "", "an alias (*name) refers to an anchor that does not exist"},
	} {
		keys, wrong := read(c.form, c.text)
		if !slices.Equal(keys, strings.Fields(c.keys)) {
			t.Errorf("%s: the keys are %q, want %q", c.name, keys, c.keys)
		}
		if all := strings.Join(wrong, "\n"); (c.want == "") != (len(wrong) == 0) || !strings.Contains(all, c.want) || len(wrong) > 1 {
			t.Errorf("%s: got %q, want %q", c.name, all, c.want)
		}
	}
	for _, text := range []string{"a: *hunter2\n", "a: \"hunter2\n", "hunter2: [\n", "a: %hunter2\n", "a: &hunter2! b: c\n", "a: !<hunter2 b\n"} {
		if _, wrong := read(secret, text); strings.Contains(strings.Join(wrong, ""), "hunter2") {
			t.Errorf("%q: %q shows the file's text", text, wrong)
		}
	}
}

func TestNearest(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"ceilling_mbps", "ceiling_mbps"},
		{"Ceiling-Mbps", "ceiling_mbps"},
		{"ceiling_mpbs", "ceiling_mbps"},
		{"floor_mbps", "floor_mbps"},
		{"totally", ""},
		{strings.Repeat("x", 100), ""},
	} {
		got, ok := Nearest(c.in, []string{"floor_mbps", "ceiling_mbps", "step_up_mbps"})
		if got != c.want || ok != (c.want != "") {
			t.Errorf("Nearest(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if distance("", "abc") != 3 || distance("ab", "ba") != 1 || distance("kitten", "sitting") != 3 {
		t.Error("distance is wrong")
	}
}
