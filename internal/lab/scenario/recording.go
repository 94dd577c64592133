package scenario

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"wanctl/internal/unit"
)

// The bins that a recording is cut into where nobody says otherwise, as in the shipped scenarios: rates over windows of
// recordingSmooth, a new one each recordingBin.
const (
	recordingBin    = 40 * time.Millisecond
	recordingSmooth = 100 * time.Millisecond
)

// IsCSV says whether a recording's name is one of t_s,mbps; all others are mahimahi's.
func IsCSV(file string) bool { return strings.HasSuffix(strings.TrimSuffix(file, ".gz"), ".csv") }

// Recording reads a recording below dir, at most its first length, as a capacity: plain or compressed by gzip, mahimahi or
// CSV by its name. The path's nominal rate is the 95th percentile of its bins.
func Recording(dir, file string, length time.Duration) (Path, time.Duration, error) {
	if !filepath.IsLocal(file) {
		return Path{}, 0, fmt.Errorf("%s: leads out of the directory of the traces; name it relative to that", file)
	}
	t := &trace{file: file, format: formatMahimahi, bin: recordingBin, smooth: recordingSmooth}
	if IsCSV(file) {
		t.format = formatCSV
	}
	rec, err := t.read(dir)
	if err != nil {
		return Path{}, 0, err
	}
	length = min(length, time.Duration(rec.length())).Truncate(recordingBin)
	if length == 0 {
		return Path{}, 0, fmt.Errorf("%s: is shorter than %s", filepath.Join(dir, file), short(recordingBin))
	}
	steps, err := t.cut(rec, length)
	if err != nil {
		return Path{}, 0, fmt.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	p := Path{Nominal: quantile(steps, 0.95)}
	if p.Nominal < mbps(0.1) {
		return Path{}, 0, fmt.Errorf("%s: carries nearly nothing in its first %s; it is no line", filepath.Join(dir, file), short(length))
	}
	if steps[0].Rate == 0 {
		steps[0].Rate = unit.Rate(1) // a line that is out at its start, and still a line
	}
	p.Steps = merge(steps, length)
	return p, length, nil
}
