package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"wanctl/internal/state"
)

// Dirs are the directories wanctl keeps its files in where a configuration does not name them.
type Dirs struct {
	// State is durable, Run is emptied at boot.
	State, Run string
}

// DefaultDirs follows the unit's environment (STATE_DIRECTORY, RUNTIME_DIRECTORY), then the user: root has
// /var/lib/wanctl and /run/wanctl, others have directories of their own.
func DefaultDirs(getenv func(string) string, uid int) Dirs {
	first := func(list string) string {
		s, _, _ := strings.Cut(list, ":")
		return s
	}
	d := Dirs{State: first(getenv("STATE_DIRECTORY")), Run: first(getenv("RUNTIME_DIRECTORY"))}
	if d.State == "" {
		d.State = "/var/lib/wanctl"
		if uid != 0 {
			base := getenv("XDG_STATE_HOME")
			if base == "" {
				base = filepath.Join(getenv("HOME"), ".local", "state")
			}
			d.State = filepath.Join(base, "wanctl")
		}
	}
	if d.Run == "" {
		d.Run = "/run/wanctl"
		if uid != 0 {
			base := getenv("XDG_RUNTIME_DIR")
			if base == "" {
				base = d.State
			}
			d.Run = filepath.Join(base, "wanctl")
		}
	}
	return d
}

// replaceFile puts content at path so that a reader sees the old file or the new one. A durable file reaches the disk
// before it takes its place.
func replaceFile(path string, content []byte, durable bool) error {
	if durable {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the directory of %s: %w", path, err)
		}
		if err := renameio.WriteFile(path, content, 0o644, renameio.WithTempDir(filepath.Dir(path))); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
		_ = leaveToTheDirectory(path)
		return nil
	}
	// One writer per file, guarded by its lock, so one name is enough and nothing is left behind in numbers.
	tmp := path + ".new"
	err := writeOwn(tmp, content)
	if errors.Is(err, fs.ErrNotExist) { // the usual case is that the directory is there: this runs every cycle
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make the directory of %s: %w", path, err)
		}
		err = writeOwn(tmp, content)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write %s: %w", tmp, err)
	}
	_ = leaveToTheDirectory(tmp)
	if err := os.Rename(tmp, path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("put %s in place: %w", path, err)
	}
	return nil
}

// writeOwn writes a file that must be our own: it follows no link and waits for no reader of a pipe.
func writeOwn(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// saveState writes a durable file and keeps the one before as path.bak.
func saveState(path string, encode func(io.Writer) error) error {
	var b bytes.Buffer
	if err := encode(&b); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	link := path + ".bak.new"
	_ = os.Remove(link)
	if err := os.Link(path, link); err == nil {
		if err := os.Rename(link, path+".bak"); err != nil {
			return fmt.Errorf("keep the last %s: %w", path, err)
		}
	}
	return replaceFile(path, b.Bytes(), true)
}

// loadState reads path, else its backup. A file that cannot be trusted is moved aside, over the last one that was, and said in
// notes: to path.corrupt, or, whole and of a later version, to path.newer, of which learn, where not nil, takes what it can when
// there is no other. found is false when none could be used, and the caller starts from its defaults.
func loadState(path string, decode, learn func(io.Reader) error) (found bool, notes []string) {
	var newer []string
	for _, p := range []string{path, path + ".bak"} {
		err := readFile(p, decode)
		switch {
		case err == nil:
			if p != path {
				notes = append(notes, fmt.Sprintf("state restored from the backup %s", p))
			}
			return true, notes
		case errors.Is(err, fs.ErrNotExist):
			continue
		case errors.Is(err, state.ErrCorrupt):
			later := errors.Is(err, state.ErrNewer)
			kept, why := p+".corrupt", ""
			if later {
				kept = p + ".newer"
			}
			if mv := os.Rename(p, kept); mv != nil {
				kept, why = p, " (it could not be moved aside: "+mv.Error()+")"
			}
			if later { // wherever it is: what stands at its new name after a failed move is another file
				newer = append(newer, kept)
			}
			notes = append(notes, fmt.Sprintf("state file %s: %v; kept as %s%s", p, err, kept, why))
		default:
			notes = append(notes, fmt.Sprintf("state file %s: %v; it is left alone", p, err))
		}
	}
	if learn != nil {
		for _, p := range newer {
			err := readFile(p, learn)
			if err == nil {
				return true, append(notes, "the averages and rates of "+p+" are taken over; all else that it knew begins anew")
			}
			notes = append(notes, fmt.Sprintf("nothing can be taken over of %s: %v", p, err))
		}
	}
	if len(notes) > 0 {
		notes = append(notes, "starting from the configuration's defaults")
	}
	return false, notes
}

// sweep removes what a killed process left of a durable write: files named after path with digits behind, which
// renameio makes. Only the holder of the lock may call it.
func sweep(path string) {
	prefix := "." + filepath.Base(path)
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return // a directory that is not there, or not readable, is said by the first save
	}
	for _, e := range entries {
		digits, ok := strings.CutPrefix(e.Name(), prefix)
		if ok && digits != "" && strings.Trim(digits, "0123456789") == "" {
			_ = os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

func readFile(path string, decode func(io.Reader) error) error {
	// Not to wait where somebody put a pipe.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return err
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	}
	return decode(f)
}

// owner is who holds a lock.
type owner struct {
	PID     int       `json:"pid"`
	Name    string    `json:"name"`
	Config  string    `json:"config"`
	Started time.Time `json:"started"`
	// BootID is the boot's name as the holder sees it.
	BootID string `json:"boot_id,omitempty"`
}

// LockHeldError says that another process runs this WAN or this steering.
type LockHeldError struct {
	Path, Name string
	Holder     string
}

// Error names the holder and the way out.
func (e *LockHeldError) Error() string {
	return fmt.Sprintf("%s is already run by %s (lock %s); stop that one first, or use `wanctl handover` and restart it",
		e.Name, e.Holder, e.Path)
}

// takeLocks makes this process the only one for name in the run directory, and the only one with the configured lock
// file: sockets and notes go by name, whatever file a configuration locks.
func takeLocks(run, configured, name, config string, now time.Time) (release func() error, anonymous, err error) {
	release, anonymous, err = takeLock(configured, name, config, now)
	byName := filepath.Join(run, name+".lock")
	if err != nil || filepath.Clean(configured) == byName {
		return release, anonymous, err
	}
	second, alsoAnonymous, err := takeLock(byName, name, config, now)
	if err != nil {
		return nil, nil, errors.Join(err, release())
	}
	first := release
	return func() error { return errors.Join(second(), first()) }, errors.Join(anonymous, alsoAnonymous), nil
}

// takeLock makes this process the only one for name. The lock lives as long as the process: a killed one leaves none.
// warn says that the lock is held but does not name its owner: a full disk is no reason not to start.
func takeLock(path, name, config string, now time.Time) (release func() error, warn, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, nil, fmt.Errorf("make the directory of lock %s: %w", path, err)
	}
	// Another user who may open the file could hold the lock, and a link could lead anywhere.
	info, statErr := os.Lstat(path)
	if statErr == nil && !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("lock %s is not a regular file: remove it, or name another in lock_file", path)
	}
	l := flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(os.O_CREATE|os.O_RDONLY|syscall.O_NOFOLLOW))
	ok, err := l.TryLock()
	if err != nil {
		return nil, nil, fmt.Errorf("take lock %s for %s: %w (make its directory writable, or name another in lock_file)", path, name, err)
	}
	if !ok {
		holder := "a process that has not written its name yet"
		var o owner
		if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &o) == nil && o.PID > 0 {
			if errors.Is(syscall.Kill(o.PID, 0), syscall.ESRCH) {
				return nil, nil, &LockHeldError{Path: path, Name: name, Holder: "an unknown process (see `fuser " + path + "`)"}
			}
			holder = fmt.Sprintf("process %d since %s with %s", o.PID, o.Started.Format(time.DateTime), o.Config)
		}
		return nil, nil, &LockHeldError{Path: path, Name: name, Holder: holder}
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		_ = leaveToTheDirectory(path)
	}
	boot, _ := BootID() // a start says itself that there is none
	b, err := json.Marshal(owner{PID: os.Getpid(), Name: name, Config: config, Started: now, BootID: boot})
	if err == nil {
		err = rewrite(path, append(b, '\n'))
	}
	if err != nil {
		warn = fmt.Errorf("the lock %s is held without its owner's name: %w", path, err)
	}
	return l.Unlock, warn, nil
}

// rewrite replaces what is in a file that is there, in place, because a lock belongs to its inode. It follows no link: the directory
// may be the service's, and this be root.
func rewrite(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_TRUNC|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}

// leaveToTheDirectory gives a file that root made to whom its directory belongs: what root does by hand or for the service,
// `wanctl handover` and `wanctl release`, must leave nothing that the service's own user cannot open. Who passes the error over
// leaves it to the service to say what is wrong with its file.
func leaveToTheDirectory(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var dir syscall.Stat_t
	if err := syscall.Stat(filepath.Dir(path), &dir); err != nil {
		return &fs.PathError{Op: "stat", Path: filepath.Dir(path), Err: err}
	}
	if dir.Uid == 0 {
		return nil
	}
	if err := os.Lchown(path, int(dir.Uid), int(dir.Gid)); err != nil {
		return fmt.Errorf("give %s to the controller's user: %w", path, err)
	}
	return nil
}
