package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wanctl/internal/config"
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
	// Files are what the configuration names. Without a main file lines go to Stderr, without one for details those go where
	// the lines go.
	Files  config.Logging
	Stderr io.Writer
	JSON   bool
	// Verbose logs details from the start.
	Verbose bool
}

// Log is the logger of one WAN or steering with the files behind it. What repeats goes on being said with growing pauses
// ([link.Repeats]), but for what is said with Line.
type Log struct {
	*slog.Logger
	files   []*logFile
	behind  []*background
	details *details
	// plain passes everything on, past limited; both are nil where Logger does.
	plain   *slog.Logger
	limited *limited
	// own says that the lines have a file of their own, apart from the process's stderr.
	own bool
	// standing is what is wrong for longer.
	standing standing
}

// OpenLog opens the files and builds the handlers. A file that cannot be opened keeps nobody from controlling: its lines go
// to stderr, the first of them says so.
func OpenLog(o LogOptions) (*Log, error) {
	l := Log{own: o.Files.Main != "", details: &details{where: "standard error"}}
	var troubles []error
	open := func(path string) *logFile {
		f, err := openLog(path, o.Stderr, o.Files)
		if err != nil {
			troubles = append(troubles, err)
		}
		l.files = append(l.files, f)
		return f
	}
	handler := func(w io.Writer, level slog.Leveler) slog.Handler {
		behind := newBackground(w)
		l.behind = append(l.behind, behind)
		return newHandler(behind, o.Name, level, o.JSON)
	}
	if o.Verbose {
		l.details.level.Set(slog.LevelDebug)
	}
	main := o.Stderr
	var level slog.Leveler = &l.details.level
	var hs fanout
	if o.Files.Main != "" {
		main, l.details.where = open(o.Files.Main), o.Files.Main
	}
	if o.Files.Debug != "" {
		// Everything goes there, so that the details stand among the lines they are of.
		l.details.where = o.Files.Debug
		level = slog.LevelInfo
		f := &logFile{path: o.Files.Debug, stderr: o.Stderr, files: o.Files}
		if o.Verbose {
			f = open(o.Files.Debug)
		} else { // it is made when somebody asks for details
			l.files = append(l.files, f)
		}
		l.details.file = f
		hs = append(hs, whileOn{l.details, handler(f, slog.LevelDebug)})
	}
	hs = append(hs, handler(main, level))
	l.plain, l.limited = slog.New(hs), newLimited(hs)
	l.Logger = slog.New(l.limited)
	for _, err := range troubles {
		l.Error(fmt.Sprintf("%v; its lines go to stderr, and control goes on: mend it and send SIGHUP, which opens it again", err))
	}
	return &l, nil
}

// Line logs what is to be said however often it comes: a cycle's line, and the answer to what a person did.
func (l *Log) Line(level slog.Level, text string) {
	if l.plain == nil {
		l.Log(context.Background(), level, text)
		return
	}
	l.limited.over()
	l.plain.Log(context.Background(), level, text)
}

// reloaded tells in the line's own log what became of a reload; the process says the same on stderr.
func (l *Log) reloaded(err error) error {
	switch {
	case !l.own:
	case err != nil:
		l.Line(slog.LevelError, fmt.Sprintf("reload refused, the old configuration stays: %v", err))
	default:
		l.Line(slog.LevelInfo, "configuration reloaded")
	}
	return err
}

// NewLogger returns the log of what concerns no single line.
func NewLogger(w io.Writer, name string, json bool) *slog.Logger {
	return slog.New(newHandler(w, name, slog.LevelInfo, json))
}

func newHandler(w io.Writer, name string, level slog.Leveler, json bool) slog.Handler {
	if json {
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}).WithAttrs([]slog.Attr{slog.String("name", name)})
	}
	return NewTextHandler(w, name, level)
}

// Reopen opens all files by their names again. One that cannot be opened goes on under its old name.
func (l *Log) Reopen() error {
	var errs []error
	for _, f := range l.files {
		if f == l.details.file && !l.details.on() && !f.opened() {
			continue
		}
		errs = append(errs, f.Reopen())
	}
	return errors.Join(errs...)
}

// limit takes over how large files may become, after a reload.
func (l *Log) limit(files config.Logging) {
	for _, f := range l.files {
		f.limit(files)
	}
}

// Close writes what is queued and closes the files. Nothing may be logged after it.
func (l *Log) Close() error {
	l.details.end()
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
