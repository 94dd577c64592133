package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"wanctl/internal/config"
	"wanctl/internal/daemon"
	"wanctl/internal/journal"
	"wanctl/internal/lab/replay"
	"wanctl/internal/link"
)

type recordCmd struct {
	Config string        `arg:"" optional:"" help:"WAN configuration file."`
	For    time.Duration `placeholder:"TIME" help:"Stop after this time; without it, at SIGINT or SIGTERM."`
	Out    string        `short:"o" placeholder:"FILE" help:"The journal to write; a new file, named after the WAN and the time where none is given."`
	Import string        `placeholder:"FILE" help:"Convert another program's recording (JSON lines; .gz too) in the place of recording."`
}

// Help says what is touched.
func (recordCmd) Help() string {
	return `Sends the probes and reads the counters that a WAN file names, decides as wanctl autorate --dry-run does, and writes it
all down for wanctl replay. The router is read and never written. It may run beside the controller of the same WAN: it takes no
lock and leaves no state, but sends its own probes.

The file holds the configuration without passwords, the addresses of reflectors, delays, byte counters and the router's
messages; docs/journal.md lists it. Look at that before you send one to somebody.

Example:

    wanctl record configs/att_config.yaml --for 10m -o att.journal
    wanctl record --import trace.jsonl.gz -o trace.journal`
}

// Run records or converts.
func (c recordCmd) Run(app *App) error {
	switch {
	case c.Import != "" && (c.Config != "" || c.For != 0):
		return errors.New("--import takes no configuration and no time: to see what a configuration makes of it, use `wanctl replay --against`")
	case c.Import != "":
		return c.convert(app)
	case c.Config == "":
		return errors.New("name a WAN configuration file, or a recording with --import")
	case c.For < 0:
		return errors.New("--for takes a time above 0")
	}
	cfg, err := app.wanFile(c.Config)
	if err != nil {
		return err
	}
	if c.Out == "" {
		c.Out = fmt.Sprintf("%s-%s.journal", cfg.Name, daemon.HostClock{}.Wall().Format("20060102-150405"))
	}
	f, err := create(c.Out)
	if err != nil {
		return err
	}
	defer f.Close()
	signal.Ignore(syscall.SIGPIPE)
	ctx, cancel := app.context()
	defer cancel()
	if c.For > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, c.For)
		defer stop()
	}
	tape := &watchedTape{WriterTape: daemon.NewWriterTape(f)}
	began := daemon.HostClock{}.Now()
	err = app.record(ctx, cfg, c.Config, tape)
	text := tape.summary(daemon.HostClock{}.Now().Sub(began))
	err = errors.Join(err, tape.Close(), f.Close())
	bytes, calls := tape.Size()
	if calls == 0 {
		return errors.Join(err, errors.New("nothing was recorded"), os.Remove(c.Out))
	}
	fmt.Fprintf(app.Stdout, "%s: %s, %d bytes\n", c.Out, text, bytes)
	return err
}

// create makes a file of a recording, which only its owner may read.
func create(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already: name another with -o (or --journal), or remove it", path)
	}
	return f, err
}

// record runs the loop of a WAN on a tape until ctx ends, with files of its own that are gone afterwards.
func (a *App) record(ctx context.Context, cfg *config.WAN, path string, tape *watchedTape) error {
	dir, err := os.MkdirTemp("", "wanctl-record-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	own := *cfg
	own.LockFile, own.StateFile, own.FeedFile = filepath.Join(dir, "lock"), filepath.Join(dir, "state"), filepath.Join(dir, "feed")
	own.Logging, own.Journal = config.Logging{}, config.Journal{}
	if a.Terminal {
		defer a.watch(ctx, tape)()
	}
	task, err := daemon.NewAutorate(daemon.Common{
		Clock: daemon.HostClock{}, Dirs: daemon.Dirs{State: dir, Run: dir}, Version: version(), DryRun: true,
		Tape: func(*config.WAN) (daemon.Tape, error) { return tape, nil },
		OpenLog: func(name string, _ config.Logging) (*daemon.Log, error) {
			return &daemon.Log{Logger: slog.New(daemon.NewTextHandler(a.Stderr, name, slog.LevelWarn))}, nil
		},
	}, path, func() (*config.WAN, config.Diagnostics) { return &own, nil })
	if err != nil {
		return err
	}
	return task.Run(ctx)
}

// watch prints how it goes, once a second, until the returned function is called.
func (a *App) watch(ctx context.Context, tape *watchedTape) (stop func()) {
	began := daemon.HostClock{}.Now()
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(time.Second)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				fmt.Fprintf(a.Stderr, "\r\x1b[K%s", tape.summary(daemon.HostClock{}.Now().Sub(began)))
			case <-ctx.Done():
				return
			case <-over:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(over)
		<-done
		fmt.Fprint(a.Stderr, "\r\x1b[K")
	})
}

// watchedTape tells what is on it while it is written.
type watchedTape struct {
	*daemon.WriterTape
	mu      sync.Mutex
	replies int
	cycles  int
	last    link.Decision
}

// Put takes a record.
func (t *watchedTape) Put(r journal.Record) {
	t.WriterTape.Put(r)
	c, ok := r.(*journal.Call)
	if !ok {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replies += len(c.Replies)
	if c.Kind == journal.Tick {
		t.cycles++
		t.last = c.Decision
		t.last.Notes = nil
	}
}

func (t *watchedTape) summary(took time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := fmt.Sprintf("%s recorded, %d cycles, %d replies", took.Round(time.Second), t.cycles, t.replies)
	if t.last.Measured {
		s += fmt.Sprintf("; RTT %s, baseline %s, delta %s, %s/%s", t.last.RTT, t.last.Baseline, t.last.Delta, t.last.State.Down, t.last.State.Up)
	}
	return s
}

// convert imports another program's recording.
func (c recordCmd) convert(app *App) error {
	if c.Out == "" {
		return errors.New("name the journal to write with -o")
	}
	in, err := openRecorded(c.Import)
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := create(c.Out)
	if err != nil {
		return err
	}
	defer f.Close()
	tape := daemon.NewWriterTape(f)
	found, err := replay.Import(in, tape)
	if err = errors.Join(err, tape.Close(), f.Close()); err != nil {
		return fmt.Errorf("%s: %w", c.Import, errors.Join(err, os.Remove(c.Out)))
	}
	bytes, calls := tape.Size()
	fmt.Fprintf(app.Stdout, "%s: %s in %d calls, %d bytes: %d replies of %d reflectors (%d replies of the rest left out), %d readings of counters, "+
		"%d rates; %d lines of other kinds, %d that could not be read\n", c.Out, found.Span.Round(time.Second), calls, bytes,
		found.Replies, min(found.Reflectors, replay.MostHosts), found.LeftOut, found.Counters, found.Rates, found.Unread, found.Bad)
	return nil
}
