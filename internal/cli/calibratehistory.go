package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"wanctl/internal/calibrate"
	"wanctl/internal/config"
	"wanctl/internal/journal"
	"wanctl/internal/lab/netsim"
	"wanctl/internal/link"
	"wanctl/internal/state"
	"wanctl/internal/unit"
)

// settingOf is what a configuration says of its line's limits; text is the file, which tells what is really given.
func settingOf(c *config.WAN, text []byte) (calibrate.Setting, error) {
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return calibrate.Setting{}, err
	}
	given := func(path string) bool {
		var at any = tree
		ok := false
		for key := range strings.SplitSeq("continuous_monitoring."+path, ".") {
			section, _ := at.(map[string]any)
			at, ok = section[key]
		}
		return ok
	}
	those := func(paths ...string) (found []string) {
		for _, p := range paths {
			if given(p) {
				found = append(found, p)
			}
		}
		return found
	}
	s := calibrate.Setting{
		Tracking: c.Tracking != nil, Baseline: c.Shaper.BaselineInitial, BaselineMin: c.Shaper.BaselineMin, BaselineMax: c.Shaper.BaselineMax,
		CriticalKeys:    those("thresholds.critical_bloat_ms", "thresholds.hard_red_bloat_ms"),
		BaselineMinKeys: those("baseline_rtt_bounds.min", "thresholds.baseline_rtt_bounds.min"),
		BaselineMaxKeys: those("baseline_rtt_bounds.max", "thresholds.baseline_rtt_bounds.max"),
	}
	if c.Shaper.Down.FourState || len(s.CriticalKeys) > 0 {
		s.Critical = c.Shaper.Down.Critical
	}
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		from := &c.Shaper.Down
		if d == link.Up {
			from = &c.Shaper.Up
		}
		has := func(key string) bool { return given(d.String() + "." + key) }
		w := calibrate.Way{Floors: from.Floor, Ceiling: from.Ceiling, CeilingKey: "ceiling_mbps"}
		keys := [link.States]string{"floor_green_mbps", "floor_yellow_mbps", "floor_soft_red_mbps", "floor_red_mbps"}
		for st, k := range keys {
			if has(k) {
				w.FloorKeys[st] = k
			}
		}
		for _, k := range []string{"floor_mbps", "min_mbps"} {
			if has(k) {
				w.FloorKeys[link.Red] = k
			}
		}
		if c.Tracking != nil {
			w.Ceiling = 0
			for _, k := range []string{"max_mbps", "ceiling_mbps"} {
				if has(k) {
					w.Ceiling, w.CeilingKey = c.Tracking.Max.Get(d), k
				}
			}
		}
		if has("base_mbps") {
			w.Base = c.Base.Get(d)
		}
		if d == link.Down || has("target_bloat_ms") {
			w.Target = from.Target
		}
		if d == link.Down || has("warn_bloat_ms") {
			w.Warn = from.Warn
		}
		s.Ways.Set(d, w)
	}
	return s, nil
}

// past is the history of a line, and what is to be said of its files.
type past struct {
	calibrate.History
	files, notes []string
	// seen are the segments that were read, so that none counts twice.
	seen map[segment]string
	next segment // that goes on where the last one ended
}

// segment is a part of a recording.
type segment struct {
	boot string
	run  unit.Time
	n    int
	at   unit.Time
}

// history reads the recordings of a WAN: those that are named, or all in its journal.dir.
func (c calibrateCmd) history(cfg *config.WAN) (*past, error) {
	h := &past{seen: map[segment]string{}}
	files, named := c.Journals, true
	if len(files) == 0 && cfg.Journal.Dir != "" {
		named = false
		found, err := filepath.Glob(filepath.Join(escapeGlob(cfg.Journal.Dir), escapeGlob(cfg.Name)+"-*.journal*"))
		if err != nil {
			return nil, err
		}
		slices.Sort(found)
		if files = found; len(files) == 0 {
			h.notes = append(h.notes, "There is no recording in "+cfg.Journal.Dir+".")
		}
	}
	if text := stateKnows(cfg); text != "" {
		h.notes = append(h.notes, text)
	}
	for _, path := range files {
		err := h.file(path, cfg.Name)
		var other *otherWAN
		switch {
		case err == nil:
		case !named && errors.As(err, &other): // a longer name with the same beginning
		case !named && errors.Is(err, journal.ErrFormat):
			h.notes = append(h.notes, fmt.Sprintf("%s was passed over: %v.", path, err))
		default:
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return h, nil
}

// stateKnows is what the controller's state file knows of the line, for a person; empty where there is none.
func stateKnows(cfg *config.WAN) string {
	f, err := os.Open(cfg.StateFile)
	if err != nil {
		return ""
	}
	defer f.Close()
	s, err := state.ReadWAN(f, cfg.Name)
	if err != nil {
		return fmt.Sprintf("The state file %s tells nothing: %v.", cfg.StateFile, err)
	}
	text := fmt.Sprintf("The state file of %s has learnt a baseline of %s", s.Saved.Format(time.DateTime), s.EWMA.BaselineRTT)
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		var whole time.Duration
		in := s.TimeInState.Get(d)
		for _, t := range in {
			whole += t
		}
		if whole > 0 {
			text += fmt.Sprintf("; the %s was GREEN for %.1f%% and RED for %.1f%% of %s", d, 100*in[link.Green].Seconds()/whole.Seconds(),
				100*in[link.Red].Seconds()/whole.Seconds(), whole.Round(time.Minute))
		}
	}
	return text + "."
}

// escapeGlob lets a name match itself.
func escapeGlob(s string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(s)
}

// otherWAN is a recording of another line.
type otherWAN struct{ is, want string }

func (e *otherWAN) Error() string {
	return fmt.Sprintf("it is a recording of %q, and the configuration is of %q: name recordings of that line, or its own configuration", e.is, e.want)
}

// file reads one file.
func (h *past) file(path, name string) error {
	in, err := openRecorded(path)
	if err != nil {
		return err
	}
	defer in.Close()
	r, err := journal.NewReader(in)
	if err != nil {
		return err
	}
	head := r.Header()
	if head.WAN != name {
		return &otherWAN{head.WAN, name}
	}
	is := segment{head.Boot, head.Run, head.Segment, head.Now}
	if was, twice := h.seen[is]; twice {
		h.notes = append(h.notes, fmt.Sprintf("%s is the same part of a recording as %s and was read once.", path, was))
		return nil
	}
	h.seen[is] = path
	h.files = append(h.files, filepath.Base(path))
	t := teller{past: h, head: head}
	goesOn := h.next == segment{is.boot, is.run, is.n, 0}
	h.next = segment{is.boot, is.run, is.n + 1, 0}
	if err := t.begin(head.Config, head.Reflectors, goesOn); err != nil {
		return err
	}
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		switch v := rec.(type) {
		case *journal.Call:
			t.call(v)
		case *journal.Reconfigure:
			if err := t.begin(v.Config, v.Reflectors, false); err != nil {
				return err
			}
		}
	}
	if why := r.Torn(); why != nil {
		h.notes = append(h.notes, fmt.Sprintf("%s is cut off or damaged (%v); what is before that was used.", path, why))
		h.next = segment{}
	}
	return nil
}

// teller turns records into moments.
type teller struct {
	*past
	head *journal.Header
	// applied are the limits that the router was last read with; wan says that its WAN interface was ever read.
	applied link.Rates
	read    link.Pair[bool]
	wan     bool
}

func (t *teller) begin(text string, reflectors []string, goesOn bool) error {
	f, ds := config.Parse("the recording", strings.NewReader(text), config.Options{})
	if err := ds.Err(); err != nil || f.WAN == nil {
		return errors.Join(errors.New("the recorded configuration is none for this version"), err)
	}
	s, err := settingOf(f.WAN, []byte(text))
	if err != nil {
		return err
	}
	if !goesOn {
		t.Begin(s, reflectors)
	}
	return nil
}

func (t *teller) call(c *journal.Call) {
	m := calibrate.Moment{Now: c.Now, Hour: t.hour(c), Capacity: c.Law.Capacity, Counters: c.Counters, Replies: c.Replies, Probes: c.Probes}
	if rep := &c.Result.Report; c.Kind == journal.Deliver && (c.Result.Err == nil || c.Result.Read.Down && c.Result.Read.Up) {
		for _, d := range [...]link.Direction{link.Down, link.Up} {
			t.applied.Set(d, rep.Get(d).MaxLimit)
			t.read.Set(d, true)
		}
		k := link.Counters{At: rep.At, Rx: rep.WANRx, Tx: rep.WANTx}
		if t.wan = t.wan || rep.HasWAN; !t.wan {
			k.Rx, k.Tx = rep.Down.Bytes, rep.Up.Bytes
		}
		if len(c.Counters) == 0 && (rep.HasWAN || !t.wan) {
			m.Counters = []link.Counters{k}
		}
	}
	for _, d := range [...]link.Direction{link.Down, link.Up} {
		m.InForce.Set(d, c.Wanted.Get(d))
		if t.read.Get(d) {
			m.InForce.Set(d, t.applied.Get(d))
		}
	}
	if c.Kind == journal.Tick {
		m.Cycle = &c.Decision
	}
	t.Add(m)
}

// hour is the local hour of a call, -1 where the recording does not tell.
func (t *teller) hour(c *journal.Call) int {
	switch {
	case c.Outside.Minute > 0:
		return (c.Outside.Minute - 1) / 60
	case t.head.Source == journal.FromSimulation: // whose day begins at midnight
		return int(c.Now.Sub(netsim.Epoch).Hours()) % 24
	case !t.head.Wall.IsZero():
		return t.head.Wall.Add(c.Now.Sub(t.head.Now)).Local().Hour()
	}
	return -1
}
