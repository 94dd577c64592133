package link

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// Figures of [Repeats]. What comes all day is told 28 times: often enough to be found in any hour of a log, and
// too seldom to fill one.
const (
	// quietAfter is how long a note must not have come again for its row to be over.
	quietAfter = 10 * time.Minute
	// forgetAfter is how long a note must not have come for the next to be the first of a new row. It is longer than any pause:
	// what comes every half an hour repeats, too.
	forgetAfter = 2 * time.Hour
	// mostRepeats bounds how many notes are remembered.
	mostRepeats = 256
)

// pauses are the times between one saying of a note that goes on and the next; the last one stays.
var pauses = [...]time.Duration{time.Second, 10 * time.Second, time.Minute, 10 * time.Minute, time.Hour}

// Repeats decides which notes of a kind that repeats are said: the first at once, then one after growing pauses up to an hour,
// with how many were held back, and at the end what was held back last. The zero value is ready. It is not safe for
// concurrent use.
type Repeats struct{ rows map[string]*row }

// row is one kind of note that goes on.
type row struct {
	said, last unit.Time
	pauses     int // how many are behind it
	held       uint64
	text       string // of the newest that was held back
}

// Pass says whether a note of that kind may be said at now, and how many of the kind were held back since one was. The text is
// for [Repeats.Over]. Instants never go back.
func (r *Repeats) Pass(now unit.Time, kind, text string) (held uint64, ok bool) {
	w := r.rows[kind]
	if w == nil || now.Sub(w.last) >= forgetAfter {
		r.begin(now, kind)
		return 0, true
	}
	w.last = now
	if now.Sub(w.said) < pauses[w.pauses] {
		w.held++
		w.text = text
		return 0, false
	}
	held, w.held, w.said = w.held, 0, now
	w.pauses = min(w.pauses+1, len(pauses)-1)
	return held, true
}

// More says, behind a note, how many of its kind were held back since the last; empty for none.
func More(held uint64) string {
	if held == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d more since the last such note.)", held)
}

// begin begins a row, in the place of the oldest where there are too many.
func (r *Repeats) begin(now unit.Time, kind string) {
	if r.rows == nil {
		r.rows = make(map[string]*row)
	}
	if len(r.rows) >= mostRepeats {
		oldest := ""
		for k, w := range r.rows {
			if o := r.rows[oldest]; o == nil || w.last < o.last || w.last == o.last && k < oldest {
				oldest = k
			}
		}
		delete(r.rows, oldest)
	}
	r.rows[kind] = &row{said: now, last: now}
}

// Held is a note that was held back, as the last of its row.
type Held struct {
	Text string
	// Count is how many of its kind were held back since one was said, Last when the newest of them came.
	Count uint64
	Last  unit.Time
}

// Over returns what was held back of rows that have not gone on for ten minutes, each once, in the order in which they ended.
func (r *Repeats) Over(now unit.Time) (ended []Held) {
	for _, w := range r.rows {
		if w.held > 0 && now.Sub(w.last) >= quietAfter {
			ended = append(ended, Held{Text: w.text, Count: w.held, Last: w.last})
			w.held, w.text = 0, ""
		}
	}
	slices.SortFunc(ended, func(a, b Held) int {
		if a.Last != b.Last {
			return int(min(max(a.Last-b.Last, -1), 1))
		}
		return strings.Compare(a.Text, b.Text)
	})
	return ended
}
