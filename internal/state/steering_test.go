package state

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"wanctl/internal/link"
	"wanctl/internal/steer"
	"wanctl/internal/unit"
)

// A state that was written when there was one alternate is read: what was known of that line is the first one's.
func TestSteeringOfVersion1(t *testing.T) {
	b, err := os.ReadFile("testdata/steering_v1.json")
	if err != nil {
		t.Fatal(err)
	}
	s, err := ReadSteering(bytes.NewReader(b), "Spectrum")
	if err != nil {
		t.Fatal(err)
	}
	m := s.Machine
	if s.Schema != 1 || m.State != steer.Degraded || m.Target != "" || len(m.History) != 1 || m.Red != 3 {
		t.Errorf("%+v", m)
	}
	if len(m.Alternates) != 1 || m.Alternates[0].Delta != (steer.Average{Value: 1.5, Set: true}) || len(m.Alternates[0].Minima) != 1 {
		t.Errorf("%+v", m.Alternates)
	}
	c := steer.Default()
	c.Primary, c.Alternates[0].Name = "Spectrum", "ATT"
	c.Alternates = append(c.Alternates, steer.Candidate{Name: "LTE"})
	machine, err := steer.New(c)
	if err != nil {
		t.Fatal(err)
	}
	machine.Restore(m)
	out := machine.Snapshot()
	if out.State != steer.Degraded || out.Since != m.History[0].At || out.Alternates[0].Name != "ATT" || !out.Alternates[0].Delta.Set ||
		out.Alternates[1].Delta.Set || len(out.Confidence.Toggles) != 1 {
		t.Errorf("restored: %+v", out)
	}
}

// A state with as many changes as a configuration may ask for can be read again.
func TestSteeringIsNeverTooLarge(t *testing.T) {
	s := Steering{Primary: "S"}
	for i := range 10_000 {
		s.Machine.History = append(s.Machine.History, steer.Transition{
			To: steer.Degraded, Target: "ATT", At: unit.Time(i + 1), Why: strings.Repeat("x", 500),
		})
	}
	b := write(t, func(b *bytes.Buffer) error { return WriteSteering(b, s) })
	got, err := ReadSteering(bytes.NewReader(b), "S")
	if err != nil || len(got.Machine.History) != MaxTransitions || got.Machine.History[MaxTransitions-1].At != 10_000 {
		t.Errorf("%d bytes, %d changes, %v", len(b), len(got.Machine.History), err)
	}
}

// A state of a version that is not known yet is foreign, and so is one whose machine is none.
func TestSteeringOfAnotherKind(t *testing.T) {
	type file struct {
		Schema   int    `json:"schema"`
		Primary  string `json:"primary"`
		Machine  any    `json:"machine"`
		Checksum string `json:"checksum"`
	}
	for name, f := range map[string]file{
		"later":           {Schema: SteeringSchema + 1, Primary: "S"},
		"a list":          {Schema: 2, Primary: "S", Machine: []int{1}},
		"an alternate 1":  {Schema: 1, Primary: "S", Machine: map[string]any{"alternate": 7}},
		"another primary": {Schema: 2, Primary: "T"},
	} {
		b := write(t, func(b *bytes.Buffer) error { return seal(b, f) })
		if _, err := ReadSteering(bytes.NewReader(b), "S"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEventsRoundTrip(t *testing.T) {
	want := []Event{
		{Time: wall, BootID: "b", Name: "steering", Primary: "Spectrum", Account: steer.Account{
			Transition: steer.Transition{From: steer.Good, To: steer.Degraded, Target: "ATT", At: 7, Why: "2 consecutive RED"},
			Decided:    5, Lasted: 9, Congestion: steer.Red, Red: 2, Need: 2,
			Votes:      []steer.VoteRecord{{Name: "queue", Says: steer.Over, Value: 80, Mark: 50, Unit: "packets"}, {Name: "controller", Says: steer.Missing}},
			Alternates: []steer.View{{Name: "ATT", Verdict: steer.Better, Measured: true, EWMA: 2}, {Name: "LTE", Verdict: steer.NoRoom}},
			Lacks:      []string{"LTE has no room"}, Brakes: []string{"hold-down for another 1m0s"},
		}},
		{Time: wall, BootID: "b", Name: "steering", Primary: "Spectrum", Account: steer.Account{
			Transition: steer.Transition{From: steer.Degraded, To: steer.Good, Target: "ATT", At: 9, Why: "15 consecutive GREEN"},
		}},
	}
	b := write(t, func(b *bytes.Buffer) error { return errors.Join(WriteEvent(b, want[0]), WriteEvent(b, want[1])) })
	torn := append([]byte("\n{\"time\":\"20\n{}\n"), b...)
	got, bad, err := ReadEvents(bytes.NewReader(torn))
	if err != nil || bad != 2 {
		t.Errorf("%d bad lines, %v", bad, err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("what was read differs (-written +read):\n%s", d)
	}
	if _, _, err := ReadEvents(iotest.ErrReader(errors.New("no"))); err == nil {
		t.Error("a failing disk was not said")
	}
	if _, _, err := ReadEvents(strings.NewReader(strings.Repeat("x", maxEvent+1))); err == nil {
		t.Error("a line without an end was read")
	}
	if err := WriteEvent(full{}, want[0]); err == nil || !strings.Contains(err.Error(), "no space left") {
		t.Errorf("a full disk: %v", err)
	}
	if WriteEvent(&bytes.Buffer{}, Event{Account: steer.Account{Transition: steer.Transition{To: 9}}}) == nil {
		t.Error("a state that does not exist was written")
	}
}

// A load that a line does not tell is unknown, and not 0.
func TestFeedWithoutLoad(t *testing.T) {
	b := write(t, func(b *bytes.Buffer) error {
		return WriteFeed(b, link.Feed{WAN: "x", Seq: 1, Period: 1e9, Carried: link.Load{Rates: link.Rates{Down: 5, Up: 5}}}, "boot", wall)
	})
	got, _, err := ReadFeed(bytes.NewReader(b))
	if err != nil || got.Carried.Known || bytes.Contains(b, []byte("carried")) {
		t.Errorf("%+v, %v: %s", got.Carried, err, b)
	}
	half := bytes.Replace(b, []byte(`"download":{`), []byte(`"download":{"carried":5,`), 1)
	if got, _, err := ReadFeed(bytes.NewReader(half)); err != nil || got.Carried.Known {
		t.Errorf("one direction alone: %+v, %v", got.Carried, err)
	}
}
