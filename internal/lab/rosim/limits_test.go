package rosim

import (
	"fmt"
	"strings"
	"testing"
)

// Each of these lines would run for ever, or grow without end.
func TestLimits(t *testing.T) {
	r, _ := steady(t, nil)
	for i := range 100 {
		if out, failed := r.Exec(t.Context(), DefaultUser, fmt.Sprintf("/queue/tree/add name=q%d parent=ether1 comment=%s", i, strings.Repeat("x", 3000))); failed {
			t.Fatal(out)
		}
	}
	long := `:local s "` + strings.Repeat("y", 60000) + `"; `
	array := `:local a {` + strings.Repeat("1;", 4000) + `}; `
	for _, line := range []string{
		`:while (true) do={}`,
		`:do {} while=(true)`,
		`:for i from=1 to=9000000000000000000 do={}`,
		`:while (true) do={:local x [/queue/tree find]}`,
		`:while (true) do={:local x [/queue/tree print as-value]}`,
		`:while (true) do={:local x [/queue/tree get q5]}`,
		`:while (true) do={/queue/tree print}`,
		`:while (true) do={:local x [/queue/tree find where comment~"(x{1,500}){1,2}y"]}`,
		`:local a [/queue/tree find]; :while (true) do={/queue/tree set $a max-limit=1M}`,
		`:local a [/queue/tree find]; :while (true) do={:local x ($a . "z")}`,
		`:local a 1; :while (true) do={:set a {$a;$a;$a}}`,
		`:local a 1; :while (true) do={:set a ($a , $a)}`,
		`:local a "x"; :while (true) do={:set a ($a . $a)}`,
		`:local a "x"; :while (true) do={:set a "$a$a"}`,
		`:while (true) do={:do {:error "x"} on-error={}}`,
		`:while (true) do={:onerror e in={:error "x"} do={}}`,
		`/queue/tree/add parent=ether1; :while (true) do={/queue/tree/set [find] comment="y"}`,
		long + `:while (true) do={:local x ($s ~ "y*z")}`,
		long + `:while (true) do={:put $s}`,
		long + `:while (true) do={:put [:find $s "yyyz"]}`,
		long + `:local t {$s;$s;$s}`,
		array + `:while (true) do={:local z ($a = $a)}`,
		array + `:while (true) do={:local z [:tostr $a]}`,
		`:put ` + strings.Repeat(`{`, 1000),
		`:put ` + strings.Repeat(`(`, 1000),
		`:put ` + strings.Repeat(`[:len `, 1000),
		`:put (` + strings.Repeat(`-`, 1000) + `1)`,
		strings.Repeat(`{`, 1000),
		`/queue/tree/print where ` + strings.Repeat("!", 1000) + "disabled",
		`:put (1` + strings.Repeat("+1", 30000) + ")",
		strings.Repeat(" ", maxLine+1),
	} {
		out, failed := r.Exec(t.Context(), DefaultUser, line)
		if !failed || !strings.HasSuffix(out, "action timed out\n") && !strings.HasSuffix(out, "contents too long\n") {
			t.Errorf("%.80s: %.80q…, failed %v", line, out, failed)
		}
		if len(out) > maxOutput+maxText {
			t.Errorf("%.80s: %d bytes of output", line, len(out))
		}
	}
	if out, failed := r.Exec(t.Context(), DefaultUser, `:for i from=1 to=100 do={/queue/tree add parent=ether1}`); !failed || out != "failure: too many items\n" {
		t.Errorf("unlimited items: %q", out)
	}
	if out, failed := r.Exec(t.Context(), DefaultUser, ":put ["+strings.Repeat("(", 40)); !failed {
		t.Errorf("%q", out)
	}
}

func TestGlobalsAreBounded(t *testing.T) {
	r, _ := steady(t, nil)
	var b strings.Builder
	for i := range maxItems + 1 {
		fmt.Fprintf(&b, ":global v%d 1;", i)
	}
	if out, failed := r.Exec(t.Context(), DefaultUser, b.String()); !failed || out != "failure: too many global variables\n" {
		t.Errorf("%q", out)
	}
}
