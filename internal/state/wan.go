package state

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"wanctl/internal/actuate"
	"wanctl/internal/link"
	"wanctl/internal/shaper"
	"wanctl/internal/tracking"
	"wanctl/internal/unit"
)

// WAN is the durable state of one line's controller.
type WAN struct {
	Schema int    `json:"schema"`
	Name   string `json:"wan"`
	// BootID and At tell when it was written, for ages; Saved is the same for people.
	BootID string    `json:"boot_id"`
	At     unit.Time `json:"at_ns"`
	Saved  time.Time `json:"saved"`
	// EWMA repeats the controller's two averages where other readers look for them.
	EWMA EWMA `json:"ewma"`
	// Applied are the rates last read back from the router.
	Applied    link.Rates       `json:"last_applied"`
	Controller shaper.Snapshot  `json:"controller"`
	Actuator   actuate.Snapshot `json:"actuator"`
	// TimeInState is the time spent in each state since the file was begun, in ns: GREEN, YELLOW, SOFT_RED, RED.
	TimeInState link.Pair[[link.States]time.Duration] `json:"time_in_state_ns"`
	// Memory is what the line was measured to carry in each part of the local day, under the policy that tracks it.
	Memory   tracking.Memory `json:"measured_by_time_of_day,omitzero"`
	Checksum string          `json:"checksum"`
}

// WriteWAN prints the state of one line.
func WriteWAN(w io.Writer, s WAN) error {
	s.Schema, s.Checksum = Schema, ""
	return seal(w, s)
}

// ReadWAN parses what [WriteWAN] printed for the line of that name. A file of another line is [ErrCorrupt]: its
// baseline and rates would be wrong here.
func ReadWAN(r io.Reader, name string) (WAN, error) {
	b, err := unseal(r, Schema)
	if err != nil {
		return WAN{}, err
	}
	var s WAN
	if err := json.Unmarshal(b, &s); err != nil {
		return WAN{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if s.Name != name {
		return WAN{}, fmt.Errorf("%w: it is the state of %q, not of %q", ErrCorrupt, s.Name, name)
	}
	return s, nil
}

// ReadNewerWAN takes what it can from a whole file of a later version ([ErrNewer]) of the line of that name: the averages and
// the rates, whose places never change, and what the line was measured to carry, where that is found. The rest begins anew.
func ReadNewerWAN(r io.Reader, name string) (WAN, error) {
	b, err := unseal(r, Schema)
	switch {
	case err == nil:
		return WAN{}, fmt.Errorf("%w: not of a later version", ErrCorrupt)
	case !errors.Is(err, ErrNewer):
		return WAN{}, fmt.Errorf("%w: not of a later version (%w)", ErrCorrupt, err)
	}
	learnt, err := ReadLearnt(bytes.NewReader(b))
	if err != nil {
		return WAN{}, err
	}
	var head struct {
		Name string `json:"wan"`
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Name != name {
		return WAN{}, fmt.Errorf("%w: it is the state of %q, not of %q", ErrCorrupt, head.Name, name)
	}
	s := learnt.WAN(name)
	var day struct {
		Memory tracking.Memory `json:"measured_by_time_of_day"`
	}
	if json.Unmarshal(b, &day) == nil {
		s.Memory = day.Memory
	}
	return s, nil
}
