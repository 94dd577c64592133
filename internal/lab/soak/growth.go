// Package soak judges whether a program that runs for long takes more and more of its host: memory, descriptors,
// goroutines, files, log bytes.
package soak

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// Limit is what a figure may do in the judged time.
type Limit struct {
	// Growth is by how much it may rise, in its unit: what cannot be told from its noise, or what does no harm in a year.
	Growth float64 `json:"growth"`
	// Bound, where not 0, is a level that it keeps under by design: below it a rise is a buffer that fills, a log or a history.
	Bound float64 `json:"bound,omitempty"`
	// Why says where both come from.
	Why string `json:"why"`
}

// upTo is the limit of a figure that is bounded by design.
func (l Limit) upTo(bound float64) Limit {
	l.Bound = bound
	return l
}

// Series is one figure of one process, over time.
type Series struct {
	// Of is the process or the directory, Name the figure.
	Of   string `json:"of"`
	Name string `json:"name"`
	Unit Unit   `json:"unit"`
	Limit
	// At are the instants in hours since the start, in order, and Values the figures at them.
	At     []float64 `json:"at_h"`
	Values []float64 `json:"values"`
}

// Add notes a figure.
func (s *Series) Add(hours, value float64) {
	s.At, s.Values = append(s.At, hours), append(s.Values, value)
}

// Unit is what a figure counts.
type Unit string

// The units.
const (
	Bytes Unit = "B"
	Count Unit = ""
)

// Verdict is what became of a series. All values are in the series's unit.
type Verdict struct {
	Of   string `json:"of"`
	Name string `json:"name"`
	Unit Unit   `json:"unit"`
	Limit
	// Samples were judged, those after the warm-up.
	Samples int `json:"samples"`
	// First and Last are the medians of the first and the last third of them, Most is the largest.
	First float64 `json:"first"`
	Last  float64 `json:"last"`
	Most  float64 `json:"most"`
	// Rose is by how much it rose from the first judged sample to the last, by the Theil-Sen line, and PerHour how steep that is.
	Rose    float64 `json:"rose"`
	PerHour float64 `json:"per_hour"`
	// Grows fails the soak.
	Grows bool `json:"grows"`
}

// leastSamples is how many are needed to judge: two in each third.
const leastSamples = 6

// warmUp is which share of a run is not judged: pools, maps and buffers come to their size in it.
const warmUp = 4

// Judge says whether the series grows. Two estimates have to say so, each of which a few outliers cannot move: the Theil-Sen
// line (the median of the slopes between all pairs of samples) and the difference between the medians of the last and the
// first third, which on a line are two thirds of its rise apart. Outliers are usual here: a collection that has just not
// run, a connection that is being made. A series too short to be judged grows, because nothing is proved of it.
func (s *Series) Judge() Verdict {
	v := Verdict{Of: s.Of, Name: s.Name, Unit: s.Unit, Limit: s.Limit}
	from := len(s.Values) / warmUp
	at, values := s.At[from:], s.Values[from:]
	v.Samples = len(values)
	if v.Samples < leastSamples {
		v.Grows = true
		return v
	}
	third := len(values) / 3
	v.First, v.Last = median(values[:third]), median(values[len(values)-third:])
	v.Most = slices.Max(values)
	var slopes []float64
	for i := range values {
		for j := range i {
			if dt := at[i] - at[j]; dt > 0 {
				slopes = append(slopes, (values[i]-values[j])/dt)
			}
		}
	}
	if len(slopes) > 0 {
		v.PerHour = median(slopes)
	}
	v.Rose = v.PerHour * (at[len(at)-1] - at[0])
	bounded := v.Bound > 0 && v.Most <= v.Bound
	v.Grows = !bounded && v.Rose > v.Growth && v.Last-v.First > v.Growth*2/3
	return v
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// Report is a soak's result.
type Report struct {
	// What was run, and for how long of its own time and of ours, in hours.
	What     string  `json:"what"`
	Hours    float64 `json:"hours"`
	RealTime float64 `json:"real_hours"`
	// Happened counts what the run went through, in the order of the names.
	Happened map[string]int `json:"happened"`
	Verdicts []Verdict      `json:"verdicts"`
	Series   []*Series      `json:"series"`
}

// Judged fills the verdicts from the series.
func (r *Report) Judged() {
	r.Verdicts = nil
	for _, s := range r.Series {
		r.Verdicts = append(r.Verdicts, s.Judge())
	}
}

// Grew names what grows.
func (r *Report) Grew() (names []string) {
	for _, v := range r.Verdicts {
		if v.Grows {
			names = append(names, v.Of+" "+v.Name)
		}
	}
	return names
}

// Print writes the table.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s in %s\n", r.What, hours(r.Hours), hours(r.RealTime))
	var names []string
	for n := range r.Happened {
		names = append(names, n)
	}
	slices.Sort(names)
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", n, r.Happened[n])
	}
	fmt.Fprintf(w, "  with: %s\n\n", strings.Join(names, ", "))
	fmt.Fprintf(w, "  %-10s %-22s %7s %11s %11s %11s %11s %11s  %s\n", "of", "figure", "samples", "first third", "last third", "most", "rose", "may rise", "")
	for _, v := range r.Verdicts {
		said := "flat"
		switch {
		case v.Samples < leastSamples:
			said = "TOO SHORT"
		case v.Grows:
			said = "GROWS"
		case v.Rose > v.Growth && v.Bound > 0:
			said = "bounded by " + v.Unit.text(v.Bound)
		}
		fmt.Fprintf(w, "  %-10s %-22s %7d %11s %11s %11s %11s %11s  %s\n", v.Of, v.Name, v.Samples, v.Unit.text(v.First), v.Unit.text(v.Last),
			v.Unit.text(v.Most), v.Unit.text(v.Rose), v.Unit.text(v.Growth), said)
	}
}

func (u Unit) text(v float64) string {
	switch a := math.Abs(v); {
	case u == Bytes && a >= 1e6:
		return fmt.Sprintf("%.2f MB", v/1e6)
	case u == Bytes && a >= 1e3:
		return fmt.Sprintf("%.1f kB", v/1e3)
	case u == Bytes:
		return fmt.Sprintf("%.0f B", v)
	case v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func hours(h float64) string {
	switch {
	case h >= 48:
		return fmt.Sprintf("%.0f days", h/24)
	case h >= 1:
		return fmt.Sprintf("%.1f h", h)
	case h >= 1./60:
		return fmt.Sprintf("%.1f min", h*60)
	}
	return fmt.Sprintf("%.0f s", h*3600)
}
