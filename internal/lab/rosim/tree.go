package rosim

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
)

// schemaText says which menus, commands and arguments there are in each version; its head explains the form.
//
//go:embed schema.txt
var schemaText string

// saved are the versions whose trees are saved, oldest first.
var saved = []string{"7.12.2", "7.14.3", "7.16.2", "7.18.2", "7.20.8", "7.21.5", "7.22.3", "7.24"}

// known is one menu in one version: its commands with their arguments, its properties, and what is known of them.
type known struct {
	cmds     map[string][]string
	readable []string
	kinds    map[string]string
}

// savedAs is the index of the newest saved tree that is no newer than v.
func savedAs(v version) int {
	best := 0
	for i, s := range saved {
		have, err := parseVersion(s)
		if err == nil && v.atLeast(have[0], have[1]) {
			best = i
		}
	}
	return best
}

// inVersion reads NAME@FROM-TO and says whether the name is there in the saved version with that index.
func inVersion(word string, at int) (name string, there bool, err error) {
	name, span, limited := strings.Cut(word, "@")
	if !limited {
		return name, true, nil
	}
	from, to, ok := strings.Cut(span, "-")
	lo, hi := 0, len(saved)-1
	if from != "" {
		lo = slices.Index(saved, from)
	}
	if to != "" {
		hi = slices.Index(saved, to)
	}
	if !ok || lo < 0 || hi < 0 {
		return "", false, fmt.Errorf("%q names no saved version", word)
	}
	return name, lo <= at && at <= hi, nil
}

// trees are the command trees of the saved versions, each built once; a router works on a copy.
var trees = func() []func() (*menu, error) {
	var all []func() (*menu, error)
	for i := range saved {
		all = append(all, sync.OnceValues(func() (*menu, error) { return buildTree(i) }))
	}
	return all
}()

// readSchema reads the menus of one saved version.
func readSchema(text string, at int) (map[string]*known, error) {
	menus := map[string]*known{}
	var cur *known // nil under a menu that this version does not have
	n := 0
	for l := range strings.Lines(text) {
		n++
		l = strings.TrimSuffix(l, "\n")
		body, inner := strings.CutPrefix(l, "  ")
		var err error
		switch {
		case l == "" || l[0] == '#':
		case !inner:
			cur = nil
			path, there, bad := inVersion(l, at)
			if err = bad; there {
				cur = &known{cmds: map[string][]string{}, kinds: map[string]string{}}
				menus[path] = cur
			}
		case cur == nil:
		case strings.HasPrefix(body, "= "):
			cur.readable = strings.Fields(body[2:])
		case strings.HasPrefix(body, "? "):
			for w := range strings.FieldsSeq(body[2:]) {
				name, kind, _ := strings.Cut(w, "=")
				cur.kinds[name] = kind
			}
		default:
			err = cur.readCommand(body, at)
		}
		if err != nil {
			return nil, fmt.Errorf("rosim: schema.txt:%d: %w", n, err)
		}
	}
	return menus, nil
}

func (k *known) readCommand(body string, at int) error {
	head, words, ok := strings.Cut(body, ":")
	if !ok {
		return fmt.Errorf("%q is no command", body)
	}
	cmd, there, err := inVersion(head, at)
	if err != nil || !there {
		return err
	}
	args := []string{}
	for w := range strings.FieldsSeq(words) {
		arg, there, err := inVersion(w, at)
		if err != nil {
			return err
		}
		if there {
			args = append(args, arg)
		}
	}
	k.cmds[cmd] = args
	return nil
}

// newTree builds the command tree of a router of some version. Only what its saved schema has exists, as far as it is
// emulated; anything else is refused as the router refuses it.
func newTree(v version) (*menu, error) {
	t, err := trees[savedAs(v)]()
	if err != nil {
		return nil, err
	}
	return t.copied(), nil
}

// copied is the tree with menus of its own. Properties and commands never change, so the copies share them.
func (m *menu) copied() *menu {
	c := *m
	c.subs = make([]*menu, len(m.subs))
	for i, s := range m.subs {
		c.subs[i] = s.copied()
	}
	return &c
}

func buildTree(at int) (*menu, error) {
	schema, err := readSchema(schemaText, at)
	if err != nil {
		return nil, err
	}
	root := &menu{path: "/"}
	for _, m := range newMenus() {
		k := schema[m.path]
		if k == nil {
			continue
		}
		m.complete(k)
		parent := root
		for _, path := range prefixes(m.path) {
			sub := parent.at(path)
			if sub == nil {
				sub = &menu{path: path}
				parent.subs = append(parent.subs, sub)
			}
			parent = sub
		}
		if old := parent.at(m.path); old != nil {
			m.subs = old.subs
			parent.subs[slices.Index(parent.subs, old)] = m
		} else {
			parent.subs = append(parent.subs, m)
		}
	}
	if v, err := parseVersion(saved[at]); err == nil && !v.atLeast(7, 24) {
		root.cmds = append(root.cmds, root.at("/tool").cmd("ping"))
	}
	root.cmds = append(root.cmds, &command{name: "export", params: flags("compact", "terse", "verbose", "hide-sensitive", "show-sensitive"), run: runExport})
	root.walk(func(m *menu) {
		m.name = m.path[strings.LastIndexByte(m.path, '/')+1:]
		if m != root && m.cmd("export") == nil {
			m.cmds = append(m.cmds, &command{name: "export", params: root.cmd("export").params, run: runExport})
		}
	})
	return root, nil
}

// prefixes are the menus above a path, outermost first: /ip and /ip/firewall above /ip/firewall/mangle.
func prefixes(path string) []string {
	var out []string
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			out = append(out, path[:i])
		}
	}
	return out
}

// complete gives a menu the properties and commands of its schema: those it describes itself first and as it describes
// them, the rest as the schema knows them.
func (m *menu) complete(k *known) {
	settable := map[string]bool{}
	var order []string
	for _, cmd := range []string{"set", "add"} {
		for _, a := range k.cmds[cmd] {
			if !settable[a] && !slices.Contains([]string{"numbers", "copy-from", "place-before"}, a) {
				settable[a] = true
				order = append(order, a)
			}
		}
	}
	m.props = slices.DeleteFunc(m.props, func(p prop) bool { return !settable[p.name] && !slices.Contains(k.readable, p.name) })
	for i := range m.props {
		p := &m.props[i]
		p.set = settable[p.name]
		if kind := k.kinds[p.name]; strings.Contains(kind, "|") && p.enum == nil && p.kind == propString {
			p.enum = strings.Split(kind, "|")
		}
	}
	for _, name := range append(order, k.readable...) {
		if m.prop(name) != nil {
			continue
		}
		p := prop{name: name, set: settable[name], quoted: name == "comment"}
		switch kind := k.kinds[name]; {
		case kind == "bool":
			p.kind = propBool
		case kind == "time":
			p.kind = propTime
		case kind != "":
			p.enum = strings.Split(kind, "|")
		}
		m.props = append(m.props, p)
	}
	for _, name := range slices.Sorted(maps.Keys(k.cmds)) {
		if c := m.newCommand(name, k.cmds[name]); c != nil {
			m.cmds = append(m.cmds, c)
		}
	}
}

// bareWords are the arguments that stand without a value.
var bareWords = []string{
	"append", "as-string", "as-string-value", "as-value", "brief", "comments", "compact", "count-only", "detail", "fib", "follow",
	"follow-only", "follow-strict", "hide-sensitive", "once", "oid", "show-ids", "show-sensitive", "stats", "stats-detail",
	"terse", "timestamp", "value-list", "verbose", "without-paging", "all", "dynamic", "static", "bytes", "packets", "rate",
	"do-not-fragment",
}

func flags(names ...string) map[string]paramKind {
	p := map[string]paramKind{}
	for _, n := range names {
		p[n] = paramFlag
	}
	return p
}

// newCommand makes a command of the schema; nil when it is not emulated.
func (m *menu) newCommand(name string, args []string) *command {
	c := implemented(name)
	if c == nil {
		return nil
	}
	c.params = map[string]paramKind{}
	for _, a := range args {
		switch {
		case a == "where":
			c.where = true
		case a == "do":
			c.params[a] = paramCode
		case slices.Contains(bareWords, a) && (c.name != "set" && c.name != "add" || a == "fib"):
			c.params[a] = paramFlag
		default:
			c.params[a] = paramValue
		}
	}
	c.positional = slices.DeleteFunc(c.positional, func(p string) bool { _, there := c.params[p]; return !there })
	return c
}

// implemented returns a command of that name without its arguments; nil when the emulator has none.
func implemented(name string) *command {
	pos := []string{"numbers"}
	switch name {
	case "print":
		return &command{name: name, run: runPrint}
	case "find":
		return &command{name: name, bareWhere: true, run: runFind}
	case "get":
		return &command{name: name, positional: []string{"number", "value-name"}, run: runGet}
	case "set":
		return &command{name: name, positional: pos, write: true, run: runSet}
	case "enable":
		return &command{name: name, positional: pos, write: true, run: runEnable}
	case "disable":
		return &command{name: name, positional: pos, write: true, run: runDisable}
	case "comment":
		return &command{name: name, positional: pos, write: true, run: runSet}
	case "reset-counters":
		return &command{name: name, positional: pos, write: true, run: runResetCounters}
	case "reset-counters-all":
		return &command{name: name, write: true, run: runResetAll}
	case "add":
		return &command{name: name, write: true, run: runAdd}
	case "remove", "request-logout":
		return &command{name: name, positional: pos, write: true, run: runRemove}
	case "move":
		return &command{name: name, positional: []string{"numbers", "destination"}, write: true, run: runMove}
	case "unset":
		return &command{name: name, positional: []string{"numbers", "value-name"}, write: true, run: runUnset}
	case "export":
		return &command{name: name, run: runExport}
	case "monitor-traffic":
		return &command{name: name, positional: []string{"interface"}, run: runMonitorTraffic}
	case "ping":
		return &command{name: name, positional: []string{"address"}, extra: policyTest, run: runPing}
	}
	return nil
}
