package install

import (
	"io/fs"
	"slices"
	"strings"

	"wanctl/internal/config"
)

// unitFiles are the units of this host: all of them, but of the earlier system's names only those of lines that are here.
func (j *job) unitFiles() map[string]string {
	out := map[string]string{}
	if !j.systemd {
		return out
	}
	here := func(line string) bool {
		return slices.ContainsFunc(j.b.WANs, func(c Config) bool { return c.Unit == line })
	}
	for i, f := range j.files { // CAKE on the host itself takes a right that nobody else gets
		linux := f.WAN != nil && f.WAN.Router.Transport == config.TransportLinux || f.Steering != nil && f.Steering.Linux != nil
		if linux {
			if b, err := fs.ReadFile(j.opt.Units, "systemd/drop-ins/linux.conf"); err == nil {
				out[unitOf(j.b.configs()[i])+".d/50-linux.conf"] = string(b)
			}
		}
	}
	_ = fs.WalkDir(j.opt.Units, "systemd", func(path string, d fs.DirEntry, err error) error { // it is part of the program
		name := strings.TrimPrefix(path, "systemd/")
		if err != nil || d.IsDir() || strings.HasPrefix(name, "drop-ins/") {
			return err
		}
		if line, ok := strings.CutPrefix(name, "cake-"); ok && !here(strings.Split(line, "-continuous.")[0]) {
			return nil
		}
		if line, ok := strings.CutPrefix(name, "wanctl@"); ok && strings.Contains(name, ".d/") && !here(strings.Split(line, ".service.d/")[0]) {
			return nil
		}
		b, err := fs.ReadFile(j.opt.Units, path)
		if err == nil {
			out[name] = string(b)
		}
		return err
	})
	return out
}

// aliases are the units that carry the earlier system's names for lines of this host.
func (j *job) aliases() []string {
	var out []string
	for name := range j.unitFiles() {
		if strings.HasPrefix(name, "cake-") && strings.HasSuffix(name, ".service") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
