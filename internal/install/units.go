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
	for i, f := range j.files { // CAKE on the host itself takes a right that nobody else gets, and queues that somebody makes at boot
		dropIns := []string{"linux.conf", "qdisc.conf"}
		switch {
		case lineOfHost(f):
		case f.Steering != nil && f.Steering.Linux != nil:
			dropIns = dropIns[:1]
		default:
			continue
		}
		for _, d := range dropIns {
			if b, err := fs.ReadFile(j.opt.Units, "systemd/drop-ins/"+d); err == nil {
				out[unitOf(j.b.configs()[i])+".d/50-"+d] = string(b)
			}
		}
	}
	_ = fs.WalkDir(j.opt.Units, "systemd", func(path string, d fs.DirEntry, err error) error { // it is part of the program
		name := strings.TrimPrefix(path, "systemd/")
		if err != nil || d.IsDir() || strings.HasPrefix(name, "drop-ins/") || strings.HasPrefix(name, "sysusers/") {
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

// lineOfHost says that a file is of a line whose queues are the host's own.
func lineOfHost(f *config.File) bool {
	return f.WAN != nil && f.WAN.Router.Transport == config.TransportLinux
}

// queueUnit is what the name of a unit that makes a line's queues begins with.
const queueUnit = "wanctl-qdisc@"

// queues are the units that make the queues of lines of the host itself.
func (j *job) queues() []string {
	var out []string
	for i, f := range j.files {
		if lineOfHost(f) {
			out = append(out, queueUnit+j.b.configs()[i].Unit+".service")
		}
	}
	return out
}

// timers are those that would run a process per cycle beside the service of a line or of steering, and by that end it.
func (j *job) timers() []string {
	var out []string
	files := j.unitFiles()
	for _, c := range j.b.configs() {
		out = append(out, onceOf(c)+".timer")
		if name := "cake-" + c.Unit + "-continuous.timer"; !slices.Contains(j.earlier.Names, name) { // else it is the earlier system's own
			if _, ok := files[name]; ok {
				out = append(out, name)
			}
		}
	}
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
