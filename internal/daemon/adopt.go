package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"wanctl/internal/config"
	"wanctl/internal/state"
)

// aside is what a state file of another format is kept as.
const aside = ".before"

// Adopt writes a line's state file from what another program kept, or a version of wanctl whose format this one does not
// know. It fails while a process holds the line's lock, because that would write its own over it. A state file that this
// version can read is replaced with force alone; what was there is kept beside it.
func Adopt(c *config.WAN, dirs Dirs, r io.Reader, force bool, clock Clock) (learnt state.Learnt, err error) {
	if learnt, err = state.ReadLearnt(r); err != nil {
		return learnt, err
	}
	release, _, err := takeLocks(dirs.Run, c.LockFile, c.Name, "wanctl state import", clock.Wall())
	if err != nil {
		return learnt, err
	}
	defer func() { err = errors.Join(err, release()) }()
	known := readFile(c.StateFile, func(r io.Reader) error {
		_, err := state.ReadWAN(r, c.Name)
		return err
	})
	switch {
	case known == nil && !force:
		return learnt, fmt.Errorf("%s is a state of this version already: nothing was imported (--force replaces it)", c.StateFile)
	case errors.Is(known, fs.ErrNotExist):
	default:
		if err := os.Rename(c.StateFile, c.StateFile+aside); err != nil {
			return learnt, fmt.Errorf("keep %s: %w", c.StateFile, err)
		}
	}
	saved := learnt.WAN(c.Name)
	saved.Saved = clock.Wall()
	if err := saveState(c.StateFile, func(w io.Writer) error { return state.WriteWAN(w, saved) }); err != nil {
		return learnt, err
	}
	for _, lock := range []string{c.LockFile, filepath.Join(dirs.Run, c.Name+".lock")} { // which may be root's of before
		err = errors.Join(err, leaveToTheDirectory(lock))
	}
	return learnt, err
}

// ReadableState says whether this version can go on from a state file: "" when it can or there is none, else why not.
func ReadableState(f *config.File) string {
	var path string
	var decode func(io.Reader) error
	if f.WAN != nil {
		path, decode = f.WAN.StateFile, func(r io.Reader) error {
			_, err := state.ReadWAN(r, f.WAN.Name)
			return err
		}
	} else {
		path, decode = f.Steering.StateFile, func(r io.Reader) error {
			_, err := state.ReadSteering(r, f.Steering.Steer.Primary)
			return err
		}
	}
	if err := readFile(path, decode); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Sprintf("%s: %v", path, err)
	}
	return ""
}
