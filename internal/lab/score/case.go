package score

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"wanctl/internal/lab/scenario"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// Case is one story of the bench.
type Case struct {
	Name string
	// Group gathers recordings of one kind; empty for a scenario, which stands for itself.
	Group    string
	Scenario *scenario.Scenario
}

// BenchScenarios are those of the shipped scenarios that the bench plays when none is named: steps, fast lines, radio.
func BenchScenarios() []string {
	return []string{"drop", "drop30", "drop70", "square", "full", "full-drop", "lte", "lte-driving", "starlink", "lte-taxi"}
}

// ScenarioCase is a shipped scenario, with the recordings below dir or, where that is empty, with their twins.
func ScenarioCase(name, dir string) (Case, error) {
	s, err := scenario.Builtin(name, scenario.Options{TracesDir: dir})
	if err != nil {
		return Case{}, err
	}
	if _, err := Story(s); err != nil {
		return Case{}, err
	}
	return Case{Name: s.Name, Scenario: s}, nil
}

// Bounds of recordings' cases.
const (
	// maxRecordings bounds how many files are read.
	maxRecordings = 1000
	// leastRecording is the shortest one that says anything.
	leastRecording = 10 * time.Second
)

// RecordingCases makes cases of every recording below dir, at most the first length of each: in either direction by
// itself, the other one idle; and a pair of NAME.down and NAME.up loaded both ways. Files that are no recordings come
// back by name, with the reason.
func RecordingCases(dir string, length time.Duration) (cases []Case, skipped []error, err error) {
	var files []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case !e.Type().IsRegular():
			return nil
		case len(files) == maxRecordings:
			return fmt.Errorf("more than %d files; name a smaller directory", maxRecordings)
		}
		name, err := filepath.Rel(dir, path)
		files = append(files, name)
		return err
	})
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil, fmt.Errorf("the directory of the traces cannot be read: %w; name the one that holds the recordings", err)
		}
		return nil, nil, fmt.Errorf("read the traces: %w", err)
	}
	slices.Sort(files)
	alone := map[string]scenario.Path{}
	for _, name := range files {
		p, long, err := scenario.Recording(dir, name, length)
		switch {
		case err != nil:
			skipped = append(skipped, err)
			continue
		case long < leastRecording:
			skipped = append(skipped, fmt.Errorf("%s: is only %s long", name, long))
			continue
		}
		short := strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".csv")
		for _, d := range []link.Direction{link.Down, link.Up} {
			var paths link.Pair[*scenario.Path]
			paths.Set(d, &p)
			cases = append(cases, recordingCase(short+", "+d.String(), filepath.Dir(name), long, paths))
		}
		alone[short] = p
		up, isUp := strings.CutSuffix(short, ".up")
		if down, ok := alone[up+".down"]; isUp && ok {
			long = min(long, down.Steps[len(down.Steps)-1].At+time.Second)
			cases = append(cases, recordingCase(up+", both", filepath.Dir(name)+", both", long, link.Pair[*scenario.Path]{Down: &down, Up: &p}))
		}
	}
	if len(cases) == 0 {
		return nil, skipped, fmt.Errorf("%s holds no recording; a recording is mahimahi's or t_s,mbps, plain or .gz", dir)
	}
	return cases, skipped, nil
}

// What is around a recording: the line of the shipped scenarios of its kind.
const (
	radioDelay, satelliteDelay = 37 * time.Millisecond, 30 * time.Millisecond
	radioFIFO                  = 600 * time.Millisecond
	recordingFrom              = 3 * time.Second
)

// recordingCase is a line with a recording in one or both of its directions, loaded there and idle elsewhere.
func recordingCase(name, group string, long time.Duration, paths link.Pair[*scenario.Path]) Case {
	l := scenario.Link{Name: "wan1", Delay: radioDelay, ICMP: scenario.ICMPAlike}
	if strings.Contains(name, "starlink") {
		l.Delay = satelliteDelay
	}
	s := &scenario.Scenario{Name: name, About: "The recording " + name + ".", Duration: long, Seed: 1}
	idle := link.Rates{Down: 50 * unit.Mbps, Up: 15 * unit.Mbps}
	count := link.Pair[int]{Down: 4, Up: 2}
	for _, d := range []link.Direction{link.Down, link.Up} {
		p := paths.Get(d)
		if p == nil {
			*l.Path(d) = scenario.Path{Nominal: idle.Get(d), FIFO: radioFIFO, Steps: []scenario.Step{{Rate: idle.Get(d)}}}
			continue
		}
		*l.Path(d) = *p
		l.Path(d).FIFO = radioFIFO
		s.Flows = append(s.Flows, scenario.Flow{
			Kind: scenario.Bulk, Dir: d, Count: count.Get(d), From: recordingFrom, To: long, Congestion: "cubic",
		})
	}
	s.Links = []scenario.Link{l}
	// As the shipped scenarios' where they name none.
	for _, ms := range []int{0, 2, 5, 10, 15} {
		s.Reflectors = append(s.Reflectors, scenario.Reflector{Extra: time.Duration(ms) * time.Millisecond})
	}
	return Case{Name: name, Group: group, Scenario: s}
}
