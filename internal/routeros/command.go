package routeros

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"wanctl/internal/link"
)

// sayLine builds the one line of a task and passes it by the guard.
func sayLine(t task) (said string, err error) {
	switch t.purpose {
	case bothQueues:
		if t.queues.Simple != "" {
			said, err = simpleLine(t.queues, t.want)
			break
		}
		said, err = exchangeLine(t.queues, t.want, t.order)
	case oneQueue:
		said, err = queueLine(t.queue)
	case oneSimple:
		said, err = oneSimpleLine(t.queue)
	case oneRule:
		said, err = ruleLine(t.comment, t.verb)
	case listedRule:
		said, err = holdLine(t)
	case echoPath:
		said, err = pathLine(t.source)
	case marking:
		said, err = markLine(t)
	}
	if err != nil {
		return "", err
	}
	return said, guard(said)
}

// Every answer we read is printed by our own :put, one line each, as mark|field|…|. with a final full stop, so that
// an answer that was cut anywhere is noticed. RouterOS stops a line at its first run-time error and prints the error's text.
const (
	mark = "wanctl|"
	stop = "|."
)

// quote writes a checked name as a RouterOS string. Inside double quotes exactly three characters mean something:
// the backslash, the quote and the dollar.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, `$`, `\$`).Replace(s) + `"`
}

// script collects the statements of one command line.
type script struct{ parts []string }

func (s *script) add(parts ...string) { s.parts = append(s.parts, parts...) }

// line closes the script with its end mark. The braces make one scope of it, which local variables need.
func (s *script) line() string {
	return "{" + strings.Join(s.parts, ";") + `;:put "` + mark + "end" + stop + `"}`
}

// find puts the ids of the items with exactly this name into a variable.
func find(variable, menu, key, value string) string {
	return fmt.Sprintf(":local %s [%s find where %s=%s]", variable, menu, key, quote(value))
}

// put prints one marked line; each field is a RouterOS expression.
func put(words string, fields ...string) string {
	if len(fields) == 0 {
		return `:put "` + mark + words + stop + `"`
	}
	return `:put ("` + mark + words + `|" . ` + strings.Join(fields, ` . "|" . `) + ` . "` + stop + `")`
}

// ifOne runs statements when the variable holds exactly one item.
func ifOne(variable string, statements ...string) string {
	return ":if ([:len $" + variable + "]=1) do={" + strings.Join(statements, ";") + "}"
}

// get reads one property of the one item in a variable.
func get(menu, variable, property string) string {
	return "[" + menu + " get $" + variable + " " + property + "]"
}

func length(variable string) string { return "[:len $" + variable + "]" }

// variables name the two queues in a script.
var variables = link.Pair[string]{Down: "d", Up: "u"}

// putQueue prints a queue's figures. The parent comes last: it alone can hold a bar.
func putQueue(d link.Direction) string {
	v := variables.Get(d)
	var fields []string
	for _, p := range []string{"max-limit", "bytes", "packets", "dropped", "queued-bytes", "queued-packets", "parent"} {
		fields = append(fields, get(treeMenu, v, p))
	}
	return put("queue|"+d.String(), fields...)
}

// exchangeLine builds the one line that sets the wanted rates, in the given order of directions, and reads everything back.
func exchangeLine(q Queues, want *link.Rates, order [2]link.Direction) (string, error) {
	if err := errors.Join(q.check(), checkRates(want)); err != nil {
		return "", err
	}
	var s script
	s.add(find("d", treeMenu, "name", q.Down), find("u", treeMenu, "name", q.Up), put("found", length("d"), length("u")))
	if want != nil {
		for _, d := range order {
			rate := want.Get(d)
			if rate == 0 {
				continue
			}
			v := variables.Get(d)
			s.add(ifOne(v, treeMenu+" set $"+v+" max-limit="+strconv.FormatInt(int64(rate), 10), put("set|"+d.String())))
		}
	}
	s.add(ifOne("d", putQueue(link.Down)), ifOne("u", putQueue(link.Up)))
	wan := ifOne("i", put("wan", get(interfaceMenu, "i", "rx-byte"), get(interfaceMenu, "i", "tx-byte")))
	if q.WAN != "" {
		s.add(find("i", interfaceMenu, "name", q.WAN), wan)
	} else {
		s.add(ifOne("u", ":local p "+get(treeMenu, "u", "parent"), ":local i ["+interfaceMenu+" find where name=$p]", wan))
	}
	s.add(put("uptime", "["+resourceMenu+" get uptime]"))
	return s.line(), nil
}

// queueLine builds the line that reads one queue.
func queueLine(name string) (string, error) {
	if err := checkName("name of the queue", name); err != nil {
		return "", err
	}
	var s script
	s.add(find("d", treeMenu, "name", name), put("found", length("d")), ifOne("d", putQueue(link.Down)))
	return s.line(), nil
}

// ruleLine builds the line that reads one mangle rule, after enabling or disabling it when verb is not empty.
func ruleLine(comment, verb string) (string, error) {
	if err := checkName("comment of the mangle rule", comment); err != nil {
		return "", err
	}
	var s script
	s.add(":local r ["+mangleMenu+" find where comment="+quote(comment)+" dynamic=no]", put("found", length("r")))
	if verb != "" {
		s.add(ifOne("r", mangleMenu+" "+verb+" $r", put("set|rule")))
	}
	s.add(putRule())
	return s.line(), nil
}

// putRule prints the one rule in $r.
func putRule() string {
	of := func(property string) string { return get(mangleMenu, "r", property) }
	// connection-state is a list and $r an array: text is made of both first, since joining to an array joins to each element.
	return ifOne("r", put("rule", "[:tostr $r]", of("disabled"), of("invalid"), of("chain"), of("action"),
		"[:tostr "+of("connection-state")+"]", of("new-connection-mark"), of("new-routing-mark"), of("src-address-list")))
}
