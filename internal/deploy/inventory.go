// Package deploy brings wanctl to the hosts of an inventory: everything is checked before anything is changed, and what
// happens on a host is decided on that host, so that a lost connection leaves it with the old or the new version.
package deploy

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"wanctl/internal/config"
	"wanctl/internal/document"
	"wanctl/internal/install"
)

// MaxSize bounds an inventory, in bytes; MaxHosts its hosts.
const (
	MaxSize  = 256 << 10
	MaxHosts = 256
)

// Host is one host of an inventory, with the defaults filled in.
type Host struct {
	// Name is what the inventory calls it, Address and Port where its SSH server is.
	Name, Address string
	Port          int
	User          string
	// Key is a private key file, empty for the agent; KnownHosts records host keys.
	Key, KnownHosts string
	// Sudo says that root's steps are taken with sudo.
	Sudo bool
	// Arch is the architecture as Go calls it, empty for what the host says.
	Arch string
	// Root is put before every path on the host.
	Root string
	// WANs and Steering are paths of configurations here.
	WANs     []string
	Steering string
	// At is where the host stands in the inventory.
	At document.Pos
}

// row is one key of the inventory. The table drives parsing, messages and docs/inventory.yaml.
type row struct {
	name     string
	kind     string // "text", "number", "word", "path", "paths"
	words    []string
	required bool
	// common says that defaults may have it, too.
	common bool
	def    string
	doc    string
	// example is what the reference shows.
	example string
}

var rows = []row{
	{name: "name", kind: "text", required: true, doc: "What the host is called: in messages and for --only. Letters, digits, _ . - and at most 64 of them.", example: "cake-att"},
	{name: "address", kind: "text", def: "the name", doc: "Name or address of its SSH server, without a port.", example: "10.10.110.247"},
	{name: "port", kind: "number", common: true, def: "22", doc: "Port of its SSH server, 1 to 65535.", example: "22"},
	{name: "user", kind: "text", common: true, def: "root", doc: "User to log in as.", example: "kevin"},
	{name: "key", kind: "path", common: true, def: "the ssh-agent's keys, else ~/.ssh/id_ed25519, id_ecdsa or id_rsa", doc: "Private key file. Its passphrase comes from WANCTL_DEPLOY_PASSPHRASE, or is asked for.", example: "~/.ssh/id_ed25519"},
	{name: "known_hosts", kind: "path", common: true, def: "~/.ssh/known_hosts", doc: "File with the host's key. A host whose key is not in it, or is another, is not logged in to.", example: "~/.ssh/known_hosts"},
	{name: "become", kind: "word", words: []string{"none", "sudo"}, common: true, def: "none", doc: "How root's steps are taken: none, as the user who logs in, or sudo. sudo's password comes from WANCTL_DEPLOY_SUDO_PASSWORD, or is asked for. A user who is not root and has no sudo gets everything prepared, and root's remaining step printed.", example: "sudo"},
	{name: "arch", kind: "word", words: []string{"auto", "amd64", "arm64", "arm"}, common: true, def: "auto", doc: "Architecture of the host; auto asks it. One that is named has to be the host's.", example: "auto"},
	{name: "root", kind: "text", common: true, def: "/", doc: "A directory of the host that is put before every path, for a try without consequences.", example: "/"},
	{name: "wans", kind: "paths", doc: "WAN configurations, relative to the inventory. att_config.yaml and att.yaml become /etc/wanctl/att.yaml, which wanctl@att.service runs; the file's own name leads there, too.", example: "[att_config.yaml]"},
	{name: "steering", kind: "path", doc: "Steering configuration, relative to the inventory: /etc/wanctl/steering.yaml, which wanctl-steer.service runs.", example: "steering_config_v2.yaml"},
}

// Keys are the keys of a host, for the manual.
func Keys() []config.KeyDoc {
	var all []config.KeyDoc
	for _, r := range rows {
		d := config.KeyDoc{Path: r.name, Doc: r.doc, Value: r.takes(), Default: r.def}
		if r.required {
			d.Required = "required"
		}
		if r.common {
			d.Value += "; may stand in defaults"
		}
		all = append(all, d)
	}
	return all
}

// takes is the kind of a key's value.
func (r row) takes() string {
	switch r.kind {
	case "number":
		return "whole number"
	case "paths":
		return "list of paths"
	case "word":
		return "one of " + strings.Join(r.words, ", ")
	}
	return r.kind
}

var form = document.Form{
	Name: "inventory", MaxSize: MaxSize, TooLarge: "is it the right file?", Empty: "start from configs/deploy/inventory.yaml",
}

// value is one checked value with its place.
type value struct {
	at    document.Pos
	text  string
	num   int
	paths []string
}

type parser struct {
	file  string
	found config.Diagnostics
}

func (p *parser) tell(at document.Pos, key, hint, message string) {
	if len(p.found) < 100 { // beyond that a list helps nobody
		p.found = append(p.found, config.Diagnostic{
			File: p.file, Line: at.Line, Column: at.Column, Key: document.Printable(key, 80), Severity: config.Error, Message: message, Hint: hint,
		})
	}
}

// Parse reads an inventory. name appears in the findings, and its directory is what relative paths begin at. With errors
// among the findings there are no hosts.
func Parse(name string, r io.Reader, home func(string) string) ([]Host, config.Diagnostics) {
	p := &parser{file: name}
	hosts := p.hosts(r, home)
	slices.SortStableFunc(p.found, func(a, b config.Diagnostic) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	if p.found.HasErrors() {
		return nil, p.found
	}
	return hosts, p.found
}

func (p *parser) hosts(r io.Reader, home func(string) string) []Host {
	root := form.Root(r, p.tell)
	if root == nil {
		return nil
	}
	var list *yaml.Node
	listAt := document.At(root)
	common := map[string]value{}
	for _, e := range form.Entries(root, "", p.tell) {
		switch e.Key {
		case "hosts":
			list, listAt = document.Target(e.Val), e.At
		case "defaults":
			n := document.Target(e.Val)
			if n.Kind != yaml.MappingNode {
				p.tell(document.At(e.Val), "defaults", "", fmt.Sprintf("found %s, want a section of keys", document.Found(n)))
				continue
			}
			common = p.section("defaults", n, func(r row) bool { return r.common })
		default:
			p.unknown(e.At, "", e.Key, []string{"hosts", "defaults"})
		}
	}
	switch {
	case list == nil:
		p.tell(document.At(root), "hosts", "see configs/deploy/inventory.yaml", "is missing: an inventory is a list of hosts")
		return nil
	case list.Kind != yaml.SequenceNode:
		p.tell(listAt, "hosts", "write each host as an entry that begins with \"- name:\"", fmt.Sprintf("found %s, want a list", document.Found(list)))
		return nil
	case len(list.Content) == 0 || len(list.Content) > MaxHosts:
		p.tell(listAt, "hosts", "", fmt.Sprintf("has %d hosts, want 1 to %d", len(list.Content), MaxHosts))
		return nil
	}
	var out []Host
	for i, n := range list.Content {
		path := fmt.Sprintf("hosts[%d]", i)
		n = document.Target(n)
		if n.Kind != yaml.MappingNode {
			p.tell(document.At(n), path, "", fmt.Sprintf("found %s, want a section of keys", document.Found(n)))
			continue
		}
		own := p.section(path, n, func(row) bool { return true })
		for k, v := range common {
			if _, ok := own[k]; !ok {
				own[k] = v
			}
		}
		out = append(out, p.host(path, document.At(n), own, home))
	}
	p.unique(out)
	return out
}

// section checks the keys of one section by the table.
func (p *parser) section(path string, n *yaml.Node, allowed func(row) bool) map[string]value {
	var known []string
	for _, r := range rows {
		if allowed(r) {
			known = append(known, r.name)
		}
	}
	out := map[string]value{}
	for _, e := range form.Entries(n, path, p.tell) {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == e.Key })
		if i < 0 || !allowed(rows[i]) {
			if i >= 0 {
				p.tell(e.At, document.Join(path, e.Key), "give it to each host", "cannot be a default")
				continue
			}
			p.unknown(e.At, path, e.Key, known)
			continue
		}
		if v, ok := p.value(rows[i], document.Join(path, e.Key), e.Val); ok {
			out[e.Key] = v
		}
	}
	return out
}

func (p *parser) unknown(at document.Pos, section, key string, known []string) {
	hint := "known here: " + strings.Join(known, ", ")
	if s, ok := document.Nearest(key, known); ok {
		hint = fmt.Sprintf("did you mean %q?", s)
	}
	p.tell(at, document.Join(section, key), hint, "unknown key")
}

// value checks one value by its row.
func (p *parser) value(r row, path string, n *yaml.Node) (value, bool) {
	t := document.Target(n)
	v := value{at: document.At(n)}
	wrong := func(want, hint string) (value, bool) {
		p.tell(v.at, path, hint, fmt.Sprintf("found %s, want %s", document.Found(t), want))
		return v, false
	}
	switch r.kind {
	case "number":
		if t.Kind != yaml.ScalarNode || t.ShortTag() != "!!int" || t.Decode(&v.num) != nil {
			return wrong("a whole number", "")
		}
		if v.num < 1 || v.num > math.MaxUint16 {
			p.tell(v.at, path, "", fmt.Sprintf("%d is outside 1 to 65535", v.num))
			return v, false
		}
		return v, true
	case "paths":
		if t.Kind != yaml.SequenceNode {
			return wrong("a list", "write it in brackets: [att_config.yaml]")
		}
		for _, c := range t.Content {
			s, ok := text(document.Target(c))
			if !ok {
				p.tell(document.At(c), path, "", fmt.Sprintf("found %s, want a path", document.Found(document.Target(c))))
				return v, false
			}
			v.paths = append(v.paths, s)
		}
		return v, true
	}
	var ok bool
	if v.text, ok = text(t); !ok {
		return wrong("text", "put it in quotes")
	}
	if r.kind == "word" && !slices.Contains(r.words, v.text) {
		hint := ""
		if s, near := document.Nearest(v.text, r.words); near {
			hint = fmt.Sprintf("did you mean %q?", s)
		}
		return wrong("one of "+strings.Join(r.words, ", "), hint)
	}
	return v, true
}

func text(n *yaml.Node) (string, bool) {
	return n.Value, n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && n.Value != "" && !strings.ContainsAny(n.Value, "\n\r\x00")
}

var (
	hostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)
	address  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:%-]{0,254}$`)
	userName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$`)
)

// host fills in the defaults and checks what needs several keys.
func (p *parser) host(path string, at document.Pos, v map[string]value, home func(string) string) Host {
	or := func(key, def string) string {
		if x, ok := v[key]; ok {
			return x.text
		}
		return def
	}
	here := func(s string) string {
		if s = home(s); s == "" || filepath.IsAbs(s) {
			return s
		}
		return filepath.Join(filepath.Dir(p.file), s)
	}
	h := Host{
		Name: or("name", ""), Port: 22, User: or("user", "root"), Key: here(or("key", "")), KnownHosts: here(or("known_hosts", "~/.ssh/known_hosts")),
		Sudo: or("become", "none") == "sudo", Arch: or("arch", "auto"), Root: or("root", "/"), Steering: here(or("steering", "")), At: at,
	}
	h.Address = or("address", h.Name)
	if x, ok := v["port"]; ok {
		h.Port = x.num
	}
	if h.Arch == "auto" {
		h.Arch = ""
	}
	for _, w := range v["wans"].paths {
		h.WANs = append(h.WANs, here(w))
	}
	check := func(key, value string, good *regexp.Regexp, hint string) {
		if x, ok := v[key]; ok && !good.MatchString(value) {
			p.tell(x.at, document.Join(path, key), hint, fmt.Sprintf("%q is no %s", document.Printable(value, 40), key))
		}
	}
	if h.Name == "" {
		if !slices.ContainsFunc(p.found, func(d config.Diagnostic) bool { return strings.HasPrefix(d.Key, path+".") }) {
			p.tell(at, document.Join(path, "name"), "add it", "is missing")
		}
	} else {
		check("name", h.Name, hostName, "letters, digits, _ . -")
	}
	check("address", h.Address, address, "a name or an address without a port; the port is a key of its own")
	check("user", h.User, userName, "")
	if !filepath.IsAbs(h.Root) {
		p.tell(v["root"].at, document.Join(path, "root"), "give a full path", fmt.Sprintf("%q is no full path", document.Printable(h.Root, 40)))
	}
	h.Root = filepath.Clean(h.Root)
	if len(h.WANs) == 0 && h.Steering == "" {
		p.tell(at, path, "add wans: [FILE], or steering: FILE", "has nothing to run")
	}
	units := map[string]string{}
	for _, w := range h.WANs {
		u := Unit(w)
		switch {
		case !install.PlainUnit.MatchString(u) || filepath.Ext(w) != ".yaml":
			p.tell(v["wans"].at, document.Join(path, "wans"), "call it LINE.yaml or LINE_config.yaml, of letters, digits, _ and -",
				fmt.Sprintf("%q gives no name for a unit", document.Printable(filepath.Base(w), 60)))
		case u == install.SteeringUnit:
			p.tell(v["wans"].at, document.Join(path, "wans"), "rename it", "the name steering is that of the steering configuration")
		case units[u] != "":
			p.tell(v["wans"].at, document.Join(path, "wans"), "rename one", fmt.Sprintf("%s and %s would both be wanctl@%s.service", filepath.Base(units[u]), filepath.Base(w), u))
		}
		units[u] = w
	}
	if h.Steering != "" && filepath.Ext(h.Steering) != ".yaml" {
		p.tell(v["steering"].at, document.Join(path, "steering"), "call it NAME.yaml", fmt.Sprintf("%q is no name of a configuration", document.Printable(filepath.Base(h.Steering), 60)))
	}
	return h
}

// Unit is the instance of wanctl@.service that runs a WAN configuration of that path.
func Unit(path string) string {
	return strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)), "_config")
}

// unique refuses two hosts of one name, or of one address with one root.
func (p *parser) unique(hosts []Host) {
	names, places := map[string]bool{}, map[string]string{}
	for i, h := range hosts {
		path := fmt.Sprintf("hosts[%d]", i)
		if h.Name != "" && names[h.Name] {
			p.tell(h.At, path+".name", "rename one", fmt.Sprintf("%q is there twice", h.Name))
			continue
		}
		names[h.Name] = true
		where := fmt.Sprintf("%s port %d, root %s", h.Address, h.Port, h.Root)
		if other, ok := places[where]; ok && h.Name != "" {
			p.tell(h.At, path, "make one host of them", fmt.Sprintf("%s is the same host as %s (%s)", h.Name, other, where))
		}
		places[where] = h.Name
	}
}
