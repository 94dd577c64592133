package guest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"time"

	"wanctl/internal/lab/report"
	"wanctl/internal/link"
	"wanctl/internal/unit"
)

// cycleLine is the line that a controller writes once per cycle.
var cycleLine = regexp.MustCompile(`^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}) \[[^]]+\] \[INFO\] [^:]+: \[(\w+)/(\w+)\] ` +
	`RTT=([0-9.]+)ms, load_ewma=[0-9.]+ms, baseline=([0-9.]+)ms, delta=-?[0-9.]+ms \| DL=([0-9.]+)M, UL=([0-9.]+)M`)

// states reads the cycle lines of link i and hands on those from start on.
func states(path string, i int, start time.Time, put func(report.State) error) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never came to a cycle
	}
	if err != nil {
		return fmt.Errorf("cycle lines: %w", err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		m := cycleLine.FindSubmatch(s.Bytes())
		if m == nil {
			continue
		}
		at, err := time.ParseInLocation("2006-01-02 15:04:05,000", string(m[1]), time.Local)
		if err != nil {
			continue
		}
		st := report.State{At: at.Sub(start).Seconds(), Link: i}
		if st.At < 0 {
			continue
		}
		if st.State.Down.UnmarshalText(m[2]) != nil || st.State.Up.UnmarshalText(m[3]) != nil {
			continue
		}
		st.RTT, st.Baseline = unit.Millis(number(m[4])), unit.Millis(number(m[5]))
		st.Rates = link.Rates{Down: unit.Rate(number(m[6]) * 1e6), Up: unit.Rate(number(m[7]) * 1e6)}
		if err := put(st); err != nil {
			return err
		}
	}
	return s.Err()
}

func number(b []byte) float64 {
	f, _ := strconv.ParseFloat(string(b), 64) // digits and points, by the pattern
	return f
}
