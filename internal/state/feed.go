package state

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// EWMA holds the two averages where every reader of the earlier Python system's files looks for them.
type EWMA struct {
	// BaselineRTT and LoadRTT are in ms.
	BaselineRTT unit.Millis `json:"baseline_rtt"`
	LoadRTT     unit.Millis `json:"load_rtt"`
}

// FeedDirection is one direction of a feed.
type FeedDirection struct {
	State link.State `json:"state"`
	// Rate is the decided rate in bit/s.
	Rate unit.Rate `json:"rate"`
	// AtFloor, Cuts and WarnMS are given for the download only.
	AtFloor bool        `json:"at_floor,omitempty"`
	Cuts    uint64      `json:"cuts,omitempty"`
	WarnMS  unit.Millis `json:"warn_ms,omitempty"`
	// Carried is what crossed it lately, in bit/s; absent while that is not known.
	Carried *unit.Rate `json:"carried,omitempty"`
}

// feedFile is the JSON form of a link.Feed. It has no checksum: it is replaced whole every cycle on a memory file
// system, and a reader that catches a bad one reads the next.
type feedFile struct {
	Schema     int           `json:"schema"`
	WAN        string        `json:"wan"`
	Seq        uint64        `json:"seq"`
	BootID     string        `json:"boot_id"`
	At         unit.Time     `json:"at_ns"`
	Time       time.Time     `json:"time"`
	PeriodMS   float64       `json:"period_ms"`
	Measured   bool          `json:"measured"`
	Vain       bool          `json:"vain,omitempty"`
	AnsweredAt unit.Time     `json:"answered_at_ns"`
	RTT        unit.Millis   `json:"rtt"`
	Delta      unit.Millis   `json:"delta"`
	EWMA       EWMA          `json:"ewma"`
	Download   FeedDirection `json:"download"`
	Upload     FeedDirection `json:"upload"`
}

// WriteFeed prints a feed. bootID ties its instants to this boot; wall is the time of day, for people.
func WriteFeed(w io.Writer, f link.Feed, bootID string, wall time.Time) error {
	carried := func(d link.Direction) *unit.Rate {
		r := f.Carried.Get(d)
		if !f.Carried.Known {
			return nil
		}
		return &r
	}
	b, err := json.Marshal(feedFile{
		Schema: Schema, WAN: f.WAN, Seq: f.Seq, BootID: bootID, At: f.At, Time: wall,
		PeriodMS: float64(f.Period) / 1e6, Measured: f.Measured, Vain: f.Vain, AnsweredAt: f.AnsweredAt,
		RTT: f.RTT, Delta: f.Delta, EWMA: EWMA{BaselineRTT: f.Baseline, LoadRTT: f.Load},
		Download: FeedDirection{
			State: f.State.Down, Rate: f.Rates.Down, AtFloor: f.DownAtFloor, Cuts: f.DownCuts, WarnMS: f.Warn,
			Carried: carried(link.Down),
		},
		Upload: FeedDirection{State: f.State.Up, Rate: f.Rates.Up, Carried: carried(link.Up)},
	})
	if err != nil {
		return fmt.Errorf("encode feed: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write feed: %w", err)
	}
	return nil
}

// ReadFeed parses a feed and the boot it belongs to. Errors about content wrap [ErrCorrupt].
func ReadFeed(r io.Reader) (f link.Feed, bootID string, err error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize))
	if err != nil {
		return f, "", fmt.Errorf("read feed: %w", err)
	}
	var j feedFile
	if err := json.Unmarshal(b, &j); err != nil {
		return f, "", fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if j.Schema < 1 || j.Schema > Schema {
		return f, "", fmt.Errorf("%w: schema %d, this version reads 1 to %d", ErrCorrupt, j.Schema, Schema)
	}
	if j.WAN == "" || j.Seq == 0 || j.PeriodMS <= 0 || j.PeriodMS > 3.6e6 {
		return f, "", fmt.Errorf("%w: no wan, sequence number or period", ErrCorrupt)
	}
	var carried link.Load
	if d, u := j.Download.Carried, j.Upload.Carried; d != nil && u != nil && *d >= 0 && *u >= 0 {
		carried = link.Load{Known: true, At: j.At, Rates: link.Rates{Down: *d, Up: *u}}
	}
	return link.Feed{
		WAN: j.WAN, Seq: j.Seq, At: j.At, Period: time.Duration(j.PeriodMS * 1e6),
		Measured: j.Measured, Vain: j.Vain, AnsweredAt: j.AnsweredAt,
		RTT: j.RTT, Delta: j.Delta, Baseline: j.EWMA.BaselineRTT, Load: j.EWMA.LoadRTT,
		State:       link.Pair[link.State]{Down: j.Download.State, Up: j.Upload.State},
		Rates:       link.Rates{Down: j.Download.Rate, Up: j.Upload.Rate},
		DownAtFloor: j.Download.AtFloor, DownCuts: j.Download.Cuts, Warn: j.Download.WarnMS,
		Carried: carried,
	}, j.BootID, nil
}
