// Package config turns YAML files into validated settings, and says everything that is wrong with a file at once:
// where, what, and the way out.
package config

import (
	"io"

	"wanctl/internal/document"
	"wanctl/internal/unit"
)

// MaxSize bounds a config file, in bytes. A larger one is refused without being read to its end.
const MaxSize = 1 << 20

var yamlForm = document.Form{
	Name: "config", MaxSize: MaxSize, TooLarge: "is it the right file?", Empty: "start from configs/minimal.yaml", Merge: true, Secret: true,
}

// Options are what the caller lends to the parser: this package touches neither the environment nor the disk itself.
// The zero value works: secrets from outside the file then fail when they are resolved, and unset paths stay empty.
type Options struct {
	// Env looks an environment variable up, as os.LookupEnv does.
	Env func(name string) (string, bool)
	// ReadFile reads a secret's file, as os.ReadFile does.
	ReadFile func(path string) ([]byte, error)
	// Credential names the file that the service manager put in the place of a secret's; nil changes none.
	Credential func(path string) string
	// Dirs are where lock, feed and state files live that the config does not name.
	Dirs Dirs
	// Public says that every user of the host may read the file: then a secret must not stand in it, which is a warning.
	Public bool
}

// Dirs are the service's own directories. An empty one leaves the paths that would lie in it empty.
type Dirs struct {
	// Run holds locks and feeds (systemd's RUNTIME_DIRECTORY), State the durable state (STATE_DIRECTORY).
	Run, State string
}

// File is one config file: exactly one of its two pointers is set.
type File struct {
	// Name is the name Parse was given.
	Name string
	// WAN is set for a file that controls one line's rates.
	WAN *WAN
	// Steering is set for a file that moves new connections between two lines.
	Steering *Steering

	places map[string]pos // where each key stands, for CrossCheck
}

// Parse reads one config file. The name appears in the diagnostics and nothing is opened by it. The kind of file is
// known by its content. With errors among the diagnostics the File is nil; warnings alone leave it usable.
// At most [MaxSize] bytes are read.
func Parse(name string, r io.Reader, opt Options) (*File, Diagnostics) {
	p := &parser{file: name, opt: &opt, values: map[string]value{}, given: map[string]pos{}}
	f := p.parse(r)
	ds := p.diagnostics()
	if ds.HasErrors() {
		return nil, ds
	}
	return f, ds
}

// parse runs the stages: text, tree, keys, values, meaning.
func (p *parser) parse(r io.Reader) *File {
	root := yamlForm.Root(r, p.tell)
	if root == nil {
		return nil
	}
	entries := yamlForm.Entries(root, "", p.tell)
	k, ok := p.detect(entries, root)
	if !ok {
		return nil
	}
	p.kind, p.schema = k, schemas[k]
	p.root = document.At(root)
	p.section("", entries)
	p.aliases()
	f := &File{Name: p.file, places: p.given}
	if k == kindWAN {
		f.WAN = p.wan()
	} else {
		f.Steering = p.steering()
	}
	return f
}

// mbps reads a rate key; its bounds were checked with its type.
func (p *parser) mbps(path string) unit.Rate {
	r, err := unit.FromMbps(p.num(path))
	if err != nil {
		return 0
	}
	return r
}

// secretFile is where a secret's file is really to be read.
func (o *Options) secretFile(path string) string {
	if o == nil || o.Credential == nil || path == "" {
		return path
	}
	return o.Credential(path)
}
