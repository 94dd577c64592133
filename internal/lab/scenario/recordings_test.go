//go:build recordings

package scenario

import (
	"os"
	"testing"
)

// The figures that the twins are held to are those of the recordings. These are others' and not part of this repository:
// `WANCTL_TRACES=DIR go test -tags recordings ./internal/lab/scenario` holds one against the other.
func TestRecordingsHaveTheirFigures(t *testing.T) {
	dir := os.Getenv("WANCTL_TRACES")
	if dir == "" {
		t.Fatal("WANCTL_TRACES must name the recordings' directory")
	}
	for _, r := range recorded {
		p, sec := shippedSection(t, r.scenario, r.dir, "trace")
		tr := p.trace(sec)
		tr.smooth = tr.bin
		steps, err := tr.steps(dir, r.length)
		if err != nil {
			t.Fatal(err)
		}
		got := look(steps, r.length)
		if !near(got.mean, r.want.mean, 0.02) || !near(got.p5, r.want.p5, 0.05) || !near(got.p95, r.want.p95, 0.02) ||
			!near(got.ratio50, r.want.ratio50, 0.02) || !near(got.ratio90, r.want.ratio90, 0.05) {
			t.Errorf("%s %s: %.2f, noted are %.2f", r.scenario, r.dir, got, r.want)
		}
	}
	for _, name := range Names() {
		s, err := Builtin(name, Options{TracesDir: dir})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		twin, err := Builtin(name, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if s.Links[0].Down.Nominal != twin.Links[0].Down.Nominal {
			t.Errorf("%s: the line is sold as %v with its recording and %v with its twin", name, s.Links[0].Down.Nominal, twin.Links[0].Down.Nominal)
		}
	}
}
