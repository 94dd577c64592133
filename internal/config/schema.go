package config

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// typ is what a key's value must be.
type typ uint8

const (
	typeSection typ = iota // holds further keys
	typeText
	typeNumber
	typeInteger
	typeBool
	typeWord   // one of a few words
	typeList   // a list of texts
	typeSecret // a text that is never printed
)

// want names the type for messages and the reference.
func (t typ) want() string {
	switch t {
	case typeSection:
		return "a section"
	case typeText:
		return "text"
	case typeNumber:
		return "a number"
	case typeInteger:
		return "a whole number"
	case typeBool:
		return "true or false"
	case typeWord:
		return "a word"
	case typeList:
		return "a list"
	case typeSecret:
		return "${NAME} or file:/path"
	}
	return "something"
}

// form is a further check on a text.
type form uint8

const (
	formAny    form = iota
	formName        // letters, digits, _ . - and at most 64 of them
	formHost        // a host name or address
	formServer      // the same, with a port or without
	formAddr        // an IP address
	formPath        // a file's path
	formIface       // a Linux interface's name
	formPlain       // printable, for names the router chooses
)

// key is one row of the schema. The table drives parsing, unknown-key detection, bounds and docs/reference.yaml, so
// that none of them can differ from another.
type key struct {
	// path is dotted; a part may begin or be "*", which stands for a line's name.
	path string
	typ  typ
	form form
	// unit is printed behind numbers: "ms", "s", "Mbit/s".
	unit string
	// def is the default as the file would write it; defWords tells one that is no constant.
	def, defWords string
	// min and max bound a number, inclusive; open excludes min itself. Both 0: any finite number.
	min, max float64
	open     bool
	// words are the values of a typeWord.
	words []string
	// required is empty for an optional key, else when it is required: "always" or a condition in words.
	required string
	// ignored is why the key is accepted without effect: the earlier system had it, or it is reserved.
	ignored string
	// alias is the path this key is another name of; strict forbids both even with equal values.
	alias  string
	strict bool
	// doc is the meaning, example the reference's value where def will not do; off comments the key out there.
	doc, example string
	off          bool
}

// kind is a kind of config file.
type kind uint8

const (
	kindWAN kind = iota
	kindSteering
)

var schemas = [...][]key{kindWAN: wanKeys, kindSteering: steeringKeys}

// bounds prints the range with its unit: "50 to 60000 ms", "above 0 up to 1".
func (k key) bounds() string {
	if k.min == 0 && k.max == 0 {
		return ""
	}
	num := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	s := num(k.min) + " to " + num(k.max)
	if k.open {
		s = "above " + num(k.min) + " up to " + num(k.max)
	}
	if k.unit != "" {
		s += " " + k.unit
	}
	return s
}

// inside reports whether f lies in the key's range.
func (k key) inside(f float64) bool {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return false
	}
	if k.min == 0 && k.max == 0 {
		return true
	}
	return f <= k.max && f >= k.min && (!k.open || f > k.min)
}

// lookup finds the row of a path; exact rows win over patterns.
func lookup(schema []key, path string) (key, bool) {
	if i := slices.IndexFunc(schema, func(k key) bool { return k.path == path }); i >= 0 {
		return schema[i], true
	}
	for _, k := range schema {
		if pre, post, ok := strings.Cut(k.path, "*"); ok && len(path) > len(pre)+len(post) &&
			strings.HasPrefix(path, pre) && strings.HasSuffix(path, post) && !strings.Contains(path[len(pre):len(path)-len(post)], ".") {
			return k, true
		}
	}
	return key{}, false
}

// children lists the last parts of the paths right below a section, patterns left out.
func children(schema []key, section string) []string {
	if s, ok := lookup(schema, section); ok {
		section = s.path // a section that goes by a line's name is known by its pattern
	}
	var out []string
	for _, k := range schema {
		if parent(k.path) == section && !strings.Contains(leaf(k.path), "*") {
			out = append(out, leaf(k.path))
		}
	}
	return out
}

// elsewhere finds the paths whose last part is name, those below a line's name left out.
func elsewhere(schema []key, name string) []string {
	var out []string
	for _, k := range schema {
		if leaf(k.path) == name && k.ignored == "" && !strings.Contains(k.path, "*") {
			out = append(out, k.path)
		}
	}
	return out
}

// Rows that repeat, spelt once.

func section(path, doc string) key { return key{path: path, typ: typeSection, doc: doc} }

// was is a key of the earlier Python system without effect here; the reference shows it commented out.
func was(path, why string) key {
	return key{path: path, ignored: why, off: true}
}

func mbpsKey(path, doc, example string) key {
	return key{
		path: path, typ: typeNumber, unit: "Mbit/s", min: 0, max: 100_000, open: true, doc: doc, example: example,
	}
}

func (k key) when(condition string) key { k.required = condition; return k }

func (k key) commentedOut() key { k.off = true; return k }

func (k key) aliasOf(path string, strict bool) key {
	k.alias, k.strict, k.off = path, strict, true
	return k
}

// routerKeys are the same in both kinds of file.
var routerKeys = []key{
	section("router", "The MikroTik router, and how to reach it. On linux transport is all of it."),
	{
		path: "router.host", typ: typeText, form: formHost, required: "unless transport is linux",
		doc: "Name or address of the router, without a port.", example: "10.10.99.1",
	},
	{
		path: "router.user", typ: typeText, form: formPlain, required: "unless transport is linux",
		doc: "User on the router; a dedicated one is best, with the policies read, write and ssh, or api, or api and rest-api.", example: "wanctl",
	},
	{
		path: "router.ssh_key", typ: typeText, form: formPath, required: "for ssh without a password",
		doc: "Private key file for ssh, readable by the service's user alone. Where the service manager hands over a credential of its name " +
			"(NAME, or PARENT_NAME), that is read.", example: "/etc/wanctl/ssh/router.key",
	},
	{
		path: "router.known_hosts", typ: typeText, form: formPath, defWords: "the user's known_hosts", off: true,
		doc: "File with the router's host key. A changed key stops all writing.", example: "/etc/wanctl/ssh/known_hosts",
	},
	{
		path: "router.transport", typ: typeWord, def: "ssh", words: []string{"ssh", "rest", "api", "auto", "linux"},
		doc: "The door to the queues: the command line (ssh), REST over HTTPS (rest) or the binary API over TLS (api) of a MikroTik router; " +
			"auto, the first of api, rest and ssh that opens; or linux, the CAKE queues of this host itself (a line's file alone).",
	},
	{
		path: "router.port", typ: typeInteger, min: 1, max: 65535, defWords: "by transport: 22 ssh, 443 rest, 8729 api", off: true,
		doc: "TCP port of the router's service. 80 (rest) and 8728 (api) are the services without TLS, see insecure; every other port is taken for one " +
			"with TLS. Not with auto.",
		example: "22",
	},
	{
		path: "router.password", typ: typeSecret, defWords: "none; required for rest and api", off: true,
		doc: "Password, for ssh if no key is used: from the environment (${NAME}) or from the first line of a file (file:/path), or that " +
			"file's credential. The value itself works too, with a warning.",
		example: `"${ROUTER_PASSWORD}"`,
	},
	{
		path: "router.verify_ssl", typ: typeBool, def: "true",
		doc: "Verify the router's TLS certificate by this host's authorities, where it is not pinned (rest, api). false needs insecure. " +
			"No effect on ssh, which always verifies the host key.",
	},
	{
		path: "router.tls_pin", typ: typeText, form: formPlain, defWords: "none", off: true,
		doc: "SHA-256 of the router's certificate (rest, api), in hexadecimal or base64. It alone decides: name, dates and authority are " +
			"not looked at. A changed certificate stops all writing.",
		example: `"sha256:…"`,
	},
	{
		path: "router.insecure", typ: typeBool, def: "false",
		doc: "Allow what sends the password to whoever answers: rest and api without TLS (port 80, 8728) to another host than this one, and " +
			"verify_ssl: false without a pin. No effect on ssh.",
	},
	{
		path: "router.heartbeat", typ: typeBool, def: "false",
		doc: "Let wanctl router apply add a scheduler to the router that gives it back when this controller's host is dead: 10 minutes " +
			"after its last sign of life the router puts base_mbps on the queues, and disables the steering rule. While wanctl is stopped " +
			"the scheduler holds them there.",
	},
	was("router.type", "only RouterOS is spoken, and transport says how"),
}

// loggingKeys are the same in both kinds of file.
var loggingKeys = []key{
	section("logging", "Where the lines go."),
	{
		path: "logging.main_log", typ: typeText, form: formPath, defWords: "standard error",
		doc: "File for the line per cycle and all messages.", example: "/var/log/wanctl/%.log",
	},
	{
		path: "logging.debug_log", typ: typeText, form: formPath, defWords: "none",
		doc:     "File for details, written with --debug and after wanctl debug.",
		example: "/var/log/wanctl/%_debug.log",
	},
	{
		path: "logging.max_bytes", typ: typeInteger, def: "10485760", min: 0, max: 1e11,
		doc: "Size in bytes that no log file grows beyond: it is put aside as .1, and those that are aside already move on by one. 0 leaves " +
			"rotation to somebody else, who sends SIGHUP.",
	},
	{
		path: "logging.backup_count", typ: typeInteger, def: "4", min: 0, max: 100,
		doc: "How many older files are kept of each log: no more than (backup_count + 1) × max_bytes are on the disk.",
	},
}

// reservedKeys will mean something in a later version.
var reservedKeys = []key{
	was("health_check", "reserved: this version has no HTTP health check, wanctl status tells the same"),
	was("metrics", "reserved: this version exports no metrics"),
	was("alerting", "reserved: this version sends no alerts, it logs them"),
}
