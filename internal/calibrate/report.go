package calibrate

import (
	"slices"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Report is what a calibration found.
type Report struct {
	Schema int    `json:"schema"`
	WAN    string `json:"wan"`
	// Hours were recorded, with so many cycles, of which Silent had no round trip.
	Hours  float64 `json:"hours"`
	Cycles int     `json:"cycles"`
	Silent int     `json:"silent"`
	// Idle and Loaded are how much of it the line was idle and settled, or loaded.
	Idle   time.Duration `json:"idle_ns"`
	Loaded time.Duration `json:"loaded_ns"`
	// IdleDelta are the controller's averages over the baseline on an idle line, LoadedQueue single measurements over it on a
	// loaded one.
	IdleDelta   Quantiles            `json:"idle_delta"`
	LoadedQueue Quantiles            `json:"loaded_queue"`
	Baseline    Quantiles            `json:"baseline"`
	Ways        link.Pair[WayReport] `json:"ways"`
	ByHour      []HourReport         `json:"by_hour,omitempty"`
	Reflectors  []ReflectorReport    `json:"reflectors,omitempty"`
	Active      *Active              `json:"test,omitempty"`
	Advice      []Advice             `json:"advice"`
	// Notes are for people: what the figures do not tell.
	Notes []string `json:"notes,omitempty"`
}

// WayReport is one direction's history.
type WayReport struct {
	// Line is what it carried while it was full.
	Line Rates `json:"line"`
	// Carried is the rate while it was loaded, Shaped the limit in force then.
	Carried Rates `json:"carried"`
	Shaped  Rates `json:"shaped"`
	// Least and Most are the limits that were in force at all.
	Least unit.Rate `json:"least"`
	Most  unit.Rate `json:"most"`
	// Loaded is for how long it was loaded. Of that it was Clipped at its ceiling without a queue, Over it with one, and
	// Floored at its least floor with one, in so many FlooredRows.
	Loaded      time.Duration `json:"loaded_ns"`
	Clipped     time.Duration `json:"clipped_ns"`
	ClippedN    int           `json:"clipped_samples"`
	Over        time.Duration `json:"over_ns"`
	Floored     time.Duration `json:"floored_ns"`
	FlooredRows int           `json:"floored_rows"`
	// Uncured is for how long it was at that floor, with all carried that the floor allows, and the delay stayed: it was then not
	// this line's queue.
	Uncured time.Duration `json:"uncured_ns"`
	// Bytes went through in all.
	Bytes unit.Bytes `json:"bytes"`
}

// HourReport is an hour of the local day.
type HourReport struct {
	Hour   int `json:"hour"`
	Cycles int `json:"cycles"`
	// RTT is the idle line's, Queue the loaded one's over the baseline. Line is what a full line carried.
	RTT   Quantiles        `json:"rtt"`
	Queue Quantiles        `json:"queue"`
	Line  link.Pair[Rates] `json:"line"`
}

// ReflectorReport is one reflector on an idle line.
type ReflectorReport struct {
	Name string    `json:"name"`
	RTT  Quantiles `json:"rtt"`
	// Sent, where probes were not recorded, is what the reflector that answered most was heard.
	Sent  int      `json:"sent"`
	Heard int      `json:"heard"`
	Lost  unit.PPM `json:"lost_ppm"`
}

func (s *sketch) quantiles() Quantiles {
	return Quantiles{P5: s.delay(0.05), P50: s.delay(0.50), P95: s.delay(0.95), P99: s.delay(0.99), N: s.n}
}

func (s *sketch) rates(took time.Duration) Rates {
	return Rates{Least: s.rate(0.03), P10: s.rate(0.10), P50: s.rate(0.50), P90: s.rate(0.90), N: s.n, For: took}
}

// Report says what the history, and a test where there was one, tell of a line that is configured so.
func (h *History) Report(name string, now Setting, active *Active) Report {
	r := Report{
		Schema: 1, WAN: name, Cycles: h.cycles, Silent: h.silent, Idle: h.idle, Loaded: h.loaded, Active: active,
		Hours:     (h.span + h.last.Sub(h.first)).Hours(),
		IdleDelta: h.idleDelta.quantiles(), LoadedQueue: h.loadedQueue.quantiles(), Baseline: h.baseline.quantiles(),
	}
	for _, d := range both {
		if w := h.ways.Get(d); w != nil {
			r.Ways.Set(d, WayReport{
				Line: w.line.rates(w.lineFor), Carried: w.carried.rates(w.loaded), Shaped: w.rates.rates(w.loaded), Least: w.least, Most: w.most,
				Loaded: w.loaded, Clipped: w.clipped, ClippedN: w.clippedN, Over: w.over, Floored: w.floored, FlooredRows: w.flooredRows, Uncured: w.uncured, Bytes: w.bytes,
			})
		}
	}
	for n := range h.hours {
		if o := &h.hours[n]; o.cycles > 0 {
			r.ByHour = append(r.ByHour, HourReport{
				Hour: n, Cycles: o.cycles, RTT: o.idle.quantiles(), Queue: o.queue.quantiles(),
				Line: link.Pair[Rates]{Down: o.line[link.Down].rates(0), Up: o.line[link.Up].rates(0)},
			})
		}
	}
	sent, heard := 0, 0
	for _, f := range h.reflectors {
		sent, heard = sent+f.sent, max(heard, f.heard)
	}
	for _, f := range h.reflectors {
		if sent == 0 && !now.Tracking { // all are asked as often, and the best lost nothing that is known
			f.sent = heard
		}
		if f.heard == 0 && f.sent == 0 {
			continue // a candidate that was not needed
		}
		r.Reflectors = append(r.Reflectors, ReflectorReport{
			Name: f.name, RTT: f.rtt.quantiles(), Sent: f.sent, Heard: f.heard, Lost: unit.ShareOf(int64(f.sent-f.heard), int64(f.sent)),
		})
	}
	a := adviser{report: &r, set: now}
	for _, d := range both {
		a.limits(d)
	}
	a.thresholds()
	a.baselines()
	a.hosts()
	a.notes()
	return r
}

// Changes are the pieces of advice that recommend another value, in the order of the configuration.
func (r *Report) Changes() []Advice {
	return slices.DeleteFunc(slices.Clone(r.Advice), func(a Advice) bool { return a.Verdict != Change })
}
