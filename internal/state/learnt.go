package state

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"wanctl/internal/link"
	"wanctl/internal/shaper"
	"wanctl/internal/unit"
)

// Learnt is what of a line's state a program can take over from any other: the earlier Python system's, or a version of
// wanctl whose format it does not know. These figures never changed their places.
type Learnt struct {
	// From names the format, for people.
	From string
	// Baseline and Load are the averages in ms; a file without a believable baseline is refused.
	Baseline, Load unit.Millis
	// Rates are the decided and Applied the last confirmed rates in bit/s, 0 where the file has none.
	Rates, Applied link.Rates
	// Green and SoftRed are the streaks, in cycles of 2 s.
	Green, SoftRed link.Pair[int]
}

// learntPeriod is the cycle that the earlier system counted its streaks in.
const learntPeriod = 2 * time.Second

// maxLearntMS bounds a believable delay, in ms.
const maxLearntMS = 10_000

type learntSide struct {
	Green   int     `json:"green_streak"`
	SoftRed int     `json:"soft_red_streak"`
	Rate    float64 `json:"current_rate"`
}

// ReadLearnt reads what can be taken over. Errors about content wrap [ErrCorrupt].
func ReadLearnt(r io.Reader) (Learnt, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return Learnt{}, fmt.Errorf("read state: %w", err)
	}
	if len(b) > MaxSize {
		return Learnt{}, fmt.Errorf("%w: larger than %d bytes", ErrCorrupt, MaxSize)
	}
	var j struct {
		Schema   int        `json:"schema"`
		EWMA     EWMA       `json:"ewma"`
		Download learntSide `json:"download"`
		Upload   learntSide `json:"upload"`
		Applied  struct {
			DL float64 `json:"dl_rate"`
			UL float64 `json:"ul_rate"`
			link.Rates
		} `json:"last_applied"`
	}
	// Python prints what JSON has no words for.
	text := strings.NewReplacer("NaN", "null", "-Infinity", "null", "Infinity", "null").Replace(string(b))
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return Learnt{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	l := Learnt{
		From: "the earlier system", Baseline: j.EWMA.BaselineRTT, Load: j.EWMA.LoadRTT,
		Rates:   link.Rates{Down: rateOf(j.Download.Rate), Up: rateOf(j.Upload.Rate)},
		Applied: link.Rates{Down: rateOf(j.Applied.DL), Up: rateOf(j.Applied.UL)},
		Green:   link.Pair[int]{Down: max(j.Download.Green, 0), Up: max(j.Upload.Green, 0)},
		SoftRed: link.Pair[int]{Down: max(j.Download.SoftRed, 0)},
	}
	if j.Schema > 0 {
		l.From = fmt.Sprintf("wanctl, schema %d", j.Schema)
		l.Applied = link.Rates{Down: rateOf(float64(j.Applied.Down)), Up: rateOf(float64(j.Applied.Up))}
		l.Rates = l.Applied
	}
	believable := func(m unit.Millis) bool { return m > 0 && m <= maxLearntMS && !math.IsNaN(float64(m)) }
	if !believable(l.Baseline) {
		return Learnt{}, fmt.Errorf("%w: no ewma.baseline_rtt between 0 and %d ms", ErrCorrupt, maxLearntMS)
	}
	if !believable(l.Load) {
		l.Load = l.Baseline
	}
	return l, nil
}

// rateOf drops what no line carries.
func rateOf(bps float64) unit.Rate {
	if !(bps >= 1 && bps <= float64(unit.MaxRate)) {
		return 0
	}
	return unit.Rate(bps)
}

// WAN is the state that a line of that name begins with. Rates are clamped to the configuration when it is restored.
func (l Learnt) WAN(name string) WAN {
	side := func(d link.Direction) shaper.Side {
		return shaper.Side{Rate: l.Rates.Get(d), Green: l.Green.Get(d), SoftRed: l.SoftRed.Get(d)}
	}
	w := WAN{Name: name, EWMA: EWMA{BaselineRTT: l.Baseline, LoadRTT: l.Load}, Applied: l.Applied}
	w.Controller = shaper.Snapshot{
		Period: learntPeriod, Baseline: l.Baseline, Load: l.Load,
		Sides: link.Pair[shaper.Side]{Down: side(link.Down), Up: side(link.Up)},
	}
	w.Actuator.Applied = l.Applied
	return w
}

// SchemaOf is the version that a file says it has: 0 for one of another program, or for none at all.
func SchemaOf(text []byte) int {
	var head struct {
		Schema int `json:"schema"`
	}
	if json.Unmarshal(text, &head) != nil || head.Schema < 0 {
		return 0
	}
	return head.Schema
}
