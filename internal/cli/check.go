package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"wanctl/internal/config"
	"wanctl/internal/install"
	"wanctl/internal/systemd"
)

type checkCmd struct {
	Files []string `arg:"" name:"file" help:"WAN or steering configuration files (YAML)."`
	JSON  bool     `help:"Print the findings as JSON."`
}

// Help teaches the output.
func (checkCmd) Help() string {
	return `Each finding is one line, "file:line:column: severity: key: message (way out)". Nothing is contacted and nothing
is written. The exit code is 0 when no file has an error; warnings alone are no error.

Example:

    wanctl check configs/att_config.yaml configs/steering_config_v2.yaml`
}

// Run reads all files and reports on all of them.
func (c checkCmd) Run(app *App) error {
	var all config.Diagnostics
	kinds := make([]string, len(c.Files))
	files := make([]*config.File, len(c.Files))
	for i, path := range c.Files {
		f, ds := app.parse(path, "")
		all = append(all, ds...)
		files[i] = f
		switch {
		case f == nil:
		case f.WAN != nil:
			kinds[i] = "WAN " + f.WAN.Name
		case f.Steering != nil:
			kinds[i] = "steering " + f.Steering.Name
		}
	}
	all = append(all, config.CrossCheck(files...)...)
	bad := all.HasErrors()
	if c.JSON {
		if all == nil {
			all = config.Diagnostics{}
		}
		if err := app.printJSON("findings", struct {
			OK       bool               `json:"ok"`
			Findings config.Diagnostics `json:"findings"`
		}{!bad, all}); err != nil {
			return err
		}
	} else {
		fmt.Fprint(app.Stderr, all)
		failed := map[string]bool{}
		for _, d := range all.Errors() {
			failed[d.File] = true
		}
		for i, k := range kinds {
			if k != "" && !failed[c.Files[i]] {
				fmt.Fprintf(app.Stdout, "%s: ok: %s\n", c.Files[i], k)
			}
		}
	}
	if bad {
		return exitCode(exitFailed)
	}
	return nil
}

// parseAll reads files and prints their errors; whole says that all could be read. Those that could not are left out.
func (a *App) parseAll(paths []string, run string) (files []*config.File, whole bool) {
	whole = true
	for _, path := range paths {
		f, ds := a.parse(path, run)
		fmt.Fprint(a.Stderr, ds.Errors())
		if f == nil {
			whole = false
			continue
		}
		files = append(files, f)
	}
	return files, whole
}

// steeringOf reads one steering file, and prints its errors.
func (a *App) steeringOf(path, run string) (*config.Steering, error) {
	files, whole := a.parseAll([]string{path}, run)
	switch {
	case !whole:
		return nil, exitCode(exitFailed)
	case files[0].Steering == nil:
		return nil, fmt.Errorf("%s: is not a steering configuration", path)
	}
	return files[0].Steering, nil
}

// parse reads one file, and for steering its primary's; a file that cannot be opened is a finding like any other.
// run is --run-dir, for paths that the file leaves open; empty is the usual one.
func (a *App) parse(path, run string) (*config.File, config.Diagnostics) {
	file, ds := a.parseOne(path, run)
	if file == nil || file.Steering == nil || file.Steering.PrimaryWANConfig == "" {
		return file, ds
	}
	// What steering leaves open is taken from its primary's own file, and that is followed no further.
	primary, pds := a.parseOne(file.Steering.PrimaryWANConfig, run)
	switch {
	case primary == nil && file.Steering.Queues.Download+file.Steering.Queues.Simple != "" && !exists(file.Steering.PrimaryWANConfig):
		// Steering can do without it; only where its probes leave by is then for it to say itself.
		ds = append(ds, config.Diagnostic{
			File: path, Key: "topology.primary_wan_config", Severity: config.Warning,
			Message: file.Steering.PrimaryWANConfig + " is not on this host, so its source address is not adopted",
			Hint:    "give measurement.ping_source_ip, or put the file there",
		})
	case primary == nil:
		ds = append(ds, pds.Errors()...)
	case primary.WAN == nil:
		ds = append(ds, config.Diagnostic{
			File: path, Key: "topology.primary_wan_config", Severity: config.Error,
			Message: file.Steering.PrimaryWANConfig + " is not the configuration of a WAN",
			Hint:    "name the primary line's own file",
		})
	default:
		file.Steering.Adopt(primary.WAN)
	}
	if ds.HasErrors() {
		return nil, ds
	}
	return file, ds
}

// parseOne reads one file and follows nothing.
func (a *App) parseOne(path, run string) (*config.File, config.Diagnostics) {
	f, err := os.Open(path)
	if err != nil {
		var pe *os.PathError
		msg := err.Error()
		if errors.As(err, &pe) {
			msg = pe.Err.Error()
		}
		hint := "give the path of a WAN or steering configuration; examples are in configs/"
		if errors.Is(err, fs.ErrPermission) {
			hint = "run it as root, or as a member of the file's group (" + install.ConfigGroup + " for those of the services)"
		}
		return nil, config.Diagnostics{{File: path, Severity: config.Error, Message: "cannot be opened: " + msg, Hint: hint}}
	}
	defer f.Close()
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		return nil, config.Diagnostics{{
			File: path, Severity: config.Error, Message: "is a directory",
			Hint: "give its files: " + filepath.Join(path, "*.yaml"),
		}}
	}
	o := a.parseOptions(run)
	o.Public = err == nil && st.Mode().IsRegular() && st.Mode().Perm()&0o004 != 0
	return config.Parse(path, f, o)
}

// parseOptions are how a configuration of this host is read; run is as for [App.parse].
func (a *App) parseOptions(run string) config.Options {
	d := a.dirs(run)
	return config.Options{Env: a.LookupEnv, ReadFile: a.ReadFile, Credential: systemd.Credential, Dirs: config.Dirs{Run: d.Run, State: d.State}}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
