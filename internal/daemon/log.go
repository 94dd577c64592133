package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// textHandler prints `2006-01-02 15:04:05,000 [ATT] [INFO] message key=value`, the line of the earlier Python system.
type textHandler struct {
	mu    *sync.Mutex
	w     io.Writer
	level slog.Leveler
	name  string
	attrs string
}

// NewTextHandler returns the plain log of one WAN or steering, named in each line.
func NewTextHandler(w io.Writer, name string, level slog.Leveler) slog.Handler {
	return &textHandler{mu: &sync.Mutex{}, w: w, level: level, name: name}
}

func (h *textHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level.Level() }

func (h *textHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(strings.Replace(r.Time.Format("2006-01-02 15:04:05.000"), ".", ",", 1))
	fmt.Fprintf(&b, " [%s] [%s] %s%s", h.name, levelName(r.Level), r.Message, h.attrs)
	r.Attrs(func(a slog.Attr) bool {
		appendAttr(&b, a)
		return true
	})
	b.WriteByte('\n')
	h.mu.Lock()
	defer h.mu.Unlock()
	_, err := io.WriteString(h.w, b.String())
	return err
}

func (h *textHandler) WithAttrs(as []slog.Attr) slog.Handler {
	c := *h
	var b strings.Builder
	b.WriteString(h.attrs)
	for _, a := range as {
		appendAttr(&b, a)
	}
	c.attrs = b.String()
	return &c
}

// WithGroup is not used by wanctl: its attributes are flat.
func (h *textHandler) WithGroup(string) slog.Handler { return h }

func appendAttr(b *strings.Builder, a slog.Attr) {
	v := a.Value.Resolve().String()
	if strings.ContainsAny(v, " =\"\n\t") || v == "" {
		v = strconv.Quote(v)
	}
	b.WriteByte(' ')
	b.WriteString(a.Key)
	b.WriteByte('=')
	b.WriteString(v)
}

func levelName(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "ERROR"
	case l >= slog.LevelWarn:
		return "WARNING"
	case l >= slog.LevelInfo:
		return "INFO"
	}
	return "DEBUG"
}

// fanout hands each record to every handler that wants it. A log that fails never stops the loop.
type fanout []slog.Handler

func (f fanout) Enabled(ctx context.Context, l slog.Level) bool {
	for _, h := range f {
		if h.Enabled(ctx, l) {
			return true
		}
	}
	return false
}

func (f fanout) Handle(ctx context.Context, r slog.Record) error {
	var first error
	for _, h := range f {
		if !h.Enabled(ctx, r.Level) {
			continue
		}
		if err := h.Handle(ctx, r); err != nil && first == nil {
			first = err
		}
	}
	return first
}

func (f fanout) WithAttrs(as []slog.Attr) slog.Handler {
	out := make(fanout, len(f))
	for i, h := range f {
		out[i] = h.WithAttrs(as)
	}
	return out
}

func (f fanout) WithGroup(n string) slog.Handler {
	out := make(fanout, len(f))
	for i, h := range f {
		out[i] = h.WithGroup(n)
	}
	return out
}

// background writes lines on a goroutine of its own: a sink that blocks, such as a full pipe, must not stop a loop. What
// does not fit into its queue is dropped and counted.
type background struct {
	w     io.Writer
	lines chan []byte
	quit  chan struct{}
	done  chan struct{}
	lost  atomic.Uint64
}

const (
	queuedLines = 4096
	flushTime   = time.Second // what a stop waits for a sink that blocks
)

func newBackground(w io.Writer) *background {
	b := &background{w: w, lines: make(chan []byte, queuedLines), quit: make(chan struct{}), done: make(chan struct{})}
	go b.run()
	return b
}

func (b *background) run() {
	defer close(b.done)
	for {
		select {
		case line := <-b.lines:
			b.put(line)
		case <-b.quit:
			for {
				select {
				case line := <-b.lines:
					b.put(line)
				default:
					return
				}
			}
		}
	}
}

func (b *background) put(line []byte) {
	if n := b.lost.Swap(0); n > 0 {
		fmt.Fprintf(b.w, "wanctl: %d log lines were lost: the log could not be written fast enough\n", n)
	}
	_, _ = b.w.Write(line) // nobody is left to be told; a file says it on stderr itself
}

// Write queues a line and never blocks.
func (b *background) Write(line []byte) (int, error) {
	select {
	case b.lines <- bytes.Clone(line):
	default:
		b.lost.Add(1)
	}
	return len(line), nil
}

// close writes what is queued, and gives a blocked sink up after a moment. Lines that come later are lost.
func (b *background) close() {
	close(b.quit)
	t := time.NewTimer(flushTime)
	defer t.Stop()
	select {
	case <-b.done:
	case <-t.C:
	}
}

// LogOptions say where a WAN's lines go.
type LogOptions struct {
	// Name stands in every line.
	Name string
	// Main and Debug are files; an empty Main is Stderr, an empty Debug is none. Debug is used with Verbose only.
	Main, Debug string
	Stderr      io.Writer
	JSON        bool
	Verbose     bool
}

// logFile is a file that is opened again on [logFile.Reopen] and falls back to stderr, once said, when it cannot be
// written: a full disk must not take the loop or the operator's eyes away.
type logFile struct {
	mu     sync.Mutex
	path   string
	f      *os.File
	stderr io.Writer
	failed bool
}

// openLog returns a log that is usable even with an error: its lines then go to stderr, until Reopen succeeds.
func openLog(path string, stderr io.Writer) (*logFile, error) {
	l := &logFile{path: path, stderr: stderr}
	err := l.Reopen()
	l.failed = err != nil
	return l, err
}

// Reopen opens the file by its name again, after a rotation.
func (l *logFile) Reopen() error {
	l.mu.Lock()
	defer l.mu.Unlock()
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
	return nil
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil { // said when it could not be opened
		return l.stderr.Write(b)
	}
	n, err := l.f.Write(b)
	if err == nil {
		l.failed = false
		return n, nil
	}
	if !l.failed {
		l.failed = true
		fmt.Fprintf(l.stderr, "wanctl: log %s: %v; its lines go to stderr until it can be written again\n", l.path, err)
	}
	return l.stderr.Write(b)
}

func (l *logFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f == nil {
		return nil
	}
	return l.f.Close()
}

// Log is the logger of one WAN or steering with the files behind it.
type Log struct {
	*slog.Logger
	files  []*logFile
	behind []*background
	// own says that the lines have a file of their own, apart from the process's stderr.
	own bool
}

// OpenLog opens the files and builds the handlers. A file that cannot be opened keeps nobody from controlling: its lines go
// to stderr, the first of them says so.
func OpenLog(o LogOptions) (*Log, error) {
	l := Log{own: o.Main != ""}
	var troubles []error
	open := func(path string) io.Writer {
		f, err := openLog(path, o.Stderr)
		if err != nil {
			troubles = append(troubles, err)
		}
		l.files = append(l.files, f)
		return f
	}
	handler := func(w io.Writer, level slog.Level) slog.Handler {
		behind := newBackground(w)
		l.behind = append(l.behind, behind)
		return newHandler(behind, o.Name, level, o.JSON)
	}
	main := o.Stderr
	level := slog.LevelInfo
	var hs fanout
	if o.Main != "" {
		main = open(o.Main)
	}
	if o.Verbose {
		if o.Debug == "" {
			level = slog.LevelDebug
		} else {
			hs = append(hs, handler(open(o.Debug), slog.LevelDebug))
		}
	}
	l.Logger = slog.New(append(hs, handler(main, level)))
	for _, err := range troubles {
		l.Error(fmt.Sprintf("%v; its lines go to stderr, and control goes on: mend it and send SIGHUP, which opens it again", err))
	}
	return &l, nil
}

// reloaded tells in the line's own log what became of a reload; the process says the same on stderr.
func (l *Log) reloaded(err error) error {
	switch {
	case !l.own:
	case err != nil:
		l.Error(fmt.Sprintf("reload refused, the old configuration stays: %v", err))
	default:
		l.Info("configuration reloaded")
	}
	return err
}

// NewLogger returns the log of what concerns no single line.
func NewLogger(w io.Writer, name string, json bool) *slog.Logger {
	return slog.New(newHandler(w, name, slog.LevelInfo, json))
}

func newHandler(w io.Writer, name string, level slog.Level, json bool) slog.Handler {
	if json {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}).WithAttrs([]slog.Attr{slog.String("name", name)})
	}
	return NewTextHandler(w, name, level)
}

// Reopen opens all files by their names again. One that cannot be opened goes on under its old name.
func (l *Log) Reopen() error {
	var errs []error
	for _, f := range l.files {
		errs = append(errs, f.Reopen())
	}
	return errors.Join(errs...)
}

// Close writes what is queued and closes the files. Nothing may be logged after it.
func (l *Log) Close() error {
	for _, b := range l.behind {
		b.close()
	}
	var first error
	for _, f := range l.files {
		if err := f.Close(); err != nil && first == nil {
			first = err
		}
	}
	return first
}
