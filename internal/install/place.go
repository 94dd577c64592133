package install

import (
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
)

// place says where things lie under a root.
type place struct{ root string }

func (p place) at(elem ...string) string {
	return filepath.Join(append([]string{p.root}, elem...)...)
}

func (p place) lib() string               { return Lib(p.root) }
func (p place) version(id string) string  { return filepath.Join(p.lib(), "versions", id) }
func (p place) current() string           { return filepath.Join(p.lib(), "current") }
func (p place) unfinished() string        { return filepath.Join(p.lib(), "unfinished") }
func (p place) program() string           { return p.at("usr/bin/wanctl") }
func (p place) config(name string) string { return p.at("etc/wanctl", name) }
func (p place) units() string             { return p.at("etc/systemd/system") }
func (p place) run() string               { return p.at("run/wanctl") }
func (p place) state() string             { return p.at("var/lib/wanctl") }

// Lib is where versions are kept under a root.
func Lib(root string) string { return filepath.Join(root, "usr/local/lib/wanctl") }

// RootOf is the root that a version's program is kept under; "/" for a program that lies anywhere else.
func RootOf(program string) string {
	version := filepath.Dir(program)
	root, ok := strings.CutSuffix(filepath.Dir(filepath.Dir(version)), "/usr/local/lib/wanctl")
	if !ok || root == "" || filepath.Base(filepath.Dir(version)) != "versions" {
		return "/"
	}
	return root
}

// LogOf is the log of a run.
func LogOf(root, run string) string { return filepath.Join(Lib(root), "log", run+".jsonl") }

// kept is one path as it was before a deployment.
type kept struct {
	Path string `json:"path"`
	// Was is "none", "file" or "link".
	Was  string      `json:"was"`
	Link string      `json:"link,omitempty"`
	Copy string      `json:"copy,omitempty"`
	Mode fs.FileMode `json:"mode,omitempty"`
	// UID and GID are a file's owner and group.
	UID int `json:"uid,omitempty"`
	GID int `json:"gid,omitempty"`
}

// moved is a file that was archived.
type moved struct{ From, To string }

// service is one unit as it was.
type service struct {
	Name string `json:"name"`
	// Runs is what its controller is called, empty for a unit of the earlier system.
	Runs    string `json:"runs,omitempty"`
	Active  bool   `json:"active"`
	Enabled bool   `json:"enabled"`
	// Starting says that its start was not over: a Type=oneshot is so for as long as it works, and who starts it would wait for that.
	Starting bool `json:"starting,omitempty"`
	// Alias says that it is no controller's own unit, and waited for by nobody: another one's earlier name, which follows that one, or
	// what makes a line's queues.
	Alias bool `json:"alias,omitempty"`
}

// record is what an undo needs. It reaches the disk before what it tells of is done.
type record struct {
	Run   string    `json:"run"`
	From  string    `json:"from,omitempty"`
	To    string    `json:"to"`
	Begun time.Time `json:"begun"`
	// Files are put back in reverse order; States only where their format was changed.
	Files    []kept    `json:"files,omitempty"`
	States   []kept    `json:"states,omitempty"`
	Services []service `json:"services,omitempty"`
	// Timers are those that ran a process per cycle of what now is a service.
	Timers []service `json:"timers,omitempty"`
	// Earlier are the earlier system's units, and Moved its files.
	Earlier []service `json:"earlier,omitempty"`
	Moved   []moved   `json:"moved,omitempty"`
	Archive string    `json:"archive,omitempty"`
	// Ended are command lines of its processes that no unit started.
	Ended []string `json:"ended,omitempty"`
}

func (p place) recordPath(id string) string { return filepath.Join(p.version(id), "undo.json") }

func (p place) save(r *record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return write(p.recordPath(r.To), append(b, '\n'), 0o600)
}

func (p place) load(id string) (*record, error) {
	b, err := os.ReadFile(p.recordPath(id))
	if err != nil {
		return nil, err
	}
	r := &record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", p.recordPath(id), err)
	}
	return r, nil
}

// write puts a file in place so that a reader sees the old or the new one, and after a power cut, too.
func write(path string, text []byte, mode fs.FileMode) error {
	return writeFor(path, text, mode, os.Geteuid(), os.Getegid())
}

// writeFor does the same with an owner and a group, which it has before it has its name. Only root may give files away.
func writeFor(path string, text []byte, mode fs.FileMode, uid, gid int) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(mode), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if uid != os.Geteuid() || gid != os.Getegid() {
		if err := f.Chown(uid, gid); err != nil {
			return err
		}
	}
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}

// keep notes how a path is now, with a copy of a file's content.
func keep(path, dir string, n int) (kept, error) {
	k := kept{Path: path, Was: "none"}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, nil
	case err != nil:
		return k, err
	case info.Mode()&fs.ModeSymlink != 0:
		k.Was = "link"
		k.Link, err = os.Readlink(path)
		return k, err
	case !info.Mode().IsRegular():
		return k, fmt.Errorf("%s is no file: move it away", path)
	}
	k.Was, k.Mode, k.Copy = "file", info.Mode().Perm(), filepath.Join(dir, fmt.Sprintf("%03d", n))
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		k.UID, k.GID = int(st.Uid), int(st.Gid)
	}
	return k, copyFile(path, k.Copy, 0o600)
}

// back puts a path back as it was.
func (k kept) back() error {
	switch k.Was {
	case "none":
		if err := os.Remove(k.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	case "link":
		return point(k.Path, k.Link)
	}
	b, err := os.ReadFile(k.Copy)
	if err != nil {
		return err
	}
	if info, err := os.Lstat(k.Path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		if err := os.Remove(k.Path); err != nil {
			return err
		}
	}
	return writeFor(k.Path, b, k.Mode, k.UID, k.GID)
}

// point makes path a link to target, by one rename.
func point(path, target string) error {
	if now, err := os.Readlink(path); err == nil && now == target {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return renameio.Symlink(target, path)
}

// pointInside makes path a link to a target by the way from one to the other, so that it leads there under every root.
func pointInside(path, target string) error {
	rel, err := filepath.Rel(filepath.Dir(path), target)
	if err != nil {
		return err
	}
	return point(path, rel)
}

func copyFile(from, to string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		_ = os.Remove(to)
	}
	return err
}

// move renames, and copies where that leads to another file system.
func move(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	err := os.Rename(from, to)
	if err == nil {
		return nil
	}
	info, serr := os.Lstat(from)
	if serr != nil || !info.Mode().IsRegular() {
		return err
	}
	if err := copyFile(from, to, info.Mode().Perm()); err != nil {
		return err
	}
	return os.Remove(from)
}

// owner is who deploys.
type owner struct {
	PID   int       `json:"pid"`
	By    string    `json:"by"`
	What  string    `json:"what"`
	Since time.Time `json:"since"`
}

// LockedError says who is at it.
type LockedError struct{ Path, Who string }

// Error names the owner and the way out.
func (e *LockedError) Error() string {
	return fmt.Sprintf("another deployment is at work on this host: %s (lock %s); wait until it is done", e.Who, e.Path)
}

// lock lets one deployment at a time change the host. The kernel holds it for as long as the process lives.
func (p place) lock(by, what string, now time.Time) (release func(), err error) {
	path := filepath.Join(p.lib(), "deploy.lock")
	if err := os.MkdirAll(p.lib(), 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", p.lib(), err)
	}
	l := flock.New(path, flock.SetPermissions(0o600))
	ok, err := l.TryLock()
	if err != nil {
		return nil, fmt.Errorf("take the lock %s: %w", path, err)
	}
	if !ok {
		who := "one that has not written its name yet"
		var o owner
		if b, err := os.ReadFile(path); err == nil && json.Unmarshal(b, &o) == nil && o.PID > 0 {
			who = fmt.Sprintf("%s by %s since %s, process %d", o.What, o.By, o.Since.Format(time.DateTime), o.PID)
		}
		return nil, &LockedError{path, who}
	}
	b, err := json.Marshal(owner{os.Getpid(), by, what, now})
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600) // in place, because the lock belongs to this inode
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("write the lock %s: %w", path, err), l.Unlock())
	}
	return func() { _ = l.Unlock() }, nil
}

// currentID is the version in force, empty for none.
func (p place) currentID() string {
	target, err := os.Readlink(p.current())
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(target, "versions/")
}
