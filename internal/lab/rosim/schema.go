package rosim

import "strings"

// propKind is how a property is written, stored and printed.
type propKind uint8

const (
	propString  propKind = iota
	propNumber           // a plain integer
	propRate             // bit/s, written with k, M or G
	propBool             // yes or no
	propTime             // a duration
	propDecimal          // thousandths, printed as a decimal; as-value shows the thousandths
	propPercent          // an integer printed with %
	propSize             // bytes, printed in MiB
	propList             // words with commas between them; an array to scripts
	propFlag             // given as a bare word; printed so
	propSecret           // never read back
	propPolicy           // the rights of a group
	propPair             // upload/download, figures with k, M or G
	propDSCP             // 0..63, with ! before it or not
	propPrefix           // an address with its prefix length
	propSources          // addresses and prefixes
)

// prop is one property of a menu's items.
type prop struct {
	name   string
	kind   propKind
	set    bool     // an argument of set and add
	stat   bool     // a counter: shown by print stats, gone from print detail
	flag   bool     // shown as a letter before the item, not as key=value
	keep   bool     // printed even when unset
	live   bool     // shows what is now, not what was set
	quoted bool     // always in quotes in key=value output
	enum   []string // the values it may have; nil for any
	def    value    // the value of an added item
	refs   []string // the menus one of whose items it must name
	also   []string // what it may name beside them
}

// style is the layout of a menu's plain print.
type style uint8

const (
	stylePairs  style = iota // key=value after a number
	styleTable               // columns under a header
	styleSingle              // one record, a property on each line
)

// menu is one level of the command tree.
type menu struct {
	path     string // "/queue/tree"
	name     string
	subs     []*menu
	cmds     []*command
	props    []prop
	style    style
	legend   string     // the Flags: line
	flags    [][]letter // flag letters by column
	brief    []string   // columns of a table print
	stats    []string   // columns of print stats, in order
	group    bool       // print stats groups digits whatever the dialect says
	required []string   // arguments add insists on, in the order in which they are named when missing
	singular string     // the word in "already have … with such name"
	most     int        // how many items there may be; 0 is maxItems
	// defaultName begins the name of an item that was given none.
	defaultName string
	guard       policySet // what a change needs beside the right to write
	items       []*item   // the router's records
	lastID      uint64    // ids count up in each menu and are never used again
}

// letter is a flag's letter and the boolean property it stands for.
type letter struct {
	c    byte
	prop string
}

// paramKind is what an argument takes.
type paramKind uint8

const (
	paramValue paramKind = iota
	paramFlag            // a bare word
	paramCode            // a block in braces
	paramName            // a variable name
)

// command is one verb with its arguments.
type command struct {
	name       string
	positional []string // unnamed arguments, in order
	params     map[string]paramKind
	where      bool // takes the keyword where
	bareWhere  bool // a condition may follow without the keyword
	write      bool // needs the write policy
	extra      policySet
	run        func(*run, *call) (value, error)
}

// menuProp returns a menu's property by name, nil when it has none.
func (m *menu) prop(name string) *prop {
	for i := range m.props {
		if m.props[i].name == name {
			return &m.props[i]
		}
	}
	return nil
}

// sub finds a submenu by name or unambiguous abbreviation.
func (m *menu) sub(w string) *menu {
	var hit *menu
	n := 0
	for _, s := range m.subs {
		if s.name == w {
			return s
		}
		if strings.HasPrefix(s.name, w) {
			hit, n = s, n+1
		}
	}
	if n == 1 && m.abbreviates(w) {
		return hit
	}
	return nil
}

// cmd finds a command by name or unambiguous abbreviation.
func (m *menu) cmd(w string) *command {
	var hit *command
	n := 0
	for _, c := range m.cmds {
		if c.name == w {
			return c
		}
		if strings.HasPrefix(c.name, w) {
			hit, n = c, n+1
		}
	}
	if n == 1 && m.abbreviates(w) {
		return hit
	}
	return nil
}

// abbreviates says whether w stands for exactly one child of m, submenu or command.
func (m *menu) abbreviates(w string) bool {
	n := 0
	for _, s := range m.subs {
		if strings.HasPrefix(s.name, w) {
			n++
		}
	}
	for _, c := range m.cmds {
		if strings.HasPrefix(c.name, w) {
			n++
		}
	}
	return n == 1
}

func (m *menu) walk(f func(*menu)) {
	f(m)
	for _, s := range m.subs {
		s.walk(f)
	}
}

// at returns the menu of a path such as "/queue/tree"; nil when there is none.
func (m *menu) at(path string) *menu {
	if m.path == path {
		return m
	}
	for _, s := range m.subs {
		if rest, ok := strings.CutPrefix(path, s.path); ok && (rest == "" || rest[0] == '/') {
			return s.at(path)
		}
	}
	return nil
}

// needs is the rights that the command asks for.
func (c *call) needs() policySet {
	switch {
	case c.menu == nil:
		return c.cmd.extra
	case c.cmd.write:
		return policyWrite | c.menu.guard | c.cmd.extra
	}
	return policyRead | c.cmd.extra
}
