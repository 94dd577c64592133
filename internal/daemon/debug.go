package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// details are the DEBUG lines of a log, which are switched on and off while it is in use.
type details struct {
	level slog.LevelVar // DEBUG while they are on: that of the main log, where they go there
	where string
	file  *logFile // where they have one of their own

	mu    sync.Mutex
	until time.Time // when they end, or have; zero is never
	timer *time.Timer
}

// on says that they are logged.
func (d *details) on() bool { return d.level.Level() == slog.LevelDebug }

// whileOn is a handler that is in use while details are logged.
type whileOn struct {
	*details
	slog.Handler
}

// Enabled says so.
func (w whileOn) Enabled(ctx context.Context, l slog.Level) bool {
	return w.on() && w.Handler.Enabled(ctx, l)
}

// WithAttrs and WithGroup keep it so.
func (w whileOn) WithAttrs(as []slog.Attr) slog.Handler {
	return whileOn{w.details, w.Handler.WithAttrs(as)}
}

func (w whileOn) WithGroup(n string) slog.Handler { return whileOn{w.details, w.Handler.WithGroup(n)} }

// DebugStatus says that details are logged.
type DebugStatus struct {
	// Into is a file, or standard error.
	Into string `json:"into"`
	// LeftS is after how many seconds that ends by itself, -1 for never.
	LeftS float64 `json:"left_s"`
}

// MaxDebug is the longest time for which details can be switched on.
const MaxDebug = 24 * time.Hour

var errNoDetails = errors.New("this log has no details")

// debugFor logs details for a time, from now on; 0 ends that.
func (l *Log) debugFor(t time.Duration) error {
	d := l.details
	if d == nil {
		return errNoDetails
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if t <= 0 {
		d.off()
		l.Line(slog.LevelInfo, "details are logged no more")
		return nil
	}
	var err error
	if d.file != nil && !d.on() {
		err = d.file.Reopen() // by its name: it may have been rotated since
	}
	if d.timer != nil {
		d.timer.Stop()
	}
	d.until = time.Now().Add(t)
	var timer *time.Timer
	timer = time.AfterFunc(t, func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer {
			d.off()
			l.Line(slog.LevelInfo, "details are logged no more: their time is over")
		}
	})
	d.timer = timer
	d.level.Set(slog.LevelDebug)
	l.Line(slog.LevelInfo, fmt.Sprintf("details are logged for %s into %s", t, d.where))
	return err
}

// off ends it; mu is held.
func (d *details) off() {
	if d.timer != nil {
		d.timer.Stop()
	}
	d.timer, d.until = nil, time.Now()
	d.level.Set(slog.LevelInfo)
}

// end stops the timer, at the end of the log.
func (d *details) end() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// debugging says whether details are logged; nil for no.
func (l *Log) debugging() *DebugStatus {
	if l == nil || l.details == nil || !l.details.on() {
		return nil
	}
	d := l.details
	d.mu.Lock()
	defer d.mu.Unlock()
	s := &DebugStatus{Into: d.where, LeftS: -1}
	if !d.until.IsZero() {
		s.LeftS = max(time.Until(d.until).Seconds(), 0)
	}
	return s
}
