package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"

	"wanctl/internal/config"
	"wanctl/internal/install"
	"wanctl/internal/routeros"
)

// outFile is a file to be written.
type outFile struct {
	path    string
	content []byte
	mode    os.FileMode
	// was is what is there now, nil where nothing is.
	was []byte
}

// stays says that it is there already.
func (f *outFile) stays() bool { return f.was != nil && bytes.Equal(f.was, f.content) }

// Modes. A configuration holds no secret; the services, whose user exists only while they run, read it as members of
// [install.ConfigGroup] (docs/install.md).
const (
	configMode = 0o640
	secretMode = 0o600
)

// commit checks the files as "wanctl check" does, and writes all of them or none.
func (w *wizard) commit() ([]string, error) {
	out := w.configs()
	var configs []string
	for _, f := range out {
		configs = append(configs, f.path)
	}
	if err := w.check(out); err != nil {
		return nil, err
	}
	if w.password != "" {
		out = append(out, outFile{path: w.passwordFile(), content: []byte(w.password + "\n"), mode: secretMode})
	}
	if err := w.mayOverwrite(out); err != nil {
		return nil, err
	}
	if err := w.put(out); err != nil {
		return nil, err
	}
	w.wrote(out)
	if !w.Linux { // and from now on the recorded key counts
		w.known, w.door.KnownHosts = true, w.house.Router.KnownHosts
	}
	return configs, nil
}

// wrote remembers what the files hold.
func (w *wizard) wrote(out []outFile) {
	w.written = map[string][]byte{}
	for _, f := range out {
		w.written[f.path] = f.content
	}
}

// configs are the configurations, as they are to be.
func (w *wizard) configs() (out []outFile) {
	for _, f := range w.house.Files() {
		out = append(out, outFile{path: filepath.Join(w.Dir, f.Name), content: []byte(f.Text), mode: configMode})
	}
	return out
}

// check reads the configurations back.
func (w *wizard) check(out []outFile) error {
	var files []*config.File
	var all config.Diagnostics
	options := w.app.parseOptions("")
	for _, o := range out {
		f, ds := config.Parse(o.path, bytes.NewReader(o.content), options)
		all = append(all, ds...)
		files = append(files, f)
	}
	if steering := files[len(files)-1]; steering != nil && steering.Steering != nil {
		if primary := files[w.house.Steering.Primary]; primary != nil {
			steering.Steering.Adopt(primary.WAN)
		}
	}
	all = append(all, config.CrossCheck(files...)...)
	fmt.Fprint(w.app.Stderr, all)
	if all.HasErrors() {
		return exitCode(exitFailed)
	}
	return nil
}

// there reads what is at the files' places, and returns those with another content.
func there(out []outFile) (others []string, err error) {
	for i := range out {
		b, err := os.ReadFile(out[i].path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, fmt.Errorf("look at what is there: %w", err)
		}
		if out[i].was = append([]byte{}, b...); !out[i].stays() {
			others = append(others, out[i].path)
		}
	}
	return others, nil
}

// mayOverwrite asks about files that are there with another content.
func (w *wizard) mayOverwrite(out []outFile) error {
	others, err := there(out)
	if err != nil || len(others) == 0 || w.Force {
		return err
	}
	if w.Yes {
		return fmt.Errorf("%s: there already (--force overwrites, --dir names another place)", strings.Join(others, ", "))
	}
	fmt.Fprintf(w.app.Stdout, "There already, with another content: %s\n", strings.Join(others, ", "))
	yes, err := w.agree("Overwrite", "--force", false)
	if err == nil && !yes {
		err = errors.New("what is there stays")
	}
	return err
}

// put writes all files that are not there already, or takes back what it wrote. Until the last is on the disk nothing has its
// name.
func (w *wizard) put(out []outFile) (err error) {
	out = slices.DeleteFunc(out, func(f outFile) bool { return f.stays() })
	var made []string
	takeBack := func() {}
	pending := make([]*renameio.PendingFile, 0, len(out))
	defer func() {
		for _, p := range pending {
			_ = p.Cleanup() // nothing where it is in its place
		}
		if err != nil {
			takeBack()
			for _, dir := range slices.Backward(made) {
				_ = os.Remove(dir) // stays unless it is empty
			}
		}
	}()
	dir := func(path string, mode os.FileMode) error {
		dirs, err := makeDir(filepath.Dir(path), mode)
		made = append(made, dirs...)
		if err != nil {
			return fmt.Errorf("make the directory of %s: %w (run as root, or --dir)", path, err)
		}
		return nil
	}
	for _, f := range out {
		mode := os.FileMode(0o755)
		if f.mode == secretMode {
			mode = 0o700
		}
		if err := dir(f.path, mode); err != nil {
			return err
		}
	}
	// The router is asked before a file with its password is on the disk: it may take long to answer.
	if w.records() {
		known := w.house.Router.KnownHosts
		if err := dir(known, 0o700); err != nil {
			return err
		}
		if takeBack, err = asItIs(known); err != nil {
			return err
		}
		if err := w.record(); err != nil {
			return err
		}
	}
	for _, f := range out {
		p, err := renameio.NewPendingFile(f.path, renameio.WithTempDir(filepath.Dir(f.path)), renameio.WithStaticPermissions(f.mode))
		if err != nil {
			return fmt.Errorf("write %s: %w (run as root, or --dir)", f.path, err)
		}
		pending = append(pending, p)
		if group, ok := install.ConfigGroupID(); ok && f.mode == configMode && w.app.UID == 0 {
			if err := p.Chown(-1, group); err != nil {
				return fmt.Errorf("give %s to the group %s: %w", f.path, install.ConfigGroup, err)
			}
		}
		if _, err := p.Write(f.content); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
		if err := p.Sync(); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	if err := w.ctx.Err(); err != nil {
		return err
	}
	for i, p := range pending {
		if err := p.CloseAtomicallyReplace(); err != nil {
			for _, f := range out[:i] {
				if f.was == nil {
					_ = os.Remove(f.path)
				} else if werr := renameio.WriteFile(f.path, f.was, f.mode); werr != nil {
					err = errors.Join(err, fmt.Errorf("put the old %s back: %w", f.path, werr))
				}
			}
			return fmt.Errorf("write %s: %w", out[i].path, err)
		}
	}
	for _, f := range out {
		fmt.Fprintf(w.app.Stdout, "wrote %s\n", f.path)
	}
	return nil
}

// makeDir makes a directory and those above it, and returns those it made.
func makeDir(dir string, mode os.FileMode) (made []string, err error) {
	if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
		return nil, nil
	}
	if made, err = makeDir(filepath.Dir(dir), 0o755); err != nil {
		return made, err
	}
	if err := os.Mkdir(dir, mode); err != nil {
		return made, err
	}
	return append(made, dir), nil
}

// asItIs returns what makes a file, to which lines may be added, what it is now.
func asItIs(path string) (takeBack func(), err error) {
	switch was, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return func() { _ = os.Remove(path) }, nil
	case err != nil:
		return func() {}, fmt.Errorf("look at what is there: %w", err)
	default:
		return func() { _ = os.Truncate(path, was.Size()) }, nil
	}
}

// records says whether the host key that was accepted is yet to be recorded.
func (w *wizard) records() bool { return !w.Linux && !w.known && w.house.Router.KnownHosts != "" }

// record puts the host key that was accepted into the file that the configurations name, if the router still shows it.
func (w *wizard) record() error {
	o := w.door
	o.KnownHosts = w.house.Router.KnownHosts
	cl, err := routeros.New(o)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	accepted, err := routeros.New(w.door)
	if err != nil {
		return err
	}
	defer func() { _ = accepted.Close() }()
	seen, err := accepted.Fingerprint(w.ctx)
	if err != nil {
		return err
	}
	if known, err := accepted.Known(seen); err != nil || !known {
		return errors.Join(errors.New("the router shows another key than a moment ago: somebody may be in between"), err)
	}
	_, err = cl.Trust(w.ctx, seen)
	return err
}
