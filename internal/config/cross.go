package config

import (
	"path"
	"strings"
)

// CrossCheck compares the files that one installation uses together: two lines that share a name, a queue or a file
// disturb each other, and steering must read what its lines write. Files that are nil are passed over.
func CrossCheck(files ...*File) Diagnostics {
	c := crossing{names: map[string]string{}, queues: map[string]string{}, paths: map[string]string{}}
	for _, f := range files {
		if f != nil {
			c.alone(f)
		}
	}
	for _, f := range files {
		if f != nil && f.Steering != nil {
			c.steering(f, files)
		}
	}
	return c.found.sorted()
}

// crossing remembers which file was the first to use something.
type crossing struct {
	found                Diagnostics
	names, queues, paths map[string]string
}

func (c *crossing) note(f *File, s Severity, key, hint, message string) {
	at := f.places[key]
	for k := parent(key); at.Line == 0 && k != ""; k = parent(k) {
		at = f.places[k]
	}
	c.found = append(c.found, Diagnostic{
		File: f.Name, Line: at.Line, Column: at.Column, Key: key, Severity: s, Message: message, Hint: hint,
	})
}

// alone notes what two files may not both use.
func (c *crossing) alone(f *File) {
	once := func(seen map[string]string, id, key, what string) {
		if first, ok := seen[id]; ok {
			c.note(f, Error, key, "give each its own", "the same "+what+" is used in "+first)
			return
		}
		seen[id] = f.Name
	}
	paths := map[string]string{}
	if w := f.WAN; w != nil {
		once(c.names, strings.ToLower(w.Name), "wan_name", "name")
		if w.Router.Transport == TransportLinux {
			once(c.queues, w.Interfaces.Download, "interfaces.download", "interface")
			once(c.queues, w.Interfaces.Upload, "interfaces.upload", "interface")
		} else {
			for _, q := range []struct{ name, key string }{
				{w.Queues.Download, "queues.download"}, {w.Queues.Upload, "queues.upload"}, {w.Queues.Simple, "queues.simple"},
			} {
				if q.name != "" { // a simple queue may have the name of one of the tree
					once(c.queues, w.Router.Host+" "+q.name+simpleSuffix(q.key), q.key, "queue")
				}
			}
		}
		paths = map[string]string{"lock_file": w.LockFile, "state_file": w.StateFile, "feed_file": w.FeedFile}
	}
	if s := f.Steering; s != nil {
		paths = map[string]string{"lock_file": s.LockFile, "state.file": s.StateFile}
	}
	for _, key := range []string{"lock_file", "state_file", "feed_file", "state.file"} {
		if p := paths[key]; p != "" {
			once(c.paths, path.Clean(p), key, "file")
		}
	}
}

// steering compares a steering config with the configs of its lines.
func (c *crossing) steering(f *File, files []*File) {
	s := f.Steering
	line := func(name string) *WAN {
		for _, o := range files {
			if o != nil && o.WAN != nil && strings.EqualFold(o.WAN.Name, name) {
				return o.WAN
			}
		}
		return nil
	}
	lines := 0
	for _, o := range files {
		if o != nil && o.WAN != nil {
			lines++
		}
	}
	primary := line(s.Steer.Primary)
	if primary == nil && lines > 0 && s.Steer.Primary != "primary" {
		c.note(f, Warning, "topology.primary_wan", "check both names", "no config given here is of a line called "+s.Steer.Primary)
	}
	c.source(f, primary, "cake_state_sources", s.Source)
	for i, a := range s.Alternates {
		c.source(f, line(a.Name), s.placeOf(i)+".state_source", a.StateSource)
	}
	if s.Linux != nil {
		for _, l := range s.Linux.Lines {
			if w := line(l.Name); w != nil && w.Router.Transport == TransportLinux && w.Interfaces.Upload != l.Interface {
				c.note(f, Warning, linesKey, "check both names", l.Interface+" is not the upload interface of "+w.Name+", "+w.Interfaces.Upload)
			}
		}
	}
	if primary != nil && primary.Router.Transport != TransportLinux && s.Queues.Download != "" && s.Queues.Download != primary.Queues.Download {
		c.note(f, Warning, "cake_queues.primary_download", "check both names",
			"is not the download queue of "+primary.Name+", "+primary.Queues.named())
	}
	if primary != nil && s.Queues.Simple != "" && s.Queues.Simple != primary.Queues.Simple {
		c.note(f, Warning, "cake_queues.primary_simple", "check both names",
			"is not the queue of "+primary.Name+", "+primary.Queues.named())
	}
}

// simpleSuffix tells names of the two menus apart.
func simpleSuffix(key string) string {
	if key == "queues.simple" {
		return "\x00"
	}
	return ""
}

// source checks that steering reads a file which the line's controller writes.
func (c *crossing) source(f *File, w *WAN, key, source string) {
	if w == nil || source == "" || w.FeedFile == "" {
		return
	}
	switch path.Clean(source) {
	case path.Clean(w.FeedFile):
	case path.Clean(w.StateFile):
		c.note(f, Warning, key, "read "+w.FeedFile,
			"is the state file of "+w.Name+": only the baseline is in it, so the rate controller confirms nothing")
	default:
		c.note(f, Warning, key, "read "+w.FeedFile, source+" is not written by "+w.Name)
	}
}
