package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/shaper"
	"wanctl/internal/steer"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

var wall = time.Date(2026, 1, 7, 2, 35, 0, 0, time.UTC)

func aWAN() WAN {
	return WAN{
		Schema: Schema, Name: "ATT", BootID: "b", At: 123, Saved: wall,
		EWMA:       EWMA{BaselineRTT: 28, LoadRTT: 29.5},
		Applied:    link.Rates{Down: 95 * unit.Mbps, Up: 18 * unit.Mbps},
		Controller: shaper.Snapshot{}, Actuator: actuate.Snapshot{},
		TimeInState: link.Pair[[link.States]time.Duration]{Down: [link.States]time.Duration{time.Hour, 2, 3, 4}},
		Memory:      tracking.Memory{Up: aDay()},
	}
}

// aDay is what a line was measured to carry from six to eight.
func aDay() (day [12]tracking.Measured) {
	day[3] = tracking.Measured{17 * unit.Mbps, 18_000_001}
	return day
}

// What no line carries is no memory, whatever the checksum says; and a file without one is as good as ever.
func TestMemoryOfCapacity(t *testing.T) {
	text := string(write(t, func(b *bytes.Buffer) error { return WriteWAN(b, aWAN()) }))
	if !strings.Contains(text, `"17000000 18000001"`) {
		t.Errorf("the memory is printed as\n%s", text)
	}
	bent := []byte(strings.Replace(text, `"17000000 18000001"`, `"17000000 -8000001"`, 1))
	if _, err := ReadWAN(bytes.NewReader(resealed(bent)), "ATT"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "measured capacities") {
		t.Errorf("a negative capacity: %v", err)
	}
	none := aWAN()
	none.Memory = tracking.Memory{}
	b := write(t, func(b *bytes.Buffer) error { return WriteWAN(b, none) })
	if s, err := ReadWAN(bytes.NewReader(b), "ATT"); err != nil || bytes.Contains(b, []byte("time_of_day")) || s.Memory.Up[3] != nil {
		t.Errorf("without a memory: %v\n%s", err, b)
	}
}

func write(t *testing.T, f func(*bytes.Buffer) error) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestWANRoundTrip(t *testing.T) {
	want := aWAN()
	b := write(t, func(b *bytes.Buffer) error { return WriteWAN(b, want) })
	got, err := ReadWAN(bytes.NewReader(b), "ATT")
	if err != nil {
		t.Fatal(err)
	}
	got.Checksum = ""
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was read differs (-written +read):\n%s", d)
	}
	// Other readers look for the averages here.
	var j struct {
		EWMA struct {
			BaselineRTT, LoadRTT float64
		} `json:"ewma"`
	}
	var raw map[string]map[string]any
	_ = json.Unmarshal(b, &raw)
	if raw["ewma"]["baseline_rtt"] != 28.0 || raw["ewma"]["load_rtt"] != 29.5 {
		t.Errorf("ewma is %v, %v", raw["ewma"], j)
	}
}

// Whatever happens to a file, it is either what was written or refused: no byte may change unnoticed.
func TestEveryDamageIsNoticed(t *testing.T) {
	whole := write(t, func(b *bytes.Buffer) error { return WriteWAN(b, aWAN()) })
	for n := range len(whole) - 1 {
		if _, err := ReadWAN(bytes.NewReader(whole[:n]), "ATT"); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("torn after %d of %d bytes: %v", n, len(whole), err)
		}
		bent := bytes.Clone(whole)
		bent[n] ^= 1
		if _, err := ReadWAN(bytes.NewReader(bent), "ATT"); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
	if _, err := ReadWAN(bytes.NewReader(whole), "Spectrum"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), `"ATT"`) {
		t.Errorf("another line's file: %v", err)
	}
	if _, err := ReadWAN(iotest.ErrReader(errors.New("disk on fire")), "ATT"); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a failing disk is not a corrupt file: %v", err)
	}
	if _, err := ReadWAN(strings.NewReader(strings.Repeat("x", MaxSize+2)), "ATT"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a huge file: %v", err)
	}
}

func TestAFileOfALaterVersionIsForeign(t *testing.T) {
	type future struct {
		Schema   int    `json:"schema"`
		Checksum string `json:"checksum"`
	}
	b := write(t, func(b *bytes.Buffer) error { return seal(b, future{Schema: Schema + 1}) })
	if _, err := ReadWAN(bytes.NewReader(b), "ATT"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "schema 2") {
		t.Errorf("schema 2: %v", err)
	}
	b = write(t, func(b *bytes.Buffer) error {
		return seal(b, struct {
			Schema   int    `json:"schema"`
			Name     []int  `json:"wan"`
			Checksum string `json:"checksum"`
		}{Schema: 1, Name: []int{1}})
	})
	if _, err := ReadWAN(bytes.NewReader(b), "ATT"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a name that is a list: %v", err)
	}
	if err := seal(&bytes.Buffer{}, struct{ X int }{}); err == nil {
		t.Error("a type without a checksum was sealed")
	}
	if err := seal(&bytes.Buffer{}, func() {}); err == nil {
		t.Error("a function was sealed")
	}
}

func TestSteeringRoundTrip(t *testing.T) {
	want := Steering{Schema: SteeringSchema, Name: "steering", Primary: "Spectrum", BootID: "b", At: 5, Saved: wall, Machine: steer.Snapshot{}}
	b := write(t, func(b *bytes.Buffer) error { return WriteSteering(b, want) })
	got, err := ReadSteering(bytes.NewReader(b), "Spectrum")
	if err != nil {
		t.Fatal(err)
	}
	got.Checksum = ""
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was read differs (-written +read):\n%s", d)
	}
	if _, err := ReadSteering(bytes.NewReader(b), "ATT"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("another site's file: %v", err)
	}
	if _, err := ReadSteering(strings.NewReader("{}"), "ATT"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("an empty object: %v", err)
	}
}

func TestFeedRoundTrip(t *testing.T) {
	want := link.Feed{
		WAN: "Spectrum", Seq: 7, At: 42, Period: 50 * time.Millisecond, Measured: true, Vain: true, AnsweredAt: 41,
		RTT: 25.5, Load: 27.6, Baseline: 26.9, Delta: 0.7,
		State: link.Pair[link.State]{Down: link.SoftRed, Up: link.Red},
		Rates: link.Rates{Down: 275 * unit.Mbps, Up: 8 * unit.Mbps}, DownAtFloor: true, DownCuts: 3, Warn: 45,
		Carried: link.Load{Known: true, At: 42, Rates: link.Rates{Down: 200 * unit.Mbps, Up: 0}},
	}
	b := write(t, func(b *bytes.Buffer) error { return WriteFeed(b, want, "boot", wall) })
	got, boot, err := ReadFeed(bytes.NewReader(b))
	if err != nil || boot != "boot" {
		t.Fatal(err, boot)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was read differs (-written +read):\n%s", d)
	}
	if !bytes.Contains(b, []byte(`"ewma":{"baseline_rtt":26.9,"load_rtt":27.6}`)) {
		t.Errorf("the averages are not in their place: %s", b)
	}
}

func TestBadFeeds(t *testing.T) {
	for name, in := range map[string]string{
		"empty": "", "torn": `{"schema":1,"wan":"ATT"`, "later": `{"schema":2}`, "list": `[]`,
		"nameless": `{"schema":1,"seq":1,"period_ms":50}`, "periodless": `{"schema":1,"wan":"x","seq":1}`,
		"a state of its own": `{"schema":1,"wan":"x","seq":1,"period_ms":50,"download":{"state":"BLUE"}}`,
	} {
		if _, _, err := ReadFeed(strings.NewReader(in)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := ReadFeed(iotest.ErrReader(errors.New("no"))); err == nil || errors.Is(err, ErrCorrupt) {
		t.Errorf("a failing disk: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestAFullDiskIsSaid(t *testing.T) {
	for name, err := range map[string]error{
		"feed": WriteFeed(full{}, link.Feed{}, "", wall), "wan": WriteWAN(full{}, aWAN()), "steering": WriteSteering(full{}, Steering{}),
	} {
		if err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if WriteFeed(&bytes.Buffer{}, link.Feed{State: link.Pair[link.State]{Down: 9}}, "", wall) == nil {
		t.Error("a state that does not exist was written")
	}
}

// A file as the first version wrote it, on a router at 80 and 15 Mbit/s, is read: what was added since is empty.
func TestWANOfTheFirstVersion(t *testing.T) {
	b, err := os.ReadFile("testdata/wan_v1.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadWAN(bytes.NewReader(b), "ATT")
	if err != nil {
		t.Fatal(err)
	}
	c := s.Controller
	if !(c.Baseline > 0.01 && c.Baseline < 1) || c.Baseline != s.EWMA.BaselineRTT || c.Sides.Down.Rate != 90*unit.Mbps || c.Sides.Up.Green < 30 ||
		s.Applied != (link.Rates{Down: 80 * unit.Mbps, Up: 15 * unit.Mbps}) || s.Actuator.Applied != s.Applied ||
		s.TimeInState.Down[link.Green] < 7*time.Second || s.Memory.Down[0] != nil {
		t.Errorf("%+v", s)
	}
}

// future is a state as a later version may write it: another machine, further keys, the same places for what is learnt.
func future(t *testing.T, baseline float64, memory any) []byte {
	t.Helper()
	return write(t, func(b *bytes.Buffer) error {
		return seal(b, struct {
			Schema     int            `json:"schema"`
			Name       string         `json:"wan"`
			BootID     []int          `json:"boot_id"`
			EWMA       map[string]any `json:"ewma"`
			Applied    link.Rates     `json:"last_applied"`
			Controller string         `json:"controller"`
			Memory     any            `json:"measured_by_time_of_day"`
			Checksum   string         `json:"checksum"`
		}{
			Schema: 9, Name: "ATT", BootID: []int{1}, EWMA: map[string]any{"baseline_rtt": baseline, "load_rtt": 29, "new": true},
			Applied: link.Rates{Down: 64 * unit.Mbps, Up: 11 * unit.Mbps}, Controller: "of another kind", Memory: memory,
		})
	})
}

// What a later version has learnt survives a downgrade.
func TestWANOfALaterVersion(t *testing.T) {
	memory := tracking.Memory{Up: aDay()}
	for name, c := range map[string]struct {
		memory any
		up     tracking.Measured
	}{"with its memory": {memory, memory.Up[3]}, "with another memory": {[]int{7}, nil}} {
		b := future(t, 27.5, c.memory)
		if _, err := ReadWAN(bytes.NewReader(b), "ATT"); !errors.Is(err, ErrNewer) || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		s, err := ReadNewerWAN(bytes.NewReader(b), "ATT")
		if err != nil || s.EWMA != (EWMA{27.5, 29}) || s.Controller.Baseline != 27.5 || s.Controller.Sides.Up.Rate != 11*unit.Mbps ||
			s.Actuator.Applied.Down != 64*unit.Mbps || s.BootID != "" || s.Name != "ATT" || !slices.Equal(s.Memory.Up[3], c.up) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if _, err := ReadNewerWAN(bytes.NewReader(b), "Spectrum"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: another line's: %v", name, err)
		}
		for n := range len(b) - 1 { // a torn one is none
			if _, err := ReadNewerWAN(bytes.NewReader(b[:n]), "ATT"); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("torn after %d bytes: %v", n, err)
			}
		}
	}
	mine := write(t, func(b *bytes.Buffer) error { return WriteWAN(b, aWAN()) })
	if _, err := ReadNewerWAN(bytes.NewReader(mine), "ATT"); !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrNewer) ||
		!strings.HasSuffix(err.Error(), "not of a later version") {
		t.Errorf("this version's: %v", err)
	}
	if _, err := ReadNewerWAN(bytes.NewReader(future(t, -1, nil)), "ATT"); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a baseline that is none: %v", err)
	}
}

// resealed puts the right checksum on a text.
func resealed(b []byte) []byte {
	i := bytes.LastIndex(b, []byte(sumKey)) + len(sumKey)
	copy(b[i:], "00000000")
	copy(b[i:], fmt.Sprintf("%08x", crc32.Checksum(b, castagnoli)))
	return b
}
