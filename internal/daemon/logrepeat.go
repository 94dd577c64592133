package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// limited holds back what repeats ([link.Repeats]), and details that come too fast.
type limited struct {
	slog.Handler
	*held
}

// held is what is held back; handlers with attributes share it.
type held struct {
	mu    sync.Mutex
	began time.Time
	rows  link.Repeats
	// second is that of the newest detail, details how many were said in it, and left how many were not.
	second, details, left int64
}

func newLimited(h slog.Handler) *limited { return &limited{h, &held{began: time.Now()}} }

// mostDetails bounds the details of a second: those of a loop at 20 cycles/s with as many router operations, twice over.
const mostDetails = 100

// now is monotonic: setting the time of day neither holds back nor repeats anything.
func (l *limited) now() unit.Time { return unit.Time(time.Since(l.began)) }

// Handle passes a record on, or not.
func (l *limited) Handle(ctx context.Context, r slog.Record) error {
	l.over()
	var more string
	var ok bool
	if r.Level < slog.LevelInfo {
		more, ok = l.detail()
	} else {
		l.mu.Lock()
		var n uint64
		n, ok = l.rows.Pass(l.now(), levelName(r.Level)+kindOfText(r.Message), r.Message)
		l.mu.Unlock()
		more = link.More(n)
	}
	if !ok {
		return nil
	}
	r.Message += more
	return l.Handler.Handle(ctx, r)
}

// detail says whether one more may be said in this second, and how many before it were not.
func (l *limited) detail() (more string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := int64(time.Since(l.began) / time.Second); s != l.second {
		l.second, l.details = s, 0
	}
	if l.details >= mostDetails {
		l.left++
		return "", false
	}
	l.details++
	if l.left > 0 {
		more = fmt.Sprintf(" (%d details before it were left out: more than %d in a second.)", l.left, mostDetails)
		l.left = 0
	}
	return more, true
}

// over tells of what was held back and goes on no more.
func (l *limited) over() {
	l.mu.Lock()
	now := l.now()
	ended := l.rows.Over(now)
	l.mu.Unlock()
	for _, e := range ended {
		at := time.Now().Add(-now.Sub(e.Last)).Format(time.TimeOnly)
		text := fmt.Sprintf("%s (%d more such notes until %s, none since.)", e.Text, e.Count, at)
		_ = l.Handler.Handle(context.Background(), slog.NewRecord(time.Now(), slog.LevelInfo, text, 0))
	}
}

// WithAttrs and WithGroup share what is held back.
func (l *limited) WithAttrs(as []slog.Attr) slog.Handler {
	return &limited{l.Handler.WithAttrs(as), l.held}
}

func (l *limited) WithGroup(n string) slog.Handler { return &limited{l.Handler.WithGroup(n), l.held} }

// figure is a word of a sentence that begins with a digit.
var figure = regexp.MustCompile(`(^|[\s(="\[])[+-]?\d[^\s)",;\]]*`)

// kindOfText is a sentence without its figures: ages, rates and ports change from one time to the next, addresses do not.
func kindOfText(text string) string {
	return figure.ReplaceAllStringFunc(text, func(word string) string {
		at := strings.IndexAny(word, "0123456789")
		addr := strings.TrimRight(word[at:], ".:")
		if _, err := netip.ParseAddr(addr); err == nil {
			return word
		}
		if _, err := netip.ParsePrefix(addr); err == nil {
			return word
		}
		if with, err := netip.ParseAddrPort(addr); err == nil {
			return word[:at] + with.Addr().String() + ":#"
		}
		return word[:at] + "#"
	})
}

// standing is what is wrong for longer than a moment.
type standing struct {
	rows  link.Repeats
	since map[string]unit.Time
	told  bool
	began unit.Time
}

// remindAfter is how long something must have been wrong to be said again: when it began its cause was said.
const remindAfter = 10 * time.Minute

// stands reminds of what is wrong for long: after ten minutes and then every hour, and says when nothing is any more. The
// loop calls it with what its status says.
func (l *Log) stands(now unit.Time, why []string) {
	s := &l.standing
	if len(why) == 0 {
		if s.told {
			l.Line(slog.LevelInfo, fmt.Sprintf("all is well again, after %s", now.Sub(s.began).Round(time.Second)))
		}
		s.since, s.told, s.began = nil, false, 0
		return
	}
	if s.began == 0 {
		s.began = now
	}
	since := make(map[string]unit.Time, len(why))
	for _, text := range why {
		kind := kindOfText(text)
		if at, ok := s.since[kind]; ok {
			since[kind] = at
		} else {
			since[kind] = now
		}
		stood := now.Sub(since[kind])
		if _, ok := s.rows.Pass(now, kind, ""); ok && stood >= remindAfter {
			s.told = true
			l.Line(slog.LevelWarn, fmt.Sprintf("still so, after %s: %s", stood.Round(time.Second), text))
		}
	}
	s.since = since
}
