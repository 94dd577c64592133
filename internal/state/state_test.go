package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
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
	i := bytes.LastIndex(bent, []byte(sumKey)) + len(sumKey)
	copy(bent[i:], "00000000")
	copy(bent[i:], fmt.Sprintf("%08x", crc32.Checksum(bent, castagnoli)))
	if _, err := ReadWAN(bytes.NewReader(bent), "ATT"); !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "measured capacities") {
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
