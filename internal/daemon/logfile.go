package daemon

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"wanctl/internal/config"
)

// logFile is a file that is opened again on [logFile.Reopen], put aside when it is full, and falls back to stderr, once said,
// when it cannot be written: a full disk must not take the loop or the operator's eyes away. Several processes may write to
// one, and somebody else may rotate it.
type logFile struct {
	mu     sync.Mutex
	path   string
	f      *os.File
	stderr io.Writer
	failed bool
	files  config.Logging
	// stuck is when the file last could not be put aside, zero while it can be.
	stuck time.Time
}

// openLog returns a log that is usable even with an error: its lines then go to stderr, until Reopen succeeds.
func openLog(path string, stderr io.Writer, files config.Logging) (*logFile, error) {
	l := &logFile{path: path, stderr: stderr, files: files}
	err := l.Reopen()
	l.failed = err != nil
	return l, err
}

// Reopen opens the file by its name again, after a rotation.
func (l *logFile) Reopen() error {
	if !l.take() {
		return fmt.Errorf("open log %s again: a line is being written for more than %s, and nobody takes it", l.path, takeLog)
	}
	defer l.mu.Unlock()
	l.stuck = time.Time{}
	return l.open()
}

func (l *logFile) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return fmt.Errorf("make the directory of log %s: %w", l.path, err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return fmt.Errorf("open log %s: %w (mend its rights, or name another in logging)", l.path, err)
	}
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f = f
	_ = leaveToTheDirectory(l.path) // what root opened by hand is the service's to go on with
	return nil
}

// take locks, unless a line that nobody takes holds the lock for too long: a pipe that is not read must not keep the process from
// its end, nor from feeding its watchdog.
func (l *logFile) take() bool {
	for end := time.Now().Add(takeLog); ; time.Sleep(time.Millisecond) {
		if l.mu.TryLock() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// limit changes how large it may become.
func (l *logFile) limit(files config.Logging) {
	if l.take() {
		l.files = files
		l.mu.Unlock()
	}
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil { // said when it could not be opened
		return l.stderr.Write(b)
	}
	if err := l.makeRoom(len(b)); err != nil {
		return l.instead(b, err, "its lines go to stderr until it can be put aside")
	}
	n, err := l.f.Write(b)
	if err == nil {
		l.failed = false
		return n, nil
	}
	return l.instead(b, err, "its lines go to stderr until it can be written again")
}

// instead writes to stderr, and says why the first time.
func (l *logFile) instead(b []byte, err error, text string) (int, error) {
	if !l.failed {
		l.failed = true
		fmt.Fprintf(l.stderr, "wanctl: log %s: %v; %s\n", l.path, err, text)
	}
	return l.stderr.Write(b)
}

const (
	// retryRotation is how soon a file that could not be put aside is tried again.
	retryRotation = time.Minute
	// rotations is how many times the file may be full again at once, because others write to it.
	rotations = 8
	// holdLog is how long to wait for another process that is putting the file aside, which takes it microseconds.
	holdLog = 100 * time.Millisecond
	// takeLog is how long to wait for a line that is being written.
	takeLog = time.Second
)

// makeRoom puts a file aside that n more bytes would make too large. It fails where that cannot be done: then the file is left
// as it is, because it would grow without bound.
func (l *logFile) makeRoom(n int) error {
	most := int64(l.files.MaxBytes)
	if most == 0 {
		return nil
	}
	for range rotations {
		// Asked of the file itself: another process may write to it, too, or somebody may have emptied it.
		info, err := l.f.Stat()
		if err != nil {
			return err
		}
		if !info.Mode().IsRegular() || info.Size() == 0 || info.Size()+int64(n) <= most {
			l.stuck = time.Time{}
			return nil
		}
		if !l.stuck.IsZero() && time.Since(l.stuck) < retryRotation {
			return errFull
		}
		if err := l.rotate(info); err != nil {
			l.stuck = time.Now()
			return err
		}
	}
	return errFull
}

var errFull = errors.New("it is full and could not be put aside")

// rotate puts the open file aside, whose info is full, and opens a new one.
func (l *logFile) rotate(full os.FileInfo) error {
	// One process at a time: each holds the file itself, which is the same for all of them.
	release, err := hold(l.f)
	if err != nil {
		return fmt.Errorf("the full log is held by somebody else: %w", err)
	}
	defer release()
	path, err := filepath.EvalSymlinks(l.path)
	if err == nil {
		var now os.FileInfo
		if now, err = os.Stat(path); err == nil && os.SameFile(full, now) {
			if err := putAside(path, l.files.Backups); err != nil {
				return fmt.Errorf("put the full log aside: %w", err)
			}
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("put the full log aside: %w", err)
	}
	return l.open() // what another has put aside already has a new one
}

// hold locks an open file. It waits for another holder, but not for long.
func hold(f *os.File) (release func(), err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	lock := func(how int) (err error) {
		failed := raw.Control(func(fd uintptr) { err = syscall.Flock(int(fd), how) })
		return errors.Join(failed, err)
	}
	for end := time.Now().Add(holdLog); ; time.Sleep(time.Millisecond) {
		err = lock(syscall.LOCK_EX | syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) || time.Now().After(end) {
			return func() { _ = lock(syscall.LOCK_UN) }, err
		}
	}
}

// putAside renames a file to path.1, after those that are aside moved on by one, so that at most keep are.
func putAside(path string, keep int) error {
	at := func(n int) string { return path + "." + strconv.Itoa(n) }
	if keep == 0 {
		return os.Remove(path)
	}
	for n := keep + 1; os.Remove(at(n)) == nil; n++ { // of a time when more were kept
	}
	for n := keep - 1; n > 0; n-- {
		if err := os.Rename(at(n), at(n+1)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(path, at(1))
}

// opened says whether it was ever opened, as one was that a line is being written to.
func (l *logFile) opened() bool {
	if !l.take() {
		return true
	}
	defer l.mu.Unlock()
	return l.f != nil
}

// Close closes the file, unless a line is being written that nobody takes. Nothing may be written after it.
func (l *logFile) Close() error {
	if !l.take() {
		return nil
	}
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}
