package daemon

import (
	"errors"
	"fmt"
	"io"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

const (
	feedFresh  = 2 * time.Second // a feed is fresh for three of its periods or this, whichever is longer
	stateFresh = 6 * time.Minute // a state file's baseline is usable this long: it is written every 5 min
)

// FeedFile reads the file an autorate process publishes: its feed, or its state file for the baseline alone.
type FeedFile struct {
	// Path is the file; BootID this boot's name.
	Path   string
	BootID string
	// WAN is the line it must be about; empty takes any.
	WAN   string
	last  steer.Autorate
	known bool
}

// ReadFeed reads the newest snapshot. After an error the last one is returned with its age: a reader that met a
// rewrite sees the one before.
func (f *FeedFile) ReadFeed(now unit.Time) (steer.Autorate, error) {
	a, err := f.read()
	if err != nil {
		if !f.known {
			return steer.Autorate{}, err
		}
		a = f.last
	} else {
		f.last, f.known = a, true
	}
	age := now.Sub(a.Feed.At)
	limit := max(3*a.Feed.Period, feedFresh)
	if a.BaselineOnly {
		limit = stateFresh
	}
	a.Known = true
	a.Fresh = a.Fresh && age >= 0 && age < limit
	return a, err
}

func (f *FeedFile) read() (steer.Autorate, error) {
	var feed link.Feed
	var boot string
	var whole bool
	err := readFile(f.Path, func(r io.Reader) (err error) {
		feed, boot, err = state.ReadFeed(r)
		return err
	})
	if err == nil {
		whole = true
	} else if errors.Is(err, state.ErrCorrupt) {
		var s state.WAN
		name := f.WAN
		if e := readFile(f.Path, func(r io.Reader) (err error) {
			s, err = state.ReadWAN(r, name)
			return err
		}); e == nil {
			feed = link.Feed{WAN: s.Name, At: s.At, Baseline: s.EWMA.BaselineRTT, Load: s.EWMA.LoadRTT}
			boot, err = s.BootID, nil
		}
	}
	if err != nil {
		return steer.Autorate{}, fmt.Errorf("read what autorate publishes in %s: %w", f.Path, err)
	}
	if whole && f.WAN != "" && feed.WAN != f.WAN {
		return steer.Autorate{}, fmt.Errorf("%s is the feed of %q, not of %q: correct cake_state_sources", f.Path, feed.WAN, f.WAN)
	}
	// Instants of another boot mean nothing here: such a file is stale until a cycle of this boot replaces it.
	return steer.Autorate{Known: true, Fresh: boot == f.BootID, BaselineOnly: !whole, Feed: feed}, nil
}
